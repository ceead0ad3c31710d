use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Stamp;
use crate::{
    event::Decision,
    model::{Bytes, Sha256},
};

/// How often bootgate may die while it tests a candidate before it gives that candidate up: the next ones wait.
pub const MOST_DEATHS: u32 = 5;

/// What happened to the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Record {
    /// The first: whose queue this is.
    Opened { folder: PathBuf, matrix: PathBuf },
    /// A complete candidate has got its place; its copy is made.
    Arrived { entry: u64, name: String, size: Bytes, sha256: Sha256, stamp: Stamp },
    /// Its run begins, or goes on in the same directory.
    Started { entry: u64, question: Sha256, run: PathBuf },
    /// The run was stopped and is to go on.
    Stopped { entry: u64 },
    /// The run is over; `again`: its inconclusive cells are to be tried again, later.
    Ended { entry: u64, decision: Decision, again: bool, approval: Option<PathBuf> },
    /// It cannot be tested.
    Refused { entry: u64, question: Sha256, why: String },
    /// It came out inconclusive, which is no answer, and its bytes may come again.
    Forgotten { entry: u64 },
    /// Another entry with the same bytes has the answer to the same question.
    Answered { entry: u64, question: Sha256, by: u64 },
}

/// A candidate that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: u64,
    pub name: String,
    pub size: Bytes,
    pub sha256: Sha256,
    pub stamp: Stamp,
    /// When it was complete, in UTC.
    pub arrived: String,
    pub state: State,
    /// What it was tested with: the digest of the matrix and of what the command line adds to it.
    pub question: Option<Sha256>,
    /// Runs, or further tries of one, that came to an end.
    pub tries: u32,
    /// How often it was started since anything came of that.
    pub deaths: u32,
    /// What came of it does not count any more.
    pub is_forgotten: bool,
    /// Who came first.
    turn: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// With a run: its first try was inconclusive.
    Waiting {
        run: Option<PathBuf>,
    },
    Running {
        run: PathBuf,
    },
    Ended {
        decision: Decision,
        run: PathBuf,
        approval: Option<PathBuf>,
        utc: String,
    },
    Refused {
        why: String,
        utc: String,
    },
    Answered {
        by: u64,
    },
}

impl Entry {
    /// Whether it still needs its copy and an answer.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Waiting { .. } | State::Running { .. })
    }

    /// Whether it has no answer though it is over, and can be tried again.
    pub fn may_be_forgotten(&self) -> bool {
        let is_inconclusive = matches!(self.state, State::Ended { decision: Decision::Inconclusive, .. });
        is_inconclusive && !self.is_forgotten && self.deaths < MOST_DEATHS
    }

    /// The run that it is to go on with.
    pub fn run(&self) -> Option<&Path> {
        match &self.state {
            State::Waiting { run } => run.as_deref(),
            State::Running { run } | State::Ended { run, .. } => Some(run),
            State::Refused { .. } | State::Answered { .. } => None,
        }
    }
}

/// What waits, what runs, and what has its answer: a fold over records.
///
/// An entry is about bytes and a question. The same bytes by another name are no other candidate; a matrix that has changed
/// is another question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    entries: Vec<Entry>,
    turns: u64,
}

impl Queue {
    /// Takes in what happened, and when.
    ///
    /// # Errors
    /// Why this cannot have happened; nothing is changed then.
    pub fn apply(&mut self, utc: &str, record: &Record) -> Result<(), String> {
        match record {
            Record::Opened { .. } if self.entries.is_empty() => Ok(()),
            Record::Opened { .. } => Err("the queue is opened in its middle".to_owned()),
            Record::Arrived { entry, name, size, sha256, stamp } => {
                if *entry != self.next_id() {
                    return Err(format!("the entry {entry} is out of order"));
                }
                if self.entries.iter().any(|other| other.is_open() && other.sha256 == *sha256) {
                    return Err(format!("the entry {entry} waits already, as another"));
                }
                self.entries.push(Entry {
                    id: *entry,
                    name: name.clone(),
                    size: *size,
                    sha256: sha256.clone(),
                    stamp: *stamp,
                    arrived: utc.to_owned(),
                    state: State::Waiting { run: None },
                    question: None,
                    tries: 0,
                    deaths: 0,
                    is_forgotten: false,
                    turn: self.turns,
                });
                self.turns += 1;
                Ok(())
            }
            Record::Started { entry, question, run } => {
                let entry = self.open_entry(*entry)?;
                entry.question = Some(question.clone());
                entry.state = State::Running { run: run.clone() };
                entry.deaths += 1;
                Ok(())
            }
            Record::Stopped { entry } => {
                self.running(*entry)?.0.deaths = 0;
                Ok(())
            }
            Record::Ended { entry, decision, again, approval } => {
                let turn = self.turns;
                let (entry, run) = self.running(*entry)?;
                entry.tries += 1;
                if *again {
                    entry.deaths = 0;
                    entry.state = State::Waiting { run: Some(run) };
                    entry.turn = turn;
                    self.turns += 1;
                } else {
                    let (decision, approval) = (*decision, approval.clone());
                    entry.state = State::Ended { decision, run, approval, utc: utc.to_owned() };
                }
                Ok(())
            }
            Record::Refused { entry, question, why } => {
                let entry = self.open_entry(*entry)?;
                entry.question = Some(question.clone());
                entry.state = State::Refused { why: why.clone(), utc: utc.to_owned() };
                Ok(())
            }
            Record::Forgotten { entry } => {
                let found = self.entries.iter_mut().find(|other| other.id == *entry && other.may_be_forgotten());
                found.ok_or_else(|| format!("the entry {entry} is not inconclusive"))?.is_forgotten = true;
                Ok(())
            }
            Record::Answered { entry, question, by } => {
                let entry = self.open_entry(*entry)?;
                entry.question = Some(question.clone());
                entry.state = State::Answered { by: *by };
                Ok(())
            }
        }
    }

    fn open_entry(&mut self, id: u64) -> Result<&mut Entry, String> {
        let entry = self.entries.iter_mut().find(|entry| entry.id == id);
        entry.filter(|entry| entry.is_open()).ok_or_else(|| format!("the entry {id} does not wait"))
    }

    fn running(&mut self, id: u64) -> Result<(&mut Entry, PathBuf), String> {
        let entry = self.open_entry(id)?;
        match entry.state.clone() {
            State::Running { run } => Ok((entry, run)),
            _ => Err(format!("the entry {id} does not run")),
        }
    }

    /// The id of the next candidate that comes.
    pub fn next_id(&self) -> u64 {
        self.entries.len() as u64
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What is to be done next: the run that was interrupted, else who came first.
    pub fn next(&self) -> Option<&Entry> {
        self.line().into_iter().next()
    }

    /// All that is to be done, in order.
    pub fn line(&self) -> Vec<&Entry> {
        let mut open: Vec<&Entry> = self.entries.iter().filter(|entry| entry.is_open()).collect();
        open.sort_by_key(|entry| (!matches!(entry.state, State::Running { .. }), entry.turn));
        open
    }

    /// The entry for these bytes that waits, runs, or has an answer to this question; without a question, to any.
    pub fn known(&self, sha256: &Sha256, question: Option<&Sha256>) -> Option<&Entry> {
        let is_answered = |entry: &Entry| question.is_none() || entry.question.as_ref() == question && !entry.is_open();
        let counts = |entry: &Entry| !entry.is_forgotten && !matches!(entry.state, State::Answered { .. });
        let about = |entry: &&Entry| entry.sha256 == *sha256 && counts(entry);
        self.entries.iter().rev().filter(about).find(|entry| entry.is_open() || is_answered(entry))
    }

    /// Another entry that has the answer to what this one would ask.
    pub fn answered(&self, entry: &Entry, question: &Sha256) -> Option<&Entry> {
        let same = |other: &&Entry| other.sha256 == entry.sha256 && other.question.as_ref() == Some(question);
        let has_answer = |other: &&Entry| matches!(other.state, State::Ended { .. } | State::Refused { .. });
        let others = self.entries.iter().filter(|other| other.id != entry.id && !other.is_forgotten);
        others.filter(same).find(has_answer)
    }

    /// The bytes of a file that came by this name and looked like this.
    pub fn bytes_of(&self, name: &str, stamp: &Stamp) -> Option<&Sha256> {
        let entry = self.entries.iter().rev().find(|entry| entry.name == name && entry.stamp == *stamp);
        entry.map(|entry| &entry.sha256)
    }
}

#[cfg(test)]
mod tests;
