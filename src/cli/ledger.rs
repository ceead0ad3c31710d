//! Files of signed lines: read, and added to.

use std::{fs::OpenOptions, io::Write as _, path::Path};

use anyhow::Context as _;

use super::verify::read_text;
use crate::{
    gate::Ledger,
    sign::{Envelope, PrivateKey, PublicKey},
};

/// # Errors
/// It cannot be read, or a line is damaged.
pub(super) fn read_ledger(path: &Path, key: &PublicKey) -> anyhow::Result<Ledger> {
    Ledger::read(&read_text(path)?, key).with_context(|| format!("{} cannot be used", path.display()))
}

/// The same; empty if it is not there yet.
///
/// # Errors
/// It is there and cannot be read, or a line is damaged.
pub(super) fn read_ledger_or_none(path: &Path, key: &PublicKey) -> anyhow::Result<Ledger> {
    if path.try_exists().with_context(|| format!("cannot look for {}", path.display()))? {
        return read_ledger(path, key);
    }
    Ok(Ledger::default())
}

/// Adds a line, to one that is made if it is not there. A line behind one that is damaged would be of no use.
///
/// # Errors
/// It cannot be written, or is damaged.
pub(super) fn append(path: &Path, line: &Envelope, key: &PrivateKey) -> anyhow::Result<()> {
    read_ledger_or_none(path, &key.public())
        .with_context(|| format!("nothing is added to {}, which is damaged", path.display()))?;
    let opened = OpenOptions::new().append(true).create(true).open(path);
    let mut file = opened.with_context(|| format!("cannot open {}", path.display()))?;
    let written = file.write_all(line.to_line().as_bytes()).and_then(|()| file.sync_data());
    written.with_context(|| format!("cannot write {}", path.display()))
}
