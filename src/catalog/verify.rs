use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{DigestCache, OnBytes};
use crate::{
    model::{GoldenImage, ReasonId, Sha256},
    qcow2::{self, Header},
};

/// Why a golden image cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageProblem {
    #[error("`{}` is missing", path.display())]
    Missing { path: PathBuf },
    #[error(
        "`{}` is not what the catalogue says: its sha256 is {}, not {}",
        path.display(), found.short(), expected.short()
    )]
    Changed { path: PathBuf, expected: Sha256, found: Sha256 },
    #[error("`{}` cannot be used as a golden disk: {why}", path.display())]
    Unusable { path: PathBuf, why: String },
    #[error("`{}` cannot be read: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    /// A layer whose disk is not what it should be made of.
    #[error("`{image}` has to be baked: {why}; `bootgate images bake {image}` does it")]
    Unbaked { image: String, why: String, absent: bool },
    /// The caller's callback stopped the reading.
    #[error("stopped while `{}` was read", path.display())]
    Stopped { path: PathBuf },
}

impl ImageProblem {
    /// What a cell of this image is inconclusive for.
    pub fn reason(&self) -> ReasonId {
        match self {
            ImageProblem::Missing { .. } | ImageProblem::Unreadable { .. } => ReasonId::ImageMissing,
            ImageProblem::Unbaked { absent: true, .. } => ReasonId::ImageMissing,
            ImageProblem::Changed { .. } | ImageProblem::Unusable { .. } | ImageProblem::Unbaked { .. } => {
                ReasonId::ImageChanged
            }
            ImageProblem::Stopped { .. } => ReasonId::Cancelled,
        }
    }

    fn from_io(path: &Path, error: &io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound => ImageProblem::Missing { path },
            io::ErrorKind::Interrupted => ImageProblem::Stopped { path },
            _ => ImageProblem::Unreadable { path, why: error.to_string() },
        }
    }

    fn from_header(path: &Path, error: &qcow2::Error) -> Self {
        match error {
            qcow2::Error::Io(error) => Self::from_io(path, error),
            _ => ImageProblem::Unusable { path: path.to_owned(), why: error.to_string() },
        }
    }
}

/// Proves that an image is what the catalogue says: every file of its chain, and what its firmware and its TPM
/// remember, is there and unchanged, and the chain that the disk's headers name is the one that is listed. Blocks while it reads.
///
/// # Errors
/// The first problem, nearest file first.
pub fn verify(
    image: &GoldenImage,
    cache: &DigestCache,
    rehash: bool,
    on_bytes: OnBytes<'_>,
) -> Result<(), ImageProblem> {
    if let Some(why) = &image.unbaked {
        let absent = fs::symlink_metadata(&image.disk).is_err();
        return Err(ImageProblem::Unbaked { image: image.name.clone(), why: why.clone(), absent });
    }
    check_chain(image)?;
    let states = image.states().map(|state| (state.file.as_path(), &state.sha256));
    for (path, expected) in image.chain().chain(states) {
        let digest = cache.digest(path, rehash, on_bytes);
        let found = digest.map_err(|error| ImageProblem::from_io(path, &error))?;
        if found != *expected {
            return Err(ImageProblem::Changed { path: path.to_owned(), expected: expected.clone(), found });
        }
    }
    for path in image.boot.iter().flat_map(|boot| [Some(&boot.kernel), boot.initrd.as_ref()]).flatten() {
        let about = fs::metadata(path).map_err(|error| ImageProblem::from_io(path, &error))?;
        if !about.is_file() {
            return Err(ImageProblem::Unreadable { path: path.clone(), why: "it is no regular file".into() });
        }
    }
    Ok(())
}

fn check_chain(image: &GoldenImage) -> Result<(), ImageProblem> {
    let mut below = image.chain().skip(1);
    let mut path = image.disk.clone();
    let mut raw = false;
    loop {
        let about = fs::metadata(&path).map_err(|error| ImageProblem::from_io(&path, &error))?;
        let unusable = |why: String| ImageProblem::Unusable { path: path.clone(), why };
        if !about.is_file() {
            return Err(unusable("it is no regular file".into()));
        }
        let in_header = |error: qcow2::Error| ImageProblem::from_header(&path, &error);
        let named = if raw { None } else { Header::read(&path).map_err(in_header)?.backing };
        let listed = below.next();
        raw = named.as_ref().is_some_and(|backing| backing.is_raw);
        let next = match (named, listed) {
            (None, None) => return Ok(()),
            (None, Some((extra, _))) => {
                let why = format!("it has no backing file, but `backing:` lists `{}`", extra.display());
                return Err(unusable(why));
            }
            (Some(backing), None) => {
                let name = backing.name;
                return Err(unusable(format!("its backing file `{name}` is missing from `backing:` in the catalogue")));
            }
            (Some(backing), Some((listed, _))) => {
                let real = backing.beside(&path).map_err(in_header)?;
                if canonical(&real)? != canonical(listed)? {
                    let why =
                        format!("its backing file is `{}`, but `backing:` lists `{}`", backing.name, listed.display());
                    return Err(unusable(why));
                }
                real
            }
        };
        path = next;
    }
}

fn canonical(path: &Path) -> Result<PathBuf, ImageProblem> {
    fs::canonicalize(path).map_err(|error| ImageProblem::from_io(path, &error))
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::{
        model::{BackingFile, DirectBoot, StateFile},
        qcow2::tests::header,
    };

    fn image(folder: &Path, names: &[&str]) -> GoldenImage {
        let digest = |name: &str| super::super::sha256_file(&folder.join(name)).unwrap_or(Sha256::of(b""));
        let file = |name: &&str| BackingFile { disk: folder.join(name), sha256: digest(name) };
        GoldenImage {
            sha256: digest(names[0]),
            backing: names[1..].iter().map(file).collect(),
            ..GoldenImage::plain("i", folder.join(names[0]))
        }
    }

    fn check(folder: &Path, image: &GoldenImage) -> Result<(), ImageProblem> {
        let cache = DigestCache::open(folder.join("digests.json"));
        verify(image, &cache, false, &mut |_| ControlFlow::Continue(()))
    }

    fn chain() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("top.qcow2"), header(Some("base.qcow2"))).unwrap();
        fs::write(folder.path().join("base.qcow2"), header(None)).unwrap();
        folder
    }

    #[test]
    fn an_unchanged_chain_holds() {
        let folder = chain();
        assert_eq!(check(folder.path(), &image(folder.path(), &["top.qcow2", "base.qcow2"])), Ok(()));
    }

    #[test]
    fn a_changed_base_is_found_below_an_unchanged_disk() {
        let folder = chain();
        let image = image(folder.path(), &["top.qcow2", "base.qcow2"]);
        let mut changed = header(None);
        changed.push(1);
        fs::write(folder.path().join("base.qcow2"), changed).unwrap();
        let problem = check(folder.path(), &image).unwrap_err();
        assert!(matches!(problem, ImageProblem::Changed { ref path, .. } if path.ends_with("base.qcow2")));
        assert_eq!(problem.reason(), ReasonId::ImageChanged);
    }

    #[test]
    fn a_chain_that_is_not_the_listed_one_is_refused() {
        let folder = chain();
        let problem = |names: &[&str]| check(folder.path(), &image(folder.path(), names)).unwrap_err().to_string();
        assert!(problem(&["top.qcow2"]).contains("`base.qcow2` is missing from `backing:`"));
        assert!(problem(&["base.qcow2", "top.qcow2"]).contains("it has no backing file, but"));
        fs::write(folder.path().join("other.qcow2"), header(None)).unwrap();
        assert!(problem(&["top.qcow2", "other.qcow2"]).contains("its backing file is `base.qcow2`, but"));
    }

    #[test]
    fn absent_files_are_missing_wherever_they_are_in_the_chain() {
        let folder = chain();
        let whole = image(folder.path(), &["top.qcow2", "base.qcow2"]);
        fs::remove_file(folder.path().join("base.qcow2")).unwrap();
        assert!(matches!(check(folder.path(), &whole), Err(ImageProblem::Missing { .. })));
        fs::remove_file(folder.path().join("top.qcow2")).unwrap();
        assert_eq!(check(folder.path(), &whole).unwrap_err().reason(), ReasonId::ImageMissing);
    }

    #[test]
    fn what_firmware_and_tpm_remember_is_a_part_of_the_image() {
        let folder = chain();
        for name in ["nvram.fd", "tpm2-00.permall"] {
            let file = folder.path().join(name);
            fs::write(&file, name).unwrap();
            let state = Some(StateFile { file: file.clone(), sha256: Sha256::of(name.as_bytes()) });
            let mut image = image(folder.path(), &["top.qcow2", "base.qcow2"]);
            *(if name == "nvram.fd" { &mut image.nvram } else { &mut image.tpm_state }) = state;
            assert_eq!(check(folder.path(), &image), Ok(()));
            fs::write(&file, "changed").unwrap();
            assert_eq!(check(folder.path(), &image).unwrap_err().reason(), ReasonId::ImageChanged);
            fs::remove_file(&file).unwrap();
            assert_eq!(check(folder.path(), &image).unwrap_err().reason(), ReasonId::ImageMissing);
        }
    }

    #[test]
    fn a_kernel_that_is_no_regular_file_is_refused() {
        let folder = chain();
        let with = |kernel: &str, initrd: Option<&str>| {
            let mut image = image(folder.path(), &["base.qcow2"]);
            let (kernel, initrd) = (folder.path().join(kernel), initrd.map(PathBuf::from));
            image.boot = Some(DirectBoot { kernel, initrd, cmdline: String::new() });
            check(folder.path(), &image).map_err(|problem| problem.to_string())
        };
        assert_eq!(with("top.qcow2", None), Ok(()));
        assert!(with("", None).unwrap_err().ends_with("cannot be read: it is no regular file"));
        assert_eq!(
            with("top.qcow2", Some("/dev/zero")).unwrap_err(),
            "`/dev/zero` cannot be read: it is no regular file"
        );
    }

    #[test]
    fn a_chain_that_bites_its_tail_ends() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.qcow2"), header(Some("a.qcow2"))).unwrap();
        assert!(check(folder.path(), &image(folder.path(), &["a.qcow2", "a.qcow2"])).is_err());
    }
}
