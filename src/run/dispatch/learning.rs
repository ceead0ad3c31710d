//! What a run learns from its cells for the others and for later runs.

use super::Dispatcher;
use crate::{
    clock::utc_now,
    event::{CellEnd, Level, RunEvent},
    lab::boot_places,
    model::{CellId, Phase, SignalKind},
    run::history::HistoryError,
};

impl Dispatcher<'_> {
    /// What a signal says about other cells: whether they may start, and what their boots will cost.
    pub(super) fn learn(&mut self, id: &CellId, signal: &SignalKind) {
        match signal {
            // Its place to boot in is behind it.
            SignalKind::PhaseStarted { at: Phase::Start } => self.look |= self.at_the_door.remove(id),
            // Other cells of its image need not wait any more.
            SignalKind::Sealed { .. } | SignalKind::StartedFrom { .. } => self.look = true,
            _ => {}
        }
        let Some(cell) = self.index.get(id).map(|index| &self.plan.cells[*index]) else { return };
        let Some(image) = self.plan.images.get(&cell.image) else { return };
        let accelerator = self.shared.lab.info().accelerator;
        if let Some(cores) = self.costs.see(id, signal, image.vcpus)
            && self.shared.boots.places().is_some()
        {
            let cores = self.history.learn(&image.name, accelerator, cores);
            self.shares.insert(image.name.clone(), cores);
            self.bound_boots();
        }
    }

    /// As many boots at a time as the host's cores bear.
    pub(super) fn bound_boots(&self) {
        let info = self.shared.lab.info();
        let known = self.shares.len() as f64;
        let share = (known > 0.0).then(|| self.shares.values().sum::<f64>() / known);
        if let Some(places) = boot_places(info.accelerator, info.cpus, share) {
            self.shared.boots.resize(places);
        }
    }

    /// Keeps how a cell ended for later runs. A control that was only known took no time that says anything.
    pub(super) fn keep(&mut self, id: &CellId, end: &CellEnd) {
        if self.state.cell(id).is_some_and(|cell| cell.known_from().is_some()) {
            return;
        }
        let Some(cell) = self.index.get(id).map(|index| &self.plan.cells[*index]) else { return };
        let accelerator = self.shared.lab.info().accelerator;
        let kept = self.history.record(&self.plan.name, accelerator, cell, end, utc_now());
        self.warn_of_history(kept);
    }

    pub(super) fn warn_of_history(&self, kept: Result<(), HistoryError>) {
        if let Err(error) = kept {
            let what = RunEvent::Note { level: Level::Warning, text: error.to_string() };
            self.shared.emitter.emit(None, what);
        }
    }
}
