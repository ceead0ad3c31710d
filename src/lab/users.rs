use std::{fs::Permissions, os::unix::fs::PermissionsExt as _, path::Path};

use super::{Account, LabError, guest_written::open_untrusted};

/// Who has to get at a lab root's files.
#[derive(Clone, Debug)]
pub enum Users {
    Ourselves,
    /// The account that QEMU runs under.
    Account(Account),
    /// A libvirtd, which decides for itself what QEMU runs under.
    Daemon,
}

impl Users {
    /// Behind this connection to a libvirtd.
    pub fn of_libvirtd(uri: &str) -> Self {
        // A session's libvirtd is our own.
        if uri.contains("/session") { Self::Ourselves } else { Self::Daemon }
    }

    pub fn account(&self) -> Option<&Account> {
        match self {
            Self::Account(account) => Some(account),
            Self::Ourselves | Self::Daemon => None,
        }
    }

    /// The mode of the folders above the machines' own: an account may pass through, but not look around.
    pub fn passage_mode(&self) -> u32 {
        if matches!(self, Self::Ourselves) { 0o700 } else { 0o711 }
    }

    /// The mode of a machine's folder, which QEMU's account owns.
    pub fn folder_mode(&self) -> u32 {
        if matches!(self, Self::Daemon) { 0o711 } else { 0o700 }
    }

    /// The mode of a machine's files.
    pub fn file_mode(&self) -> u32 {
        if matches!(self, Self::Daemon) { 0o644 } else { 0o600 }
    }

    /// Lets QEMU, and nobody who needs not, use a file or folder that we made in a machine's folder.
    ///
    /// # Errors
    /// Also where there is a link or anything else that we did not make: QEMU may have put it there.
    pub fn hand_over(&self, path: &Path) -> Result<(), LabError> {
        let (file, is_dir) = open_untrusted(path).map_err(LabError::io("open", path))?;
        let mode = if is_dir { self.folder_mode() } else { self.file_mode() };
        file.set_permissions(Permissions::from_mode(mode)).map_err(LabError::io("change the mode of", path))?;
        match self {
            Self::Account(account) => account.own(&file).map_err(LabError::io("change the owner of", path)),
            Self::Ourselves | Self::Daemon => Ok(()),
        }
    }

    /// Lets QEMU read a file of ours that many machines share, or pass through its folder; nobody else, and nobody
    /// writes.
    ///
    /// # Errors
    /// It is not ours to change.
    pub fn hand_to_read(&self, path: &Path) -> Result<(), LabError> {
        let (file, is_dir) = open_untrusted(path).map_err(LabError::io("open", path))?;
        let mode = match (self, is_dir) {
            (Self::Ourselves, true) => 0o700,
            (Self::Ourselves, false) => 0o400,
            (Self::Account(_), true) => 0o710,
            (Self::Account(_), false) => 0o440,
            (Self::Daemon, true) => 0o711,
            (Self::Daemon, false) => 0o444,
        };
        if let Self::Account(account) = self {
            account.may_read(&file).map_err(LabError::io("change the owner of", path))?;
        }
        file.set_permissions(Permissions::from_mode(mode)).map_err(LabError::io("change the mode of", path))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, symlink},
    };

    use super::*;

    #[test]
    fn only_a_libvirtd_needs_files_that_everybody_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("disk");
        for (users, mode) in [(Users::Ourselves, (0o600, 0o700)), (Users::Daemon, (0o644, 0o711))] {
            fs::write(&file, "").unwrap();
            users.hand_over(&file).unwrap();
            users.hand_over(dir.path()).unwrap();
            let seen = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
            assert_eq!((seen(&file), seen(dir.path())), mode);
        }
    }

    #[test]
    fn a_link_in_the_place_of_a_medium_gives_nothing_away() {
        let dir = tempfile::tempdir().unwrap();
        let (precious, medium) = (dir.path().join("precious"), dir.path().join("medium.iso"));
        fs::write(&precious, "").unwrap();
        fs::set_permissions(&precious, Permissions::from_mode(0o640)).unwrap();
        let before = fs::metadata(&precious).unwrap();
        symlink(&precious, &medium).unwrap();
        assert!(Users::Daemon.hand_over(&medium).is_err());
        fs::remove_file(&medium).unwrap();
        fs::hard_link(&precious, &medium).unwrap();
        assert!(Users::Daemon.hand_over(&medium).is_err());
        let after = fs::metadata(&precious).unwrap();
        assert_eq!((before.mode(), before.uid()), (after.mode(), after.uid()));
    }
}
