use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    candidate::inspect,
    catalog::{OnBytes, sha256_watched},
    matrix::guest_path_problem,
    model::{About, Bytes, Cell, GuestFile, HostFile},
};

/// More files in one tree than this are taken for a slip (`from: /`).
const MAX_FILES: usize = 10_000;
const MAX_DEPTH: usize = 64;

/// Host files by their content at the time of planning; each is read once.
pub(super) struct Pins<'a> {
    known: BTreeMap<PathBuf, Pinned>,
    on_bytes: OnBytes<'a>,
}

#[derive(Debug)]
struct Pinned {
    file: HostFile,
    about: About,
}

impl<'a> Pins<'a> {
    /// `on_bytes` is told how much is read.
    pub fn new(on_bytes: OnBytes<'a>) -> Self {
        Self { known: BTreeMap::new(), on_bytes }
    }

    /// Pins one file.
    ///
    /// # Errors
    /// Why it cannot be used, in words.
    pub fn file(&mut self, path: &Path) -> Result<HostFile, String> {
        let path = std::path::absolute(path).map_err(|error| error.to_string())?;
        if let Some(known) = self.known.get(&path) {
            return Ok(known.file.clone());
        }
        let failed = |why: &dyn std::fmt::Display| format!("cannot use `{}`: {why}", path.display());
        let about = fs::metadata(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => failed(&"there is no such file"),
            _ => failed(&error),
        })?;
        if !about.is_file() {
            return Err(failed(&if about.is_dir() { "it is a folder" } else { "it is no regular file" }));
        }
        let sha256 = sha256_watched(&path, self.on_bytes).map_err(|error| failed(&error))?;
        let file = HostFile { path: path.clone(), size: Bytes(about.len()), sha256 };
        let about = inspect(&path).map_err(|error| error.to_string())?;
        self.known.insert(path, Pinned { file: file.clone(), about });
        Ok(file)
    }

    /// What a pinned file is, by its content. `path`: as in [`HostFile::path`].
    pub fn about(&self, path: &Path) -> Option<&About> {
        self.known.get(path).map(|known| &known.about)
    }

    /// What the files are that the cells' updates bring in, beside the candidate.
    pub fn told(&self, cells: &[Cell], candidate: Option<&Path>) -> BTreeMap<PathBuf, About> {
        let steps = cells.iter().flat_map(|cell| &cell.update);
        let paths = steps.flat_map(|step| step.kind.files()).map(|file| &file.from.path);
        let others = paths.filter(|path| Some(path.as_path()) != candidate);
        let told = others.filter_map(|path| Some((path, self.about(path).filter(|about| about.is_telling())?)));
        // The same file is in many cells: each is kept once.
        let told: BTreeMap<&PathBuf, &About> = told.collect();
        told.into_iter().map(|(path, about)| (path.clone(), about.clone())).collect()
    }

    /// Pins a folder and all that is in it, sorted by path, with the files' own permission bits.
    ///
    /// # Errors
    /// Why it cannot be used, in words.
    pub fn tree(&mut self, folder: &Path, to: &str) -> Result<Vec<GuestFile>, String> {
        let mut files = Vec::new();
        self.walk(folder, to, MAX_DEPTH, &mut files)?;
        if files.is_empty() {
            return Err(format!("there is no file in `{}`", folder.display()));
        }
        Ok(files)
    }

    fn walk(&mut self, folder: &Path, to: &str, depth: usize, files: &mut Vec<GuestFile>) -> Result<(), String> {
        let failed = |why: &dyn std::fmt::Display| format!("cannot read the folder `{}`: {why}", folder.display());
        if depth == 0 {
            return Err(failed(&"folders are nested too deeply"));
        }
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut entries = entries.map_err(|error| failed(&error))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let wrong = |why: &str| format!("cannot bring `{}` into the guest: {why}", path.display());
            let name = entry.file_name().into_string().map_err(|_| wrong("its name is not valid UTF-8"))?;
            let about = entry.metadata().map_err(|error| wrong(&error.to_string()))?;
            let to = match to.starts_with('/') {
                true => format!("{}/{name}", to.trim_end_matches('/')),
                false => format!(r"{to}\{name}"),
            };
            if let Some(why) = guest_path_problem(&to) {
                return Err(wrong(&format!("in the guest, {why}")));
            }
            if about.is_symlink() {
                return Err(wrong("it is a symbolic link, and what it points to may not be meant"));
            } else if about.is_dir() {
                self.walk(&path, &to, depth - 1, files)?;
            } else {
                let mode = Some(about.permissions().mode() & 0o777);
                files.push(GuestFile { from: self.file(&path)?, to, mode });
            }
            if files.len() > MAX_FILES {
                return Err(format!("there are more than {MAX_FILES} files in `{}`", folder.display()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_is_read_is_told_and_a_known_file_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("large");
        fs::write(&file, vec![0; 3 << 20]).unwrap();
        let mut read = 0;
        let mut on_bytes = |more| {
            read += more;
            std::ops::ControlFlow::Continue(())
        };
        let mut pins = Pins::new(&mut on_bytes);
        let first = pins.file(&file).unwrap();
        assert_eq!(pins.file(&file).unwrap(), first);
        assert_eq!(read, 3 << 20);
    }
}
