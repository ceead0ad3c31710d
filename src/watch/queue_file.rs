use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Queue, Record};
use crate::files::AppendLog;

/// The version of the file's lines.
const VERSION: u32 = 1;

/// The queue on the disk: one line a record, written whole or not at all, never changed later.
///
/// Whoever holds it holds its lock: a queue has one owner.
#[derive(Debug)]
pub struct QueueFile {
    log: AppendLog,
    path: PathBuf,
    queue: Queue,
}

#[derive(Serialize, Deserialize)]
struct Line {
    v: u32,
    utc: String,
    #[serde(flatten)]
    record: Record,
}

#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    #[error("cannot {action} {}: {source}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("another bootgate watches this folder with this matrix already: it holds {}", .0.display())]
    Busy(PathBuf),
    #[error("{}, line {line}: {why}; move the file away to begin with an empty queue", .path.display())]
    Damaged { path: PathBuf, line: usize, why: String },
    #[error("{} could not be written to the end once, and cannot be repaired: start anew", .0.display())]
    Unusable(PathBuf),
    #[error("this cannot be recorded: {0}")]
    Impossible(String),
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> QueueError + 'a {
    move |source| QueueError::Io { action, path: path.to_owned(), source }
}

impl QueueFile {
    /// Opens the queue, or begins it with this record. Half a line, which a process that was killed left, is cut off.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn open(path: &Path, utc: &str, first: &Record) -> Result<Self, QueueError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("create", folder))?;
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).mode(0o600).open(path).map_err(failed("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(QueueError::Busy(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed("lock", path)(source)),
        }
        let (queue, good_bytes) = read_all(path, &file)?;
        file.set_len(good_bytes).map_err(failed("repair", path))?;
        let mut opened = Self { log: AppendLog::new(file, good_bytes), path: path.to_owned(), queue };
        if good_bytes == 0 {
            opened.append(utc, first)?;
            // Without this the file's name itself may be lost when the host crashes.
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("save", folder))?;
        }
        Ok(opened)
    }

    /// Looks at a queue that another process may be writing.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn read(path: &Path) -> Result<Queue, QueueError> {
        let file = File::open(path).map_err(failed("open", path))?;
        Ok(read_all(path, &file)?.0)
    }

    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Records what happened: on return it is on the disk.
    ///
    /// # Errors
    /// [`QueueError`]: it is not recorded, and the queue is as before.
    pub fn append(&mut self, utc: &str, record: &Record) -> Result<(), QueueError> {
        if self.log.is_torn() {
            return Err(QueueError::Unusable(self.path.clone()));
        }
        let mut after = self.queue.clone();
        after.apply(utc, record).map_err(QueueError::Impossible)?;
        let line = Line { v: VERSION, utc: utc.to_owned(), record: record.clone() };
        let mut bytes = serde_json::to_vec(&line).map_err(|error| failed("write", &self.path)(error.into()))?;
        bytes.push(b'\n');
        self.log.append(&bytes, true).map_err(|error| failed("write", &self.path)(error.source))?;
        self.queue = after;
        Ok(())
    }
}

/// What the whole lines add up to, and their length.
fn read_all(path: &Path, mut file: &File) -> Result<(Queue, u64), QueueError> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed("read", path))?;
    let good = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let mut queue = Queue::default();
    for (n, line) in bytes[..good].split_inclusive(|byte| *byte == b'\n').enumerate() {
        let damaged = |why: String| QueueError::Damaged { path: path.to_owned(), line: n + 1, why };
        let version = serde_json::from_slice::<Version>(line).map_err(|error| damaged(error.to_string()))?.v;
        if version != VERSION {
            return Err(damaged(format!("its version is {version}, and this bootgate reads {VERSION}")));
        }
        let line: Line = serde_json::from_slice(line).map_err(|error| damaged(error.to_string()))?;
        queue.apply(&line.utc, &line.record).map_err(damaged)?;
    }
    Ok((queue, good as u64))
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

#[cfg(test)]
mod tests;
