//! Numbers and texts at places in untrusted bytes: `None` instead of a panic.

use crate::model::is_hidden;

/// Longest text that is kept of a file's claims, in characters.
const LONGEST: usize = 200;

pub(super) fn slice(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(slice(bytes, at, 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(slice(bytes, at, 4)?.try_into().ok()?))
}

/// UTF-16, little endian, up to a NUL or the end.
pub(super) fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}

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
    fn places_outside_are_none() {
        assert_eq!(u32_at(&[1, 0, 0, 0], 0), Some(1));
        assert_eq!(u32_at(&[1, 0, 0, 0], 1), None);
        assert_eq!(u16_at(&[1], usize::MAX), None);
    }

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
