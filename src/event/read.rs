use std::{
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use super::{Event, JOURNAL_VERSION, Line, RunEvent};
use crate::{
    files::open_regular,
    model::{Millis, RunId, Sha256},
};

/// Longest line of a journal, in bytes: guest text is capped far below, so a longer one is no journal.
pub const MAX_LINE: u64 = 16 << 20;

/// A journal that was read whole and whose chain holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Journal {
    pub run: RunId,
    /// At least one; the first is always `run-started`.
    pub events: Vec<Event>,
    pub tail: Tail,
    /// Digest of the last whole line, and through the chain of all lines before it.
    pub sha256: Sha256,
    /// The same up to the last line that began the run, or that ended it or a cell: what was signed.
    pub signed: Sha256,
}

/// How a journal's file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// With a whole line.
    Whole,
    /// In the middle of a line: bootgate was killed while it wrote. All lines before it are good.
    Torn {
        /// Number of the torn line, from 1.
        line: u64,
        /// Its length in bytes.
        bytes: u64,
    },
}

/// Why a journal cannot be read or written. Line numbers count from 1.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot {action} the journal {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("the journal {} is being written by another bootgate", path.display())]
    Busy { path: PathBuf },
    #[error("the journal {} is empty: its run ended before it began, start a new one", path.display())]
    Empty { path: PathBuf },
    #[error("{}, line {line}: not an event: {why}: take an untouched copy, or run again", path.display())]
    BadLine { path: PathBuf, line: u64, why: String },
    #[error("{}, line {line}: longer than {} MiB, so this is no journal of bootgate", path.display(), MAX_LINE >> 20)]
    LineTooLong { path: PathBuf, line: u64 },
    #[error(
        "{}, line {line}: format version {found}, but this bootgate reads version {JOURNAL_VERSION}: use the bootgate that wrote it",
        path.display()
    )]
    WrongVersion { path: PathBuf, line: u64, found: u64 },
    #[error(
        "{}, line {line}: `{word}` is unknown to this bootgate (journal version {JOURNAL_VERSION}): a newer one wrote it, use that",
        path.display()
    )]
    UnknownWord { path: PathBuf, line: u64, word: String },
    #[error("{}, line {line}: sequence number {found} where {expected} belongs: lines were removed or added: take an untouched copy, or run again", path.display())]
    Gap { path: PathBuf, line: u64, expected: u64, found: u64 },
    #[error(
        "{}, line {line}: the chain is broken: this is not what followed the line before, one of them was edited (or its line end): take an untouched copy, or run again",
        path.display()
    )]
    Edited { path: PathBuf, line: u64 },
    #[error("{}, line {line}: belongs to the run `{found}`, not to `{expected}`: take an untouched copy, or run again", path.display())]
    OtherRun { path: PathBuf, line: u64, expected: RunId, found: RunId },
    #[error("{}, line {line}: at {found}, which is before the line above: no journal goes back in time: take an untouched copy, or run again", path.display())]
    Backwards { path: PathBuf, line: u64, found: Millis },
    #[error("{}, line {line}: a journal begins with `run-started`, and has it nowhere else: take an untouched copy, or run again", path.display())]
    NoStart { path: PathBuf, line: u64 },
    #[error("an event of {bytes} bytes is too long for the journal {}", path.display())]
    EventTooLong { path: PathBuf, bytes: usize },
    #[error("the journal {} was removed or replaced while it was being written", path.display())]
    Gone { path: PathBuf },
    #[error("{} is no regular file, so it is no journal", path.display())]
    NoFile { path: PathBuf },
    #[error("the journal {} could not be repaired after a failed write: nothing more is written to it", path.display())]
    Unusable { path: PathBuf },
}

impl JournalError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// Reads and checks a journal: versions, sequence, chain, one run.
///
/// Fields nobody knows are skipped; events nobody knows are an error, because a report that ignores
/// them could say "healthy" of something that is not.
///
/// # Errors
/// [`JournalError`], which names the line.
pub fn read(path: &Path) -> Result<Journal, JournalError> {
    let file = open_regular(path).map_err(JournalError::io("open", path))?;
    Ok(scan(path, file)?.journal)
}

/// A pipe would be waited for, for ever.
pub(super) fn is_regular(path: &Path) -> Result<(), JournalError> {
    let about = std::fs::metadata(path).map_err(JournalError::io("open", path))?;
    if about.is_file() { Ok(()) } else { Err(JournalError::NoFile { path: path.to_owned() }) }
}

/// A journal and what a writer must know to go on with it.
pub(super) struct Scan {
    pub journal: Journal,
    /// Length of all whole lines, in bytes.
    pub good_bytes: u64,
}

pub(super) fn scan(path: &Path, file: impl Read) -> Result<Scan, JournalError> {
    let mut reader = BufReader::new(file);
    let mut events = Vec::new();
    let mut run: Option<RunId> = None;
    let mut last = Sha256::of(b"");
    let mut signed = Sha256::of(b"");
    let mut good_bytes = 0;
    let mut tail = Tail::Whole;
    let mut bytes = Vec::new();
    for number in 1u64.. {
        bytes.clear();
        let mut limited = (&mut reader).take(MAX_LINE + 1);
        limited.read_until(b'\n', &mut bytes).map_err(JournalError::io("read", path))?;
        let length = bytes.len() as u64;
        match bytes.pop() {
            None => break,
            Some(b'\n') => {}
            Some(_) if length > MAX_LINE => {
                return Err(JournalError::LineTooLong { path: path.to_owned(), line: number });
            }
            Some(_) => {
                tail = Tail::Torn { line: number, bytes: length };
                break;
            }
        }
        let line = parse(path, number, &bytes)?;
        let expected = number - 1;
        if line.seq != expected {
            return Err(JournalError::Gap { path: path.to_owned(), line: number, expected, found: line.seq });
        }
        if line.prev != last {
            return Err(JournalError::Edited { path: path.to_owned(), line: number });
        }
        let run = run.get_or_insert_with(|| line.run.clone());
        if line.run != *run {
            let (expected, found) = (run.clone(), line.run);
            return Err(JournalError::OtherRun { path: path.to_owned(), line: number, expected, found });
        }
        if matches!(line.what, RunEvent::RunStarted { .. }) != (number == 1) {
            return Err(JournalError::NoStart { path: path.to_owned(), line: number });
        }
        if events.last().is_some_and(|before: &Event| line.at_ms < before.at) {
            return Err(JournalError::Backwards { path: path.to_owned(), line: number, found: line.at_ms });
        }
        last = Sha256::of(&bytes);
        good_bytes += length;
        if line.what.is_to_last() {
            signed = last.clone();
        }
        events.push(Event { at: line.at_ms, cell: line.cell, what: line.what });
    }
    let run = run.ok_or_else(|| JournalError::Empty { path: path.to_owned() })?;
    Ok(Scan { journal: Journal { run, events, tail, sha256: last, signed }, good_bytes })
}

fn parse(path: &Path, line: u64, bytes: &[u8]) -> Result<Line, JournalError> {
    // The version first: it says whether the rest can be understood at all.
    #[derive(serde::Deserialize)]
    struct Version {
        v: u64,
    }
    let bad = |error: serde_json::Error| JournalError::BadLine { path: path.to_owned(), line, why: in_line(&error) };
    let Version { v } = serde_json::from_slice(bytes).map_err(bad)?;
    if v != u64::from(JOURNAL_VERSION) {
        return Err(JournalError::WrongVersion { path: path.to_owned(), line, found: v });
    }
    serde_json::from_slice(bytes).map_err(|source| {
        let text = source.to_string();
        let word = text.strip_prefix("unknown variant `").and_then(|rest| rest.split('`').next());
        match word {
            Some(word) => JournalError::UnknownWord { path: path.to_owned(), line, word: word.to_owned() },
            None => bad(source),
        }
    })
}

/// What is wrong with the JSON of one line, and in which column: its line has another number.
pub fn in_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}
