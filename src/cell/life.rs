use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Emitter,
    begin::{self, Way},
    boot_place::BootPlace,
    caught::caught,
    check, collect, control, keep,
    lab_clock::LabClock,
    leftovers, limits,
    observe::Observer,
    pictures::Reference,
    rest, restart,
    serviced::Around,
    settle,
    state::{self, Told},
    step, watch,
};
use crate::{
    event::{Level, RunEvent},
    guest::{Agent, Command, Facts, GuestFamily, Transcript, family},
    health::Judge,
    lab::{AgentError, BootKind, Boots, Lab, LabError, Vm},
    model::{
        Cell, CellId, Check, Collect, ControlFacts, Exit, GoldenImage, Limits, Millis, Outcome, Phase, ReasonId, Role,
        RunId, Secrets, Signal, SignalKind, StepKind, Verdict,
    },
    seal::{Seal, Seals},
};

/// Most that is read of what a guest says about itself, in bytes: a Windows' services alone are 50 to 150 KiB.
pub(super) const PRINTED: usize = 1 << 20;

/// Everything one cell needs.
pub struct Job {
    pub run: RunId,
    pub cell: Cell,
    pub image: GoldenImage,
    pub collect: Collect,
    pub secrets: Secrets,
    /// What is known of the cell's control, if it has already ended in this run.
    pub control: Option<ControlFacts>,
    pub lab: Arc<dyn Lab>,
    /// Machines to start from; none: every start is from power-on.
    pub seals: Option<Arc<Seals>>,
    /// Places to boot in.
    pub boots: Boots,
    pub emitter: Emitter,
    /// Stop, and keep what is known.
    pub cancel: CancellationToken,
    /// Stop now: no evidence is fetched, everything is still removed.
    pub hurry: CancellationToken,
    /// The cell's folder in the run directory.
    pub dir: PathBuf,
}

/// What a cell's life came to.
#[derive(Debug)]
pub struct Lived {
    /// It hears of the control yet, where there is one.
    pub judge: Judge,
    pub verdict: Verdict,
    /// Files that were kept.
    pub artifacts: Vec<PathBuf>,
}

impl Lived {
    fn of(signals: &[Signal]) -> Self {
        let mut judge = Judge::new();
        signals.iter().for_each(|signal| judge.see(signal));
        Self { verdict: judge.verdict(), judge, artifacts: Vec::new() }
    }
}

/// Who lives in a cell: the machine, seen from the steps.
pub(super) struct Cellmate<'a> {
    pub job: &'a Job,
    pub family: &'static dyn GuestFamily,
    pub transcript: Transcript,
    /// What is known of the cell's control, from this run or an earlier one.
    pub control: Option<ControlFacts>,
    facts: Mutex<Facts>,
    logs_from: Mutex<Option<i64>>,
    serviced: Mutex<BTreeMap<usize, Around>>,
    vm: Mutex<Arc<dyn Vm>>,
    seal: Mutex<Option<Arc<Seal>>>,
    limits: Mutex<(Limits, Millis)>,
    tags: AtomicU64,
}

/// Lives one cell's life. Whatever happens, the evidence is collected and the machine destroyed.
pub async fn live(job: &Job) -> Lived {
    let emit = |what| job.emitter.emit(Some(&job.cell.id), RunEvent::Signal { signal: what });
    let ends = |before: &[&SignalKind], reason, message: String| {
        let what = SignalKind::LabFault { reason, message };
        let at = emit(what.clone());
        let before = before.iter().map(|&what| Signal { at, what: what.clone() });
        Lived::of(&before.chain([Signal { at, what }]).collect::<Vec<_>>())
    };
    let checks = |wanted: fn(&Check) -> bool| {
        job.cell.health.checks.iter().filter(|check| wanted(check)).map(|check| check.id.clone()).collect()
    };
    let planned = SignalKind::Planned {
        update_steps: job.cell.update.len(),
        soak: job.cell.health.soak,
        checks: checks(|_| true),
        evidence: checks(|check| check.evidence),
        implied: checks(|check| check.implied),
        role: job.cell.role.clone(),
    };
    emit(planned.clone());
    let tolerances = SignalKind::Tolerances { tolerances: job.cell.health.tolerances.clone() };
    emit(tolerances.clone());
    let mut way = Way::find(job, |text| job.note(Level::Info, text)).await;
    if let Some(known) = control::known(job, &way).await {
        let at = emit(known.clone());
        return Lived::of(&[planned, known].map(|what| Signal { at, what }));
    }
    let control = control::facts(job, &way).await;
    // Before the phase: what a machine waits for its turn is no part of how long it takes to start.
    let place = tokio::select! {
        biased;
        () = job.cancel.cancelled() => {
            return ends(&[&planned], ReasonId::Cancelled, "the run was stopped".to_owned());
        }
        permit = job.boots.acquire(BootKind::Start) => BootPlace::first(permit),
    };
    let made = begin::create(job, &mut way).await;
    let start = way.signal();
    emit(start.clone());
    emit(SignalKind::PhaseStarted { at: Phase::Start });
    let (vm, events) = match made {
        Ok(made) => made,
        Err(error) => return ends(&[&planned, &start], lab_fault(&error), error.to_string()),
    };
    let clock = LabClock::new(job.lab.clone(), control.as_ref().and_then(|facts| facts.probe_us));
    let mut watcher = Observer::new(vm.clone(), events, job, clock);
    let first = limits::before_first_boot(&job.cell.health, job.image.quirks);
    let mate = Cellmate {
        job,
        family: family(job.image.family),
        facts: Mutex::default(),
        logs_from: Mutex::default(),
        serviced: Mutex::default(),
        transcript: Transcript::new(job.secrets.clone()),
        control,
        vm: Mutex::new(vm),
        seal: Mutex::default(),
        limits: Mutex::new((first, Millis::ZERO)),
        tags: AtomicU64::new(0),
    };
    // The judge saw nothing of what was sent before it was there.
    watcher.replay(planned);
    watcher.replay(tolerances);
    watcher.replay(start);
    watcher.emit(limits::unknown(&job.cell.health, job.image.quirks));
    if let Err(panic) = caught(work(&mut watcher, &mate, way, place)).await {
        let message = format!("internal error: {panic}");
        watcher.emit(SignalKind::LabFault { reason: ReasonId::HarnessDied, message });
    }
    let artifacts = if job.hurry.is_cancelled() {
        Vec::new()
    } else {
        tokio::select! {
            files = caught(collect::collect(&mut watcher, &mate)) => files.unwrap_or_default(),
            () = job.hurry.cancelled() => Vec::new(),
        }
    };
    watcher.enter(Phase::Destroy);
    if let Some(folder) = job.cell.keep_in.as_ref().filter(|_| watcher.judge.verdict().outcome == Outcome::Healthy) {
        tokio::select! {
            () = keep::keep(&mut watcher, &mate, folder) => {}
            () = job.hurry.cancelled() => {}
        }
    }
    match collect::destroy(watcher.vm.as_ref()).await {
        Ok(()) => watcher.leave(Phase::Destroy),
        Err(error) => watcher.note(Level::Warning, format!("the machine could not be removed whole: {error}")),
    }
    let verdict = watcher.judge.verdict();
    control::keep(&watcher, &mate, &verdict).await;
    Lived { judge: watcher.judge, verdict, artifacts }
}

/// The life itself. False: the judge was over before its end. What it all means, the judge alone says.
async fn work(watcher: &mut Observer, mate: &Cellmate<'_>, way: Way, place: BootPlace) -> bool {
    let cell = &mate.job.cell;
    begin::begin(watcher, mate, way, place).await
        && take_settled_screen(watcher).await
        && leftovers::logs_begin(watcher, mate).await
        && step::steps(watcher, mate, Phase::Apply, &cell.update).await
        && rest::before_restart(watcher, mate).await
        && restart::first(watcher, mate).await
        && watched(watcher, mate, 0).await
        && soak(watcher, mate, cell.health.soak).await
        && state::tell(watcher, mate, Told::Last).await
        && check::checks(watcher, mate, &cell.health.checks).await
        && control::tell(watcher, mate)
        && last_events(watcher, mate).await
}

/// What happened in the cell's last moment counts too: an agent that has just gone away may be the begin of a reset.
async fn last_events(watcher: &mut Observer, mate: &Cellmate<'_>) -> bool {
    watcher.drain();
    while !watcher.judge.is_over() {
        if !watcher.judge.is_settled() {
            settle::settle(watcher, mate).await;
        } else if watcher.channel_open && !watcher.judge.is_agent_away() {
            break;
        } else if step::wait_for_agent(watcher, mate, mate.quiet().as_duration()).await.is_some() {
            watcher.channel_open = true;
        }
        watcher.drain();
    }
    if !watcher.judge.is_over() {
        watcher.leave(Phase::Check);
    }
    !watcher.judge.is_over()
}

/// What the machine looks like when it is well: a screen like this one later proves that it is up.
async fn take_settled_screen(watcher: &mut Observer) -> bool {
    let vm = watcher.vm.clone();
    if let Some(Ok(screen)) = watcher.until(vm.screenshot()).await {
        watcher.settled_screen = screen.map(Reference::new);
    }
    !watcher.judge.is_over()
}

async fn soak(watcher: &mut Observer, mate: &Cellmate<'_>, times: u32) -> bool {
    for n in 1..=times {
        if !restart::soak(watcher, mate, n).await || !watched(watcher, mate, n).await {
            return false;
        }
    }
    true
}

/// Watches the machine after its `n`-th restart, from 0, between two looks at what runs in it; of a control only after its last,
/// for that is what cells are compared with.
async fn watched(watcher: &mut Observer, mate: &Cellmate<'_>, n: u32) -> bool {
    let Cell { health, role, .. } = &mate.job.cell;
    let is_last = n == health.soak;
    let is_looked_at = is_last || matches!(role, Role::Compared { .. });
    (!is_looked_at || state::first_look(watcher, mate).await)
        && watch::watch(watcher, mate, health.watch).await
        && (is_last || !is_looked_at || state::tell(watcher, mate, Told::Between).await)
}

/// The end of a cell whose machine could not even be made.
pub fn not_started(emitter: &Emitter, cell: &CellId, reason: ReasonId, message: String) -> Lived {
    let what = SignalKind::LabFault { reason, message };
    let at = emitter.emit(Some(cell), RunEvent::Signal { signal: what.clone() });
    Lived::of(&[Signal { at, what }])
}

/// The end of a cell whose task ended early, after it had sent these signals.
pub fn ended_early(emitter: &Emitter, cell: &CellId, before: &[Signal], message: String) -> Lived {
    let what = SignalKind::LabFault { reason: ReasonId::HarnessDied, message };
    let at = emitter.emit(Some(cell), RunEvent::Signal { signal: what.clone() });
    let last = Signal { at, what };
    Lived::of(&[before, std::slice::from_ref(&last)].concat())
}

pub(super) fn lab_fault(error: &LabError) -> ReasonId {
    match error {
        LabError::ImageMissing(_) => ReasonId::ImageMissing,
        LabError::OutOfSpace(_) => ReasonId::OutOfSpace,
        _ => ReasonId::StartFailed,
    }
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Job {
    pub(super) fn note(&self, level: Level, text: String) {
        self.emitter.emit(Some(&self.cell.id), RunEvent::Note { level, text });
    }
}

impl Cellmate<'_> {
    /// A client of the machine's agent whose requests may take so long.
    pub fn agent(&self, timeout: Duration) -> Agent<'_> {
        Agent::new(unpoisoned(&self.vm).clone(), timeout, &self.transcript)
    }

    /// Another machine takes the place of the one before.
    pub fn moved_to(&self, vm: &Arc<dyn Vm>) {
        *unpoisoned(&self.vm) = vm.clone();
    }

    pub fn started_from(&self, seal: &Arc<Seal>) {
        *unpoisoned(&self.seal) = Some(seal.clone());
    }

    pub fn seal(&self) -> Option<Arc<Seal>> {
        unpoisoned(&self.seal).clone()
    }

    pub fn set_limits(&self, limits: Limits, first_boot: Millis) {
        *unpoisoned(&self.limits) = (limits, first_boot);
    }

    pub fn set_facts(&self, facts: Facts) {
        *unpoisoned(&self.facts) = facts;
    }

    /// How a step's program, script or installer is run, its secrets put in. None: such a guest cannot.
    pub fn command(&self, kind: &StepKind) -> Option<Command> {
        self.family.command(&self.reveal(kind), &unpoisoned(&self.facts), &self.tag())
    }

    /// From here on what the guest logs counts, by its own clock.
    pub fn set_log_start(&self, unix_ms: i64) {
        *unpoisoned(&self.logs_from) = Some(unix_ms);
    }

    pub fn export_logs(&self) -> Option<(Command, Vec<String>)> {
        let since = (*unpoisoned(&self.logs_from))?;
        self.family.export_logs(since, &self.tag())
    }

    /// What the guest told of its packages around a step of the update.
    pub fn serviced(&self, step: usize) -> Around {
        unpoisoned(&self.serviced).get(&step).cloned().unwrap_or_default()
    }

    pub fn set_serviced(&self, step: usize, around: Around) {
        unpoisoned(&self.serviced).insert(step, around);
    }

    /// A program's output as text.
    pub fn decode(&self, output: &[u8]) -> String {
        self.family.decode(output, &unpoisoned(&self.facts))
    }

    /// A new name for a command's output files.
    pub fn tag(&self) -> String {
        self.tags.fetch_add(1, Ordering::Relaxed).to_string()
    }

    pub fn limits(&self) -> Limits {
        unpoisoned(&self.limits).0
    }

    pub fn quiet(&self) -> Millis {
        self.limits().quiet
    }

    /// How long an agent may be away while a step runs: an update may replace it.
    pub fn step_patience(&self) -> Duration {
        self.quiet().as_duration().max(Duration::from_secs(90))
    }

    /// How long the boot before the update took.
    pub fn first_boot(&self) -> Millis {
        unpoisoned(&self.limits).1
    }

    /// The step with its secrets in place: for the guest's eyes only.
    pub fn reveal(&self, kind: &StepKind) -> StepKind {
        kind.map_commands(|text| self.job.secrets.reveal(text))
    }

    /// Runs a small command to its end. What it printed, if anybody wants it.
    pub async fn ask(&self, command: &Command, patience: Duration) -> Result<(Exit, String), AgentError> {
        let agent = self.agent(patience);
        let deadline = Instant::now() + patience;
        for script in &command.scripts {
            agent.write_file(&script.path, &script.content).await?;
        }
        let pid = agent.exec(&command.path, &command.args).await?;
        let mut pause = Duration::from_millis(15);
        let exit = loop {
            let status = agent.exec_status(pid).await?;
            if status.exited {
                break self.family.exit(&status);
            }
            if Instant::now() >= deadline {
                return Err(AgentError::Timeout);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(Duration::from_millis(250));
        };
        let mut printed = String::new();
        if !command.stdout.is_empty() {
            let (bytes, _) = agent.read_file(&command.stdout, PRINTED).await?;
            printed = self.decode(&bytes);
            self.tidy(command).await;
        }
        Ok((exit, printed))
    }

    /// Removes a command's output files in the guest; if that fails they stay in the clone's memory.
    pub async fn tidy(&self, command: &Command) {
        let remove = self.family.remove_output(command);
        let _ = self.agent(Duration::from_secs(10)).exec(&remove.path, &remove.args).await;
    }
}
