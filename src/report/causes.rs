//! What is not healthy, by its first cause: every report for people groups it like this.

use crate::{
    event::{CellState, RunState},
    model::{Outcome, Reason, ReasonId},
};

/// What stands in a cause's place where none was recorded.
pub(super) const NO_REASON: &str = "no reason recorded";

/// A cell that is not healthy.
pub(super) struct Finding<'a> {
    pub(super) cell: &'a CellState,
    pub(super) outcome: Outcome,
    /// Its first cause.
    pub(super) lead: Option<Reason>,
}

/// None: the cell is healthy.
pub(super) fn finding<'a>(state: &RunState, cell: &'a CellState) -> Option<Finding<'a>> {
    let verdict = state.verdict(cell);
    let (outcome, lead) = (verdict.outcome, verdict.lead().cloned());
    (outcome != Outcome::Healthy).then_some(Finding { cell, outcome, lead })
}

/// The permutations of this outcome, which is not healthy.
pub(super) fn permutations_with(state: &RunState, outcome: Outcome) -> Vec<Finding<'_>> {
    let found = state.permutations().filter_map(|cell| finding(state, cell));
    found.filter(|found| found.outcome == outcome).collect()
}

/// The controls that are not well, however they ended.
pub(super) fn controls(state: &RunState) -> Vec<Finding<'_>> {
    state.controls().filter_map(|cell| finding(state, cell)).collect()
}

/// How a cause is called.
pub(super) fn called(id: Option<ReasonId>) -> &'static str {
    id.map_or(NO_REASON, ReasonId::as_str)
}

/// Grouped by their first cause, the commonest first.
pub(super) fn by_cause(all: Vec<Finding<'_>>) -> Vec<(Option<ReasonId>, Vec<Finding<'_>>)> {
    let mut groups: Vec<(Option<ReasonId>, Vec<Finding<'_>>)> = Vec::new();
    for found in all {
        let id = found.lead.as_ref().map(|reason| reason.id);
        match groups.iter_mut().find(|(known, _)| *known == id) {
            Some((_, cells)) => cells.push(found),
            None => groups.push((id, vec![found])),
        }
    }
    groups.sort_by_key(|(_, cells)| std::cmp::Reverse(cells.len()));
    groups
}
