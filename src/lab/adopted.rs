//! A folder outside of a lab root that is swept with it: too large for the state folder, or wanted elsewhere afterwards.
//!
//! Root and folder name each other: a folder of the same name that somebody made later is nobody's to remove.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use super::{LabError, LabRoot};

/// In the root: its owner, a line end, and the folder's path.
const NOTE: &str = "adopted";
/// In the folder: the root's owner.
const MARK: &str = ".bootgate";

impl LabRoot {
    /// Has the folder swept with this root, if we die before it is ours no more. One folder at a time.
    ///
    /// # Errors
    /// One of the two cannot be written; nothing will be swept then.
    pub fn adopt(&self, folder: &Path) -> Result<(), LabError> {
        let (mark, note) = (folder.join(MARK), self.path().join(NOTE));
        fs::write(&mark, self.owner()).map_err(LabError::io("write", &mark))?;
        let text = [self.owner().as_bytes(), b"\n", folder.as_os_str().as_bytes()].concat();
        fs::write(&note, text).map_err(LabError::io("write", &note))
    }

    /// Leaves such a folder to the user.
    ///
    /// # Errors
    /// It is not there, or cannot be written.
    pub fn leave(&self, folder: &Path) -> io::Result<()> {
        fs::remove_file(folder.join(MARK))
    }
}

/// The folder that goes with the root, if it is there.
pub(super) fn adopted(root: &Path) -> Option<PathBuf> {
    let note = fs::read(root.join(NOTE)).ok()?;
    let end = note.iter().position(|byte| *byte == b'\n')?;
    let (owner, folder) = (&note[..end], PathBuf::from(OsStr::from_bytes(&note[end + 1..])));
    let is_ours = folder.is_absolute() && !owner.is_empty() && fs::read(folder.join(MARK)).ok()? == owner;
    is_ours.then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lab::Users, model::StateDir};

    #[test]
    fn a_folder_that_was_adopted_goes_with_the_root_and_one_that_was_left_stays() {
        let dir = tempfile::Builder::new().prefix("bg").tempdir_in("/tmp").unwrap();
        let state = StateDir::new(dir.path().join("s"));
        let folder = dir.path().join("x\ny.build");
        let die = |left: bool| {
            let root = LabRoot::take(&state, &Users::Ourselves).unwrap();
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("disk.qcow2"), "").unwrap();
            root.adopt(&folder).unwrap();
            let other = LabRoot::take(&state, &Users::Ourselves).unwrap();
            assert!(other.path() != root.path() && folder.exists(), "it is held");
            if left {
                root.leave(&folder).unwrap();
            }
        };
        die(false);
        let report = crate::lab::clean(&state).unwrap();
        assert_eq!((report.folders, report.failed), (vec![folder.clone()], vec![]));
        assert!(!folder.exists());
        die(true);
        assert!(crate::lab::clean(&state).unwrap().is_empty());
        assert!(folder.join("disk.qcow2").exists());
    }

    #[test]
    fn a_folder_that_somebody_made_in_its_place_stays() {
        let dir = tempfile::Builder::new().prefix("bg").tempdir_in("/tmp").unwrap();
        let state = StateDir::new(dir.path().join("s"));
        let folder = dir.path().join("x.build");
        let root = LabRoot::take(&state, &Users::Ourselves).unwrap();
        fs::create_dir(&folder).unwrap();
        root.adopt(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        drop(root);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(MARK), "1-1").unwrap();
        assert!(crate::lab::clean(&state).unwrap().is_empty());
        assert!(folder.exists());
    }
}
