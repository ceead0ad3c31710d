//! The account that QEMU runs under, and what that account can reach.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt as _, fchown},
    path::{Path, PathBuf},
};

use super::LabError;

/// Accounts that distributions create for QEMU, Debian's name first.
const NAMES: [&str; 3] = ["libvirt-qemu", "qemu", "nobody"];

/// An unprivileged account. Only root needs one: for anybody else QEMU runs as the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// All groups, the primary one included.
    groups: Vec<u32>,
}

impl Account {
    /// The account for QEMU if we are root; none if QEMU runs as ourselves.
    ///
    /// # Errors
    /// Root without such an account.
    pub fn for_qemu() -> Result<Option<Self>, LabError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let read = |path| fs::read_to_string(path).map_err(LabError::io("read", path));
        let passwd = read(Path::new("/etc/passwd"))?;
        let group = read(Path::new("/etc/group"))?;
        NAMES.iter().find_map(|name| Self::parse(name, &passwd, &group)).map(Some).ok_or_else(|| {
            LabError::Other(
                "root runs QEMU under the account libvirt-qemu, which does not exist; \
                 create it: useradd --system --user-group libvirt-qemu"
                    .to_owned(),
            )
        })
    }

    /// From the text of `/etc/passwd` and `/etc/group` (man pages passwd(5) and group(5)).
    fn parse(name: &str, passwd: &str, group: &str) -> Option<Self> {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        let uid = fields.next()?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let mut groups = vec![gid];
        for line in group.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let [_, _, id, members] = fields[..]
                && members.split(',').any(|member| member == name)
            {
                groups.extend(id.parse::<u32>().ok());
            }
        }
        Some(Self { name: name.to_owned(), uid, gid, groups })
    }

    /// Makes the account the owner of an open file or folder of ours.
    pub(super) fn own(&self, file: &File) -> io::Result<()> {
        fchown(file, Some(self.uid), Some(self.gid))
    }

    /// Makes us the owner of an open file or folder, and the account's group the one that the mode speaks of.
    pub(super) fn may_read(&self, file: &File) -> io::Result<()> {
        fchown(file, Some(0), Some(self.gid))
    }

    /// The first part of the path that the account cannot enter (or, for the path itself, cannot read); none
    /// if it reaches all of it. Looks at owners and permission bits only: where an access list grants more, the
    /// answer is too pessimistic.
    pub fn blocked_at(&self, path: &Path) -> Option<PathBuf> {
        const ENTER: u32 = 1;
        const READ: u32 = 4;
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let blocked = |path: &Path, wanted| match fs::metadata(path) {
            Ok(meta) => !self.may(meta.mode(), meta.uid(), meta.gid(), wanted),
            Err(_) => true,
        };
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        let folder = above.into_iter().rev().find(|folder| blocked(folder, ENTER));
        let itself = || {
            let wanted = if path.is_dir() { ENTER } else { READ };
            blocked(&path, wanted).then_some(path.as_path())
        };
        folder.or_else(itself).map(Path::to_owned)
    }

    /// Whether the account may open a file for reading and writing.
    pub fn may_use(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|meta| self.may(meta.mode(), meta.uid(), meta.gid(), 6))
    }

    fn may(&self, mode: u32, owner: u32, group: u32, wanted: u32) -> bool {
        let shift = match () {
            () if owner == self.uid => 6,
            () if self.groups.contains(&group) => 3,
            () => 0,
        };
        (mode >> shift) & wanted == wanted
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn account() -> Account {
        let passwd = "root:x:0:0::/root:/bin/sh\nqemu:x:4000:4001::/:/bin/false\n";
        Account::parse("qemu", passwd, "kvm:x:4002:other,qemu\nqemu:x:4001:\nwheel:x:1:other\n").unwrap()
    }

    #[test]
    fn an_account_and_its_groups_are_read_from_the_system_files() {
        assert_eq!(account(), Account { name: "qemu".into(), uid: 4000, gid: 4001, groups: vec![4001, 4002] });
        assert_eq!(Account::parse("qem", "qemu:x:1:1::/:/bin/sh", ""), None);
    }

    #[test]
    fn permission_bits_are_taken_from_the_first_class_that_applies() {
        let account = account();
        assert!(account.may(0o600, 4000, 0, 6));
        assert!(!account.may(0o077, 4000, 0, 4), "the owner's bits count even if others may more");
        assert!(account.may(0o060, 0, 4002, 6));
        assert!(!account.may(0o660, 0, 0, 4));
    }

    #[test]
    fn the_first_folder_that_bars_the_way_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().canonicalize().unwrap();
        let (closed, file) = (dir.join("closed"), dir.join("closed/disk"));
        fs::create_dir(&closed).unwrap();
        fs::write(&file, "").unwrap();
        for (path, mode) in [(&dir, 0o755), (&closed, 0o700), (&file, 0o644)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        assert_eq!(account().blocked_at(&file), Some(closed.clone()));
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o711)).unwrap();
        assert_eq!(account().blocked_at(&file), None);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(account().blocked_at(&file), Some(file));
    }
}
