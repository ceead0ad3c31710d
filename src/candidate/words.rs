//! Texts in untrusted files.

use crate::model::is_hidden;

/// Longest text that is kept of a file's claims, in characters.
const LONGEST: usize = 200;

/// A text from a file as it may be kept and shown: one line, nothing that a terminal obeys, not too long; none if nothing
/// is left.
pub(super) fn clean(text: &str) -> Option<String> {
    let plain: String = text.chars().map(|c| if is_hidden(c) { ' ' } else { c }).collect();
    let words: Vec<&str> = plain.split_whitespace().collect();
    let line = words.join(" ");
    if line.chars().count() > LONGEST {
        return Some(line.chars().take(LONGEST - 3).chain("...".chars()).collect());
    }
    (!line.is_empty()).then_some(line)
}

/// Text in a Windows code page; pages that we do not know are read as Western European, which keeps ASCII right.
pub(super) fn in_code_page(bytes: &[u8], page: u32) -> String {
    use encoding_rs as e;
    let encoding = match page {
        932 => e::SHIFT_JIS,
        936 => e::GBK,
        949 => e::EUC_KR,
        950 => e::BIG5,
        874 => e::WINDOWS_874,
        1250 => e::WINDOWS_1250,
        1251 => e::WINDOWS_1251,
        1253 => e::WINDOWS_1253,
        1254 => e::WINDOWS_1254,
        1255 => e::WINDOWS_1255,
        1256 => e::WINDOWS_1256,
        1257 => e::WINDOWS_1257,
        1258 => e::WINDOWS_1258,
        65001 => e::UTF_8,
        // 0, the neutral one, is ASCII if the author kept to the rules; some write UTF-8 into it.
        0 if std::str::from_utf8(bytes).is_ok() => e::UTF_8,
        _ => e::WINDOWS_1252,
    };
    encoding.decode_without_bom_handling(bytes).0.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_texts_are_short_lines_that_no_terminal_obeys() {
        assert_eq!(clean(" a\u{1b}[31m\r\nb\u{202e}c\0 ").as_deref(), Some("a [31m b c"));
        assert_eq!(clean("\0\t "), None);
        assert_eq!(clean(&"x".repeat(5000)).unwrap().len(), LONGEST);
    }

    #[test]
    fn code_pages_are_decoded_and_unknown_ones_keep_ascii() {
        assert_eq!(in_code_page(b"M\xfcller", 1252), "Müller");
        assert_eq!(in_code_page("Müller".as_bytes(), 0), "Müller");
        assert_eq!(in_code_page(b"\x83\x65\x83\x58\x83\x67", 932), "テスト");
        assert_eq!(in_code_page(b"Sensor", 31337), "Sensor");
    }
}
