//! The gate: what all verdicts together mean for the update.
//!
//! Fails closed: without rules that say otherwise approval needs a healthy verdict for every planned cell, and an event that
//! cannot be bars it under any.

mod approval;
mod believe;
mod decide;
mod evidence;
mod ledger;
mod rings;
mod rules;
mod run_signature;
mod statement;
#[cfg(test)]
mod testing;
mod verify;

pub use approval::{Approver, Unsignable, approve};
pub use believe::judge_again;
pub use decide::{Ruling, assess_run, assessment, decide, heavier, retried_after_lab_fault, ruling};
pub use evidence::Evidence;
pub use ledger::{Ledger, LedgerError, Revocation, RingResult, Unsayable};
pub use rings::{Opened, Opening, RingState, Standing, standings};
pub use rules::{Assessment, RuleOutcome, assess};
pub use run_signature::{RUN_SIGNATURE, RunSignatureError, RunSigner, check_resumable, check_run};
pub use statement::{
    CellFacts, Descriptor, Facts, PolicyFacts, RingFacts, RuleFacts, STATEMENT_PAYLOAD, Statement, TestOutcome,
    TestResult,
};
pub use verify::{Answer, Question, verify};
