//! Files of signed lines: read, and added to, by several processes at a time.

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use super::verify::read_all;
use crate::{
    files::{AppendLog, open_regular},
    gate::Ledger,
    sign::{Envelope, PublicKey},
};

/// # Errors
/// It cannot be read, or a line is damaged.
pub(super) fn read_ledger(path: &Path, key: &PublicKey) -> anyhow::Result<Ledger> {
    let file = open_regular(path).with_context(|| format!("cannot read {}", path.display()))?;
    // Whoever adds a line is let finish.
    file.lock_shared().with_context(|| format!("cannot lock {}", path.display()))?;
    read(&file, path, key)
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

fn read(file: &File, path: &Path, key: &PublicKey) -> anyhow::Result<Ledger> {
    Ledger::read(&read_all(file, path)?, key).with_context(|| format!("{} cannot be used", path.display()))
}

/// A file that is nobody else's to change as long as this lives.
pub(super) struct OpenLedger {
    path: PathBuf,
    log: AppendLog,
    /// What was in it when it was opened.
    pub ledger: Ledger,
}

impl OpenLedger {
    /// Makes it if it is not there.
    ///
    /// # Errors
    /// It cannot be opened, or a line is damaged: one behind that would be of no use.
    pub fn open(path: &Path, key: &PublicKey) -> anyhow::Result<Self> {
        let cannot = |what: &str| format!("cannot {what} {}", path.display());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| cannot("make the folder of"))?;
        }
        if fs::metadata(path).is_ok_and(|about| !about.is_file()) {
            bail!("{} is no regular file", path.display());
        }
        let opened = OpenOptions::new().read(true).append(true).create(true).open(path);
        let file = opened.with_context(|| cannot("open"))?;
        file.lock().with_context(|| cannot("lock"))?;
        let ledger = read(&file, path, key).context("nothing is added")?;
        let length = file.metadata().with_context(|| cannot("look at"))?.len();
        Ok(Self { path: path.to_owned(), log: AppendLog::new(file, length), ledger })
    }

    /// Adds a line, whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn append(&mut self, line: &Envelope) -> anyhow::Result<()> {
        let written = self.log.append(line.to_line().as_bytes(), true).map_err(|error| error.source);
        // A line that was cut short makes all of it unreadable.
        let left = if self.log.is_torn() { ", and half a line is left at its end: cut it off by hand" } else { "" };
        written.with_context(|| format!("cannot write {}{left}", self.path.display()))
    }
}
