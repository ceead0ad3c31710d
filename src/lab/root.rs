//! A lab root: the folder that one process at a time runs its machines in.
//!
//! ```text
//! <state>/lab/N.lock    held while a process uses N; says who: "<pid>-<start time>"
//! <state>/lab/N/cache/  what libvirt found out about QEMU (slow to find): kept
//!               etc/ run/ lib/ log/     libvirt's own
//!               vms/ID/                 one machine: overlay, logs, sockets, media
//!               adopted                 a folder elsewhere that goes with the root
//! ```

use std::{
    fs::{self, File, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::{LabError, Users, sweep};
use crate::model::StateDir;

/// The longest root, in bytes. libvirt binds `ROOT/lib/qemu/domain-ID-NAME/monitor.sock` (and, since libvirt 10,
/// similar ones below `run`), and the path of a UNIX socket ends at 107 bytes (man page unix(7)).
pub const MAX_ROOT: usize = 56;

/// A root that we hold. Dropping it lets the next process have it.
#[derive(Debug)]
pub struct LabRoot {
    path: PathBuf,
    owner: String,
    // Held for its lock.
    _lock: File,
}

impl LabRoot {
    /// Cleans every root that nobody holds, and takes the first of them (or a new one).
    ///
    /// # Errors
    /// A state folder that cannot be written, is too deep for UNIX sockets, or that QEMU's account cannot enter.
    pub fn take(state: &StateDir, users: &Users) -> Result<Self, LabError> {
        let roots = state.lab_roots();
        make_passage(state, &roots)?;
        let mut taken = None;
        for n in existing_roots(&roots)? {
            let Some(lock) = try_lock(&lock_path(&roots, n))? else { continue };
            let path = roots.join(n.to_string());
            sweep::sweep_root(&path).log();
            taken = taken.or(Some((path, lock)));
        }
        let (path, mut lock) = match taken {
            Some(taken) => taken,
            None => first_free(&roots)?,
        };
        if path.as_os_str().len() > MAX_ROOT {
            return Err(LabError::Other(format!(
                "{} is too long for UNIX sockets ({} bytes, at most {MAX_ROOT}): choose a shorter state folder with \
                 --state or BOOTGATE_STATE",
                path.display(),
                path.as_os_str().len()
            )));
        }
        // QEMU's options and libvirt's XML both quote paths: ours have nothing that needs it.
        if path.to_str().is_none_or(|text| text.contains(['"', '\\', ',', '\'', '&', '<', '>'])) {
            return Err(LabError::Other(format!(
                "{} has characters that QEMU's options cannot carry: choose another state folder with --state or \
                 BOOTGATE_STATE",
                path.display()
            )));
        }
        let owner = sweep::process_token(rustix::process::getpid().as_raw_pid()).unwrap_or_default();
        lock.rewind()
            .and_then(|()| lock.set_len(0))
            .and_then(|()| lock.write_all(owner.as_bytes()))
            .map_err(LabError::io("write", &path.with_extension("lock")))?;
        let root = Self { path, owner, _lock: lock };
        for dir in [root.path().to_owned(), root.vms()] {
            make_dir(&dir, users.passage_mode())?;
        }
        if let Some(account) = users.account()
            && let Some(at) = account.blocked_at(&root.path)
        {
            return Err(LabError::Other(format!(
                "the account {} under which QEMU runs cannot enter {}: choose another state folder with --state or \
                 BOOTGATE_STATE, or run `chmod o+x {}`",
                account.name,
                at.display(),
                at.display()
            )));
        }
        Ok(root)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who holds the root; differs for every process that ever held it.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Where the machines' folders are.
    pub fn vms(&self) -> PathBuf {
        self.path.join("vms")
    }
}

/// Whether the process that calls itself `owner` still holds the root at `path`.
pub fn is_held_by(path: &Path, owner: &str) -> bool {
    let lock = path.with_extension("lock");
    match try_lock_existing(&lock) {
        Ok(None) => {
            let mut text = String::new();
            let read = File::open(&lock).and_then(|mut file| file.read_to_string(&mut text));
            read.is_err() || text == owner
        }
        Ok(Some(_)) => false,
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// Every root that nobody holds, locked until the callback has returned.
pub fn for_each_free(state: &StateDir, mut each: impl FnMut(&Path)) -> Result<(), LabError> {
    let roots = state.lab_roots();
    for n in existing_roots(&roots)? {
        if let Some(_lock) = try_lock(&lock_path(&roots, n))? {
            each(&roots.join(n.to_string()));
        }
    }
    Ok(())
}

/// The mode of what lies above the roots and the seals, whoever comes first: others may pass through (QEMU's account
/// may have to), but not look around. Each root and seal has a mode of its own.
const PASSAGE: u32 = 0o711;

/// Makes the state folder, for whoever is the first to keep something in it. One that is there stays as it is.
///
/// # Errors
/// It cannot be made.
pub fn make_state_dir(state: &StateDir) -> Result<(), LabError> {
    if state.path().exists() { Ok(()) } else { make_dir(state.path(), PASSAGE) }
}

/// Makes a folder of the state folder's that has in it what machines use.
///
/// # Errors
/// It cannot be made.
pub fn make_passage(state: &StateDir, dir: &Path) -> Result<(), LabError> {
    make_state_dir(state)?;
    make_dir(dir, PASSAGE)
}

/// With exactly this mode, whatever the umask.
pub fn make_dir(path: &Path, mode: u32) -> Result<(), LabError> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(LabError::io("create", path))
}

/// The numbers of the roots that have a lock file, in order.
fn existing_roots(roots: &Path) -> Result<Vec<usize>, LabError> {
    let entries = match fs::read_dir(roots) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LabError::io("read", roots)(error)),
    };
    let number = |path: PathBuf| path.file_name()?.to_str()?.strip_suffix(".lock")?.parse().ok();
    let mut found: Vec<usize> = entries.flatten().filter_map(|entry| number(entry.path())).collect();
    found.sort_unstable();
    Ok(found)
}

/// A root that nobody held at the moment of looking, most often a new one. Others may be looking too: whoever gets
/// the lock has the root, and the rest look further.
fn first_free(roots: &Path) -> Result<(PathBuf, File), LabError> {
    let mut n = 0;
    loop {
        if let Some(lock) = try_lock(&lock_path(roots, n))? {
            let path = roots.join(n.to_string());
            sweep::sweep_root(&path).log();
            return Ok((path, lock));
        }
        n += 1;
    }
}

fn lock_path(roots: &Path, n: usize) -> PathBuf {
    roots.join(format!("{n}.lock"))
}

fn try_lock(path: &Path) -> Result<Option<File>, LabError> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        // Who can open it can hold it.
        .mode(0o600)
        .open(path)
        .and_then(lock_file)
        .map_err(LabError::io("lock", path))
}

fn try_lock_existing(path: &Path) -> std::io::Result<Option<File>> {
    File::open(path).and_then(lock_file)
}

fn lock_file(file: File) -> std::io::Result<Option<File>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::Builder::new().prefix("bg").tempdir_in("/tmp").unwrap();
        let state = StateDir::new(dir.path().join("s"));
        (dir, state)
    }

    #[test]
    fn two_holders_get_two_roots_and_a_free_one_is_taken_again() {
        let (_dir, state) = state();
        let first = LabRoot::take(&state, &Users::Ourselves).unwrap();
        let second = LabRoot::take(&state, &Users::Ourselves).unwrap();
        assert_eq!(first.path(), state.lab_roots().join("0"));
        assert_eq!(second.path(), state.lab_roots().join("1"));
        drop(first);
        assert_eq!(LabRoot::take(&state, &Users::Ourselves).unwrap().path(), state.lab_roots().join("0"));
    }

    #[test]
    fn what_a_dead_holder_left_is_gone_when_the_root_is_taken_but_its_cache_stays() {
        let (_dir, state) = state();
        let root = LabRoot::take(&state, &Users::Ourselves).unwrap();
        let (clone, cache) = (root.vms().join("abc/disk.qcow2"), root.path().join("cache/qemu/x.xml"));
        for file in [&clone, &cache] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "x").unwrap();
        }
        drop(root);
        let _root = LabRoot::take(&state, &Users::Ourselves).unwrap();
        assert!(!clone.exists());
        assert!(cache.exists());
    }

    #[test]
    fn many_that_come_at_once_each_get_a_root_of_their_own() {
        let (_dir, state) = state();
        let start = std::sync::Barrier::new(8);
        let roots: Vec<LabRoot> = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        LabRoot::take(&state, &Users::Ourselves).unwrap()
                    })
                })
                .collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).collect()
        });
        let paths: std::collections::BTreeSet<&Path> = roots.iter().map(LabRoot::path).collect();
        assert_eq!(paths.len(), 8);
    }

    #[test]
    fn the_state_folder_has_the_same_mode_whoever_comes_first() {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (_dir, first) = state();
        make_state_dir(&first).unwrap();
        let (_other, second) = state();
        let root = LabRoot::take(&second, &Users::Ourselves).unwrap();
        assert_eq!((mode(first.path()), mode(second.path())), (0o711, 0o711));
        assert_eq!((mode(root.path()), mode(&root.vms())), (0o700, 0o700));
        drop(root);
        assert_eq!(mode(LabRoot::take(&second, &Users::Daemon).unwrap().path()), 0o711);
    }

    #[test]
    fn a_root_is_held_by_its_owner_only_while_locked() {
        let (_dir, state) = state();
        let root = LabRoot::take(&state, &Users::Ourselves).unwrap();
        let (path, owner) = (root.path().to_owned(), root.owner().to_owned());
        assert!(is_held_by(&path, &owner));
        assert!(!is_held_by(&path, "1-1"), "held, but by somebody else");
        drop(root);
        assert!(!is_held_by(&path, &owner));
        assert!(!is_held_by(Path::new("/nonexistent/lab/0"), &owner));
    }

    #[test]
    fn a_state_folder_too_deep_for_sockets_is_refused_with_the_way_out() {
        let (dir, _) = state();
        let deep = StateDir::new(dir.path().join("a-rather-long-name-for-a-folder/and-one-more"));
        let error = LabRoot::take(&deep, &Users::Ourselves).unwrap_err().to_string();
        assert!(error.contains("BOOTGATE_STATE"), "{error}");
    }
}
