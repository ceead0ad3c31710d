//! A look at untrusted DER before it is decoded.

/// Most elements of a set. Signatures have a handful of certificates and attributes.
const MAX_ELEMENTS: usize = 256;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;
const SEQUENCE: u8 = 0x30;
const CONSTRUCTED: u8 = 0x20;

/// Whether all sets are small. The crate `der` sorts each set that it decodes, by insertion: one of some MB would take it
/// days.
///
/// Everything constructed that is no sequence counts as a set, since sets may have a tag of their own. What is malformed
/// is left for the decoder to refuse.
pub(super) fn are_small(bytes: &[u8]) -> bool {
    // Where each open element ends, how many elements it has, and how many it may have.
    let mut open = vec![(bytes.len(), 0, usize::MAX)];
    let mut at = 0;
    while let Some((end, count, most)) = open.last_mut() {
        if at >= *end {
            open.pop();
            continue;
        }
        *count += 1;
        if *count > *most {
            return false;
        }
        let end = *end;
        let Some((tag, head, len)) = header(&bytes[at..end]) else {
            // Not DER from here on; nobody decodes beyond it.
            return true;
        };
        at += head;
        if tag & CONSTRUCTED == 0 {
            at = at.saturating_add(len);
            continue;
        }
        if open.len() > MAX_DEPTH {
            return false;
        }
        let most = if tag == SEQUENCE { usize::MAX } else { MAX_ELEMENTS };
        open.push((at.saturating_add(len).min(end), 0, most));
    }
    true
}

/// Tag, length of the header, length of what follows.
fn header(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (tag, first) = (*bytes.first()?, *bytes.get(1)?);
    if first < 0x80 {
        return Some((tag, 2, usize::from(first)));
    }
    let count = usize::from(first & 0x7f);
    if !(1..=4).contains(&count) {
        return None;
    }
    let number = bytes.get(2..2 + count)?;
    Some((tag, 2 + count, number.iter().fold(0, |len, byte| len << 8 | usize::from(*byte))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::testing::{SIGNATURE, TIMESTAMPED, element};

    #[test]
    fn sets_of_thousands_are_large_however_they_are_tagged_and_wrapped() {
        let many = [0x02, 0x01, 0x07].repeat(1000);
        for tag in [0x31, 0xa0, 0xa1] {
            assert!(!are_small(&element(tag, &many)));
            assert!(!are_small(&element(0x30, &element(0x30, &element(tag, &many)))));
            assert!(are_small(&element(tag, &many[..300])));
        }
        assert!(are_small(&element(0x30, &many)) && are_small(&element(0x04, &element(0x31, &many))));
        assert!(are_small(SIGNATURE) && are_small(TIMESTAMPED));
    }

    #[test]
    fn nesting_without_end_is_not_followed() {
        let nested = |depth| (0..depth).fold(Vec::new(), |inner, _| element(SEQUENCE, &inner));
        assert!(are_small(&nested(60)) && !are_small(&nested(200)));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            are_small(&bytes);
        }
    }
}
