use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::{Folder, Halt, Read, Stamp};
use crate::{
    files::free_space,
    model::{Bytes, Sha256},
};

/// What a copy leaves free on the disk: machines that run need it.
const SPARE: u64 = 256 << 20;

/// Copies of the candidates that wait and of the one that is tested: whoever changes the folder meanwhile changes nothing
/// about them.
///
/// ```text
/// SHA256/NAME   a whole copy
/// .new-*        one that is being made
/// ```
#[derive(Clone, Debug)]
pub struct Store(PathBuf);

/// A copy that has no place yet; gone when dropped.
#[derive(Debug)]
pub struct Taken {
    file: NamedTempFile,
    pub sha256: Sha256,
}

impl Store {
    /// # Errors
    /// The folder cannot be made.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// Where the copy of a file with these bytes is.
    pub fn path(&self, sha256: &Sha256, name: &str) -> PathBuf {
        self.0.join(&sha256.0).join(name)
    }

    /// Copies a candidate that looks like this. The digest is that of the bytes in the copy.
    ///
    /// # Errors
    /// What came of it instead.
    pub fn take(&self, folder: &Folder, name: &str, stamp: &Stamp, halt: &Halt) -> Result<Taken, Read> {
        self.has_room(stamp.size).map_err(Read::Failed)?;
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.0).map_err(Read::Failed)?;
        match folder.read(name, stamp, Some(file.as_file_mut()), halt) {
            Read::Bytes(sha256) => {
                file.as_file().sync_all().map_err(Read::Failed)?;
                Ok(Taken { file, sha256 })
            }
            other => Err(other),
        }
    }

    fn has_room(&self, size: u64) -> io::Result<()> {
        let free = free_space(&self.0)?;
        if free.0 >= size.saturating_add(SPARE) {
            return Ok(());
        }
        let size = Bytes(size);
        Err(io::Error::other(format!("no room for a copy of {size} in {}: {free} are free", self.0.display())))
    }

    /// Gives a copy its place.
    ///
    /// # Errors
    /// It has none.
    pub fn keep(&self, taken: Taken, name: &str) -> io::Result<()> {
        let path = self.path(&taken.sha256, name);
        let folder = self.0.join(&taken.sha256.0);
        // Of the same bytes there is one copy, by the name that it came with last.
        remove(&folder)?;
        fs::create_dir(&folder)?;
        taken.file.persist(path).map_err(|error| error.error)?;
        fs::File::open(&folder)?.sync_all()
    }

    /// # Errors
    /// It is still there.
    pub fn remove(&self, sha256: &Sha256) -> io::Result<()> {
        remove(&self.0.join(&sha256.0))
    }

    /// Removes everything but these: what a process that was killed left.
    ///
    /// # Errors
    /// The first of what could not be removed.
    pub fn sweep(&self, keep: &BTreeSet<Sha256>) -> io::Result<()> {
        let mut result = Ok(());
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let is_kept = entry.file_name().to_str().is_some_and(|name| keep.contains(&Sha256::from(name)));
            if !is_kept {
                let removed =
                    if entry.file_type()?.is_dir() { remove(&entry.path()) } else { fs::remove_file(entry.path()) };
                result = result.and(removed);
            }
        }
        result
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Names;

    #[test]
    fn a_copy_stays_what_it_was_and_a_sweep_leaves_only_what_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let (inbox, halt) = (dir.path().join("in"), Halt::new().unwrap());
        fs::create_dir(&inbox).unwrap();
        let folder = Folder::new(inbox.clone(), Names::default());
        let store = Store::open(dir.path().join("store")).unwrap();
        let put = |name: &str, text: &str| {
            fs::write(inbox.join(name), text).unwrap();
            let stamp = folder.look(name).unwrap();
            let taken = store.take(&folder, name, &stamp, &halt).unwrap();
            let sha256 = taken.sha256.clone();
            store.keep(taken, name).unwrap();
            sha256
        };
        let (one, two) = (put("a", "one"), put("b", "two"));
        fs::write(inbox.join("a"), "changed").unwrap();
        assert_eq!(fs::read_to_string(store.path(&one, "a")).unwrap(), "one");
        assert_eq!(put("c", "one"), one);
        assert!(store.path(&one, "c").exists() && !store.path(&one, "a").exists());

        fs::write(dir.path().join("store/.new-x"), "").unwrap();
        store.sweep(&BTreeSet::from([two.clone()])).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("store")).unwrap().count(), 1);
        store.remove(&two).unwrap();
        store.remove(&two).unwrap();
        assert!(!store.path(&two, "b").exists());
    }

    #[test]
    fn a_file_that_changed_or_is_gone_leaves_no_copy() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, halt) = (Folder::new(dir.path().to_owned(), Names::default()), Halt::new().unwrap());
        let store = Store::open(dir.path().join("store")).unwrap();
        fs::write(dir.path().join("a"), "one").unwrap();
        let stamp = folder.look("a").unwrap();
        fs::write(dir.path().join("a"), "longer").unwrap();
        assert!(matches!(store.take(&folder, "a", &stamp, &halt), Err(Read::Changed)));
        let stamp = folder.look("a").unwrap();
        let endless = Stamp { size: u64::MAX, ..stamp };
        let refused = store.take(&folder, "a", &endless, &halt);
        assert!(matches!(refused, Err(Read::Failed(error)) if error.to_string().starts_with("no room for a copy")));
        halt.set();
        assert!(matches!(store.take(&folder, "a", &stamp, &halt), Err(Read::Changed)), "stopped");
        assert_eq!(fs::read_dir(dir.path().join("store")).unwrap().count(), 0);
    }
}
