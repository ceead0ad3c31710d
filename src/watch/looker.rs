use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{
    Due, Entry, Folder, Halt, QueueError, QueueFile, Read, Record, Settling, Stamp, Store, Taken,
    notices::{Notice, Notices, pause},
};
use crate::model::{Bytes, Millis, Sha256};

/// Between two looks at what the kernel has to say: a file that is being written is worth one of them, not thousands.
const CALM: Millis = Millis(100);

/// What the looker cannot know by itself.
pub trait Ask: Send {
    /// What candidates are tested with now; none: the matrix is wrong.
    fn question(&mut self) -> Option<Sha256>;
    /// Now, in UTC.
    fn utc(&self) -> String;
}

/// What is to be told.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A file that is not complete yet.
    New(&'a str),
    /// A candidate has its place in the queue.
    Arrived(&'a Entry),
    /// A file whose bytes are those of an earlier one.
    Known { name: &'a str, entry: &'a Entry },
    /// A file that changed while it was looked at, and is left to the next time.
    Left(&'a str),
    /// Something does not work, and is tried again.
    Trouble(String),
}

/// What was in the folder.
#[derive(Debug, PartialEq, Eq)]
pub struct There {
    /// The bytes of all complete files.
    pub complete: Vec<Sha256>,
    /// How many others there were.
    pub left: usize,
}

/// Looks at the folder and fills the queue.
pub struct Looker {
    folder: Folder,
    store: Store,
    queue: Arc<Mutex<QueueFile>>,
    settling: Settling,
    /// None: the kernel has none for us.
    notices: Option<Notices>,
    settle: Millis,
    rescan: Millis,
    /// Ends when all that was there is complete.
    once: bool,
    left: usize,
    halt: Arc<Halt>,
    ask: Box<dyn Ask>,
    question: Option<Sha256>,
    began: Instant,
    /// What was told of the folder and of files, so that it is told once.
    troubles: BTreeMap<String, String>,
}

impl Looker {
    pub fn new(
        folder: Folder,
        store: Store,
        queue: Arc<Mutex<QueueFile>>,
        (settle, rescan): (Millis, Millis),
        halt: Arc<Halt>,
        ask: Box<dyn Ask>,
    ) -> Self {
        let (settling, began) = (Settling::new(settle), Instant::now());
        let (question, troubles) = (None, BTreeMap::new());
        let (notices, once, left) = (None, false, 0);
        Self {
            folder,
            store,
            queue,
            settling,
            notices,
            settle,
            rescan,
            once,
            left,
            halt,
            ask,
            question,
            began,
            troubles,
        }
    }

    /// Looks until it is told to halt.
    pub fn run(mut self, tell: &mut dyn FnMut(Seen<'_>)) {
        self.notices = Notices::new().inspect_err(|error| tell(Seen::Trouble(no_notices(error)))).ok();
        let mut next_scan = Millis::ZERO;
        while !self.halt.is_set() {
            if self.now() >= next_scan {
                self.scan(tell);
                next_scan = self.now() + self.rescan;
            }
            self.read_what_is_due(tell);
            let until = self.settling.next().map_or(next_scan, |next| next.min(next_scan));
            if self.wait(until, tell) {
                next_scan = Millis::ZERO;
            }
        }
    }

    /// Looks until everything that is there now is complete, or was left because it changed.
    pub fn run_once(mut self, tell: &mut dyn FnMut(Seen<'_>)) -> There {
        self.once = true;
        self.scan(tell);
        while !self.halt.is_set() {
            self.read_what_is_due(tell);
            let Some(until) = self.settling.next() else { break };
            self.wait(until, tell);
        }
        There { complete: self.settling.all_complete().cloned().collect(), left: self.left }
    }

    fn now(&self) -> Millis {
        self.began.elapsed().into()
    }

    fn queue(&self) -> MutexGuard<'_, QueueFile> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until then, or until something happens. Whether all of the folder is to be looked at.
    fn wait(&mut self, until: Millis, tell: &mut dyn FnMut(Seen<'_>)) -> bool {
        let at_most = until.since(self.now());
        let notices = match &mut self.notices {
            Some(notices) => notices.wait(at_most, &self.halt),
            None => pause(None, at_most, &self.halt).map(|()| Vec::new()),
        };
        let notices = match notices {
            Ok(notices) => notices,
            Err(error) => {
                tell(Seen::Trouble(no_notices(&error)));
                self.notices = None;
                return true;
            }
        };
        let mut missed = false;
        let any = !notices.is_empty();
        for notice in notices {
            match notice {
                Notice::Changed(name) => self.look(&name, tell),
                Notice::Written(name) => {
                    if self.settling.written(&name, self.now()) {
                        tell(Seen::New(&name));
                    }
                }
                Notice::Closed(name) => {
                    self.settling.closed(&name);
                    self.look(&name, tell);
                }
                Notice::Missed => missed = true,
            }
        }
        if missed {
            self.settling.forget_writers();
        }
        if any && !missed {
            let _ = pause(None, CALM, &self.halt);
        }
        missed
    }

    /// Looks at all of the folder.
    fn scan(&mut self, tell: &mut dyn FnMut(Seen<'_>)) {
        self.question = self.ask.question();
        if let Some(notices) = &mut self.notices {
            match notices.watch(self.folder.path()) {
                Ok(true) => self.settling.forget_writers(),
                Ok(false) => {}
                // The scan says what is wrong with the folder.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.trouble("notices", no_notices(&error), tell),
            }
        }
        let there = match self.folder.scan() {
            Ok(there) => there,
            Err(error) => {
                let text = format!("cannot read {}: {error}; tried again", self.folder.path().display());
                return self.trouble("/", text, tell);
            }
        };
        self.troubles.remove("/");
        self.settling.retain(|name| there.contains_key(name));
        self.troubles.retain(|name, _| name == "notices" || there.contains_key(name));
        for (name, stamp) in there {
            self.sight(&name, stamp, tell);
        }
    }

    fn look(&mut self, name: &str, tell: &mut dyn FnMut(Seen<'_>)) {
        match self.folder.look(name) {
            Some(stamp) => self.sight(name, stamp, tell),
            None => self.settling.forget(name),
        }
    }

    fn sight(&mut self, name: &str, stamp: Stamp, tell: &mut dyn FnMut(Seen<'_>)) {
        if let Some(sha256) = self.settling.complete(name, &stamp) {
            if self.queue().queue().known(sha256, self.question.as_ref()).is_some() {
                return;
            }
            // The matrix has changed since: another question.
            self.settling.forget(name);
        } else if !self.settling.has(name)
            && let Some(sha256) = self.known_by_looks(name, &stamp)
        {
            return self.settling.known(name, stamp, sha256);
        }
        if self.settling.seen(name, stamp, self.now()) {
            tell(Seen::New(name));
        }
    }

    /// The bytes of a file that came before this process began, and needs no second answer.
    fn known_by_looks(&self, name: &str, stamp: &Stamp) -> Option<Sha256> {
        let queue = self.queue();
        let sha256 = queue.queue().bytes_of(name, stamp)?;
        queue.queue().known(sha256, self.question.as_ref()).map(|_| sha256.clone())
    }

    fn read_what_is_due(&mut self, tell: &mut dyn FnMut(Seen<'_>)) {
        while let Some(due) = self.settling.due(self.now()).filter(|_| !self.halt.is_set()) {
            let read = match &due.before {
                None => self.read_first(&due, tell),
                Some(_) => self.read_last(&due, tell),
            };
            match read {
                Ok(()) => drop(self.troubles.remove(&due.name)),
                Err(Read::Failed(error)) => {
                    let text = format!("{} cannot be taken: {error}; tried again", due.name);
                    self.trouble(&due.name, text, tell);
                    self.put_off(&due.name, tell);
                }
                Err(_) if self.halt.is_set() => {}
                Err(_) => match self.folder.look(&due.name) {
                    Some(_) if self.once => self.put_off(&due.name, tell),
                    Some(stamp) => {
                        self.settling.seen(&due.name, stamp, self.now());
                        self.settling.later(&due.name, self.now());
                    }
                    None => self.settling.forget(&due.name),
                },
            }
        }
    }

    fn put_off(&mut self, name: &str, tell: &mut dyn FnMut(Seen<'_>)) {
        if self.once {
            self.settling.forget(name);
            self.left += 1;
            tell(Seen::Left(name));
        } else {
            self.settling.later(name, self.now() + self.settle);
        }
    }

    fn read_first(&mut self, due: &Due, tell: &mut dyn FnMut(Seen<'_>)) -> Result<(), Read> {
        let sha256 = match self.folder.read(&due.name, &due.stamp, None, &self.halt) {
            Read::Bytes(sha256) => sha256,
            other => return Err(other),
        };
        let known = self.queue().queue().known(&sha256, self.question.as_ref()).cloned();
        match known {
            // Nothing will be tested, so there is nothing to wait for; whatever is written later shows.
            Some(entry) => {
                self.settling.enough(&due.name, sha256);
                tell(Seen::Known { name: &due.name, entry: &entry });
            }
            None => {
                self.settling.read(&due.name, &due.stamp, sha256, self.now());
            }
        }
        Ok(())
    }

    fn read_last(&mut self, due: &Due, tell: &mut dyn FnMut(Seen<'_>)) -> Result<(), Read> {
        let taken = self.store.take(&self.folder, &due.name, &due.stamp, &self.halt)?;
        if due.before.as_ref() != Some(&taken.sha256) {
            self.settling.read(&due.name, &due.stamp, taken.sha256.clone(), self.now());
            return if self.once { Err(Read::Changed) } else { Ok(()) };
        }
        let sha256 = taken.sha256.clone();
        let entry = self.enter(due, taken).map_err(|error| Read::Failed(io::Error::other(error)))?;
        self.settling.read(&due.name, &due.stamp, sha256, self.now());
        match entry {
            (true, entry) => tell(Seen::Arrived(&entry)),
            (false, entry) => tell(Seen::Known { name: &due.name, entry: &entry }),
        }
        Ok(())
    }

    /// Into the store and the queue, or neither. Whether it is new there. Nobody ends an entry, and removes its copy,
    /// in between.
    fn enter(&self, due: &Due, taken: Taken) -> Result<(bool, Entry), QueueError> {
        let mut queue = self.queue();
        if let Some(known) = queue.queue().known(&taken.sha256, self.question.as_ref()) {
            return Ok((false, known.clone()));
        }
        let (entry, sha256) = (queue.queue().next_id(), taken.sha256.clone());
        let path = self.store.path(&sha256, &due.name);
        let kept = self.store.keep(taken, &due.name);
        kept.map_err(|source| QueueError::Io { action: "keep", path, source })?;
        let (name, size, stamp) = (due.name.clone(), Bytes(due.stamp.size), due.stamp);
        let record = Record::Arrived { entry, name, size, sha256: sha256.clone(), stamp };
        if let Err(error) = queue.append(&self.ask.utc(), &record) {
            let _ = self.store.remove(&sha256);
            return Err(error);
        }
        let last = queue.queue().entries().last().cloned();
        last.map(|entry| (true, entry)).ok_or_else(|| QueueError::Impossible("it has no entry".to_owned()))
    }

    fn trouble(&mut self, about: &str, text: String, tell: &mut dyn FnMut(Seen<'_>)) {
        if self.troubles.get(about) != Some(&text) {
            self.troubles.insert(about.to_owned(), text.clone());
            tell(Seen::Trouble(text));
        }
    }
}

fn no_notices(error: &io::Error) -> String {
    format!("the kernel does not tell of changes in the folder ({error}): it is only looked at now and then")
}

#[cfg(test)]
mod tests;
