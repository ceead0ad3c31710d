use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Places for running VMs, shared by every bootgate process that uses the same state folder: a place is a
/// locked file, so a process that dies gives its places back.
#[derive(Debug)]
pub struct Slots {
    dir: PathBuf,
    count: u32,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "held for its lock")] File);

impl Slots {
    /// # Errors
    /// The folder cannot be made.
    pub fn open(dir: &Path, count: u32) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_owned(), count: count.max(1) })
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// Takes a free place; none: all are taken.
    ///
    /// # Errors
    /// A place's file cannot be opened or locked.
    pub fn take(&self) -> io::Result<Option<Slot>> {
        for n in 0..self.count {
            let path = self.dir.join(format!("{n}.lock"));
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
            match file.try_lock() {
                Ok(()) => return Ok(Some(Slot(file))),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_share_the_places_and_a_dropped_one_is_free_again() {
        let dir = tempfile::tempdir().unwrap();
        let [ours, theirs] = [0, 1].map(|_| Slots::open(dir.path(), 2).unwrap());
        let first = ours.take().unwrap().expect("a free place");
        let _second = theirs.take().unwrap().expect("a free place");
        assert!(ours.take().unwrap().is_none());
        drop(first);
        assert!(theirs.take().unwrap().is_some());
    }
}
