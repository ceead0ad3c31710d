use std::{fs::File, io::Read as _, path::Path};

/// What of a qcow2 header matters here (QEMU's "docs/interop/qcow2.txt").
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The backing file's name as it is written, if there is one.
    pub backing: Option<String>,
    /// The header says that the backing file is no qcow2 file but plain bytes.
    pub backing_is_raw: bool,
}

/// The header, its extensions and the backing file's name lie in the first cluster; this is the largest one
/// that names can lie in for the smallest files and a bound for hostile ones.
const HEAD: u64 = 2 << 20;
/// Longest name of a backing file (the format's own limit).
const MAX_NAME: usize = 1023;

/// Reads a disk's header.
///
/// # Errors
/// Why the file cannot be a golden disk, in words.
pub(super) fn read_header(path: &Path) -> Result<Header, String> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(HEAD).read_to_end(&mut head).map_err(|error| error.to_string())?;
    parse(&head)
}

fn parse(head: &[u8]) -> Result<Header, String> {
    if head.get(..4) != Some(b"QFI\xfb") {
        return Err("it is no qcow2 file".into());
    }
    let damaged = || "its qcow2 header is damaged".to_owned();
    let u32_at = |at: usize| u32_at(head, at).ok_or_else(damaged);
    let u64_at = |at: usize| u64_at(head, at).ok_or_else(damaged);
    let version = u32_at(4)?;
    if !matches!(version, 2 | 3) {
        return Err(format!("its qcow2 version {version} is not known"));
    }
    if u32_at(32)? != 0 {
        return Err("it is encrypted, and bootgate has no key for it".into());
    }
    let (incompatible, header_length) = if version == 3 { (u64_at(72)?, u32_at(100)?) } else { (0, 72) };
    // Bit 1: not closed properly, and nobody repaired it since.
    if incompatible & 0b10 != 0 {
        return Err("it is marked as corrupt; `qemu-img check -r all` may repair it".into());
    }
    // Bit 2: the content is in another file, which the digest would not cover.
    if incompatible & 0b100 != 0 {
        return Err("its content is in an external data file; `qemu-img convert` makes one file of it".into());
    }
    let (offset, size) = (u64_at(8)?, u32_at(16)?);
    if offset == 0 {
        return Ok(Header { backing: None, backing_is_raw: false });
    }
    let offset = usize::try_from(offset).map_err(|_| damaged())?;
    let size = usize::try_from(size).ok().filter(|size| (1..=MAX_NAME).contains(size)).ok_or_else(damaged)?;
    let name = offset.checked_add(size).and_then(|end| head.get(offset..end)).ok_or_else(damaged)?;
    let name = std::str::from_utf8(name).map_err(|_| damaged())?.trim_end_matches('\0');
    if name.contains('\0') {
        return Err(damaged());
    }
    Ok(Header { backing: Some(name.to_owned()), backing_is_raw: backing_format(head, header_length) == Some(b"raw") })
}

/// The header extension that names the backing file's format.
fn backing_format(head: &[u8], header_length: u32) -> Option<&[u8]> {
    const END: u32 = 0;
    const BACKING_FORMAT: u32 = 0xe279_2aca;
    let mut at = usize::try_from(header_length).ok()?;
    for _ in 0..64 {
        let (kind, len) = (u32_at(head, at)?, usize::try_from(u32_at(head, at + 4)?).ok()?);
        let data = head.get(at + 8..at.checked_add(8)?.checked_add(len)?)?;
        match kind {
            END => return None,
            BACKING_FORMAT => return Some(data),
            _ => at += 8 + len.next_multiple_of(8),
        }
    }
    None
}

fn u32_at(head: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(head.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(head: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(head.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A header without content, as `qemu-img create` writes it.
    pub fn header(backing: Option<&str>) -> Vec<u8> {
        let mut head = vec![0; 512];
        head[..4].copy_from_slice(b"QFI\xfb");
        head[7] = 3;
        head[23] = 16;
        head[103] = 104;
        if let Some(name) = backing {
            head[15] = 200;
            head[16..20].copy_from_slice(&u32::try_from(name.len()).unwrap().to_be_bytes());
            head[200..200 + name.len()].copy_from_slice(name.as_bytes());
        }
        head
    }

    #[test]
    fn the_backing_file_is_read_from_the_header() {
        let expected = Header { backing: Some("base.qcow2".into()), backing_is_raw: false };
        assert_eq!(parse(&header(Some("base.qcow2"))), Ok(expected));
        assert_eq!(parse(&header(None)), Ok(Header { backing: None, backing_is_raw: false }));
    }

    #[test]
    fn files_that_cannot_be_golden_disks_are_refused_with_the_reason() {
        let change = |at: usize, byte: u8| {
            let mut head = header(Some("base.qcow2"));
            head[at] = byte;
            parse(&head).unwrap_err()
        };
        assert!(change(0, b'X').contains("no qcow2"));
        assert!(change(7, 9).contains("version"));
        assert!(change(35, 2).contains("encrypted"));
        assert!(change(79, 4).contains("external data file"));
        assert!(change(8, 255).contains("damaged"));
        assert!(parse(b"QFI\xfb").unwrap_err().contains("damaged"));
    }

    proptest::proptest! {
        #[test]
        fn hostile_headers_do_no_harm(changes in proptest::collection::vec((0..512usize, 0..=255u8), 0..40), cut in 0..512usize) {
            let mut head = header(Some("base.qcow2"));
            for (at, byte) in changes {
                head[at] = byte;
            }
            let _ = parse(&head[..cut]);
            head[..4].copy_from_slice(b"QFI\xfb");
            let _ = parse(&head);
        }
    }
}
