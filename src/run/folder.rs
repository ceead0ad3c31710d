use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use time::{OffsetDateTime, macros::format_description};

use crate::{
    files::open_regular,
    model::{CellId, Plan, RunId, Sha256},
};

/// A run's directory.
#[derive(Clone, Debug)]
pub struct RunFolder {
    pub run: RunId,
    pub dir: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("cannot {action} {}: {source}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is no plan of this version of bootgate: {why}", .path.display())]
    Plan { path: PathBuf, why: String },
    #[error("{} is not the plan that the run began with (its digest differs): nothing may rest on a changed plan", .0.display())]
    PlanChanged(PathBuf),
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FolderError + 'a {
    move |source| FolderError::Io { action, path: path.to_owned(), source }
}

impl RunFolder {
    /// Makes `<runs>/<UTC time>-<name>/` with the plan in it. Answers also with the plan's digest.
    ///
    /// # Errors
    /// [`FolderError`]: nothing else was made.
    pub fn create(runs: &Path, plan: &Plan) -> Result<(Self, Sha256), FolderError> {
        fs::create_dir_all(runs).map_err(failed("create", runs))?;
        let stamp = OffsetDateTime::now_utc()
            .format(format_description!("[year][month][day]T[hour][minute][second]Z"))
            .unwrap_or_else(|_| "unknown-time".to_owned());
        let mut name = format!("{stamp}-{}", plan.name);
        let mut n = 1;
        let dir = loop {
            let dir = runs.join(&name);
            match fs::create_dir(&dir) {
                Ok(()) => break dir,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && n < 100 => {
                    n += 1;
                    name = format!("{stamp}-{}-{n}", plan.name);
                }
                Err(source) => return Err(FolderError::Io { action: "create", path: dir, source }),
            }
        };
        let dir = std::path::absolute(&dir).map_err(failed("find", &dir))?;
        let folder = Self { run: RunId(name), dir };
        let text = serde_json::to_vec_pretty(plan).map_err(io::Error::other).map_err(failed("write", &folder.dir))?;
        let path = folder.plan();
        fs::write(&path, &text).map_err(failed("write", &path))?;
        Ok((folder, Sha256::of(&text)))
    }

    /// Opens an earlier run's directory.
    ///
    /// # Errors
    /// [`FolderError`]: no plan, or not the one whose digest the journal holds.
    pub fn open(dir: &Path, run: RunId, plan_sha256: &Sha256) -> Result<(Self, Plan), FolderError> {
        let dir = std::path::absolute(dir).map_err(failed("find", dir))?;
        let folder = Self { run, dir };
        let path = folder.plan();
        let mut text = Vec::new();
        let read = open_regular(&path).and_then(|mut file| file.read_to_end(&mut text));
        read.map_err(failed("read", &path))?;
        if Sha256::of(&text) != *plan_sha256 {
            return Err(FolderError::PlanChanged(path));
        }
        let plan = serde_json::from_slice(&text).map_err(|error| FolderError::Plan { path, why: error.to_string() })?;
        Ok((folder, plan))
    }

    pub fn plan(&self) -> PathBuf {
        self.dir.join("plan.json")
    }

    pub fn journal(&self) -> PathBuf {
        self.dir.join("events.jsonl")
    }

    /// Where a cell's evidence goes. A further attempt leaves the first one's in place.
    pub fn cell(&self, id: &CellId, attempt: u32) -> PathBuf {
        let dir = self.dir.join("cells").join(&id.0);
        if attempt > 1 { dir.join(format!("attempt-{attempt}")) } else { dir }
    }
}
