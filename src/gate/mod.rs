//! The gate: what all verdicts together mean for the update.
//!
//! Fails closed: approval needs a healthy verdict for every planned cell, and an event that cannot be
//! bars it as well.

mod approval;
mod believe;
mod decide;
mod policy;
mod revocation;
mod run_signature;
mod statement;
mod verify;

pub use approval::{Unsignable, approve};
pub use believe::judge_again;
pub use decide::{Ruling, decide, heavier, retried_after_lab_fault, ruling};
pub use policy::{Assessment, RuleOutcome, assess};
pub use revocation::{Revocation, RevocationError, Revocations, Unrevocable};
pub use run_signature::{RUN_SIGNATURE, RunSignatureError, RunSigner, check_resumable, check_run};
pub use statement::{CellFacts, Descriptor, Facts, STATEMENT_PAYLOAD, Statement, TestOutcome, TestResult};
pub use verify::{Answer, Question, verify};
