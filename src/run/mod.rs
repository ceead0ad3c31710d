//! A run: admission by memory and disk space, the order of cells, one dispatcher, cancel, resume.
//!
//! [`run`] is the dispatcher: one task that takes every happening (an event of a cell, a cell's end, a
//! cancel, room for another machine), writes it to the journal first, and decides what is next.

mod admission;
mod controls;
mod cost;
mod dispatch;
mod folder;
mod history;
mod images;
mod ledger;
mod order;
mod slots;

pub use admission::{Capacity, Memory};
pub use dispatch::{Finished, Order, RunError, Sink, run};
pub use folder::{FolderError, RunFolder};
pub use history::{History, HistoryError};
pub use images::Images;
pub use slots::Slots;
