//! The gate: what all verdicts together mean for the update.
//!
//! Fails closed: approval needs a healthy verdict for every planned cell, and an event that cannot be
//! bars it as well.

mod believe;
mod decide;
mod run_signature;

pub use believe::judge_again;
pub use decide::{Ruling, decide, heavier, retried_after_lab_fault, ruling};
pub use run_signature::{RUN_SIGNATURE, RunSignatureError, RunSigner, check_resumable, check_run};
