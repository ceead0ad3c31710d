use std::{io, mem::MaybeUninit, os::fd::OwnedFd, path::Path};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};

use super::Halt;
use crate::model::Millis;

/// What the kernel says of a folder (man page inotify(7)). File servers say nothing of what others do there.
#[derive(Debug)]
pub struct Notices {
    inotify: OwnedFd,
    /// The folder that is watched now.
    watch: Option<i32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Something about a name has changed.
    Changed(String),
    Written(String),
    Closed(String),
    /// Some notices are lost, or the folder is another one.
    Missed,
}

impl Notices {
    /// # Errors
    /// The kernel has no more of them for this user.
    pub fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { inotify, watch: None })
    }

    /// Watches what is at this path now. Whether that was not so before.
    ///
    /// # Errors
    /// There is no such folder, or the kernel watches no more of them for this user.
    pub fn watch(&mut self, folder: &Path) -> io::Result<bool> {
        let flags = WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::MOVE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let watch = inotify::add_watch(&self.inotify, folder, flags)?;
        let before = self.watch.replace(watch).filter(|before| *before != watch);
        if let Some(before) = before {
            // It may be gone with its folder.
            let _ = inotify::remove_watch(&self.inotify, before);
        }
        Ok(before.is_some())
    }

    /// Waits until something is to be told, at most so long, and takes all of it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&mut self, at_most: Millis, halt: &Halt) -> io::Result<Vec<Notice>> {
        pause(Some(&self.inotify), at_most, halt)?;
        let mut found = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 32 << 10];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_str().map(str::to_owned));
                    // Names that are no UTF-8 are nobody's.
                    let name = name.and_then(Result::ok);
                    found.extend(notice(event.events(), name, self.watch == Some(event.wd())));
                }
                Err(Errno::WOULDBLOCK) => return Ok(found),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Waits at most so long, for this file too.
///
/// # Errors
/// The kernel's.
pub fn pause(file: Option<&OwnedFd>, at_most: Millis, halt: &Halt) -> io::Result<()> {
    let seconds = i64::try_from(at_most.0 / 1000).unwrap_or(i64::MAX);
    let timeout = Timespec { tv_sec: seconds, tv_nsec: (at_most.0 % 1000 * 1_000_000) as _ };
    let mut wanted = vec![PollFd::new(halt, PollFlags::IN)];
    wanted.extend(file.map(|file| PollFd::new(file, PollFlags::IN)));
    match poll(&mut wanted, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn notice(events: ReadFlags, name: Option<String>, is_current: bool) -> Option<Notice> {
    let gone = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT | ReadFlags::IGNORED;
    if events.contains(ReadFlags::QUEUE_OVERFLOW) {
        return Some(Notice::Missed);
    }
    if !is_current || events.contains(ReadFlags::ISDIR) {
        return None;
    }
    if events.intersects(gone) {
        return Some(Notice::Missed);
    }
    let name = name?;
    Some(if events.contains(ReadFlags::MODIFY) {
        Notice::Written(name)
    } else if events.contains(ReadFlags::CLOSE_WRITE) {
        Notice::Closed(name)
    } else {
        Notice::Changed(name)
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, time::Duration};

    use super::*;

    fn taken(notices: &mut Notices) -> Vec<Notice> {
        notices.wait(Millis(0), &Halt::new().unwrap()).unwrap()
    }

    #[test]
    fn writing_closing_renaming_and_removing_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let mut notices = Notices::new().unwrap();
        assert!(!notices.watch(folder.path()).unwrap());
        let mut file = fs::File::create(folder.path().join("a")).unwrap();
        file.write_all(b"x").unwrap();
        let name = || "a".to_owned();
        assert_eq!(taken(&mut notices), [Notice::Changed(name()), Notice::Written(name())]);
        drop(file);
        assert_eq!(taken(&mut notices), [Notice::Closed(name())]);
        fs::rename(folder.path().join("a"), folder.path().join("b")).unwrap();
        assert_eq!(taken(&mut notices), [Notice::Changed(name()), Notice::Changed("b".to_owned())]);
        fs::create_dir(folder.path().join("d")).unwrap();
        fs::read(folder.path().join("b")).unwrap();
        assert_eq!(taken(&mut notices), [], "neither folders nor readers are news");
    }

    #[test]
    fn a_folder_that_takes_the_place_of_another_is_watched_instead() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("in");
        fs::create_dir(&folder).unwrap();
        let mut notices = Notices::new().unwrap();
        notices.watch(&folder).unwrap();
        fs::rename(&folder, parent.path().join("out")).unwrap();
        assert_eq!(taken(&mut notices), [Notice::Missed]);
        assert!(notices.watch(&folder).is_err());
        fs::create_dir(&folder).unwrap();
        assert!(notices.watch(&folder).unwrap());
        fs::write(parent.path().join("out/x"), "").unwrap();
        fs::write(folder.join("y"), "").unwrap();
        let told = taken(&mut notices);
        assert!(told.contains(&Notice::Changed("y".to_owned())), "{told:?}");
        assert!(!told.contains(&Notice::Changed("x".to_owned())), "{told:?}");
    }

    #[test]
    fn a_wait_ends_at_once_when_it_is_told_to() {
        let halt = std::sync::Arc::new(Halt::new().unwrap());
        let setter = halt.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            setter.set();
        });
        Notices::new().unwrap().wait(Millis::from_secs(600), &halt).unwrap();
        assert!(halt.is_set());
        thread.join().unwrap();
    }
}
