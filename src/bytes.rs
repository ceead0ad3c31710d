//! Numbers and texts at places in bytes that nobody vouches for: `None` instead of a panic.

pub fn slice(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    slice(bytes, at, N)?.try_into().ok()
}

/// Little endian, like all numbers here.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// Text of UTF-16 units, each of which is two bytes in this order; a half one at the end is left out.
pub fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// The same, little endian, up to a NUL or the end.
pub fn utf16_to_nul(bytes: &[u8]) -> String {
    let end = bytes.chunks_exact(2).position(|pair| pair == [0, 0]).map_or(bytes.len(), |units| units * 2);
    utf16(&bytes[..end], u16::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_outside_are_none() {
        let bytes = [1, 0, 0, 0, 2, 0, 0, 0];
        assert_eq!((u32_at(&bytes, 0), u32_at(&bytes, 4), u64_at(&bytes, 0)), (Some(1), Some(2), Some(0x2_0000_0001)));
        assert_eq!((u32_at(&bytes, 5), u64_at(&bytes, 1)), (None, None));
        assert_eq!(u16_at(&[1], usize::MAX), None);
    }

    #[test]
    fn any_units_are_text_and_half_a_one_is_left_out() {
        let bytes: Vec<u8> = "aä\0b".encode_utf16().flat_map(u16::to_le_bytes).chain([0xd8]).collect();
        assert_eq!((utf16(&bytes, u16::from_le_bytes).as_str(), utf16_to_nul(&bytes).as_str()), ("aä\0b", "aä"));
        assert_eq!(utf16_to_nul(&[b'a', 0, 0]), "a");
        assert_eq!(utf16(&[0xd8, 0, 0, b'a'], u16::from_be_bytes), "\u{fffd}a");
    }
}
