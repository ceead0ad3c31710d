use std::{fs::Metadata, os::unix::fs::MetadataExt as _};

use serde::{Deserialize, Serialize};

/// What the file system says of a file: whoever writes it, renames it or puts another one in its place changes one of them.
///
/// Only the times of the last change can be wrong without malice, on a file server whose answers are kept for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub dev: u64,
    pub ino: u64,
    pub size: u64,
    /// Of the content, in seconds and nanoseconds.
    pub modified: (i64, i64),
    /// Of the inode.
    pub changed: (i64, i64),
}

impl Stamp {
    pub fn of(about: &Metadata) -> Self {
        Self {
            dev: about.dev(),
            ino: about.ino(),
            size: about.size(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }
}
