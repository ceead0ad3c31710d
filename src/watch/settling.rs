use std::collections::BTreeMap;

use super::Stamp;
use crate::model::{Millis, Sha256};

/// How long a file must look the same before it is read for the first time: one that grows is not read at every look.
const PAUSE: Millis = Millis::from_secs(1);

/// When files are complete. It is told what was seen, and when; it says what is to be read next.
///
/// A file is complete once it was read twice, the settle time apart, with the same bytes, and looked the same from the first
/// reading to the end of the second. Nothing weaker will do: a file that was renamed into the folder may still be written to,
/// one that was closed may be opened again, and a file server may tell of both late.
#[derive(Debug)]
pub struct Settling {
    pause: Millis,
    settle: Millis,
    files: BTreeMap<String, File>,
}

#[derive(Debug)]
struct File {
    stamp: Stamp,
    /// Somebody wrote and has not closed it: however long the pause, more is to come.
    open: bool,
    at: At,
}

#[derive(Clone, Debug)]
enum At {
    /// It looks the same since then.
    Still(Millis),
    /// It had these bytes then.
    Read(Sha256, Millis),
    /// It is complete.
    Done(Sha256),
}

/// A file that is to be read now. It must look like this before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    pub name: String,
    pub stamp: Stamp,
    /// Its bytes at the first reading; none: this is that.
    pub before: Option<Sha256>,
}

impl Settling {
    pub fn new(settle: Millis) -> Self {
        Self { pause: PAUSE.min(settle), settle, files: BTreeMap::new() }
    }

    /// A file looks like this. Whether that is news: the file was not there, or complete and another one.
    pub fn seen(&mut self, name: &str, stamp: Stamp, now: Millis) -> bool {
        let Some(file) = self.files.get_mut(name) else {
            self.files.insert(name.to_owned(), File { stamp, open: false, at: At::Still(now) });
            return true;
        };
        if file.stamp == stamp {
            return false;
        }
        let was_done = matches!(file.at, At::Done(_));
        file.stamp = stamp;
        file.at = At::Still(now);
        was_done
    }

    /// A file that was complete before, and is known by its looks.
    pub fn known(&mut self, name: &str, stamp: Stamp, sha256: Sha256) {
        self.files.insert(name.to_owned(), File { stamp, open: false, at: At::Done(sha256) });
    }

    /// Somebody writes to it. Whether that is news: it was complete.
    pub fn written(&mut self, name: &str, now: Millis) -> bool {
        let Some(file) = self.files.get_mut(name) else { return false };
        file.open = true;
        matches!(std::mem::replace(&mut file.at, At::Still(now)), At::Done(_))
    }

    /// Whoever wrote to it has closed it.
    pub fn closed(&mut self, name: &str) {
        if let Some(file) = self.files.get_mut(name) {
            file.open = false;
        }
    }

    /// What is known of writers is out of date.
    pub fn forget_writers(&mut self) {
        self.files.values_mut().for_each(|file| file.open = false);
    }

    /// It is not there any more, or has another meaning.
    pub fn forget(&mut self, name: &str) {
        self.files.remove(name);
    }

    pub fn retain(&mut self, mut there: impl FnMut(&str) -> bool) {
        self.files.retain(|name, _| there(name));
    }

    /// It could not be read, or changed meanwhile: not before then.
    pub fn later(&mut self, name: &str, at: Millis) {
        if let Some(file) = self.files.get_mut(name) {
            file.at = At::Still(at);
        }
    }

    /// It was read, and looked like this before and after. Whether it is complete now.
    pub fn read(&mut self, name: &str, stamp: &Stamp, sha256: Sha256, now: Millis) -> bool {
        let Some(file) = self.files.get_mut(name).filter(|file| file.stamp == *stamp) else { return false };
        let (at, complete) = match &file.at {
            At::Still(_) => (At::Read(sha256, now), false),
            At::Read(before, _) if *before == sha256 => (At::Done(sha256), true),
            // It changed, though it looks the same.
            At::Read(..) => (At::Still(now), false),
            At::Done(before) => (At::Done(before.clone()), false),
        };
        file.at = at;
        complete
    }

    /// A file whose bytes are known well enough as they are: there is nothing to wait for.
    pub fn enough(&mut self, name: &str, sha256: Sha256) {
        if let Some(file) = self.files.get_mut(name) {
            file.at = At::Done(sha256);
        }
    }

    /// The bytes of a complete file that still looks like this.
    pub fn complete(&self, name: &str, stamp: &Stamp) -> Option<&Sha256> {
        match self.files.get(name) {
            Some(File { stamp: known, at: At::Done(sha256), .. }) if known == stamp => Some(sha256),
            _ => None,
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// The bytes of all complete files.
    pub fn all_complete(&self) -> impl Iterator<Item = &Sha256> {
        self.files.values().filter_map(|file| match &file.at {
            At::Done(sha256) => Some(sha256),
            _ => None,
        })
    }

    /// The file that is to be read now: the one that has waited longest, of several the oldest.
    pub fn due(&self, now: Millis) -> Option<Due> {
        let due =
            self.files.iter().filter_map(|(name, file)| Some((self.when(file)?, file.stamp.modified, name, file)));
        let (.., name, file) =
            due.filter(|(when, ..)| *when <= now).min_by_key(|(when, modified, name, _)| (*when, *modified, *name))?;
        let before = match &file.at {
            At::Read(sha256, _) => Some(sha256.clone()),
            _ => None,
        };
        Some(Due { name: name.clone(), stamp: file.stamp, before })
    }

    /// When the next file is to be read, if nothing happens until then.
    pub fn next(&self) -> Option<Millis> {
        self.files.values().filter_map(|file| self.when(file)).min()
    }

    fn when(&self, file: &File) -> Option<Millis> {
        match &file.at {
            _ if file.open => None,
            At::Still(since) => Some(*since + self.pause),
            At::Read(_, since) => Some(*since + self.settle),
            At::Done(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
