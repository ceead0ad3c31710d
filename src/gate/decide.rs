use time::OffsetDateTime;

use super::{Assessment, Evidence, assess};
use crate::{
    event::{Decision, RunState},
    model::{ApprovalPolicy, Outcome, Rules},
};

/// The gate's answer and what led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    pub decision: Decision,
    /// One sentence each, the weightiest first. Never empty unless approved.
    pub reasons: Vec<String>,
}

/// Decides over a run of which nothing more is to come, by its own policy and as of its last moment; `run-ended`
/// records the answer.
pub fn decide(state: &RunState) -> Ruling {
    own(state, &Evidence::of(state)).ruling
}

/// The decision over a recorded run, for reports: what [`decide`] says of the events, and never better
/// than what `run-ended` recorded. A run without that end was killed, and can't be approved.
pub fn ruling(state: &RunState) -> Ruling {
    assessment(state).ruling
}

/// The same, rule by rule.
pub fn assessment(state: &RunState) -> Assessment {
    own(state, &recorded(state))
}

/// The decision over a recorded run by rules that may not be its own, which is never better than what was recorded where its own
/// rules do not explain that.
pub fn assess_run(state: &RunState, rules: &Rules, now: OffsetDateTime) -> Assessment {
    let mut evidence = recorded(state);
    // A run from before there were controls is told as it was then, and nothing new rests on it.
    evidence.uncontrolled |= state.permutations().any(|cell| cell.planned.role.is_alone());
    assess(&evidence, rules, now)
}

fn recorded(state: &RunState) -> Evidence {
    let evidence = Evidence::of(state);
    let by_its_cells = own(state, &evidence).ruling.decision;
    evidence.with_recorded(state.decision, by_its_cells)
}

fn own(state: &RunState, evidence: &Evidence) -> Assessment {
    let usual = ApprovalPolicy::default();
    let policy = state.start.as_ref().map_or(&usual, |start| &start.policy);
    // Of a run without a known time no day can be told: a quarantine that ended then has ended.
    let now = evidence.ended.unwrap_or_else(|| time::Date::MAX.midnight().assume_utc());
    assess(evidence, &policy.rules, now)
}

/// Of two decisions the one that stands when both hold.
pub fn heavier(a: Decision, b: Decision) -> Decision {
    if weight(b) > weight(a) { b } else { a }
}

/// When several hold, the heavier one is the run's decision.
pub(super) fn weight(decision: Decision) -> u8 {
    match decision {
        Decision::Approved => 0,
        Decision::Inconclusive => 1,
        Decision::Rejected => 2,
        Decision::Cancelled => 3,
    }
}

/// How many cells were healthy only after the lab failed them at first: allowed, but worth a note.
pub fn retried_after_lab_fault(state: &RunState) -> usize {
    let healthy_in_the_end =
        state.cells.iter().filter(|cell| cell.ended().is_some_and(|end| end.verdict.outcome == Outcome::Healthy));
    healthy_in_the_end.filter(|cell| cell.earlier_with(Outcome::Inconclusive).next().is_some()).count()
}

#[cfg(test)]
mod tests;
