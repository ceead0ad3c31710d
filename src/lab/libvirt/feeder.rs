//! Feeds a saved machine to libvirt through a FIFO: a head of the clone's own, then the shared memory image, of
//! which no copy is made on disk.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    mem::MaybeUninit,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, fcntl_setfl, inotify, open},
    io::{Errno, ioctl_fionread},
    pipe::fcntl_setpipe_size,
};

/// Between two looks at something that has no event.
const TICK: Duration = Duration::from_millis(2);

/// How long a reader that has taken the head may keep the FIFO open before it counts as the one that stays.
///
/// Newer versions of libvirt (seen: 11.3) read the head, close, and open again for all of it; older ones (9.0) keep
/// it open, and take about as long as this to start QEMU.
const REOPENS: Duration = Duration::from_millis(300);

/// How long libvirt may take to read on.
const PATIENCE: Duration = Duration::from_secs(60);

/// A thread that writes into the FIFO until libvirt has read all, or until it is told that there will be no reader.
pub struct Feeder {
    fifo: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Feeder {
    /// # Errors
    /// The FIFO or the thread cannot be made.
    pub fn start(fifo: PathBuf, head: Vec<u8>, image: File, stream_at: u64) -> io::Result<Self> {
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RUSR | Mode::WUSR)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (path, stopped) = (fifo.clone(), Arc::clone(&stop));
        let feed = move || feed(&path, &head, image, stream_at, &stopped);
        let thread = thread::Builder::new().name("memory-feeder".to_owned()).spawn(feed)?;
        Ok(Self { fifo, stop, thread: Some(thread) })
    }

    /// Ends the feeding, whether libvirt is done with it or gave it up.
    ///
    /// # Errors
    /// Not everything was read.
    pub fn finish(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let fed = thread.join().unwrap_or_else(|_| Err(io::Error::other("the feeding thread panicked")));
        let _ = fs::remove_file(&self.fifo);
        fed
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn feed(fifo: &Path, head: &[u8], mut image: File, stream_at: u64, stop: &AtomicBool) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    // A reader that closes and opens again between two looks leaves no other trace.
    let closings = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&closings, fifo, inotify::WatchFlags::CLOSE_NOWRITE)?;
    let mut pipe = open_with_reader(fifo, stop, deadline)?;
    loop {
        pipe.write_all(head)?;
        if !reader_closes(&pipe, &closings, deadline)? {
            break;
        }
        while !has_reader(&pipe)? {
            wait(stop, deadline)?;
        }
    }
    image.seek(SeekFrom::Start(stream_at))?;
    // The kernel moves the pages where it can (splice), else they are copied.
    let length = image.metadata()?.len().saturating_sub(stream_at);
    let fed = io::copy(&mut image.take(length), &mut pipe)?;
    if fed == length { Ok(()) } else { Err(io::Error::other("the memory image is shorter than it was")) }
}

fn open_with_reader(fifo: &Path, stop: &AtomicBool, deadline: Instant) -> io::Result<File> {
    let pipe = loop {
        // Without a reader this fails at once, instead of waiting for one that may never come.
        match open(fifo, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()) {
            Ok(pipe) => break pipe,
            Err(Errno::NXIO | Errno::INTR) => wait(stop, deadline)?,
            Err(error) => return Err(error.into()),
        }
    };
    fcntl_setfl(&pipe, OFlags::empty())?;
    // Fewer turns between us and QEMU; a limit of the system's is no fault.
    let _ = fcntl_setpipe_size(&pipe, 1 << 20);
    Ok(File::from(pipe))
}

/// Whether the reader closes its end soon after it has read all.
fn reader_closes(pipe: &File, closings: &impl AsFd, deadline: Instant) -> io::Result<bool> {
    let mut read_all: Option<Instant> = None;
    loop {
        if read_all.is_none() && ioctl_fionread(pipe)? == 0 {
            read_all = Some(Instant::now());
        }
        let mut fds = [PollFd::new(closings, PollFlags::IN)];
        poll_for(&mut fds, TICK)?;
        if fds[0].revents().contains(PollFlags::IN) {
            let mut events = [MaybeUninit::uninit(); 512];
            while inotify::Reader::new(closings, &mut events).next().is_ok() {}
            return Ok(true);
        }
        if read_all.is_some_and(|since| since.elapsed() >= REOPENS) {
            return Ok(false);
        }
        if Instant::now() >= deadline {
            return Err(timed_out());
        }
    }
}

fn has_reader(pipe: &File) -> io::Result<bool> {
    let mut fds = [PollFd::new(pipe, PollFlags::empty())];
    poll_for(&mut fds, Duration::ZERO)?;
    Ok(!fds[0].revents().contains(PollFlags::ERR))
}

fn poll_for(fds: &mut [PollFd<'_>], time: Duration) -> io::Result<()> {
    let time = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
    match poll(fds, Some(&time)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn wait(stop: &AtomicBool, deadline: Instant) -> io::Result<()> {
    if stop.load(Ordering::SeqCst) || Instant::now() >= deadline {
        return Err(timed_out());
    }
    thread::sleep(TICK);
    Ok(())
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "nobody read the memory image")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(dir: &Path) -> File {
        let path = dir.join("memory");
        fs::write(&path, [b"skip".as_slice(), &vec![7; 300_000]].concat()).unwrap();
        File::open(path).unwrap()
    }

    #[test]
    fn a_reader_that_stays_gets_the_head_and_the_stream() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        let feeder = Feeder::start(fifo.clone(), b"head".to_vec(), image(dir.path()), 4).unwrap();
        let read = fs::read(&fifo).unwrap();
        feeder.finish().unwrap();
        assert_eq!((&read[..4], read.len()), (b"head".as_slice(), 300_004));
        assert!(!fifo.exists());
    }

    #[test]
    fn a_reader_that_opens_twice_gets_the_head_twice() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        let feeder = Feeder::start(fifo.clone(), b"head".to_vec(), image(dir.path()), 4).unwrap();
        let mut first = [0; 4];
        File::open(&fifo).unwrap().read_exact(&mut first).unwrap();
        let read = fs::read(&fifo).unwrap();
        feeder.finish().unwrap();
        assert_eq!((&first, &read[..4], read.len()), (b"head", b"head".as_slice(), 300_004));
    }

    #[test]
    fn without_a_reader_it_ends_when_told_to() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        let feeder = Feeder::start(fifo.clone(), b"head".to_vec(), image(dir.path()), 4).unwrap();
        assert!(feeder.finish().is_err());
        assert!(!fifo.exists());
    }
}
