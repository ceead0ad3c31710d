//! How cells end: each when its machine is gone and its control has ended.

use std::path::PathBuf;

use tokio::task::{Id, JoinError};

use super::{Dispatcher, Ended, Shared};
use crate::{
    cell::{ControlEnd, Lived, compare, ended_early},
    event::{CellEnd, RunEvent, StopCause},
    model::{Cell, Millis, Outcome, Role},
};

impl Dispatcher<'_> {
    pub(super) fn ended(&mut self, ended: Result<(Id, Lived), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(task) = self.tasks.remove(&id) else { return };
        let cell = self.plan.cells[task.cell].clone();
        self.look = true;
        self.at_the_door.remove(&cell.id);
        self.costs.forget(&cell.id);
        if let Some(seals) = &self.shared.seals {
            seals.release(&cell);
        }
        if let Some(image) = self.plan.images.get(&cell.image) {
            self.capacity.release(image);
        }
        let lived = match ended {
            Ok((_, lived)) => lived,
            Err(error) => {
                let message = format!("internal error: the cell's task ended early ({error})");
                // All that it sent has a say in the verdict, as it will have when it is read again.
                self.take_waiting_events();
                let attempt = self.state.cell(&cell.id).and_then(|cell| cell.attempts.last());
                let before = attempt.map_or(&[][..], |attempt| &attempt.signals);
                ended_early(&self.shared.emitter, &cell.id, before, message)
            }
        };
        self.compare(Ended { task, lived });
    }

    /// The machine is gone. A cell that is compared with a control has ended once that has.
    pub(super) fn compare(&mut self, ended: Ended) {
        let Role::Compared { with } = &self.plan.cells[ended.task.cell].role else { return self.conclude(ended, None) };
        if let Some((ended, control)) = self.controls.wait(with, ended) {
            self.conclude(ended, control);
        }
    }

    pub(super) fn conclude(&mut self, ended: Ended, control: Option<ControlEnd>) {
        let Ended { task, mut lived } = ended;
        let cell = self.plan.cells[task.cell].clone();
        if let Some(control) = control {
            compare(&self.shared.emitter, &cell.id, &mut lived, control);
        }
        // What its control came to, another try does not change.
        let own = lived.judge.own_verdict().outcome;
        let outcome = self.shared.end(&cell, task.attempt, task.began, lived);
        // What a control told, and how the attempts before ended, is in the state only then.
        self.take_waiting_events();
        let policy = &self.plan.policy;
        let retries = match (outcome, own) {
            (Outcome::Unhealthy, _) => policy.retries,
            (_, Outcome::Inconclusive) => policy.retry_inconclusive,
            _ => 0,
        };
        if !self.stopping && (1..=retries).contains(&self.ended_so(&cell, outcome)) {
            self.waiting.add(task.cell, &cell, task.attempt + 1, &self.expectations);
            return;
        }
        for (waiting, control) in self.controls.ended(&cell, &self.state) {
            self.conclude(waiting, control);
        }
        if !self.stopping && outcome == Outcome::Unhealthy && self.fail_fast {
            self.stop(StopCause::FailFast);
        }
    }

    /// How many attempts at a cell have ended like this.
    fn ended_so(&self, cell: &Cell, outcome: Outcome) -> u32 {
        let attempts = self.state.cell(&cell.id).map_or(&[][..], |state| &state.attempts);
        let ended =
            attempts.iter().filter(|attempt| attempt.end.as_ref().is_some_and(|end| end.verdict.outcome == outcome));
        u32::try_from(ended.count()).unwrap_or(u32::MAX)
    }
}

impl Shared {
    fn end(&self, cell: &Cell, attempt: u32, began: Millis, lived: Lived) -> Outcome {
        let relative = |path: &PathBuf| {
            let path = path.strip_prefix(&self.folder.dir).unwrap_or(path);
            path.to_string_lossy().into_owned()
        };
        let Lived { verdict, artifacts, .. } = lived;
        let outcome = verdict.outcome;
        let artifacts = artifacts.iter().map(relative).collect();
        let took = self.emitter.now().since(began);
        self.emitter.emit(Some(&cell.id), RunEvent::CellEnded { end: CellEnd { attempt, verdict, artifacts, took } });
        outcome
    }
}
