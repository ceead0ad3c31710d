//! The gate: what all verdicts together mean for the update.
//!
//! Fails closed: approval needs a healthy verdict for every planned cell, and an event that cannot be
//! bars it as well.

mod decide;
mod policy;

mod believe;

pub use believe::judge_again;
pub use decide::{Ruling, decide, heavier, retried_after_lab_fault, ruling};
pub use policy::{Assessment, RuleOutcome, assess};
