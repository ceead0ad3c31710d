//! The state of emulated TPMs, which libvirt keeps outside of the machines' folders.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    lab::{KEPT_TPM_STATE, LabError, Users, host::find_program, open_guest_written, root::make_dir},
    model::StateFile,
};

/// What libvirt (virTPMEmulatorInit) wants to find in `PATH`, whether it runs all of them or not.
pub const PROGRAMS: [&str; 3] = ["swtpm", "swtpm_setup", "swtpm_ioctl"];

/// swtpm's name for what a TPM 2.0 keeps (man page swtpm(8), `--tpmstate dir=`).
const STATE: &str = KEPT_TPM_STATE;

/// Longer than any: libtpms' `NV_MEMORY_SIZE` and some more.
const MAX_STATE: u64 = 1 << 20;

/// Whether this host can emulate TPMs.
///
/// # Errors
/// What to do about it.
pub fn check_host() -> Result<(), LabError> {
    match PROGRAMS.into_iter().find(|program| find_program(program).is_none()) {
        None => Ok(()),
        Some(program) => Err(LabError::Other(format!(
            "this host has no {program}, which `tpm: true` needs: install it (Debian: apt install swtpm swtpm-tools)"
        ))),
    }
}

/// Where libvirt's embedded driver has the TPM of the machine with this UUID keep its state (`swtpmStorageDir` in
/// qemu_conf.c).
pub fn storage(root: &Path, uuid: &str) -> PathBuf {
    root.join("lib/swtpm").join(uuid)
}

/// swtpm's log of the machine with this name (`swtpmLogDir`).
pub fn log(root: &Path, name: &str) -> PathBuf {
    root.join("log/swtpm").join(format!("{name}-swtpm.log"))
}

/// Gives a machine's TPM its state before libvirt starts it.
///
/// libvirt runs `swtpm_setup` where it finds no state, and that wants to write certificates of a CA of the host's,
/// which is not QEMU's account's to write. So there always is a file: the image's state, or one that means nothing to
/// swtpm, which then makes a new TPM. A machine that begins from a seal has its TPM's state in its memory.
pub fn prepare(storage: &Path, state: Option<&StateFile>, users: &Users) -> Result<(), LabError> {
    let dir = storage.join("tpm2");
    // libvirt makes the folders above with this mode too.
    for folder in storage.parent().into_iter().chain([storage, &dir]) {
        make_dir(folder, 0o711)?;
    }
    let (name, content) = match state {
        None => ("new", Vec::new()),
        Some(state) => (STATE, read_state(&state.file)?),
    };
    let path = dir.join(name);
    fs::File::create_new(&path).and_then(|mut file| file.write_all(&content)).map_err(LabError::io("write", &path))?;
    users.hand_over(&path)?;
    // Last: from here on QEMU's account can put anything there.
    users.hand_over(&dir)
}

/// Keeps the state of an ended machine's TPM.
pub fn keep(dir: &Path, storage: &Path) -> Result<(), LabError> {
    let from = storage.join("tpm2").join(STATE);
    let mut bytes = Vec::new();
    let read = open_guest_written(&from).and_then(|file| file.take(MAX_STATE + 1).read_to_end(&mut bytes));
    if read.map_err(LabError::io("read", &from))? as u64 > MAX_STATE {
        return Err(LabError::Other(format!("{} is too large for a TPM's state", from.display())));
    }
    let to = dir.join(STATE);
    // Its keys are the machine's secrets.
    let mut options = fs::OpenOptions::new();
    let created = options.write(true).create_new(true).mode(0o600).open(&to);
    created.and_then(|mut file| file.write_all(&bytes)).map_err(LabError::io("write", &to))
}

fn read_state(path: &Path) -> Result<Vec<u8>, LabError> {
    let unusable = |why: String| LabError::ImageUnusable { disk: path.to_owned(), why };
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(LabError::ImageMissing(path.to_owned())),
        Err(error) => Err(LabError::io("read", path)(error)),
        Ok(about) if about.len() == 0 || about.len() > MAX_STATE => {
            Err(unusable(format!("no TPM's state has {} bytes", about.len())))
        }
        Ok(_) => fs::read(path).map_err(LabError::io("read", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sha256;

    #[test]
    fn every_machine_gets_its_own_copy_of_the_images_state() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("golden");
        fs::write(&file, "state").unwrap();
        let state = StateFile { file: file.clone(), sha256: Sha256::of(b"state") };
        for uuid in ["a", "b"] {
            let storage = storage(root.path(), uuid);
            prepare(&storage, Some(&state), &Users::Ourselves).unwrap();
            let own = storage.join("tpm2/tpm2-00.permall");
            assert_eq!(fs::read(&own).unwrap(), b"state");
            fs::write(own, "changed").unwrap();
        }
        assert_eq!(fs::read(&file).unwrap(), b"state");
        fs::write(&file, "").unwrap();
        let refused = prepare(&storage(root.path(), "c"), Some(&state), &Users::Ourselves);
        assert!(matches!(refused, Err(LabError::ImageUnusable { .. })));
        fs::remove_file(&file).unwrap();
        let refused = prepare(&storage(root.path(), "d"), Some(&state), &Users::Ourselves);
        assert!(matches!(refused, Err(LabError::ImageMissing(_))));
    }
}
