//! Files as a whole: nothing that may have no end is waited for, and nobody ever sees half of one that we write.

mod append;

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use rustix::fs::{OFlags, statvfs};

pub use self::append::{AppendError, AppendLog};
use crate::model::Bytes;

/// What the names of files and folders begin with that are not whole yet.
pub const UNFINISHED: &str = ".making-";

/// Opens a file that is to be read to its end, and nothing that may have none: a pipe, a device.
///
/// Some of what `/proc` has is a regular file by its kind, and is waited for like a pipe (`/proc/kmsg`): reading it fails.
///
/// # Errors
/// It cannot be opened, or is no regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

/// What such a file has in it.
///
/// # Errors
/// As [`open_regular`]; or it is longer than so many bytes, or cannot be read.
pub fn read_regular(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(longest.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        return Err(io::Error::other(format!("it is longer than {longest} bytes")));
    }
    Ok(bytes)
}

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nobody but us.
    Private,
    /// Everyone whom the umask lets in.
    Umask,
    /// As these permission bits say, and whatever the umask says.
    Exactly(u32),
}

/// Puts a whole file in place of whatever is there: a reader sees the old one or the new one, even after a power failure.
///
/// # Errors
/// It cannot be written; what was there is still there, and nothing beside it.
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let begins_as = if access == Access::Umask { 0o666 } else { 0o600 };
    let mut file = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .permissions(Permissions::from_mode(begins_as))
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    if let Access::Exactly(mode) = access {
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// The same, for everyone whom the umask lets in, where a user wants it: a device or a pipe is written to, and stays what it
/// is.
///
/// # Errors
/// As [`replace`].
pub fn write_out(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|about| !about.is_file() && !about.is_dir()) {
        return OpenOptions::new().write(true).open(path)?.write_all(bytes);
    }
    replace(path, bytes, Access::Umask)
}

/// What is free for us where this file or folder is.
///
/// # Errors
/// It is not there, or nobody tells.
pub fn free_space(path: &Path) -> io::Result<Bytes> {
    let about = statvfs(path)?;
    Ok(Bytes(about.f_bavail.saturating_mul(about.f_frsize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit_and_what_may_have_no_end_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "text").unwrap();
        assert_eq!(read_regular(&path, 4).unwrap(), b"text");
        assert_eq!(read_regular(&path, 3).unwrap_err().to_string(), "it is longer than 3 bytes");
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        for path in [&pipe, Path::new("/dev/zero"), folder.path()] {
            assert_eq!(read_regular(path, 4).unwrap_err().to_string(), "it is no regular file", "{}", path.display());
        }
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_read_by_whom_it_is_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for (text, access, mode) in [
            ("one", Access::Private, 0o600),
            ("two", Access::Exactly(0o666), 0o666),
            ("three", Access::Exactly(0o640), 0o640),
        ] {
            replace(&path, text.as_bytes(), access).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn what_cannot_be_replaced_stays_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("folder");
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"text", Access::Umask).is_err());
        assert!(path.is_dir());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_pipe_that_a_user_names_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        // Open at both ends: nobody is waited for.
        let mut ends = File::options().read(true).write(true).open(&path).unwrap();
        write_out(&path, b"text").unwrap();
        let mut read = [0; 4];
        ends.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"text");
        let file = folder.path().join("file");
        write_out(&file, b"text").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"text");
    }
}
