//! Files in a folder that QEMU can write to. QEMU runs what the guest wants if the guest breaks out of it, and we
//! may be root: nothing there is opened as if it were our own.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use rustix::fs::{Mode, OFlags, open};

/// Opens for reading what QEMU or a guest wrote, such as a log in a machine's folder. Follows no symbolic link
/// in the last part of the path (the folders above must be ours), and does not wait for anybody.
///
/// # Errors
/// Anything that is no regular file with one name: a link to another file (`ELOOP`), a pipe, a folder, a file
/// that has another name elsewhere (`InvalidData`).
pub fn open_guest_written(path: &Path) -> io::Result<File> {
    let (file, is_dir) = open_untrusted(path)?;
    if is_dir {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "a folder where a file was expected"));
    }
    Ok(file)
}

/// The end of such a file: so many bytes of it at most, however it grows meanwhile.
///
/// # Errors
/// As [`open_guest_written`]; or it cannot be read.
pub fn end_of_guest_written(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = open_guest_written(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut end = Vec::new();
    file.take(most).read_to_end(&mut end)?;
    Ok(end)
}

/// The regular file or the folder at this path, and whether it is a folder.
pub(super) fn open_untrusted(path: &Path) -> io::Result<(File, bool)> {
    // A pipe opens at once with NONBLOCK, which means nothing to a regular file.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(open(path, flags, Mode::empty())?);
    let about = file.metadata()?;
    let invalid = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    if about.is_dir() {
        return Ok((file, true));
    }
    if !about.is_file() {
        return invalid("no regular file");
    }
    // A hard link is a way to make root touch somebody else's file (proc_sys_fs(5), protected_hardlinks).
    if about.nlink() > 1 {
        return invalid("a file with several names");
    }
    Ok((file, false))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_regular_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("serial.log");
        fs::write(&log, "booted").unwrap();
        let mut text = String::new();
        open_guest_written(&log).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "booted");
        assert_eq!(end_of_guest_written(&log, 3).unwrap(), b"ted");
        assert_eq!(end_of_guest_written(&log, 30).unwrap(), b"booted");
        assert_eq!(open_guest_written(&dir.path().join("absent")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn links_pipes_and_folders_are_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("secret"), "x").unwrap();
        symlink(path("secret"), path("link")).unwrap();
        symlink(path("pipe"), path("link-to-pipe")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        for name in ["link", "link-to-pipe", "pipe", "folder"] {
            assert!(open_guest_written(&path(name)).is_err(), "{name}");
        }
        assert!(open_guest_written(&path("secret")).is_ok());
        fs::hard_link(path("secret"), path("second-name")).unwrap();
        assert!(open_guest_written(&path("second-name")).is_err());
    }
}
