use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Places for running VMs, shared by every bootgate process that uses the same state folder: a place is a
/// locked file, so a process that dies gives its places back.
#[derive(Debug)]
pub struct Slots {
    dir: PathBuf,
    count: u32,
    /// Those of this process, whose files need no look.
    ours: Arc<Mutex<Ours>>,
}

#[derive(Debug, Default)]
struct Ours {
    /// The first place that was never ours.
    fresh: u32,
    /// Places below it that were ours.
    returned: BTreeSet<u32>,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub struct Slot {
    number: u32,
    ours: Arc<Mutex<Ours>>,
    /// None once it is unlocked.
    file: Option<File>,
}

impl Slots {
    /// # Errors
    /// The folder cannot be made.
    pub fn open(dir: &Path, count: u32) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned(), count: count.max(1), ours: Arc::default() })
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// Takes a free place; none: all are taken.
    ///
    /// # Errors
    /// A place's file cannot be opened or locked.
    pub fn take(&self) -> io::Result<Option<Slot>> {
        let mut ours = lock(&self.ours);
        let candidates: Vec<u32> = ours.returned.iter().copied().collect();
        for number in candidates.into_iter().chain(ours.fresh..self.count) {
            let path = self.dir.join(format!("{number}.lock"));
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
            match file.try_lock() {
                Ok(()) => {
                    if !ours.returned.remove(&number) {
                        // Places on the way that others hold are looked at again.
                        let skipped = ours.fresh..number;
                        ours.returned.extend(skipped);
                        ours.fresh = number + 1;
                    }
                    return Ok(Some(Slot { number, ours: Arc::clone(&self.ours), file: Some(file) }));
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.file = None;
        lock(&self.ours).returned.insert(self.number);
    }
}

fn lock(ours: &Mutex<Ours>) -> MutexGuard<'_, Ours> {
    ours.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_share_the_places_and_a_dropped_one_is_free_again() {
        let dir = tempfile::tempdir().unwrap();
        let [ours, theirs] = [0, 1].map(|_| Slots::open(dir.path(), 2).unwrap());
        let first = ours.take().unwrap().expect("a free place");
        let second = theirs.take().unwrap().expect("a free place");
        assert!(ours.take().unwrap().is_none());
        drop(first);
        let third = theirs.take().unwrap().expect("a free place");
        drop(second);
        let _fourth = ours.take().unwrap().expect("a free place");
        assert!(ours.take().unwrap().is_none());
        drop(third);
        assert!(ours.take().unwrap().is_some());
    }
}
