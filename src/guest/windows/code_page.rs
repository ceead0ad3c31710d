use encoding_rs::{
    BIG5, EUC_KR, Encoding, GB18030, GBK, SHIFT_JIS, UTF_8, UTF_16LE, WINDOWS_1250, WINDOWS_1251, WINDOWS_1252,
    WINDOWS_1253, WINDOWS_1254, WINDOWS_1255, WINDOWS_1256, WINDOWS_1257, WINDOWS_1258,
};
use oem_cp::code_table::DECODING_TABLE_CP_MAP;

/// Reads what a console program printed on a guest whose OEM code page is this (`Nls\CodePage\OEMCP`).
///
/// What says by its byte order mark that it is UTF-16 or UTF-8 is read as that: some programs print so whatever the code
/// page. An unknown page is read as UTF-8. What cannot be read becomes U+FFFD; nothing is left out.
pub fn decode(bytes: &[u8], code_page: u32) -> String {
    if let Some(rest) = bytes.strip_prefix(b"\xff\xfe") {
        return UTF_16LE.decode_without_bom_handling(rest).0.into_owned();
    }
    if let Some(rest) = bytes.strip_prefix(b"\xef\xbb\xbf") {
        return String::from_utf8_lossy(rest).into_owned();
    }
    let table = u16::try_from(code_page).ok().and_then(|page| DECODING_TABLE_CP_MAP.get(&page));
    match table {
        Some(table) => table.decode_string_lossy(bytes),
        None => of_many_bytes(code_page).decode_without_bom_handling(bytes).0.into_owned(),
    }
}

/// Numbers from Microsoft's "Code Page Identifiers".
fn of_many_bytes(code_page: u32) -> &'static Encoding {
    match code_page {
        932 => SHIFT_JIS,
        936 => GBK,
        949 => EUC_KR,
        950 => BIG5,
        1250 => WINDOWS_1250,
        1251 => WINDOWS_1251,
        1252 => WINDOWS_1252,
        1253 => WINDOWS_1253,
        1254 => WINDOWS_1254,
        1255 => WINDOWS_1255,
        1256 => WINDOWS_1256,
        1257 => WINDOWS_1257,
        1258 => WINDOWS_1258,
        54936 => GB18030,
        _ => UTF_8,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes are those of Python's codecs.
    #[test]
    fn output_is_read_by_the_guests_code_page() {
        for (page, bytes, text) in [
            (437, &b"na\x8bve \x81ber"[..], "naïve über"),
            (737, b"\x98\xa2", "αλ"),
            (850, b"gel\x94scht \x9d", "gelöscht Ø"),
            (852, b"Po\xbeadavek \xa9", "Pożadavek ę"),
            (858, b"5 \xd5", "5 €"),
            (862, b"\x80\x81", "אב"),
            (866, b"\x8e\xe8\xa8\xa1\xaa\xa0", "Ошибка"),
            (874, b"\xa1\xa2", "กข"),
            (932, b"\x93\xfa\x96\x7b", "日本"),
            (936, b"\xb4\xed\xce\xf3", "错误"),
            (949, b"\xc7\xd1\xb1\xdb", "한글"),
            (950, b"\xbf\xf9\xbb\x7e", "錯誤"),
            (1252, b"\x80", "€"),
            (54936, b"\xb4\xed", "错"),
            (65001, "läuft".as_bytes(), "läuft"),
        ] {
            assert_eq!(decode(bytes, page), text, "code page {page}");
            assert_eq!(decode(b"SERVICE_NAME: a\r\n", page), "SERVICE_NAME: a\r\n", "code page {page}");
        }
    }

    #[test]
    fn a_byte_order_mark_counts_more_than_the_code_page() {
        assert_eq!(decode(b"\xff\xfeW\0i\0n\0\xe5\x65", 437), "Win日");
        assert_eq!(decode(b"\xef\xbb\xbf\xc3\xa4", 850), "ä");
        assert_eq!(decode(b"\xff\xfeW\0i", 437), "W\u{fffd}", "cut in the middle of a character");
    }

    #[test]
    fn an_unknown_code_page_is_read_as_utf_8_and_bad_bytes_are_marked() {
        for page in [0, 37, 20127, 65535, 65536 + 437, u32::MAX] {
            assert_eq!(decode(b"\xc3\xa4\x81!", page), "ä\u{fffd}!");
        }
        assert_eq!(decode(b"\x93", 932), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_on_any_code_page(bytes in proptest::collection::vec(any::<u8>(), 0..64), page in 0u32..70000) {
            decode(&bytes, page);
            for page in [437, 864, 932, 936, 949, 950, 1255, 54936, 65001] {
                decode(&bytes, page);
            }
        }
    }
}
