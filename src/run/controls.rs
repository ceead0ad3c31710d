use std::collections::HashMap;

use crate::{
    cell::ControlEnd,
    event::RunState,
    model::{Cell, CellId, ControlFacts, Outcome, Plan, ReasonId, Role},
};

/// The controls of a run, and what waits for them to end.
pub(super) struct Controls<T>(HashMap<CellId, Control<T>>);

enum Control<T> {
    Ended(ControlEnd),
    /// Cells that have ended before it.
    Pending(Vec<T>),
}

impl<T> Controls<T> {
    /// A resumed run's controls may have ended before.
    pub fn new(plan: &Plan, state: &RunState) -> Self {
        let control = |cell: &Cell| match found(cell, state) {
            // Others are run again.
            Some(end) if end.outcome != Outcome::Inconclusive => Control::Ended(end),
            _ => Control::Pending(Vec::new()),
        };
        let controls = plan.cells.iter().filter(|cell| cell.role == Role::Control);
        Self(controls.map(|cell| (cell.id.clone(), control(cell))).collect())
    }

    /// What a control that has ended said of its machine.
    pub fn facts(&self, of: &CellId) -> Option<&ControlFacts> {
        match self.0.get(of)? {
            Control::Ended(end) => end.facts.as_ref(),
            Control::Pending(_) => None,
        }
    }

    /// The control's end, with what waits for it given back; else it is kept until then.
    pub fn wait(&mut self, with: &CellId, waits: T) -> Option<(T, Option<ControlEnd>)> {
        match self.0.get_mut(with) {
            Some(Control::Ended(end)) => Some((waits, Some(end.clone()))),
            Some(Control::Pending(all)) => {
                all.push(waits);
                None
            }
            // There never was such a control: the judge misses it.
            None => Some((waits, None)),
        }
    }

    /// This cell, if it is a control, has ended and will not be tried again. Answers with its end and all that waited.
    pub fn ended(&mut self, cell: &Cell, state: &RunState) -> Vec<(T, Option<ControlEnd>)> {
        let (Some(control), Some(end)) = (self.0.get_mut(&cell.id), found(cell, state)) else { return Vec::new() };
        settle(control, end)
    }

    /// The run stops: controls that do not run now never will.
    pub fn give_up(&mut self, is_running: impl Fn(&CellId) -> bool) -> Vec<(T, Option<ControlEnd>)> {
        let cancelled = ControlEnd { outcome: Outcome::Inconclusive, reason: Some(ReasonId::Cancelled), facts: None };
        let pending = |control: &Control<T>| matches!(control, Control::Pending(_));
        let given_up = self.0.iter_mut().filter(|(id, control)| pending(control) && !is_running(id));
        given_up.flat_map(|(_, control)| settle(control, cancelled.clone())).collect()
    }
}

fn settle<T>(control: &mut Control<T>, end: ControlEnd) -> Vec<(T, Option<ControlEnd>)> {
    match std::mem::replace(control, Control::Ended(end.clone())) {
        Control::Pending(waiting) => waiting.into_iter().map(|waits| (waits, Some(end.clone()))).collect(),
        Control::Ended(_) => Vec::new(),
    }
}

fn found(cell: &Cell, state: &RunState) -> Option<ControlEnd> {
    let attempt = state.cell(&cell.id)?.attempts.last()?;
    let verdict = &attempt.end.as_ref()?.verdict;
    let facts = attempt.control_facts().cloned();
    Some(ControlEnd { outcome: verdict.outcome, reason: verdict.lead().map(|lead| lead.id), facts })
}
