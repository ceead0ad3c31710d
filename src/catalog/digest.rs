use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata},
    io::{self, Read as _},
    ops::ControlFlow,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::{
    files::{Access, open_regular, replace},
    model::Sha256,
};

/// Told how many more bytes were read; `Break` stops the reading.
pub type OnBytes<'a> = &'a mut dyn FnMut(u64) -> ControlFlow<()>;

/// Digests of large files, remembered by what the file system says of them.
///
/// Device, inode, size, and the times of the last change to content and to inode in nanoseconds: whoever
/// rewrites a file changes at least one of them. Only the machine's administrator can forge all five.
#[derive(Debug)]
pub struct DigestCache {
    path: PathBuf,
    known: Mutex<BTreeMap<String, Sha256>>,
}

#[derive(Default, Serialize, Deserialize)]
struct CacheFile {
    version: u32,
    digests: BTreeMap<String, Sha256>,
}

const CACHE_VERSION: u32 = 1;
/// Older entries are dropped beyond this many: files that are gone leave entries behind.
const MAX_ENTRIES: usize = 10_000;

impl DigestCache {
    /// Opens the cache; an absent, unreadable or damaged file is an empty cache.
    pub fn open(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let known = Mutex::new(load(&path));
        Self { path, known }
    }

    /// The digest of a file, from the cache unless `rehash`.
    ///
    /// # Errors
    /// The file cannot be read, is no regular one, changed while it was read, or `on_bytes` stopped it (`Interrupted`).
    pub fn digest(&self, path: &Path, rehash: bool, on_bytes: OnBytes<'_>) -> io::Result<Sha256> {
        let mut file = open_regular(path)?;
        let before = identity(&file.metadata()?);
        if !rehash && let Some(known) = self.lock().get(&before) {
            return Ok(known.clone());
        }
        let digest = hash(&mut file, on_bytes)?;
        let after = file.metadata()?;
        if identity(&after) != before {
            return Err(io::Error::other("it changed while it was read"));
        }
        if !may_change_unseen(&after) {
            self.remember(before, &digest);
        }
        Ok(digest)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Sha256>> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn remember(&self, key: String, digest: &Sha256) {
        let mut known = self.lock();
        // Another process may have added to the file meanwhile.
        known.extend(load(&self.path));
        while known.len() >= MAX_ENTRIES {
            known.pop_first();
        }
        known.insert(key, digest.clone());
        if let Err(error) = save(&self.path, &known) {
            tracing::info!("digests are not remembered in {}: {error}", self.path.display());
        }
    }
}

/// The digest of a file, read now.
///
/// # Errors
/// The file cannot be read.
pub fn sha256_file(path: &Path) -> io::Result<Sha256> {
    sha256_watched(path, &mut |_| ControlFlow::Continue(()))
}

/// The same of a file that may be large.
///
/// # Errors
/// The file cannot be read, or `on_bytes` stopped it (`Interrupted`).
pub fn sha256_watched(path: &Path, on_bytes: OnBytes<'_>) -> io::Result<Sha256> {
    hash(&mut open_regular(path)?, on_bytes)
}

fn hash(file: &mut File, on_bytes: OnBytes<'_>) -> io::Result<Sha256> {
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok(Sha256::from_digest(&hasher.finalize())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..read]);
        if on_bytes(read as u64).is_break() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "stopped"));
        }
    }
}

fn identity(about: &Metadata) -> String {
    let time = |seconds: i64, nanos: i64| format!("{seconds}.{nanos:09}");
    let changed = time(about.mtime(), about.mtime_nsec());
    format!("{}:{}:{}:{changed}:{}", about.dev(), about.ino(), about.size(), time(about.ctime(), about.ctime_nsec()))
}

/// Kernels keep file times in ticks of up to 10 ms: a second change within the tick of the last one would
/// leave the times as they are.
fn may_change_unseen(about: &Metadata) -> bool {
    let seconds =
        Duration::new(about.ctime().max(0).cast_unsigned(), about.ctime_nsec().max(0).try_into().unwrap_or(0));
    let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + seconds);
    age.is_ok_and(|age| age < Duration::from_millis(20))
}

fn load(path: &Path) -> BTreeMap<String, Sha256> {
    let mut bytes = Vec::new();
    let read = open_regular(path).and_then(|mut file| file.read_to_end(&mut bytes));
    let parsed = read.ok().and_then(|_| serde_json::from_slice::<CacheFile>(&bytes).ok());
    parsed.filter(|cache| cache.version == CACHE_VERSION).unwrap_or_default().digests
}

fn save(path: &Path, known: &BTreeMap<String, Sha256>) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    let cache = CacheFile { version: CACHE_VERSION, digests: known.clone() };
    replace(path, &serde_json::to_vec(&cache)?, Access::Private)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a file and waits until its times would tell of another change.
    fn write(path: &Path, content: impl AsRef<[u8]>) {
        fs::write(path, content).unwrap();
        while may_change_unseen(&fs::metadata(path).unwrap()) {
            std::thread::yield_now();
        }
    }

    fn count(cache: &DigestCache, path: &Path, rehash: bool) -> (Sha256, u64) {
        let mut bytes = 0;
        let digest = cache.digest(path, rehash, &mut |read| {
            bytes += read;
            ControlFlow::Continue(())
        });
        (digest.unwrap(), bytes)
    }

    #[test]
    fn a_file_is_read_again_only_when_it_changed_or_on_demand() {
        let folder = tempfile::tempdir().unwrap();
        let (file, state) = (folder.path().join("disk"), folder.path().join("state/digests.json"));
        write(&file, "one");
        let cache = DigestCache::open(&state);
        assert_eq!(count(&cache, &file, false), (Sha256::of(b"one"), 3));
        let cache = DigestCache::open(&state);
        assert_eq!(count(&cache, &file, false), (Sha256::of(b"one"), 0));
        assert_eq!(count(&cache, &file, true), (Sha256::of(b"one"), 3));
        write(&file, "two");
        assert_eq!(count(&cache, &file, false), (Sha256::of(b"two"), 3));
    }

    #[test]
    fn a_damaged_cache_is_ignored_and_repaired() {
        let folder = tempfile::tempdir().unwrap();
        let (file, state) = (folder.path().join("disk"), folder.path().join("digests.json"));
        write(&file, "one");
        for damaged in ["", "{", "[]", "{\"version\": 9, \"digests\": {}}", "\u{0}\u{1}"] {
            fs::write(&state, damaged).unwrap();
            assert_eq!(count(&DigestCache::open(&state), &file, false).1, 3);
            assert_eq!(count(&DigestCache::open(&state), &file, false).1, 0);
        }
    }

    #[test]
    fn what_may_have_no_end_is_not_read_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        let cache = DigestCache::open(&pipe);
        for path in [&pipe, Path::new("/dev/zero"), folder.path()] {
            let error = cache.digest(path, false, &mut |_| ControlFlow::Continue(())).unwrap_err();
            assert_eq!(error.to_string(), "it is no regular file", "{}", path.display());
            assert_eq!(sha256_file(path).unwrap_err().to_string(), "it is no regular file");
        }
    }

    #[test]
    fn reading_can_be_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("disk");
        fs::write(&file, vec![0; 3 << 20]).unwrap();
        let cache = DigestCache::open(folder.path().join("digests.json"));
        let error = cache.digest(&file, false, &mut |_| ControlFlow::Break(())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}
