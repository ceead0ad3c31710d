use std::{
    fs::{self, File},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use super::{About, SealError, SealKey, SealedFile, io, lock::Lock};
use crate::{
    catalog::DigestCache,
    lab::{CleanReport, make_passage},
    model::{Bytes, Sha256, StateDir},
};

/// A file in a seal's folder that says that machines did not start from it.
const REJECTED: &str = "rejected";

/// The seals of a host, in the state folder.
///
/// ```text
/// <state>/seals/KEY/        memory, disk.qcow2, nvram.fd, machine.json: the lab's; seal.json: ours; control-*.json
/// <state>/seals/KEY.lock    shared while used, exclusive while made or removed; its time is that of the last use
/// <state>/seals/KEY.new/    being made
/// ```
#[derive(Clone, Debug)]
pub struct SealCache {
    state: StateDir,
    dir: PathBuf,
    digests: Arc<DigestCache>,
    /// Beyond this the least recently used go.
    limit: Bytes,
}

/// A whole seal, in use: nobody removes it for as long as this lives.
#[derive(Debug)]
pub struct Seal {
    dir: PathBuf,
    /// What is known of it.
    pub about: About,
    _lock: Lock,
}

/// What there is of a seal.
pub enum Taken {
    /// It is there, whole, and in use from here on.
    Ready(Seal),
    /// Ours to make.
    Absent(Builder),
    /// Another process makes it: look again later.
    Busy,
}

/// A seal that is being made; gone when dropped before it is finished.
pub struct Builder {
    cache: SealCache,
    key: SealKey,
    dir: PathBuf,
    /// What is the matter with the one that was there.
    problem: Option<String>,
    lock: Option<Lock>,
}

/// A seal in the cache, for people.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What is known of it.
    pub about: About,
    /// When a cell last took it.
    pub used: Option<SystemTime>,
    /// Some process uses it now.
    pub in_use: bool,
}

impl SealCache {
    /// How much is kept unless told otherwise.
    pub const LIMIT: Bytes = Bytes(16 * Bytes::GIB);

    /// `digests`: those of the seals' files, remembered between processes. `limit`: how much disk space all seals may
    /// take.
    pub fn new(state: &StateDir, digests: Arc<DigestCache>, limit: Bytes) -> Self {
        Self { state: state.clone(), dir: state.seals(), digests, limit }
    }

    /// Takes a seal that is whole, or the task of making it. May read all of it, so it blocks.
    ///
    /// # Errors
    /// [`SealError`]: also a damaged seal that somebody still uses.
    pub fn take(&self, key: &SealKey) -> Result<Taken, SealError> {
        make_passage(&self.state, &self.dir)?;
        let lock = self.lock_file(key.name());
        let Some(shared) = Lock::shared(&lock).map_err(io("lock", &lock))? else { return Ok(Taken::Busy) };
        let problem = match self.whole(key) {
            Ok(Some(about)) => return Ok(Taken::Ready(self.used(key, about, shared))),
            Ok(None) => None,
            Err(problem) => Some(problem),
        };
        drop(shared);
        let Some(exclusive) = Lock::exclusive(&lock).map_err(io("lock", &lock))? else {
            return problem.map_or(Ok(Taken::Busy), Err);
        };
        // Between the two locks another process may have made it.
        if let Ok(Some(about)) = self.whole(key) {
            let shared = exclusive.share().map_err(io("lock", &lock))?;
            return Ok(Taken::Ready(self.used(key, about, shared)));
        }
        let dir = self.dir.join(format!("{}.new", key.name()));
        for old in [&dir, &self.dir.join(key.name())] {
            remove(old)?;
        }
        Ok(Taken::Absent(Builder {
            cache: self.clone(),
            key: key.clone(),
            dir,
            problem: problem.map(|problem| problem.to_string()),
            lock: Some(exclusive),
        }))
    }

    /// A seal if it is there and whole; nothing is made or waited for.
    pub fn find(&self, key: &SealKey) -> Option<Seal> {
        let shared = Lock::shared(&self.lock_file(key.name())).ok()??;
        let about = self.whole(key).ok()??;
        Some(self.used(key, about, shared))
    }

    fn lock_file(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.lock"))
    }

    fn used(&self, key: &SealKey, about: About, lock: Lock) -> Seal {
        let file = self.lock_file(key.name());
        let _ = File::options().write(true).open(&file).and_then(|file| file.set_modified(SystemTime::now()));
        Seal { dir: self.dir.join(key.name()), about, _lock: lock }
    }

    /// Whether the folder holds this very seal, each byte of it. Files that have not changed are not read again.
    fn whole(&self, key: &SealKey) -> Result<Option<About>, SealError> {
        let dir = self.dir.join(key.name());
        let Some(about) = About::read(&dir)? else { return Ok(None) };
        let unusable = |why: String| Err(SealError::Unusable { path: dir.clone(), why });
        if about.key != *key.sha256() {
            return unusable("it is another one's".to_owned());
        }
        if dir.join(REJECTED).exists() {
            return unusable("machines did not start from it".to_owned());
        }
        for file in &about.files {
            let path = dir.join(&file.name);
            let size = fs::symlink_metadata(&path).map_err(io("read", &path))?.len();
            if size != file.size.0 || self.digest(&path)? != file.sha256 {
                return unusable(format!("{} is not what was sealed", file.name));
            }
        }
        Ok(Some(about))
    }

    fn digest(&self, path: &Path) -> Result<Sha256, SealError> {
        self.digests.digest(path, false, &mut |_| ControlFlow::Continue(())).map_err(io("read", path))
    }

    /// Every seal that is made, the last used first. Whether it is whole is not looked at.
    pub fn list(&self) -> Vec<Listed> {
        let mut all: Vec<Listed> = self.names().iter().filter_map(|name| self.listed(name)).collect();
        all.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.about.key.cmp(&b.about.key)));
        all
    }

    fn listed(&self, name: &str) -> Option<Listed> {
        let about = About::read(&self.dir.join(name)).ok()??;
        let lock = self.lock_file(name);
        let used = fs::metadata(&lock).and_then(|about| about.modified()).ok();
        let in_use = matches!(Lock::exclusive(&lock), Ok(None));
        Some(Listed { about, used, in_use })
    }

    /// Names of seals by their lock files.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let name = |path: PathBuf| Some(path.file_name()?.to_str()?.strip_suffix(".lock")?.to_owned());
        entries.filter_map(|entry| name(entry.path())).collect()
    }

    /// Removes every seal that nobody uses, half-made ones too.
    pub fn clear(&self) -> CleanReport {
        self.remove_all(true)
    }

    /// Removes what processes that died left half-made.
    pub fn sweep(&self) -> CleanReport {
        self.remove_all(false)
    }

    fn remove_all(&self, whole: bool) -> CleanReport {
        let mut report = CleanReport::default();
        let half = |name: &String| self.dir.join(format!("{name}.new")).exists();
        // A lock that is tried makes others wait.
        for name in self.names().into_iter().filter(|name| whole || half(name)) {
            match self.remove(&name, whole) {
                Ok(folders) => report.folders.extend(folders),
                Err(error) => report.failed.push(error.to_string()),
            }
        }
        report
    }

    /// Removes what is half-made of a seal, and the whole one if that is wanted too. Answers with the folders that are
    /// gone: none of a seal in use.
    fn remove(&self, name: &str, whole: bool) -> Result<Vec<PathBuf>, SealError> {
        let lock = self.lock_file(name);
        let Some(exclusive) = Lock::exclusive(&lock).map_err(io("lock", &lock))? else { return Ok(Vec::new()) };
        let half = self.dir.join(format!("{name}.new"));
        let seal = self.dir.join(name);
        let mut gone = Vec::new();
        for dir in [half].into_iter().chain(whole.then_some(seal)).filter(|dir| dir.exists()) {
            remove(&dir)?;
            gone.push(dir);
        }
        if whole {
            exclusive.remove();
        }
        Ok(gone)
    }

    /// Makes room for so much more: the least recently used go first, after those that nobody can read any more.
    fn evict(&self, more: Bytes) {
        let broken = |name: &String| About::read(&self.dir.join(name)).is_err();
        for name in self.names().into_iter().filter(broken) {
            if let Err(error) = self.remove(&name, true) {
                tracing::warn!("{error}");
            }
        }
        let mut all = self.list();
        let mut size = all.iter().map(|seal| seal.about.size().0).sum::<u64>().saturating_add(more.0);
        while size > self.limit.0
            && let Some(oldest) = all.pop()
        {
            match self.remove(oldest.about.key.short(), true) {
                Ok(gone) if gone.is_empty() => {}
                Ok(_) => size = size.saturating_sub(oldest.about.size().0),
                Err(error) => tracing::warn!("{error}"),
            }
        }
    }
}

impl Seal {
    /// For [`VmSpec::seal`](crate::lab::VmSpec).
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What reports call it: the name of its folder.
    pub fn name(&self) -> &str {
        self.about.key.short()
    }

    /// Machines do not start from it: the next run makes another one.
    pub fn reject(&self, why: &str) {
        if let Err(error) = fs::write(self.dir.join(REJECTED), why) {
            tracing::warn!("cannot mark {} as rejected: {error}", self.dir.display());
        }
    }
}

impl Builder {
    /// What the seal is made for.
    pub fn key(&self) -> &SealKey {
        &self.key
    }

    /// What is the matter with the seal that it takes the place of; none: there was none.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// The folder for [`Vm::seal`](crate::lab::Vm::seal); the lab makes it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Completes the seal with what the lab put into the folder. Reads all of it, so it blocks.
    ///
    /// # Errors
    /// [`SealError`]; nothing is left of it then.
    pub fn finish(mut self, mut about: About) -> Result<Seal, SealError> {
        let entries = fs::read_dir(&self.dir).map_err(io("read", &self.dir))?;
        for entry in entries {
            let path = entry.map_err(io("read", &self.dir))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let sha256 = self.cache.digest(&path)?;
            let size = Bytes(fs::metadata(&path).map_err(io("read", &path))?.len());
            about.files.push(SealedFile { name, size, sha256 });
        }
        about.files.sort_by(|a, b| a.name.cmp(&b.name));
        self.cache.evict(about.size());
        about.write(&self.dir)?;
        let dir = self.cache.dir.join(self.key.name());
        fs::rename(&self.dir, &dir).map_err(io("move", &self.dir))?;
        let lock = self.cache.lock_file(self.key.name());
        let exclusive = self.lock.take().ok_or(SealError::Cancelled)?;
        let shared = exclusive.share().map_err(io("lock", &lock))?;
        Ok(self.cache.used(&self.key, about, shared))
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        if self.lock.is_some()
            && let Err(error) = remove(&self.dir)
        {
            tracing::warn!("{error}");
        }
    }
}

fn remove(dir: &Path) -> Result<(), SealError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("remove", dir)(error)),
        _ => Ok(()),
    }
}
