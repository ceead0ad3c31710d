//! Watching a folder for candidates: when a file is complete, and which one is tested next.
//!
//! ```text
//! folder -> Notices, and a look now and then
//!        -> Names      is it a candidate's name?
//!        -> Settling   is the file complete?                  pure, told the time
//!        -> Store      a copy of the very bytes that were seen
//!        -> Queue      what waits, runs, has its answer       pure, a fold over records
//!             kept in  QueueFile, appended to and never rewritten
//! ```
//!
//! [`Looker`] puts them together, on a thread of its own: a folder on a file server that does not answer must not
//! hold up machines that run. What is done with the queue is not known here.

mod folder;
mod halt;
mod looker;
mod names;
mod notices;
mod queue;
mod queue_file;
mod settling;
mod stamp;
mod store;

pub use folder::{Folder, Read};
pub use halt::Halt;
pub use looker::{Ask, Looker, Seen, There};
pub use names::Names;
pub use queue::{Entry, MOST_DEATHS, Queue, Record, State};
pub use queue_file::{QueueError, QueueFile};
pub use settling::{Due, Settling};
pub use stamp::Stamp;
pub use store::{Store, Taken};
