use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{
    Event, JOURNAL_VERSION, Journal, JournalError, Line, MAX_LINE,
    read::{Scan, is_regular, scan},
};
use crate::{
    files::AppendLog,
    model::{Millis, RunId, Sha256},
};

/// Appends events to `events.jsonl`: one line, one write, chained to the line before.
///
/// Holds a lock on the file for as long as it lives, so a run has one writer.
#[derive(Debug)]
pub struct JournalWriter {
    log: AppendLog,
    path: PathBuf,
    run: RunId,
    seq: u64,
    prev: Sha256,
    last_at: Millis,
}

impl JournalWriter {
    /// Begins a journal; the first event must be `run-started`.
    ///
    /// # Errors
    /// [`JournalError::Io`], also if the file exists: a run is never written over.
    pub fn create(path: &Path, run: RunId) -> Result<Self, JournalError> {
        let file =
            OpenOptions::new().append(true).create_new(true).open(path).map_err(JournalError::io("create", path))?;
        lock(&file, path)?;
        // Without this the file's name itself may be lost when the host crashes.
        if let Some(Ok(folder)) = path.parent().map(File::open) {
            let _ = folder.sync_all();
        }
        Ok(Self {
            log: AppendLog::new(file, 0),
            path: path.to_owned(),
            run,
            seq: 0,
            prev: Sha256::of(b""),
            last_at: Millis::ZERO,
        })
    }

    /// Goes on with a journal: checks it whole, keeps everything before a torn last line. That is cut off with the first event.
    ///
    /// Also gives back what was recorded. The new events' clock goes on from [`Self::last_at`].
    ///
    /// # Errors
    /// [`JournalError`]; the file is unchanged then.
    pub fn resume(path: &Path) -> Result<(Self, Journal), JournalError> {
        is_regular(path)?;
        let file = OpenOptions::new().read(true).append(true).open(path).map_err(JournalError::io("open", path))?;
        lock(&file, path)?;
        let Scan { journal, good_bytes } = scan(path, &file)?;
        let writer = Self {
            log: AppendLog::new(file, good_bytes),
            path: path.to_owned(),
            run: journal.run.clone(),
            seq: journal.events.len() as u64,
            prev: journal.sha256.clone(),
            last_at: journal.events.iter().map(|event| event.at).max().unwrap_or_default(),
        };
        Ok((writer, journal))
    }

    /// The latest moment recorded so far.
    pub fn last_at(&self) -> Millis {
        self.last_at
    }

    /// Digest of the last line written, and through the chain of all lines before it.
    pub fn sha256(&self) -> &Sha256 {
        &self.prev
    }

    /// Writes one event. What begins the run, and what ends it or a cell, is on the disk, not only in the cache, on return.
    ///
    /// # Errors
    /// [`JournalError`]: the event is not recorded, and nothing that follows from it may be claimed.
    pub fn append(&mut self, event: &Event) -> Result<(), JournalError> {
        if self.log.is_torn() {
            return Err(JournalError::Unusable { path: self.path.clone() });
        }
        let line = Line {
            v: JOURNAL_VERSION,
            seq: self.seq,
            prev: self.prev.clone(),
            run: self.run.clone(),
            at_ms: event.at,
            cell: event.cell.clone(),
            what: &event.what,
        };
        let mut bytes = serde_json::to_vec(&line).map_err(|source| JournalError::Io {
            action: "write",
            path: self.path.clone(),
            source: source.into(),
        })?;
        if bytes.len() as u64 >= MAX_LINE {
            return Err(JournalError::EventTooLong { path: self.path.clone(), bytes: bytes.len() });
        }
        let digest = Sha256::of(&bytes);
        bytes.push(b'\n');
        let lasts = event.what.is_to_last();
        let written = self.log.append(&bytes, lasts);
        written.map_err(|error| JournalError::io(error.action, &self.path)(error.source))?;
        self.seq += 1;
        self.prev = digest;
        self.last_at = self.last_at.max(event.at);
        if lasts {
            self.is_in_place()?;
        }
        Ok(())
    }

    /// A file that nobody can open by its name records nothing.
    fn is_in_place(&self) -> Result<(), JournalError> {
        let ours = self.log.file().metadata().map_err(JournalError::io("look at", &self.path))?;
        match std::fs::metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => Ok(()),
            _ => Err(JournalError::Gone { path: self.path.clone() }),
        }
    }
}

fn lock(file: &File, path: &Path) -> Result<(), JournalError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(JournalError::Busy { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(JournalError::io("lock", path)(source)),
    }
}

#[cfg(test)]
mod tests;
