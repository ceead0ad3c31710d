use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Args, say::utc_now};
use crate::{
    lab,
    model::{Sha256, StateDir},
    watch::{Names, QueueFile, Record},
};

/// A folder, a matrix, and where what is kept of the two is.
pub(super) struct Place {
    pub dir: PathBuf,
    pub matrix: PathBuf,
    kept: PathBuf,
}

impl Place {
    /// The same for every way to write the two paths, as long as they are there.
    pub fn of(dir: &Path, matrix: &Path, state: &StateDir) -> Self {
        let real = |path: &Path| {
            let absolute = || std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            fs::canonicalize(path).unwrap_or_else(|_| absolute())
        };
        let (dir, matrix) = (real(dir), real(matrix));
        let both = [dir.as_os_str().as_encoded_bytes(), matrix.as_os_str().as_encoded_bytes()].join(&0);
        let kept = state.watch().join(Sha256::of(&both).short());
        Self { dir, matrix, kept }
    }

    pub fn queue(&self) -> PathBuf {
        self.kept.join("queue.jsonl")
    }

    pub fn copies(&self) -> PathBuf {
        self.kept.join("candidates")
    }

    /// Takes the queue, which nobody else may have.
    pub fn open(&self, state: &StateDir) -> anyhow::Result<QueueFile> {
        lab::make_state_dir(state)?;
        let first = Record::Opened { folder: self.dir.clone(), matrix: self.matrix.clone() };
        Ok(QueueFile::open(&self.queue(), &utc_now(), &first)?)
    }

    /// Files of ours that may lie in the folder too.
    pub fn leave_out(&self, names: Names, args: &Args) -> Names {
        let ours = [Some(&self.matrix), args.with.catalog.as_ref(), args.key.as_ref()].into_iter().flatten();
        let ours = ours.filter_map(|path| fs::canonicalize(path).ok());
        let here = ours.filter(|path| path.parent() == Some(&self.dir));
        let name = |path: PathBuf| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        here.filter_map(name).fold(names, Names::without)
    }
}
