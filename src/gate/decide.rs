use crate::{
    event::{CellState, Decision, RunState, StopCause},
    model::Outcome,
};

/// The gate's answer and what led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    pub decision: Decision,
    /// One sentence each, the weightiest first. Never empty unless approved.
    pub reasons: Vec<String>,
}

/// Decides over a run of which nothing more is to come; `run-ended` records the answer.
pub fn decide(state: &RunState) -> Ruling {
    let planned = state.permutations().count();
    let counts = state.final_counts();
    let controls = state.control_counts();
    let flaky = state.cells.iter().filter(|cell| cell.is_flaky()).count();
    let mut findings: Vec<(Decision, String)> = Vec::new();
    let mut found = |decision, text: String| findings.push((decision, text));

    if state.stopping == Some(StopCause::Interrupted) {
        found(Decision::Cancelled, "the run was interrupted".to_owned());
    }
    if counts.unhealthy > 0 {
        found(Decision::Rejected, format!("{} unhealthy", share(counts.unhealthy, planned)));
    }
    if flaky > 0 {
        found(Decision::Rejected, format!("{} flaky: unhealthy first, healthy on another try", share(flaky, planned)));
    }
    let lost_later = |cell: &&CellState| {
        cell.ended().is_some_and(|end| end.verdict.outcome == Outcome::Inconclusive)
            && cell.earlier_with(Outcome::Unhealthy).next().is_some()
    };
    let lost = state.permutations().filter(lost_later).count();
    if lost > 0 {
        found(Decision::Rejected, format!("{} unhealthy first, inconclusive on another try", share(lost, planned)));
    }
    if counts.inconclusive > 0 {
        found(Decision::Inconclusive, format!("{} inconclusive", share(counts.inconclusive, planned)));
    }
    // A control blames nobody, however it ended.
    let lost = controls.total() - controls.healthy;
    if lost > 0 {
        found(Decision::Inconclusive, format!("{lost} of {} inconclusive", of_kind(controls.total(), "control")));
    }
    if state.start.as_ref().is_some_and(|start| start.uncontrolled) {
        found(Decision::Inconclusive, "control: off: nothing was compared with a control".to_owned());
    }
    if planned == 0 {
        found(Decision::Inconclusive, "no cell was planned, so nothing was proven".to_owned());
    }
    if let Some(contradiction) = state.contradictions.first() {
        found(Decision::Inconclusive, format!("the journal contradicts itself: {contradiction}"));
    }

    // Sorting is stable: findings of one weight stay in the order above.
    findings.sort_by_key(|(decision, _)| std::cmp::Reverse(weight(*decision)));
    let approved_only_if_nothing_was_found = findings.first().map_or(Decision::Approved, |(decision, _)| *decision);
    Ruling {
        decision: approved_only_if_nothing_was_found,
        reasons: findings.into_iter().map(|(_, text)| text).collect(),
    }
}

/// The decision over a recorded run, for reports: what [`decide`] says of the events, and never better
/// than what `run-ended` recorded. A run without that end was killed, and can't be approved.
pub fn ruling(state: &RunState) -> Ruling {
    let mut ruling = decide(state);
    let (recorded, reason) = match state.decision {
        None => (Decision::Inconclusive, "the run has no end: bootgate was killed".to_owned()),
        Some(recorded) => (recorded, format!("the run ended as {}", recorded.as_str())),
    };
    if weight(recorded) > weight(ruling.decision) {
        ruling.decision = recorded;
        ruling.reasons.insert(0, reason);
    }
    ruling
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

fn share(some: usize, all: usize) -> String {
    format!("{some} of {}", of_kind(all, "cell"))
}

fn of_kind(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// How many cells were healthy only after the lab failed them at first: allowed, but worth a note.
pub fn retried_after_lab_fault(state: &RunState) -> usize {
    let healthy_in_the_end =
        state.cells.iter().filter(|cell| cell.ended().is_some_and(|end| end.verdict.outcome == Outcome::Healthy));
    healthy_in_the_end.filter(|cell| cell.earlier_with(Outcome::Inconclusive).next().is_some()).count()
}

#[cfg(test)]
mod tests;
