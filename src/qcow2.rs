//! The headers of qcow2 files (QEMU's "docs/interop/qcow2.txt"): what clones, checks and digests of golden disks
//! need to know, and nothing of the content.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// What of a header matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the disk that a guest sees.
    pub virtual_size: u64,
    pub backing: Option<Backing>,
}

/// The file below, as the header names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backing {
    pub name: String,
    /// The header says that it is no qcow2 file but plain bytes. Only then it is one: what a file's own first bytes
    /// look like does not count, for a guest may have written them.
    pub is_raw: bool,
}

/// Why a file cannot be a golden disk or lie below one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is no qcow2 file; convert it: qemu-img convert -O qcow2 IMAGE NEW.qcow2")]
    NotQcow2,
    #[error("its qcow2 header is damaged")]
    Damaged,
    #[error("its qcow2 version {0} is not known")]
    Version(u32),
    #[error("it is encrypted, and bootgate has no key for it")]
    Encrypted,
    #[error("it is marked as corrupt; `qemu-img check -r all IMAGE` may repair it")]
    Corrupt,
    #[error(
        "its content is in another file, an external data file; convert it: \
         qemu-img convert -O qcow2 IMAGE NEW.qcow2"
    )]
    ExternalData,
    #[error("its backing file `{0}` is no local file")]
    NotLocal(String),
}

/// The header, its extensions and the backing file's name lie in the first cluster; this is the largest one
/// that names can lie in for the smallest files and a bound for hostile ones.
const HEAD: u64 = 2 << 20;
/// Longest name of a backing file (the format's own limit).
const MAX_NAME: usize = 1023;

impl Header {
    /// # Errors
    /// A file that cannot be read, or that QEMU could not use as a golden disk.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let mut head = Vec::new();
        File::open(path)?.take(HEAD).read_to_end(&mut head)?;
        Self::parse(&head)
    }

    fn parse(head: &[u8]) -> Result<Self, Error> {
        if head.get(..4) != Some(b"QFI\xfb") {
            return Err(Error::NotQcow2);
        }
        let u32_at = |at: usize| u32_at(head, at).ok_or(Error::Damaged);
        let u64_at = |at: usize| u64_at(head, at).ok_or(Error::Damaged);
        let version = u32_at(4)?;
        if !matches!(version, 2 | 3) {
            return Err(Error::Version(version));
        }
        if u32_at(32)? != 0 {
            return Err(Error::Encrypted);
        }
        // Version 2 has no features.
        let (incompatible, header_length) = if version == 3 { (u64_at(72)?, u32_at(100)?) } else { (0, 72) };
        // Bit 1: not closed properly, and nobody repaired it since.
        if incompatible & 0b10 != 0 {
            return Err(Error::Corrupt);
        }
        // Bit 2: a digest of this file would not cover the content.
        if incompatible & 0b100 != 0 {
            return Err(Error::ExternalData);
        }
        let virtual_size = u64_at(24)?;
        let (offset, size) = (u64_at(8)?, u32_at(16)?);
        if offset == 0 {
            return Ok(Self { virtual_size, backing: None });
        }
        let name = backing_name(head, offset, size).ok_or(Error::Damaged)?;
        let is_raw = backing_format(head, header_length) == Some(b"raw");
        Ok(Self { virtual_size, backing: Some(Backing { name, is_raw }) })
    }
}

impl Backing {
    /// Where QEMU looks for it: relative names start at the folder of the file that names them.
    ///
    /// # Errors
    /// QEMU takes `nbd:...`, `json:{...}` and `http://...` for something else than a file.
    pub fn beside(&self, path: &Path) -> Result<PathBuf, Error> {
        if self.name.split('/').next().is_some_and(|first| first.contains(':')) {
            return Err(Error::NotLocal(self.name.clone()));
        }
        Ok(path.parent().unwrap_or(Path::new("/")).join(&self.name))
    }
}

fn backing_name(head: &[u8], offset: u64, size: u32) -> Option<String> {
    let offset = usize::try_from(offset).ok()?;
    let size = usize::try_from(size).ok().filter(|size| (1..=MAX_NAME).contains(size))?;
    let name = head.get(offset..offset.checked_add(size)?)?;
    let name = str::from_utf8(name).ok()?.trim_end_matches('\0');
    (!name.contains('\0')).then(|| name.to_owned())
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
pub(crate) mod tests {
    use super::*;

    /// A header without content, as `qemu-img create` writes it.
    pub fn header(backing: Option<&str>) -> Vec<u8> {
        let mut head = vec![0; 512];
        head[..4].copy_from_slice(b"QFI\xfb");
        head[7] = 3;
        head[23] = 16;
        head[29] = 16;
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
        let backing = Some(Backing { name: "base.qcow2".into(), is_raw: false });
        assert_eq!(Header::parse(&header(Some("base.qcow2"))).unwrap(), Header { virtual_size: 1 << 20, backing });
        assert_eq!(Header::parse(&header(None)).unwrap().backing, None);
    }

    #[test]
    fn a_backing_file_is_raw_only_if_the_header_says_so() {
        let mut head = header(Some("base.img"));
        let is_raw = |head: &[u8]| Header::parse(head).unwrap().backing.unwrap().is_raw;
        assert!(!is_raw(&head));
        head[104..108].copy_from_slice(&0xe279_2aca_u32.to_be_bytes());
        head[111] = 3;
        head[112..115].copy_from_slice(b"raw");
        assert!(is_raw(&head));
    }

    #[test]
    fn names_that_are_no_files_are_told_from_paths() {
        let beside = |name: &str| Backing { name: name.into(), is_raw: false }.beside(Path::new("/golden/top.qcow2"));
        assert_eq!(beside("base.qcow2").unwrap(), Path::new("/golden/base.qcow2"));
        assert_eq!(beside("/else/base.qcow2").unwrap(), Path::new("/else/base.qcow2"));
        assert_eq!(beside("./a:b").unwrap(), Path::new("/golden/a:b"));
        for protocol in ["nbd:host:1", "json:{}", "http://host/x"] {
            assert!(matches!(beside(protocol), Err(Error::NotLocal(_))), "{protocol}");
        }
    }

    #[test]
    fn files_that_cannot_be_golden_disks_are_refused_with_the_reason() {
        let change = |at: usize, byte: u8| {
            let mut head = header(Some("base.qcow2"));
            head[at] = byte;
            Header::parse(&head).unwrap_err().to_string()
        };
        assert!(change(0, b'X').contains("no qcow2"));
        assert!(change(7, 9).contains("version"));
        assert!(change(35, 2).contains("encrypted"));
        assert!(change(79, 2).contains("corrupt"));
        assert!(change(79, 4).contains("external data file"));
        assert!(change(8, 255).contains("damaged"));
        assert!(Header::parse(b"QFI\xfb").unwrap_err().to_string().contains("damaged"));
    }

    proptest::proptest! {
        #[test]
        fn hostile_headers_do_no_harm(changes in proptest::collection::vec((0..512usize, 0..=255u8), 0..40), cut in 0..512usize) {
            let mut head = header(Some("base.qcow2"));
            for (at, byte) in changes {
                head[at] = byte;
            }
            let _ = Header::parse(&head[..cut]);
            head[..4].copy_from_slice(b"QFI\xfb");
            let _ = Header::parse(&head);
        }
    }
}
