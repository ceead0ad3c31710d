//! The copy-on-write child of a golden image, written by this process.

use std::{fs, io, path::Path};

use imago::{FormatCreateBuilder as _, Storage as _, StorageCreateOptions, qcow2::Qcow2};

use super::domain_xml::Layer;
use crate::{
    lab::LabError,
    qcow2::{self, Header},
};

const MAX_CHAIN: usize = 32;

/// Creates an overlay as large as its golden image. The golden image is only read, and only its header: so
/// features that only matter to who reads the data (zstd, extended L2 entries) do not matter here.
///
/// # Errors
/// A golden image that is missing, is no qcow2 or that QEMU could not use below an overlay; a full disk.
pub fn create(overlay: &Path, golden: &Path) -> Result<(), LabError> {
    let size = checked_size(golden)?;
    let unusable = |why: &str| LabError::ImageUnusable { disk: golden.to_owned(), why: why.to_owned() };
    let golden = golden.to_str().ok_or_else(|| unusable("its path is not UTF-8"))?;
    let write = || {
        let file = imago::file::File::create_open(StorageCreateOptions::new().filename(overlay).overwrite(false))?;
        Qcow2::<imago::file::File>::create_builder(file)
            .backing(golden.to_owned(), "qcow2".to_owned())
            .size(size)
            .create()
    };
    write().map_err(LabError::io("create", overlay))
}

/// The golden image and all files below it, nearest first, as their headers say.
///
/// # Errors
/// A file that is missing, that QEMU could not use below an overlay, or that is no file at all but what QEMU calls a
/// protocol (`nbd:`, `json:`).
pub fn chain(golden: &Path) -> Result<Vec<Layer>, LabError> {
    let unusable = |why: String| LabError::ImageUnusable { disk: golden.to_owned(), why };
    let mut layers = Vec::new();
    let mut next = Some((golden.to_owned(), false));
    while let Some((path, is_raw)) = next.take() {
        if layers.len() == MAX_CHAIN {
            return Err(unusable(format!("its backing chain has more than {MAX_CHAIN} files")));
        }
        if is_raw {
            fs::metadata(&path).map_err(|error| image_error(&path, error.into()))?;
        } else if let Some(backing) = Header::read(&path).map_err(|error| image_error(&path, error))?.backing {
            let below = backing.beside(&path).map_err(|error| image_error(&path, error))?;
            next = Some((below, backing.is_raw));
        }
        let file = path.to_str().ok_or_else(|| unusable("its path is not UTF-8".to_owned()))?.to_owned();
        layers.push(Layer { file, format: if is_raw { "raw" } else { "qcow2" } });
    }
    Ok(layers)
}

fn checked_size(golden: &Path) -> Result<u64, LabError> {
    match Header::read(golden).map_err(|error| image_error(golden, error))?.virtual_size {
        0 => Err(LabError::ImageUnusable { disk: golden.to_owned(), why: "its disk has no size".to_owned() }),
        size => Ok(size),
    }
}

fn image_error(path: &Path, error: qcow2::Error) -> LabError {
    match error {
        qcow2::Error::Io(error) if error.kind() == io::ErrorKind::NotFound => LabError::ImageMissing(path.to_owned()),
        qcow2::Error::Io(error) => LabError::io("read", path)(error),
        refused => LabError::ImageUnusable { disk: path.to_owned(), why: refused.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::MetadataExt as _, path::PathBuf, process::Command};

    use super::*;

    fn qemu_img(args: &[&str]) -> String {
        let out = Command::new("qemu-img").args(args).output().expect("qemu-img is installed (see `bootgate doctor`)");
        assert!(out.status.success(), "qemu-img {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    fn golden(dir: &Path, options: &str) -> PathBuf {
        let path = dir.join("golden.qcow2");
        qemu_img(&["create", "-q", "-f", "qcow2", "-o", options, path.to_str().unwrap(), "7G"]);
        path
    }

    #[test]
    fn an_overlay_passes_qemus_own_check_and_leaves_the_golden_image_alone() {
        for options in ["compat=1.1", "compat=0.10", "compression_type=zstd", "extended_l2=on", "cluster_size=512"] {
            let temp = tempfile::tempdir().unwrap();
            let golden = golden(temp.path(), options);
            let before = fs::metadata(&golden).unwrap();
            let overlay = temp.path().join("overlay.qcow2");
            create(&overlay, &golden).unwrap();
            let overlay = overlay.to_str().unwrap();
            qemu_img(&["check", "-q", overlay]);
            let info: serde_json::Value = serde_json::from_str(&qemu_img(&["info", "--output=json", overlay])).unwrap();
            assert_eq!(info["virtual-size"], 7_u64 << 30, "{options}");
            assert_eq!(info["backing-filename"], golden.to_str().unwrap());
            assert_eq!(info["backing-filename-format"], "qcow2");
            let after = fs::metadata(&golden).unwrap();
            assert_eq!((before.ctime_nsec(), before.size()), (after.ctime_nsec(), after.size()));
        }
    }

    #[test]
    fn the_files_below_an_image_are_found_by_their_headers() {
        let temp = tempfile::tempdir().unwrap();
        let name = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
        fs::write(name("base.img"), vec![0; 1 << 20]).unwrap();
        qemu_img(&["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base.img", &name("middle.qcow2")]);
        qemu_img(&["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", &name("middle.qcow2"), &name("top.qcow2")]);
        let found = chain(Path::new(&name("top.qcow2"))).unwrap();
        let expected = [("top.qcow2", "qcow2"), ("middle.qcow2", "qcow2"), ("base.img", "raw")];
        assert_eq!(found, expected.map(|(file, format)| Layer { file: name(file), format }));
        fs::remove_file(name("base.img")).unwrap();
        assert!(
            matches!(chain(Path::new(&name("top.qcow2"))), Err(LabError::ImageMissing(path)) if path.ends_with("base.img"))
        );
    }

    #[test]
    fn images_that_cannot_be_cloned_are_refused_with_the_reason() {
        let temp = tempfile::tempdir().unwrap();
        let path = golden(temp.path(), "compat=1.1");
        let overlay = temp.path().join("overlay.qcow2");
        let refused = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            create(&overlay, &path).unwrap_err().to_string()
        };
        let good = fs::read(&path).unwrap();
        let patched = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            bytes
        };
        assert!(refused(&patched(35, 2)).contains("encrypted"));
        assert!(refused(&patched(79, 2)).contains("corrupt"));
        assert!(refused(&patched(79, 4)).contains("another file"));
        assert!(refused(b"raw").contains("no qcow2"));
        assert!(refused(b"").contains("no qcow2"));
        fs::remove_file(&path).unwrap();
        assert!(matches!(create(&overlay, &path), Err(LabError::ImageMissing(_))));
        assert!(!overlay.exists());
    }
}
