use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{
    sync::mpsc,
    task::{Id, JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{
    Capacity, Images, RunFolder,
    admission::{Admission, Refusal},
    controls::Controls,
    slots::Slot,
};
use crate::{
    cell::{Emitter, Job, Lived, compare, live, not_started},
    event::{CellEnd, Event, JournalError, JournalWriter, Level, PlannedCell, RunEvent, RunStart, RunState, StopCause},
    gate::{self, Ruling},
    lab::Lab,
    model::{Cell, CellId, GoldenImage, Millis, Outcome, Plan, ReasonId, Secrets, Sha256},
    seal::Seals,
};

/// How often room for the next machine is looked for. Memory, disk and other processes' slots send no
/// events.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(500);

/// Sees every event once it is in the journal.
pub trait Sink {
    fn event(&mut self, event: &Event, state: &RunState);
}

/// What a run needs.
pub struct Order {
    pub folder: RunFolder,
    pub plan: Plan,
    pub plan_sha256: Sha256,
    pub secrets: Secrets,
    pub lab: Arc<dyn Lab>,
    pub capacity: Capacity,
    pub images: Images,
    /// Machines to start from; none: every start is from power-on.
    pub seals: Option<Arc<Seals>>,
    /// The first unhealthy cell stops the rest.
    pub fail_fast: bool,
    /// Stop cleanly, report what is known.
    pub interrupt: CancellationToken,
    /// Stop now.
    pub hurry: CancellationToken,
    pub journal: JournalWriter,
    /// What an earlier, interrupted run recorded.
    pub resumed: Option<RunState>,
}

/// A run that came to its end.
#[derive(Debug)]
pub struct Finished {
    pub state: RunState,
    pub ruling: Ruling,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Without its journal nothing that a run finds may be claimed.
    #[error("the run was stopped, because its journal cannot be written: {0}")]
    Journal(#[from] JournalError),
    #[error("the slots for running VMs cannot be used: {0}")]
    Slots(#[from] io::Error),
}

/// Runs a plan to its end.
///
/// # Errors
/// [`RunError`]: nothing may be concluded about the update. Every machine was still removed.
pub async fn run(order: Order, sink: &mut dyn Sink) -> Result<Finished, RunError> {
    Dispatcher::new(order, sink).run().await
}

struct Dispatcher<'a> {
    plan: Plan,
    plan_sha256: Sha256,
    shared: Arc<Shared>,
    capacity: Capacity,
    fail_fast: bool,
    interrupt: CancellationToken,
    journal: JournalWriter,
    sink: &'a mut dyn Sink,
    state: RunState,
    events: mpsc::UnboundedReceiver<Event>,
    /// Indexes into the plan's cells and the number of the attempt.
    waiting: VecDeque<(usize, u32)>,
    running: JoinSet<Outcome>,
    tasks: Vec<Task>,
    stopping: bool,
    interrupted: bool,
    broken: Option<RunError>,
    /// What the last wait for room was about, so that it is told once.
    told: Option<String>,
}

/// A cell that is running.
struct Task {
    id: Id,
    cell: usize,
    attempt: u32,
    began: Millis,
}

/// What every cell's task needs.
struct Shared {
    folder: RunFolder,
    secrets: Secrets,
    lab: Arc<dyn Lab>,
    images: Images,
    seals: Option<Arc<Seals>>,
    controls: Controls,
    emitter: Emitter,
    cancel: CancellationToken,
    hurry: CancellationToken,
}

impl<'a> Dispatcher<'a> {
    fn new(order: Order, sink: &'a mut dyn Sink) -> Self {
        let Order { folder, plan, plan_sha256, secrets, lab, capacity, images, seals, .. } = order;
        let (sender, events) = mpsc::unbounded_channel();
        let emitter = Emitter::new(order.journal.last_at(), sender);
        let state = order.resumed.unwrap_or_else(|| RunState::new(folder.run.clone()));
        let cancel = CancellationToken::new();
        let controls = Controls::new(&plan, &state);
        let shared = Shared { folder, secrets, lab, images, seals, controls, emitter, cancel, hurry: order.hurry };
        Self {
            plan,
            plan_sha256,
            shared: Arc::new(shared),
            capacity,
            fail_fast: order.fail_fast,
            interrupt: order.interrupt,
            journal: order.journal,
            sink,
            state,
            events,
            waiting: VecDeque::new(),
            running: JoinSet::new(),
            tasks: Vec::new(),
            stopping: false,
            interrupted: false,
            broken: None,
            told: None,
        }
    }

    async fn run(mut self) -> Result<Finished, RunError> {
        self.open();
        let mut room = tokio::time::interval(LOOK_FOR_ROOM);
        room.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Looking costs a lock attempt per place: not at every event.
        let mut look = true;
        loop {
            self.take_waiting_events();
            if look {
                self.start_what_fits();
            }
            if self.running.is_empty() && self.waiting.is_empty() {
                break;
            }
            look = tokio::select! {
                biased;
                () = self.interrupt.cancelled(), if !self.interrupted => {
                    self.interrupted = true;
                    self.stop(StopCause::Interrupted);
                    false
                }
                Some(event) = self.events.recv() => {
                    self.take(&event);
                    false
                }
                Some(ended) = self.running.join_next_with_id(), if !self.running.is_empty() => {
                    self.ended(ended);
                    true
                }
                _ = room.tick(), if !self.waiting.is_empty() => true,
            };
        }
        self.take_waiting_events();
        let ruling = gate::decide(&self.state);
        self.shared.emitter.emit(None, RunEvent::RunEnded { decision: ruling.decision });
        self.take_waiting_events();
        match self.broken {
            Some(error) => Err(error),
            None => Ok(Finished { state: self.state, ruling }),
        }
    }

    /// The first line of the journal, and the queue.
    fn open(&mut self) {
        let utc = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let first = if self.state.start.is_some() {
            RunEvent::RunResumed { utc }
        } else {
            RunEvent::RunStarted { start: Box::new(self.run_start(utc)) }
        };
        self.shared.emitter.emit(None, first);
        self.take_waiting_events();
        for (index, cell) in self.plan.cells.iter().enumerate() {
            let before = self.state.cell(&cell.id);
            let answered = before.and_then(|before| before.ended());
            if answered.is_none_or(|end| end.verdict.outcome == Outcome::Inconclusive) {
                let attempts = before.map_or(0, |before| before.attempts.len());
                self.waiting.push_back((index, u32::try_from(attempts).unwrap_or(u32::MAX).saturating_add(1)));
            }
        }
    }

    fn run_start(&self, utc: String) -> RunStart {
        let candidate = self.plan.candidate.as_ref();
        let info = self.shared.lab.info();
        RunStart {
            utc,
            bootgate: env!("CARGO_PKG_VERSION").to_owned(),
            name: self.plan.name.clone(),
            plan_sha256: self.plan_sha256.clone(),
            cells: self.plan.cells.iter().map(PlannedCell::from).collect(),
            update_sha256: self.plan.update_sha256.clone(),
            candidate_sha256: candidate.map(|candidate| candidate.sha256.clone()),
            candidate_name: candidate
                .and_then(|candidate| candidate.path.file_name())
                .map(|name| name.to_string_lossy().into_owned()),
            lab: info.name.clone(),
            accelerator: info.accelerator,
            uncontrolled: !self.plan.policy.control,
        }
    }

    fn take_waiting_events(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.take(&event);
        }
    }

    /// The journal first; only what is in it is shown and counts.
    fn take(&mut self, event: &Event) {
        if self.broken.is_some() {
            return;
        }
        if let Err(error) = self.journal.append(event) {
            self.broken = Some(error.into());
            self.halt();
            return;
        }
        self.state.apply(event);
        self.sink.event(event, &self.state);
    }

    fn stop(&mut self, why: StopCause) {
        self.shared.emitter.emit(None, RunEvent::RunStopping { why });
        self.halt();
    }

    fn halt(&mut self) {
        self.stopping = true;
        self.waiting.clear();
        self.shared.cancel.cancel();
        let running = |cell: &CellId| self.tasks.iter().any(|task| self.plan.cells[task.cell].id == *cell);
        self.shared.controls.give_up(running);
    }

    fn start_what_fits(&mut self) {
        while let Some(&(index, attempt)) = self.waiting.front() {
            let cell = &self.plan.cells[index];
            let Some(image) = self.plan.images.get(&cell.image).cloned() else {
                self.waiting.pop_front();
                self.refuse(index, attempt, ReasonId::ImageMissing, "the plan names no such image".to_owned());
                continue;
            };
            match self.capacity.admit(&image, self.running.is_empty()) {
                Ok(Admission::Admitted(slot)) => {
                    self.waiting.pop_front();
                    self.told = None;
                    self.start(index, attempt, image, slot);
                }
                Ok(Admission::Wait(why)) => {
                    if self.running.is_empty() && self.told.as_ref() != Some(&why) {
                        let text = format!("waiting: {why}");
                        self.shared.emitter.emit(None, RunEvent::Note { level: Level::Info, text });
                        self.told = Some(why);
                    }
                    return;
                }
                Ok(Admission::Never(refusal)) => {
                    self.waiting.pop_front();
                    let (reason, text) = match refusal {
                        Refusal::Memory(text) => (ReasonId::StartFailed, text),
                        Refusal::Disk(text) => (ReasonId::OutOfSpace, text),
                    };
                    self.refuse(index, attempt, reason, text);
                }
                Err(error) => {
                    self.broken = Some(error.into());
                    self.halt();
                }
            }
        }
    }

    fn start(&mut self, index: usize, attempt: u32, image: GoldenImage, slot: Slot) {
        let cell = self.plan.cells[index].clone();
        let began = self.shared.emitter.emit(Some(&cell.id), RunEvent::CellStarted { attempt });
        let job = self.job(cell, image, attempt);
        let shared = self.shared.clone();
        let task = async move {
            let mut lived = match shared.images.verify(&job.image, &job.cancel).await {
                Ok(()) => live(&job).await,
                Err(problem) => not_started(&job.emitter, &job.cell.id, problem.reason(), problem.to_string()),
            };
            // The place is free when the machine is gone, and not before.
            drop(slot);
            compare(&job, &mut lived, shared.controls.of(&job.cell)).await;
            shared.end(&job.cell, attempt, began, lived)
        };
        let id = self.running.spawn(task).id();
        self.tasks.push(Task { id, cell: index, attempt, began });
    }

    /// A cell that cannot run on this host at all.
    fn refuse(&mut self, index: usize, attempt: u32, reason: ReasonId, message: String) {
        let cell = self.plan.cells[index].clone();
        let shared = &self.shared;
        let began = shared.emitter.emit(Some(&cell.id), RunEvent::CellStarted { attempt });
        let lived = not_started(&shared.emitter, &cell.id, reason, message);
        shared.end(&cell, attempt, began, lived);
    }

    fn job(&self, cell: Cell, image: GoldenImage, attempt: u32) -> Job {
        let shared = &self.shared;
        Job {
            run: shared.folder.run.clone(),
            dir: shared.folder.cell(&cell.id, attempt),
            cell,
            image,
            collect: self.plan.collect.clone(),
            secrets: shared.secrets.clone(),
            lab: shared.lab.clone(),
            seals: shared.seals.clone(),
            emitter: shared.emitter.clone(),
            cancel: shared.cancel.clone(),
            hurry: shared.hurry.clone(),
        }
    }

    fn ended(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(place) = self.tasks.iter().position(|task| task.id == id) else { return };
        let task = self.tasks.swap_remove(place);
        let cell = self.plan.cells[task.cell].clone();
        if let Some(image) = self.plan.images.get(&cell.image) {
            self.capacity.release(image);
        }
        let outcome = match ended {
            Ok((_, outcome)) => outcome,
            Err(error) => {
                let message = format!("internal error: the cell's task ended early ({error})");
                let lived = not_started(&self.shared.emitter, &cell.id, ReasonId::HarnessDied, message);
                self.shared.end(&cell, task.attempt, task.began, lived)
            }
        };
        let again = outcome == Outcome::Inconclusive && task.attempt <= self.plan.policy.retry_inconclusive;
        if !self.stopping && again {
            self.waiting.push_back((task.cell, task.attempt + 1));
            return;
        }
        // Its events are in the state before its task has ended.
        self.take_waiting_events();
        self.shared.controls.ended(&cell, &self.state);
        if !self.stopping && outcome == Outcome::Unhealthy && self.fail_fast {
            self.stop(StopCause::FailFast);
        }
    }
}

impl Shared {
    fn end(&self, cell: &Cell, attempt: u32, began: Millis, lived: Lived) -> Outcome {
        let relative = |path: &std::path::PathBuf| {
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
