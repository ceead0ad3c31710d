//! The judge: signals in, verdict out. No I/O, no clock, no async.
//!
//! [`judge`] is the pure function that every verdict comes from, live and from the journal. A running
//! cell feeds the same [`Judge`] signal by signal, and stops waiting when it [is over](Judge::is_over):
//! so detection happens in one place.

mod boot;
mod compare;
mod deciding;
mod differ;
mod judge;
mod proof;
mod resets;
mod screens;
mod stuck;
mod words;

pub use deciding::{agree, deciding};
pub use judge::{Judge, judge};
pub use screens::recognise;

#[cfg(test)]
mod tests;
