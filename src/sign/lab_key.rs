use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use super::{KeyError, PrivateKey, PublicKey, private::pem_of};
use crate::model::StateDir;

/// The key that runs of this state folder are signed with, made at first need.
///
/// # Errors
/// [`KeyError`]: it cannot be made or read, or others can read it.
pub fn lab_key(state: &StateDir) -> Result<PrivateKey, KeyError> {
    let path = state.lab_key();
    match existing(&path)? {
        Some(key) => Ok(key),
        None => {
            make(&path).map_err(KeyError::io("make", &path))?;
            existing(&path)?.ok_or(KeyError::NoLabKey(path))
        }
    }
}

/// Its public half. Never makes a key: one that is made now has signed nothing.
///
/// # Errors
/// [`KeyError`].
pub fn known_lab_key(state: &StateDir) -> Result<PublicKey, KeyError> {
    let path = state.lab_key();
    existing(&path)?.map(|key| key.public()).ok_or(KeyError::NoLabKey(path))
}

fn existing(path: &Path) -> Result<Option<PrivateKey>, KeyError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(KeyError::io("read", path)(error)),
        Ok(about) if about.permissions().mode() & 0o077 != 0 => return Err(KeyError::Open(path.to_owned())),
        Ok(_) => {}
    }
    PrivateKey::read(path, None).map(Some)
}

/// Of processes that make one at the same time the first one wins. Nobody ever sees half a key.
fn make(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut seed = [0; 32];
    let mut filled = 0;
    while filled < seed.len() {
        filled += rustix::rand::getrandom(&mut seed[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    let pem = pem_of(seed)?;
    // 0600, whatever the umask says.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(pem.as_bytes())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => Ok(()),
    }
}
