use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use sha2::Digest as _;

use super::{Halt, Names, Stamp};
use crate::model::Sha256;

/// The folder that candidates come into.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    names: Names,
}

/// What came of reading a file.
#[derive(Debug)]
pub enum Read {
    /// It looked the same before and after.
    Bytes(Sha256),
    /// It did not, or is gone.
    Changed,
    Failed(io::Error),
}

impl Folder {
    pub fn new(path: PathBuf, names: Names) -> Self {
        Self { path, names }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The candidates that are there: regular files directly in the folder. A link may lead anywhere, and what it leads to
    /// changes without a sign.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn scan(&self) -> io::Result<BTreeMap<String, Stamp>> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string()
                && let Some(stamp) = self.look(&name)
            {
                found.insert(name, stamp);
            }
        }
        Ok(found)
    }

    /// What a candidate looks like; none: there is none of this name.
    pub fn look(&self, name: &str) -> Option<Stamp> {
        if !self.names.take(name) {
            return None;
        }
        let about = fs::symlink_metadata(self.path.join(name)).ok()?;
        about.is_file().then(|| Stamp::of(&about))
    }

    /// Reads a file that looks like this, and copies it.
    pub fn read(&self, name: &str, stamp: &Stamp, into: Option<&mut File>, halt: &Halt) -> Read {
        match self.try_read(name, stamp, into, halt) {
            Ok(Some(sha256)) => Read::Bytes(sha256),
            Ok(None) => Read::Changed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Read::Changed,
            Err(error) => Read::Failed(error),
        }
    }

    fn try_read(
        &self,
        name: &str,
        stamp: &Stamp,
        mut into: Option<&mut File>,
        halt: &Halt,
    ) -> io::Result<Option<Sha256>> {
        // A link or a pipe may have taken its place just now: neither is followed nor waited for.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let path = self.path.join(name);
        let mut file = match File::options().read(true).custom_flags(flags).open(&path) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => return Ok(None),
            opened => opened?,
        };
        let is_the_same = |file: &File| -> io::Result<bool> {
            let about = file.metadata()?;
            Ok(about.is_file() && Stamp::of(&about) == *stamp)
        };
        if !is_the_same(&file)? {
            return Ok(None);
        }
        let mut hasher = sha2::Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            if halt.is_set() {
                return Ok(None);
            }
            let read = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(&buffer[..read]);
            if let Some(into) = &mut into {
                into.write_all(&buffer[..read])?;
            }
        }
        let unchanged = is_the_same(&file)? && self.look(name).as_ref() == Some(stamp);
        Ok(unchanged.then(|| Sha256::from_digest(&hasher.finalize())))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().to_owned(), Names::default());
        (dir, folder)
    }

    #[test]
    fn only_regular_files_directly_in_the_folder_are_candidates() {
        let (dir, folder) = folder();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a"), "a").unwrap();
        fs::write(at("b.part"), "b").unwrap();
        fs::create_dir(at("sub")).unwrap();
        fs::write(at("sub/c"), "c").unwrap();
        symlink(at("a"), at("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RWXU).unwrap();
        assert_eq!(folder.scan().unwrap().keys().collect::<Vec<_>>(), ["a"]);
        assert!(["b.part", "sub", "link", "pipe", "absent"].iter().all(|name| folder.look(name).is_none()));
    }

    #[test]
    fn what_takes_the_place_of_a_file_is_neither_followed_nor_waited_for() {
        let (dir, folder) = folder();
        let at = |name: &str| dir.path().join(name);
        let halt = Halt::new().unwrap();
        fs::write(at("a"), "a").unwrap();
        let stamp = folder.look("a").unwrap();
        assert!(matches!(folder.read("a", &stamp, None, &halt), Read::Bytes(sha256) if sha256 == Sha256::of(b"a")));
        fs::rename(at("a"), at("elsewhere")).unwrap();
        symlink(at("elsewhere"), at("a")).unwrap();
        assert!(matches!(folder.read("a", &stamp, None, &halt), Read::Changed));
        fs::remove_file(at("a")).unwrap();
        assert!(matches!(folder.read("a", &stamp, None, &halt), Read::Changed));
        rustix::fs::mkfifoat(rustix::fs::CWD, at("a"), rustix::fs::Mode::RWXU).unwrap();
        assert!(matches!(folder.read("a", &stamp, None, &halt), Read::Changed));
        assert!(
            matches!(Folder::new(at("gone"), Names::default()).scan(), Err(error) if error.kind() == io::ErrorKind::NotFound)
        );
    }
}
