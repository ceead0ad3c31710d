use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::say;

/// The folder of everything a benchmark makes: short, for UNIX sockets, and open to QEMU's account.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new(keep: bool) -> anyhow::Result<Self> {
        let mut folder = tempfile::Builder::new().prefix("bg-").tempdir_in("/tmp")?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        if keep {
            folder.disable_cleanup(true);
            say(&format!("everything stays in {}", folder.path().display()));
        }
        Ok(Self(folder))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A folder in it, made if need be.
    pub fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.0.path().join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }
}
