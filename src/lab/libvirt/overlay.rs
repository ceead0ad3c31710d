//! The copy-on-write child of a golden image, written by this process.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::Path,
};

use imago::{FormatCreateBuilder as _, Storage as _, StorageCreateOptions, qcow2::Qcow2};

use super::domain_xml::Layer;
use crate::lab::LabError;

/// What the header of a qcow2 image says (QEMU's `docs/interop/qcow2.txt`).
#[derive(Debug, PartialEq, Eq)]
struct Header {
    virtual_size: u64,
    encrypted: bool,
    /// Zero for version 2, which has no features.
    incompatible: u64,
    /// Where in the file the backing file's name is, and how long it is; zero: no backing file.
    backing_at: u64,
    backing_length: u32,
}

const MAGIC: &[u8; 4] = b"QFI\xfb";
const MAX_CHAIN: usize = 32;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let u32_at = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        if bytes.get(..4)? != MAGIC {
            return None;
        }
        let incompatible = if u32_at(4)? >= 3 { u64_at(72)? } else { 0 };
        Some(Self {
            virtual_size: u64_at(24)?,
            encrypted: u32_at(32)? != 0,
            incompatible,
            backing_at: u64_at(8)?,
            backing_length: u32_at(16)?,
        })
    }
}

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
        Qcow2::<imago::file::File>::create_builder(file).backing(golden.to_owned(), "qcow2".to_owned()).size(size).create()
    };
    write().map_err(LabError::io("create", overlay))
}

/// The golden image and all files below it, nearest first, as their headers say.
///
/// # Errors
/// A file that is missing, or that is no file at all but what QEMU calls a protocol (`nbd:`, `json:`).
pub fn chain(golden: &Path) -> Result<Vec<Layer>, LabError> {
    let unusable = |why: String| LabError::ImageUnusable { disk: golden.to_owned(), why };
    let mut layers = Vec::new();
    let mut next = Some(golden.to_owned());
    while let Some(path) = next.take() {
        if layers.len() == MAX_CHAIN {
            return Err(unusable(format!("its backing chain has more than {MAX_CHAIN} files")));
        }
        let header = Header::parse(&head(&path)?);
        let format = if header.is_some() { "qcow2" } else { "raw" };
        if let Some(header) = header
            && header.backing_at != 0
        {
            let name = backing_name(&path, &header).map_err(LabError::io("read", &path))?;
            if name.split('/').next().is_some_and(|first| first.contains(':')) {
                return Err(unusable(format!("it is backed by {name}, which is no file")));
            }
            next = Some(path.parent().unwrap_or(Path::new("/")).join(name));
        }
        let file = path.to_str().ok_or_else(|| unusable("its path is not UTF-8".to_owned()))?.to_owned();
        layers.push(Layer { file, format });
    }
    Ok(layers)
}

fn backing_name(path: &Path, header: &Header) -> io::Result<String> {
    // The format allows no more than 1023 bytes.
    let mut name = vec![0; header.backing_length.min(1023) as usize];
    File::open(path)?.read_exact_at(&mut name, header.backing_at)?;
    String::from_utf8(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn checked_size(golden: &Path) -> Result<u64, LabError> {
    let unusable = |why: &str| LabError::ImageUnusable { disk: golden.to_owned(), why: why.to_owned() };
    let header = Header::parse(&head(golden)?).ok_or_else(|| {
        unusable("it is no qcow2 image; convert it: qemu-img convert -O qcow2 IMAGE NEW.qcow2")
    })?;
    match header {
        Header { encrypted: true, .. } => Err(unusable("it is encrypted")),
        Header { incompatible, .. } if incompatible & CORRUPT != 0 => {
            Err(unusable("it is marked as corrupt; try: qemu-img check -r all IMAGE"))
        }
        Header { incompatible, .. } if incompatible & EXTERNAL_DATA != 0 => {
            Err(unusable("it keeps its data in another file; convert it: qemu-img convert -O qcow2 IMAGE NEW.qcow2"))
        }
        Header { virtual_size: 0, .. } => Err(unusable("its disk has no size")),
        Header { virtual_size, .. } => Ok(virtual_size),
    }
}

fn head(path: &Path) -> Result<Vec<u8>, LabError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(104).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(LabError::ImageMissing(path.to_owned())),
        Err(error) => Err(LabError::io("read", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf, process::Command};

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
        assert!(matches!(chain(Path::new(&name("top.qcow2"))), Err(LabError::ImageMissing(path)) if path.ends_with("base.img")));
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
