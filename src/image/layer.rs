//! A layer: the disk of a machine that was baked, above the image that it was a clone of.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
    process::Command,
    sync::atomic::AtomicBool,
};

use super::{
    ImageError,
    making::{Piece, QEMU_IMG, beside, run},
};
use crate::{
    catalog::{Baked, BakedFiles},
    lab::{KEPT_DISK, KEPT_NVRAM, KEPT_TPM_STATE},
    model::GoldenImage,
    qcow2,
};

/// Puts what a baked machine left in the folder `kept` into the layer's place, and writes the record last: a layer without
/// one is not baked. `record` lacks the digests yet. Blocks; `stop` ends it early.
///
/// # Errors
/// The layer is as it was, or is not baked any more.
pub fn lay(
    kept: &Path,
    base: &GoldenImage,
    files: &BakedFiles,
    mut record: Baked,
    stop: &AtomicBool,
) -> Result<Baked, ImageError> {
    let mut pieces = vec![Piece::new(differences(&kept.join(KEPT_DISK), base, &files.disk, stop)?, &files.disk, 0o644)];
    // The TPM's keys are the machine's secrets.
    for (name, path, mode) in [(KEPT_NVRAM, &files.nvram, 0o644), (KEPT_TPM_STATE, &files.tpm_state, 0o600)] {
        let from = kept.join(name);
        if !from.exists() {
            continue;
        }
        let file = beside(path)?;
        fs::copy(&from, &file).map_err(ImageError::io("copy", &from))?;
        pieces.push(Piece::new(file, path, mode));
    }
    for piece in &mut pieces {
        piece.seal()?;
    }
    let digest = |path: &Path| pieces.iter().find(|piece| piece.path == path).map(|piece| piece.sha256.clone());
    (record.nvram, record.tpm_state) = (digest(&files.nvram), digest(&files.tpm_state));
    record.sha256 = digest(&files.disk).unwrap_or(record.sha256);
    for old in [&files.record, &files.disk, &files.nvram, &files.tpm_state] {
        match fs::remove_file(old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(ImageError::io("replace", old)(error)),
            _ => {}
        }
    }
    for Piece { file, path, .. } in pieces {
        let synced = fs::File::open(&file).and_then(|file| file.sync_all());
        let named = synced.and_then(|()| file.persist(path).map_err(|error| error.error));
        named.map_err(ImageError::io("write", path))?;
    }
    record.write(&files.record).map_err(ImageError::io("write", &files.record))?;
    Ok(record)
}

/// What is in the disk and not in the image below it.
fn differences(
    disk: &Path,
    base: &GoldenImage,
    to: &Path,
    stop: &AtomicBool,
) -> Result<tempfile::TempPath, ImageError> {
    let unfit = |why: String| ImageError::unfit(format!("`{}` {why}", disk.display()), "bake the image again");
    let header = qcow2::Header::read(disk).map_err(|error| unfit(format!("is no disk: {error}")))?;
    let below = header.backing.as_ref().map(|backing| backing.beside(disk));
    // Whatever the file says it stands on is what would be read.
    if !matches!(&below, Some(Ok(path)) if *path == base.disk) {
        return Err(unfit(format!("is no layer above `{}`", base.disk.display())));
    }
    let file = beside(to)?;
    let below = relative(&base.disk, to);
    let mut command = Command::new(QEMU_IMG);
    command.args(["convert", "-f", "qcow2", "-O", "qcow2", "-F", "qcow2", "-B"]).arg(&below);
    run(command.arg("--").arg(disk).arg(&file), stop)?;
    Ok(file)
}

/// The path of `file` as the neighbours of `other` call it, so that both can be moved together; an absolute one where their
/// folders have nothing in common.
fn relative(file: &Path, other: &Path) -> PathBuf {
    let real =
        |path: &Path| -> Option<PathBuf> { Some(fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?)) };
    let (Some(file_is), Some(other_is)) = (real(file), real(other)) else { return file.to_owned() };
    let shared = file_is.components().zip(other_is.components()).take_while(|(one, two)| one == two).count();
    // The root alone is nothing in common.
    if shared < 2 {
        return file_is;
    }
    let up = other_is.components().skip(shared + 1).map(|_| Component::ParentDir);
    up.chain(file_is.components().skip(shared)).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;
    use crate::{catalog::sha256_file, model::Sha256};

    fn qemu_img(args: &[&str], folder: &Path) {
        let status = Command::new(QEMU_IMG).args(args).current_dir(folder).stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "{args:?}");
    }

    fn chain() -> (tempfile::TempDir, GoldenImage) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["golden", "baked", "run"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        qemu_img(&["create", "-f", "qcow2", "golden/base.qcow2", "8M"], folder.path());
        let base = folder.path().join("golden/base.qcow2");
        let overlay = ["create", "-f", "qcow2", "-F", "qcow2", "-b", base.to_str().unwrap(), "run/disk.qcow2"];
        qemu_img(&overlay, folder.path());
        (folder, GoldenImage::plain("base", base))
    }

    fn record() -> Baked {
        Baked::new(Sha256::of(b"recipe"), Sha256::of(b""), "2026-01-01T00:00:00Z".into(), "run".into())
    }

    #[test]
    fn a_layer_stands_on_its_base_by_a_path_that_moves_with_both() {
        let (folder, base) = chain();
        let files = BakedFiles::of(folder.path(), "layer");
        let kept = folder.path().join("run");
        let laid = lay(&kept, &base, &files, record(), &AtomicBool::new(false)).unwrap();
        assert_eq!(laid.sha256, sha256_file(&files.disk).unwrap());
        assert_eq!(Baked::read(&files.record), Some(laid));
        let backing = qcow2::Header::read(&files.disk).unwrap().backing.unwrap();
        assert_eq!(backing.name, "../golden/base.qcow2");
        assert_eq!(fs::read_dir(folder.path().join("baked")).unwrap().count(), 2);
    }

    #[test]
    fn what_firmware_and_tpm_remember_is_a_part_of_the_layer_and_what_was_there_before_is_not() {
        let (folder, base) = chain();
        let files = BakedFiles::of(folder.path(), "layer");
        let kept = folder.path().join("run");
        fs::write(&files.nvram, "of an earlier one").unwrap();
        fs::write(kept.join(KEPT_TPM_STATE), "keys").unwrap();
        let laid = lay(&kept, &base, &files, record(), &AtomicBool::new(false)).unwrap();
        assert_eq!((laid.nvram, laid.tpm_state), (None, Some(Sha256::of(b"keys"))));
        assert!(!files.nvram.exists());
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&files.tpm_state).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_disk_that_stands_on_something_else_becomes_no_layer() {
        let (folder, base) = chain();
        let files = BakedFiles::of(folder.path(), "layer");
        let other = GoldenImage::plain("other", folder.path().join("golden/other.qcow2"));
        let kept = folder.path().join("run");
        let error = lay(&kept, &other, &files, record(), &AtomicBool::new(false)).unwrap_err();
        assert!(error.to_string().contains("is no layer above"), "{error}");
        assert!(lay(&folder.path().join("baked"), &base, &files, record(), &AtomicBool::new(false)).is_err());
        assert_eq!(fs::read_dir(folder.path().join("baked")).unwrap().count(), 0);
    }
}
