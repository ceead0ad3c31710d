//! A run: admission by memory, CPU and disk space, one dispatcher, cancel, resume.
//!
//! [`run`] is the dispatcher: one task that takes every happening (an event of a cell, a cell's end, a
//! cancel, room for another machine), writes it to the journal first, and decides what is next.

mod admission;
mod controls;
mod dispatch;
mod folder;
mod images;
mod slots;

pub use admission::{Capacity, Memory};
pub use dispatch::{Finished, Order, RunError, Sink, run};
pub use folder::{FolderError, RunFolder};
pub use images::Images;
pub use slots::Slots;
