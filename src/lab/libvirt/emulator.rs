//! The QEMU that libvirt's embedded driver is given where the obvious one would make it probe for ever.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::lab::{Account, LabError, accelerator, host::find_program, root::make_dir};

/// A stand-in for QEMU, kept in the root's cache; none where QEMU itself will do.
///
/// As root, libvirt asks QEMU for its capabilities with `CAP_DAC_OVERRIDE` (qemuProcessQMPLaunch), so QEMU can open
/// a `/dev/kvm` that its account may not. Before every use of the answer libvirt looks whether the account may, finds
/// that it may not, and asks again (virQEMUCapsIsValid: "KVM was enabled when probing, but it is not available now"):
/// seconds each time, dozens of times per machine. The stand-in takes KVM out of that one question.
pub fn stand_in(root: &Path, account: Option<&Account>) -> Result<Option<PathBuf>, LabError> {
    let kvm = Path::new(accelerator::KVM);
    if !kvm.exists() || account.is_none_or(|account| account.may_use(kvm)) {
        return Ok(None);
    }
    let Some(qemu) = find_program(accelerator::QEMU) else { return Ok(None) };
    let script = format!(
        "#!/bin/sh\n\
         for arg do\n\
         \x20 shift\n\
         \x20 [ \"$arg\" = none,accel=kvm:tcg ] && arg=none,accel=tcg\n\
         \x20 set -- \"$@\" \"$arg\"\n\
         done\n\
         exec '{}' \"$@\"\n",
        qemu.display()
    );
    let path = root.join("cache/emulator").join(accelerator::QEMU);
    // libvirt's cached answer holds until the file changes.
    if fs::read_to_string(&path).is_ok_and(|present| present == script) {
        return Ok(Some(path));
    }
    for dir in path.ancestors().skip(1).take(2).collect::<Vec<_>>().into_iter().rev() {
        make_dir(dir, 0o711)?;
    }
    fs::write(&path, script)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
        .map_err(LabError::io("write", &path))?;
    Ok(Some(path))
}
