//! A layer: the disk of a machine that was baked, above the image that it was a clone of.

use std::{
    fs::{self, File},
    path::{Component, Path, PathBuf},
    process::Command,
    sync::atomic::AtomicBool,
};

use tempfile::TempPath;

use super::{
    ImageError,
    making::{Piece, QEMU_IMG, beside, run},
};
use crate::{
    catalog::{Baked, BakedFiles},
    lab::{KEPT_DISK, KEPT_NVRAM, KEPT_TPM_STATE},
    model::{GoldenImage, Sha256},
    qcow2,
};

/// Makes the layer `name` in `folder` of what a baked machine left in the folder `kept`, and answers with its disk. The
/// record, which lacks the digests yet, is written last: until then the layer is what it was. Blocks; `stop` ends it early.
///
/// # Errors
/// The layer is what it was.
pub fn lay(
    kept: &Path,
    base: &GoldenImage,
    folder: &Path,
    name: &str,
    mut record: Baked,
    stop: &AtomicBool,
) -> Result<PathBuf, ImageError> {
    let sealed = |file, mode| {
        let mut piece = Piece::new(file, folder, mode);
        piece.seal().map(|()| piece)
    };
    let disk = sealed(differences(&kept.join(KEPT_DISK), base, folder, stop)?, 0o644)?;
    let copied = |from: &str, mode| {
        let from = kept.join(from);
        let copy = || {
            let file = beside(&folder.join(name))?;
            fs::copy(&from, &file).map_err(ImageError::io("copy", &from))?;
            sealed(file, mode)
        };
        from.exists().then(copy).transpose()
    };
    let nvram = copied(KEPT_NVRAM, 0o644)?;
    // The TPM's keys are the machine's secrets.
    let tpm_state = copied(KEPT_TPM_STATE, 0o600)?;
    let digest = |piece: &Option<Piece<'_>>| piece.as_ref().map(|piece| piece.sha256.clone());
    record.sha256 = disk.sha256.clone();
    (record.nvram, record.tpm_state) = (digest(&nvram), digest(&tpm_state));
    let files = BakedFiles::of(folder, name, &record.sha256);
    let named = [(Some(disk), &files.disk), (nvram, &files.nvram), (tpm_state, &files.tpm_state)];
    for (file, path) in named.into_iter().filter_map(|(piece, path)| Some((piece?.file, path))) {
        let synced = File::open(&file).and_then(|file| file.sync_all());
        let named = synced.and_then(|()| file.persist(path).map_err(|error| error.error));
        named.map_err(ImageError::io("write", path))?;
    }
    let path = Baked::path(folder, name);
    let before = Baked::read(&path);
    record.write(&path).map_err(ImageError::io("write", &path))?;
    remove_old(folder, name, &[Some(&record.sha256), before.as_ref().map(|before| &before.sha256)]);
    Ok(files.disk)
}

/// Removes what is left of the layer's older makings. The one before stays: a run that began with it may need it.
fn remove_old(folder: &Path, name: &str, stay: &[Option<&Sha256>]) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let digits = found.to_str().and_then(|found| {
            let (digits, ending) = found.strip_prefix(name)?.strip_prefix('-')?.split_once('.')?;
            let is_ours = ["qcow2", "nvram.fd", "tpm2"].contains(&ending)
                && digits.len() == 12
                && digits.bytes().all(|b| b.is_ascii_hexdigit());
            is_ours.then_some(digits)
        });
        if digits.is_some_and(|digits| stay.iter().flatten().all(|digest| digest.short() != digits)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// What is in the disk and not in the image below it.
fn differences(disk: &Path, base: &GoldenImage, folder: &Path, stop: &AtomicBool) -> Result<TempPath, ImageError> {
    let unfit = |why: String| ImageError::unfit(format!("`{}` {why}", disk.display()), "bake the image again");
    let header = qcow2::Header::read(disk).map_err(|error| unfit(format!("is no disk: {error}")))?;
    let below = header.backing.as_ref().map(|backing| backing.beside(disk));
    // Whatever the file says it stands on is what would be read.
    if !matches!(&below, Some(Ok(path)) if *path == base.disk) {
        return Err(unfit(format!("is no layer above `{}`", base.disk.display())));
    }
    let file = beside(&folder.join("layer"))?;
    let below = relative(&base.disk, folder);
    let mut command = Command::new(QEMU_IMG);
    command.args(["convert", "-f", "qcow2", "-O", "qcow2", "-F", "qcow2", "-B"]).arg(&below);
    run(command.arg("--").arg(disk).arg(&file), stop)?;
    Ok(file)
}

/// The path of `file` as the files in `folder` call it, so that both can be moved together; an absolute one where the two have
/// nothing in common.
fn relative(file: &Path, folder: &Path) -> PathBuf {
    let real = |path: &Path| Some(fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?));
    let (Some(file_is), Ok(folder_is)) = (real(file), fs::canonicalize(folder)) else { return file.to_owned() };
    let shared = file_is.components().zip(folder_is.components()).take_while(|(one, two)| one == two).count();
    // The root alone is nothing in common.
    if shared < 2 {
        return file_is;
    }
    let up = folder_is.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(file_is.components().skip(shared)).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;
    use crate::catalog::sha256_file;

    fn qemu_img(args: &[&str], folder: &Path) {
        let status = Command::new(QEMU_IMG).args(args).current_dir(folder).stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "{args:?}");
    }

    /// A golden image, and a machine's folder with a disk above it.
    struct Bench {
        folder: tempfile::TempDir,
        base: GoldenImage,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for name in ["golden", "baked", "kept"] {
                fs::create_dir(folder.path().join(name)).unwrap();
            }
            qemu_img(&["create", "-f", "qcow2", "golden/base.qcow2", "8M"], folder.path());
            let base = folder.path().join("golden/base.qcow2");
            let overlay = ["create", "-f", "qcow2", "-F", "qcow2", "-b", base.to_str().unwrap(), "kept/disk.qcow2"];
            qemu_img(&overlay, folder.path());
            Self { folder, base: GoldenImage::plain("base", base) }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, at: &str) {
            qemu_io(&format!("write -P 7 {at} 64k"), &self.path("kept/disk.qcow2"));
        }

        fn lay(&self) -> Result<PathBuf, ImageError> {
            let record =
                Baked::new(Sha256::of(b"recipe"), Sha256::of(b""), "2026-01-01T00:00:00Z".into(), "run".into());
            let (kept, folder) = (self.path("kept"), self.path("baked"));
            lay(&kept, &self.base, &folder, "layer", record, &AtomicBool::new(false))
        }

        fn record(&self) -> Option<Baked> {
            Baked::read(&Baked::path(&self.path("baked"), "layer"))
        }

        fn files(&self) -> usize {
            fs::read_dir(self.path("baked")).unwrap().count()
        }
    }

    fn qemu_io(command: &str, disk: &Path) {
        let status = Command::new("qemu-io").args(["-c", command]).arg(disk).stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "{command}");
    }

    #[test]
    fn a_layer_stands_on_its_base_by_a_path_that_moves_with_both() {
        let bench = Bench::new();
        let disk = bench.lay().unwrap();
        assert_eq!(bench.record().unwrap().sha256, sha256_file(&disk).unwrap());
        let backing = qcow2::Header::read(&disk).unwrap().backing.unwrap();
        assert_eq!(backing.name, "../golden/base.qcow2");
        assert_eq!(bench.files(), 2);
    }

    #[test]
    fn what_firmware_and_tpm_remember_is_a_part_of_the_layer() {
        let bench = Bench::new();
        fs::write(bench.path("kept").join(KEPT_TPM_STATE), "keys").unwrap();
        let disk = bench.lay().unwrap();
        let laid = bench.record().unwrap();
        assert_eq!((laid.nvram, laid.tpm_state), (None, Some(Sha256::of(b"keys"))));
        let files = BakedFiles::of(&bench.path("baked"), "layer", &laid.sha256);
        assert_eq!(files.disk, disk);
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&files.tpm_state).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_layer_before_stays_for_the_runs_that_began_with_it_and_older_ones_go() {
        let bench = Bench::new();
        let mut made = Vec::new();
        fs::write(bench.path("baked/layer-of-somebody.qcow2"), "").unwrap();
        for at in ["0", "1M", "2M"] {
            bench.write(at);
            made.push(bench.lay().unwrap());
        }
        assert_eq!(made.iter().map(|disk| disk.exists()).collect::<Vec<_>>(), [false, true, true]);
        assert!(bench.path("baked/layer-of-somebody.qcow2").exists());
    }

    #[test]
    fn a_disk_that_stands_on_something_else_becomes_no_layer() {
        let mut bench = Bench::new();
        bench.base.disk = bench.path("golden/other.qcow2");
        let error = bench.lay().unwrap_err();
        assert!(error.to_string().contains("is no layer above"), "{error}");
        fs::remove_file(bench.path("kept/disk.qcow2")).unwrap();
        assert!(bench.lay().is_err());
        assert_eq!(bench.files(), 0);
    }
}
