use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
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
        Self::take(path, FlockOperation::NonBlockingLockShared)
    }

    /// None: somebody uses the seal, makes or removes it.
    pub fn exclusive(path: &Path) -> io::Result<Option<Self>> {
        Self::take(path, FlockOperation::NonBlockingLockExclusive)
    }

    /// From exclusive to shared. In between nobody can remove what the lock is for without being noticed: the caller
    /// looks again.
    pub fn share(self) -> io::Result<Self> {
        flock(&self.file, FlockOperation::LockShared)?;
        Ok(self)
    }

    /// Removes an exclusive lock with its file.
    pub fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }

    fn take(path: &Path, how: FlockOperation) -> io::Result<Option<Self>> {
        loop {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
            match flock(&file, how) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            // Whoever removed the file between our opening and our locking has it no more.
            let (ours, there) = (file.metadata()?, fs::metadata(path));
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
                return Ok(Some(Self { path: path.to_owned(), file }));
            }
        }
    }
}
