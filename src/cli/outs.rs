//! Where something is written: not over what it is made of.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::bail;

/// # Errors
/// The file is one of these.
pub(super) fn refuse_same(out: &Path, inputs: &[&Path]) -> anyhow::Result<()> {
    match inputs.iter().find(|input| is_same(out, input)) {
        Some(input) => bail!("{} would be written over {}", out.display(), input.display()),
        None => Ok(()),
    }
}

/// Whether two paths lead to one file; those that are not there yet, if they are written alike.
pub(super) fn is_same(a: &Path, b: &Path) -> bool {
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => std::path::absolute(a).ok() == std::path::absolute(b).ok(),
    }
}
