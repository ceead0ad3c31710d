use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::event::{EventfdFlags, eventfd};

/// Tells a thread that waits for files to end.
#[derive(Debug)]
pub struct Halt {
    is_set: AtomicBool,
    wake: OwnedFd,
}

impl Halt {
    /// # Errors
    /// No file descriptor is left.
    pub fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { is_set: AtomicBool::new(false), wake })
    }

    pub fn set(&self) {
        self.is_set.store(true, Ordering::SeqCst);
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::SeqCst)
    }
}

/// Readable once it is set.
impl AsFd for Halt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
