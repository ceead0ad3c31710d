mod ending;
mod learning;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{Id, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{
    Capacity, History, Images, RunFolder,
    admission::{Admission, Refusal},
    controls::Controls,
    cost::BootCosts,
    order::{Expectations, Queue},
    slots::Slot,
};
use crate::{
    cell::{Emitter, Job, Lived, live, not_started},
    clock::utc_now,
    event::{Event, JournalError, JournalWriter, Level, PlannedCell, RunEvent, RunStart, RunState, StopCause},
    gate::{self, Ruling, RunSignatureError, RunSigner},
    lab::{Boots, Lab},
    model::{Cell, CellId, GoldenImage, Millis, Outcome, Plan, ReasonId, Role, Secrets, Sha256},
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
    /// Signs the journal whenever something has ended.
    pub signer: RunSigner,
    pub secrets: Secrets,
    pub lab: Arc<dyn Lab>,
    pub capacity: Capacity,
    /// Places for machines that boot; how many there are follows from what a boot turns out to cost.
    pub boots: Boots,
    pub history: History,
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
    /// Nothing may rest on a run without it.
    #[error("the run was stopped: {0}")]
    Signature(#[from] RunSignatureError),
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
    signer: RunSigner,
    shared: Arc<Shared>,
    capacity: Capacity,
    history: History,
    expectations: Expectations,
    costs: BootCosts,
    /// Cores that a boot of an image uses, as far as that is known.
    shares: BTreeMap<String, f64>,
    fail_fast: bool,
    interrupt: CancellationToken,
    journal: JournalWriter,
    sink: &'a mut dyn Sink,
    state: RunState,
    events: mpsc::UnboundedReceiver<Event>,
    /// Where in the plan a cell is.
    index: HashMap<CellId, usize>,
    waiting: Queue,
    running: JoinSet<Lived>,
    controls: Controls<Ended>,
    tasks: HashMap<Id, Task>,
    /// Running cells that have no place to boot in yet.
    at_the_door: HashSet<CellId>,
    /// Something happened since the last look that may let another cell start. Looking costs a lock attempt per
    /// place: not at every event.
    look: bool,
    stopping: bool,
    interrupted: bool,
    broken: Option<RunError>,
    /// What the last wait for room was about, so that it is told once.
    told: Option<String>,
}

/// A cell that is running.
struct Task {
    cell: usize,
    attempt: u32,
    began: Millis,
}

/// A cell whose machine is gone.
struct Ended {
    task: Task,
    lived: Lived,
}

/// What every cell's task needs.
struct Shared {
    folder: RunFolder,
    secrets: Secrets,
    lab: Arc<dyn Lab>,
    boots: Boots,
    images: Images,
    seals: Option<Arc<Seals>>,
    emitter: Emitter,
    cancel: CancellationToken,
    hurry: CancellationToken,
}

impl<'a> Dispatcher<'a> {
    fn new(order: Order, sink: &'a mut dyn Sink) -> Self {
        let Order { folder, plan, plan_sha256, secrets, lab, capacity, boots, history, images, seals, .. } = order;
        let (sender, events) = mpsc::unbounded_channel();
        let emitter = Emitter::new(order.journal.last_at(), sender);
        let mut state = order.resumed.unwrap_or_else(|| RunState::new(folder.run.clone()));
        plan.cells.iter().for_each(|cell| state.forget_samples(&cell.id));
        let cancel = CancellationToken::new();
        let controls = Controls::new(&plan, &state);
        let accelerator = lab.info().accelerator;
        let expectations = Expectations::new(&plan.cells, &history.known(&plan.name, accelerator));
        let share = |image: &String| Some((image.clone(), history.share(image, accelerator)?));
        let shares = plan.images.keys().filter_map(share).collect();
        let index = plan.cells.iter().enumerate().map(|(index, cell)| (cell.id.clone(), index)).collect();
        let hurry = order.hurry;
        let shared = Shared { folder, secrets, lab, boots, images, seals, emitter, cancel, hurry };
        Self {
            plan,
            plan_sha256,
            signer: order.signer,
            shared: Arc::new(shared),
            capacity,
            history,
            expectations,
            costs: BootCosts::default(),
            shares,
            fail_fast: order.fail_fast,
            interrupt: order.interrupt,
            journal: order.journal,
            sink,
            state,
            events,
            index,
            waiting: Queue::default(),
            running: JoinSet::new(),
            controls,
            tasks: HashMap::new(),
            at_the_door: HashSet::new(),
            look: true,
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
        loop {
            self.take_waiting_events();
            if std::mem::take(&mut self.look) {
                self.start_what_fits();
            }
            if self.running.is_empty() && self.waiting.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                () = self.interrupt.cancelled(), if !self.interrupted => {
                    self.interrupted = true;
                    self.stop(StopCause::Interrupted);
                }
                Some(event) = self.events.recv() => self.take(&event),
                Some(ended) = self.running.join_next_with_id(), if !self.running.is_empty() => self.ended(ended),
                _ = room.tick(), if !self.waiting.is_empty() => self.look = true,
            }
        }
        self.take_waiting_events();
        let kept = self.history.write();
        self.warn_of_history(kept);
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
        self.bound_boots();
        let utc = utc_now();
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
                let attempt = u32::try_from(attempts).unwrap_or(u32::MAX).saturating_add(1);
                self.waiting.add(index, cell, attempt, &self.expectations);
            }
        }
    }

    fn run_start(&self, utc: String) -> RunStart {
        let candidate = self.plan.candidate.as_ref();
        let info = self.shared.lab.info();
        let planned = |(index, cell): (usize, &Cell)| PlannedCell {
            expected_ms: self.expectations.took(index),
            image_made: self.plan.images.get(&cell.image).and_then(|image| image.made),
            ..PlannedCell::from(cell)
        };
        RunStart {
            utc,
            bootgate: env!("CARGO_PKG_VERSION").to_owned(),
            name: self.plan.name.clone(),
            plan_sha256: self.plan_sha256.clone(),
            cells: self.plan.cells.iter().enumerate().map(planned).collect(),
            update_sha256: self.plan.update_sha256.clone(),
            candidate_sha256: candidate.map(|candidate| candidate.sha256.clone()),
            candidate_name: candidate
                .and_then(|candidate| candidate.path.file_name())
                .map(|name| name.to_string_lossy().into_owned()),
            candidate_about: candidate.and_then(|candidate| candidate.about.clone()),
            lab: info.name.clone(),
            accelerator: info.accelerator,
            uncontrolled: !self.plan.policy.control,
            policy: self.plan.approval.clone(),
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
        if let Err(error) = self.record(event) {
            self.broken = Some(error);
            self.halt();
            return;
        }
        self.state.apply(event);
        self.sink.event(event, &self.state);
        match (&event.what, &event.cell) {
            (RunEvent::Signal { signal }, Some(cell)) => self.learn(cell, signal),
            (RunEvent::CellEnded { end }, Some(cell)) => {
                self.state.forget_samples(cell);
                self.keep(cell, end);
            }
            _ => {}
        }
    }

    /// What has ended is signed at once: a run that is killed goes on from what is.
    fn record(&mut self, event: &Event) -> Result<(), RunError> {
        self.journal.append(event)?;
        if event.what.is_to_last() {
            self.signer.sign(self.journal.sha256())?;
        }
        Ok(())
    }

    fn stop(&mut self, why: StopCause) {
        self.shared.emitter.emit(None, RunEvent::RunStopping { why });
        self.halt();
    }

    fn halt(&mut self) {
        self.stopping = true;
        self.waiting.clear();
        self.shared.cancel.cancel();
        let running = |cell: &CellId| self.tasks.values().any(|task| self.plan.cells[task.cell].id == *cell);
        for (ended, control) in self.controls.give_up(running) {
            self.conclude(ended, control);
        }
    }

    /// Whether what the cell needs of others is there, asked before it is picked. All cells of an image that are alike
    /// in being a control or not, and in how they start, have the same answer.
    fn may_start(&self, cell: &Cell) -> bool {
        self.shared.seals.as_ref().is_none_or(|seals| seals.may_start(cell))
    }

    /// The cell whose turn it is. More machines than can boot in the near future would only hold memory.
    fn next(&self) -> Option<(usize, u32)> {
        let places = self.shared.boots.places();
        if places.is_some_and(|places| self.at_the_door.len() >= places as usize) {
            return None;
        }
        self.waiting.next(|index| self.may_start(&self.plan.cells[index]))
    }

    fn start_what_fits(&mut self) {
        while let Some((index, attempt)) = self.next() {
            let cell = &self.plan.cells[index];
            let Some(image) = self.plan.images.get(&cell.image).cloned() else {
                self.waiting.remove(index, cell);
                self.refuse(index, attempt, ReasonId::ImageMissing, "the plan names no such image".to_owned());
                continue;
            };
            match self.capacity.admit(&image, self.running.is_empty()) {
                Ok(Admission::Admitted(slot)) => {
                    self.waiting.remove(index, cell);
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
                    self.waiting.remove(index, cell);
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
        self.at_the_door.insert(cell.id.clone());
        if let Some(seals) = &self.shared.seals {
            seals.promise(&cell);
        }
        let job = self.job(cell, image, attempt);
        let shared = self.shared.clone();
        let task = async move {
            let lived = match shared.images.verify(&job.image, &job.cancel).await {
                Ok(()) => live(&job).await,
                Err(problem) => not_started(&job.emitter, &job.cell.id, problem.reason(), problem.to_string()),
            };
            // The place is free when the machine is gone, and not before.
            drop(slot);
            lived
        };
        let id = self.running.spawn(task).id();
        self.tasks.insert(id, Task { cell: index, attempt, began });
    }

    /// A cell that cannot run on this host at all.
    fn refuse(&mut self, index: usize, attempt: u32, reason: ReasonId, message: String) {
        let cell = self.plan.cells[index].clone();
        let shared = &self.shared;
        let began = shared.emitter.emit(Some(&cell.id), RunEvent::CellStarted { attempt });
        let lived = not_started(&shared.emitter, &cell.id, reason, message);
        self.compare(Ended { task: Task { cell: index, attempt, began }, lived });
    }

    fn job(&self, cell: Cell, image: GoldenImage, attempt: u32) -> Job {
        let shared = &self.shared;
        let control = match &cell.role {
            Role::Compared { with } => self.controls.facts(with).cloned(),
            Role::Alone | Role::Control => None,
        };
        Job {
            run: shared.folder.run.clone(),
            dir: shared.folder.cell(&cell.id, attempt),
            cell,
            image,
            control,
            collect: self.plan.collect.clone(),
            secrets: shared.secrets.clone(),
            lab: shared.lab.clone(),
            seals: shared.seals.clone(),
            boots: shared.boots.clone(),
            emitter: shared.emitter.clone(),
            cancel: shared.cancel.clone(),
            hurry: shared.hurry.clone(),
        }
    }
}
