use std::collections::HashMap;

use tokio::sync::watch;

use crate::{
    cell::ControlEnd,
    event::RunState,
    model::{Cell, CellId, Outcome, Plan, ReasonId, Role, SignalKind},
};

/// How the controls of a run ended, for the cells that are compared with them.
pub(super) struct Controls(HashMap<CellId, watch::Sender<Option<ControlEnd>>>);

impl Controls {
    /// A resumed run's controls may have ended before.
    pub fn new(plan: &Plan, state: &RunState) -> Self {
        let controls = plan.cells.iter().filter(|cell| cell.role == Role::Control);
        let healthy = |end: &ControlEnd| end.outcome != Outcome::Inconclusive;
        Self(controls.map(|cell| (cell.id.clone(), watch::Sender::new(found(cell, state).filter(healthy)))).collect())
    }

    /// The end of the control that this cell is compared with.
    pub fn of(&self, cell: &Cell) -> Option<watch::Receiver<Option<ControlEnd>>> {
        let Role::Compared { with } = &cell.role else { return None };
        self.0.get(with).map(watch::Sender::subscribe)
    }

    /// This cell, if it is a control, will not be tried again.
    pub fn ended(&self, cell: &Cell, state: &RunState) {
        if let (Some(control), Some(end)) = (self.0.get(&cell.id), found(cell, state)) {
            control.send_replace(Some(end));
        }
    }

    /// The run stops: controls that do not run now never will.
    pub fn give_up(&self, is_running: impl Fn(&CellId) -> bool) {
        for (_, control) in self.0.iter().filter(|(id, _)| !is_running(id)) {
            let cancelled =
                ControlEnd { outcome: Outcome::Inconclusive, reason: Some(ReasonId::Cancelled), facts: None };
            control.send_if_modified(|end| {
                end.is_none() && {
                    *end = Some(cancelled);
                    true
                }
            });
        }
    }
}

fn found(cell: &Cell, state: &RunState) -> Option<ControlEnd> {
    let attempt = state.cell(&cell.id)?.attempts.last()?;
    let verdict = &attempt.end.as_ref()?.verdict;
    let facts = attempt.signals.iter().rev().find_map(|signal| match &signal.what {
        SignalKind::ControlFacts { facts } | SignalKind::ControlKnown { facts, .. } => Some(facts.clone()),
        _ => None,
    });
    Some(ControlEnd { outcome: verdict.outcome, reason: verdict.lead().map(|lead| lead.id), facts })
}
