use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    cab, ole, pe, signature,
    source::{ReadSeek, Source},
    text,
};
use crate::{
    files::open_regular,
    model::{About, Content},
};

/// How much of a file's beginning decides of what kind it is, in bytes.
const HEAD: usize = 64 << 10;
/// Largest security catalogue that is looked into, in bytes.
const MAX_CATALOG: u64 = 8 << 20;

/// Why a file could not be inspected. What is wrong with its content is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("cannot read {path}: {cause}")]
    Unreadable { path: PathBuf, cause: io::Error },
}

/// What a file is, by its content. Reads no more than some MB of it, and less of most.
///
/// # Errors
/// The file cannot be read.
pub fn inspect(path: &Path) -> Result<About, InspectError> {
    let unreadable = |cause| InspectError::Unreadable { path: path.to_owned(), cause };
    let mut file = open_regular(path).map_err(unreadable)?;
    inspect_reader(&mut file).map_err(unreadable)
}

/// [`inspect`] for anything that can be read.
///
/// # Errors
/// It cannot be read.
pub fn inspect_reader(file: &mut dyn ReadSeek) -> io::Result<About> {
    let mut source = Source::new(file)?;
    let about = by_content(&mut source);
    source.failure.map_or(Ok(about), Err)
}

fn by_content(source: &mut Source<'_>) -> About {
    let head = source.up_to(0, HEAD).unwrap_or_default();
    let begins = |magic: &[u8]| head.starts_with(magic);
    let is_zip = [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"].iter().any(|magic| begins(*magic));
    match () {
        () if begins(b"MZ") => pe::inspect(source),
        () if begins(ole::MAGIC) => ole::inspect(source),
        () if begins(cab::MAGIC) => cab::inspect(source),
        () if begins(b"MSWIM\0\0\0") => About::of(Content::Wim),
        () if begins(b"\x7fELF") => About::of(Content::Elf),
        () if begins(b"!<arch>\ndebian-binary") => About::of(Content::Deb),
        () if begins(b"\xed\xab\xee\xdb") => About::of(Content::Rpm),
        () if is_zip => About::of(Content::Zip),
        // A sequence in DER, of more than 255 bytes.
        () if begins(b"\x30\x82") || begins(b"\x30\x83") => catalog(source),
        () => text::inspect(source, &head),
    }
}

fn catalog(source: &mut Source<'_>) -> About {
    let bytes = (source.len <= MAX_CATALOG).then(|| source.up_to(0, MAX_CATALOG as usize)).flatten();
    let bytes = bytes.unwrap_or_default();
    if !signature::is_catalog(&bytes) {
        return About::of(Content::Unknown);
    }
    About { signature: signature::read(&bytes).ok(), ..About::of(Content::Catalog) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::testing::about;

    #[test]
    fn kinds_are_told_by_what_files_begin_with() {
        for (head, kind) in [
            (&b"\x7fELF\x02\x01"[..], Content::Elf),
            (b"!<arch>\ndebian-binary   ", Content::Deb),
            (b"!<arch>\nother", Content::Text),
            (b"\xed\xab\xee\xdb\x03", Content::Rpm),
            (b"PK\x03\x04\x14\0", Content::Zip),
            (b"PK\x05\x06\0\0", Content::Zip),
            (b"MSWIM\0\0\0\xd0", Content::Wim),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Content::Ole),
            (b"\x30\x82\x01\x00", Content::Unknown),
        ] {
            assert_eq!(about(head), About::of(kind), "{head:?}");
        }
    }

    #[test]
    fn names_say_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.msi");
        std::fs::write(&path, "PK\u{3}\u{4}....").unwrap();
        assert_eq!(inspect(&path).unwrap().content, Content::Zip);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let missing = inspect(&folder.path().join("gone")).unwrap_err().to_string();
        assert!(missing.contains("gone: No such file"), "{missing}");
        let no_file = inspect(folder.path()).unwrap_err().to_string();
        assert!(no_file.ends_with("it is no regular file"), "{no_file}");
    }
}
