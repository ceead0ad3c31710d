use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// The lock of one seal: shared while it is used, exclusive while it is made or removed. A process that dies gives it
/// back.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// None: somebody makes or removes the seal.
    pub fn shared(path: &Path) -> io::Result<Option<Self>> {
        Self::take(path, File::try_lock_shared)
    }

    /// None: somebody uses the seal, makes or removes it.
    pub fn exclusive(path: &Path) -> io::Result<Option<Self>> {
        Self::take(path, File::try_lock)
    }

    /// From exclusive to shared. In between nobody can remove what the lock is for without being noticed: the caller
    /// looks again.
    pub fn share(self) -> io::Result<Self> {
        // flock(2) turns the lock that is held into this one.
        self.file.lock_shared()?;
        Ok(self)
    }

    /// Removes an exclusive lock with its file.
    pub fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }

    fn take(path: &Path, lock: fn(&File) -> Result<(), TryLockError>) -> io::Result<Option<Self>> {
        loop {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
            match lock(&file) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // Whoever removed the file between our opening and our locking has it no more.
            let (ours, there) = (file.metadata()?, fs::metadata(path));
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
                return Ok(Some(Self { path: path.to_owned(), file }));
            }
        }
    }
}
