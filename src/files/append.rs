//! Files that grow by lines: what is behind the last whole line would be glued to the next one, or refused by readers.

use std::{
    fs::File,
    io::{self, Write as _},
};

/// A file that is open for appending. Each line gets into it whole or not at all.
#[derive(Debug)]
pub struct AppendLog {
    file: File,
    /// Bytes of whole lines: where the file is cut when a line fails halfway.
    good_bytes: u64,
    is_torn: bool,
}

/// A line that is not in the file.
#[derive(Debug)]
pub struct AppendError {
    /// What could not be done: `write`, `save`, ...
    pub action: &'static str,
    pub source: io::Error,
}

impl AppendLog {
    /// `good_bytes`: the length of all whole lines. What the file has behind them is cut off with the first line that is added.
    pub fn new(file: File, good_bytes: u64) -> Self {
        Self { file, good_bytes, is_torn: false }
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether a line that failed could not be cut off again. Nothing more is written then.
    pub fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Adds a line, with the line break at its end. `save`: it is on the disk, not only in the cache, on return.
    ///
    /// # Errors
    /// Nothing of the line is left, unless [`Self::is_torn`].
    pub fn append(&mut self, line: &[u8], save: bool) -> Result<(), AppendError> {
        let failed = |action| move |source| AppendError { action, source };
        if self.is_torn {
            return Err(failed("write")(io::Error::other("a line in it was cut short")));
        }
        let is_longer = self.file.metadata().map_err(failed("look at"))?.len() > self.good_bytes;
        if is_longer && let Err(source) = self.file.set_len(self.good_bytes) {
            self.is_torn = true;
            return Err(failed("repair")(source));
        }
        let written = self.file.write_all(line).map_err(failed("write"));
        let saved = written.and_then(|()| if save { self.file.sync_data().map_err(failed("save")) } else { Ok(()) });
        if saved.is_err() {
            // A full disk takes half a line, and one that is not saved must not come back.
            self.is_torn = self.file.set_len(self.good_bytes).is_err();
            return saved;
        }
        self.good_bytes += line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::FileExt as _};

    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

    use super::*;

    #[test]
    fn lines_stand_behind_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "one\n").unwrap();
        let mut log = AppendLog::new(File::options().append(true).open(&path).unwrap(), 4);
        log.append(b"two\n", true).unwrap();
        log.append(b"three\n", false).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
    }

    #[test]
    fn half_a_line_of_whoever_wrote_before_is_cut_off_by_the_first_that_is_added() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "one\nhal").unwrap();
        let mut log = AppendLog::new(File::options().append(true).open(&path).unwrap(), 4);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\nhal", "nobody has added anything");
        log.append(b"two\n", true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn a_line_that_fails_leaves_what_was_there() {
        let mut file = File::from(memfd_create("log", MemfdFlags::ALLOW_SEALING).unwrap());
        file.write_all(b"whole\n").unwrap();
        fcntl_add_seals(&file, SealFlags::GROW).unwrap();
        let mut log = AppendLog::new(file, 6);
        assert_eq!(log.append(b"half\n", true).unwrap_err().action, "write");
        assert!(!log.is_torn());
        let mut left = [0; 6];
        log.file().read_exact_at(&mut left, 0).unwrap();
        assert_eq!((&left, log.file().metadata().unwrap().len()), (b"whole\n", 6));
    }

    #[test]
    fn nothing_is_written_behind_a_line_that_could_not_be_cut_off() {
        // A device has no length.
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut log = AppendLog::new(full, 0);
        let error = log.append(b"line\n", false).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::StorageFull);
        assert!(log.is_torn());
        let error = log.append(b"line\n", false).unwrap_err();
        assert_eq!(error.source.to_string(), "a line in it was cut short");
    }
}
