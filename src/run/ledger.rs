use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::model::Bytes;

/// More bootgate processes than this never share a host.
const PROCESSES: u32 = 4096;

/// What memory the machines of every bootgate process of the host need: a file for each process, locked as long as it
/// lives, so that one that dies claims nothing any more.
#[derive(Debug)]
pub struct Ledger {
    dir: PathBuf,
    /// Our own page.
    page: File,
    number: u32,
}

/// For as long as this lives no other process decides on a machine.
pub struct Turn<'a> {
    ledger: &'a Ledger,
    _lock: File,
}

impl Ledger {
    /// # Errors
    /// The folder or a file in it cannot be made.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        for number in 0..PROCESSES {
            let page = file(&dir.join(page_name(number)))?;
            match page.try_lock() {
                Ok(()) => {
                    write(&page, Bytes(0))?;
                    return Ok(Self { dir: dir.to_owned(), page, number });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::other("more bootgate processes than a host can hold"))
    }

    /// Waits until no other process decides, which takes none of them long.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
    pub fn turn(&self) -> io::Result<Turn<'_>> {
        let lock = file(&self.dir.join("memory.lock"))?;
        lock.lock()?;
        Ok(Turn { ledger: self, _lock: lock })
    }

    /// From here on our machines need so much.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn claim(&self, needs: Bytes) -> io::Result<()> {
        write(&self.page, needs)
    }
}

impl Turn<'_> {
    /// What the machines of all other processes need together.
    pub fn others(&self) -> io::Result<Bytes> {
        let mut sum = 0_u64;
        for number in 0..PROCESSES {
            let path = self.ledger.dir.join(page_name(number));
            let page = match OpenOptions::new().read(true).open(&path) {
                Ok(page) => page,
                // Pages are taken from the first one on and never removed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            };
            if number != self.ledger.number && matches!(page.try_lock(), Err(TryLockError::WouldBlock)) {
                sum = sum.saturating_add(read(&page));
            }
        }
        Ok(Bytes(sum))
    }

    /// What the host had free when no machine of any process was running; none: nobody has looked.
    pub fn baseline(&self) -> Option<Bytes> {
        let bytes = File::open(self.ledger.dir.join("memory-free")).map(|file| read(&file)).ok()?;
        (bytes > 0).then_some(Bytes(bytes))
    }

    /// No machine of any process is running, and so much is free.
    pub fn set_baseline(&self, free: Bytes) -> io::Result<()> {
        write(&file(&self.ledger.dir.join("memory-free"))?, free)
    }
}

fn page_name(number: u32) -> String {
    format!("memory-{number}")
}

fn file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// In one write of one length: a reader sees the old number or the new one.
fn write(file: &File, bytes: Bytes) -> io::Result<()> {
    file.write_all_at(format!("{:020}\n", bytes.0).as_bytes(), 0)
}

fn read(file: &File) -> u64 {
    let mut text = [0; 20];
    let whole = file.read_exact_at(&mut text, 0).is_ok();
    std::str::from_utf8(&text).ok().filter(|_| whole).and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_sees_what_the_machines_of_the_others_need_until_they_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let [ours, theirs, idle] = [(); 3].map(|()| Ledger::open(dir.path()).unwrap());
        ours.claim(Bytes(5)).unwrap();
        theirs.claim(Bytes(7)).unwrap();
        assert_eq!(ours.turn().unwrap().others().unwrap(), Bytes(7));
        assert_eq!(theirs.turn().unwrap().others().unwrap(), Bytes(5));
        assert_eq!(idle.turn().unwrap().others().unwrap(), Bytes(12));
        drop(theirs);
        assert_eq!(ours.turn().unwrap().others().unwrap(), Bytes(0));
        let next = Ledger::open(dir.path()).unwrap();
        assert_eq!(ours.turn().unwrap().others().unwrap(), Bytes(0), "a dead process's claim lives on");
        drop(next);
    }

    #[test]
    fn what_is_free_without_machines_is_known_to_processes_that_begin_later() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        assert_eq!(ledger.turn().unwrap().baseline(), None);
        ledger.turn().unwrap().set_baseline(Bytes::mib(3)).unwrap();
        assert_eq!(Ledger::open(dir.path()).unwrap().turn().unwrap().baseline(), Some(Bytes::mib(3)));
    }
}
