use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Emitter, boot_place::BootPlace, caught::caught, check, collect, limits, observe::Observer, pictures::Reference,
    restart, settle, step, watch,
};
use crate::{
    event::{Level, RunEvent},
    guest::{Agent, Command, GuestFamily, Transcript, family},
    health::judge,
    lab::{AgentError, BootKind, Boots, Lab, LabError, Vm, VmSpec},
    model::{
        Cell, CellId, Collect, Exit, GoldenImage, Limits, Millis, Phase, ReasonId, RunId, Secrets, Signal, SignalKind,
        StepKind, Verdict,
    },
};

/// A lab that needs longer than this to start a machine is broken.
const START: Duration = Duration::from_secs(600);

/// Everything one cell needs.
pub struct Job {
    pub run: RunId,
    pub cell: Cell,
    pub image: GoldenImage,
    pub collect: Collect,
    pub secrets: Secrets,
    pub lab: Arc<dyn Lab>,
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
    pub verdict: Verdict,
    /// Files that were kept.
    pub artifacts: Vec<PathBuf>,
}

/// Who lives in a cell: the machine, seen from the steps.
pub(super) struct Cellmate<'a> {
    pub job: &'a Job,
    pub family: &'static dyn GuestFamily,
    pub transcript: Transcript,
    vm: Arc<dyn Vm>,
    /// Taken before the machine was made, for its first boot.
    place: Mutex<Option<BootPlace>>,
    limits: Mutex<(Limits, Millis)>,
    tags: AtomicU64,
}

/// Lives one cell's life. Whatever happens, the evidence is collected and the machine destroyed.
pub async fn live(job: &Job) -> Lived {
    let emit = |what| job.emitter.emit(Some(&job.cell.id), RunEvent::Signal { signal: what });
    let planned = SignalKind::Planned {
        update_steps: job.cell.update.len(),
        soak: job.cell.health.soak,
        checks: job.cell.health.checks.iter().map(|check| check.id.clone()).collect(),
        role: job.cell.role.clone(),
    };
    emit(planned.clone());
    let Some(family) = family(job.image.family) else {
        let message = format!("{:?} guests are not supported by this version", job.image.family);
        return not_started(&job.emitter, &job.cell.id, ReasonId::StartFailed, message);
    };
    // Before the phase: what a machine waits for its turn is no part of how long it takes to start.
    let place = tokio::select! {
        biased;
        () = job.cancel.cancelled() => {
            let message = "the run was stopped".to_owned();
            return not_started(&job.emitter, &job.cell.id, ReasonId::Cancelled, message);
        }
        permit = job.boots.acquire(BootKind::Start) => BootPlace::first(permit),
    };
    emit(SignalKind::PhaseStarted { at: Phase::Start });
    let spec = VmSpec {
        run: job.run.clone(),
        cell: job.cell.id.clone(),
        image: job.image.clone(),
        network: job.cell.network.clone(),
    };
    let (vm, events) = match job.lab.create(spec).await {
        Ok(made) => made,
        Err(error) => return not_started(&job.emitter, &job.cell.id, lab_fault(&error), error.to_string()),
    };
    let mut watcher = Observer::new(vm.clone(), events, job);
    let first = limits::before_first_boot(&job.cell.health, job.image.quirks);
    let mate = Cellmate {
        job,
        family,
        transcript: Transcript::new(job.secrets.clone()),
        vm: vm.clone(),
        place: Mutex::new(Some(place)),
        limits: Mutex::new((first, Millis::ZERO)),
        tags: AtomicU64::new(0),
    };
    // The judge saw nothing of what was sent before it was there.
    watcher.replay(planned);
    watcher.emit(SignalKind::Limits { limits: first });
    if let Err(panic) = caught(work(&mut watcher, &mate)).await {
        let message = format!("internal error: {panic}");
        watcher.emit(SignalKind::LabFault { reason: ReasonId::HarnessDied, message });
    }
    let verdict = watcher.judge.verdict();
    let artifacts = if job.hurry.is_cancelled() {
        Vec::new()
    } else {
        tokio::select! {
            files = caught(collect::collect(&mut watcher, &mate)) => files.unwrap_or_default(),
            () = job.hurry.cancelled() => Vec::new(),
        }
    };
    watcher.enter(Phase::Destroy);
    match collect::destroy(vm.as_ref()).await {
        Ok(()) => watcher.leave(Phase::Destroy),
        Err(error) => watcher.note(Level::Warning, format!("the machine could not be removed whole: {error}")),
    }
    Lived { verdict, artifacts }
}

/// The life itself. False: the judge was over before its end. What it all means, the judge alone says.
async fn work(watcher: &mut Observer, mate: &Cellmate<'_>) -> bool {
    let cell = &mate.job.cell;
    start(watcher, mate).await
        && step::steps(watcher, mate, Phase::Setup, &cell.setup).await
        && take_settled_screen(watcher).await
        && step::steps(watcher, mate, Phase::Apply, &cell.update).await
        && restart::first(watcher, mate).await
        && watch::watch(watcher, mate, cell.health.watch).await
        && soak(watcher, mate, cell.health.soak).await
        && check::checks(watcher, mate, &cell.health.checks).await
        && last_events(watcher, mate).await
}

/// What happened in the cell's last moment counts too.
async fn last_events(watcher: &mut Observer, mate: &Cellmate<'_>) -> bool {
    watcher.drain();
    if watcher.judge.is_recovering() {
        settle::settle(watcher, mate).await;
    }
    !watcher.judge.is_over()
}

async fn start(watcher: &mut Observer, mate: &Cellmate<'_>) -> bool {
    let place = mate.place.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
    let vm = watcher.vm.clone();
    let starting = async {
        let too_slow = |_| LabError::Other(format!("the machine did not start within {}", Millis::from(START)));
        tokio::time::timeout(START, vm.start()).await.unwrap_or_else(|late| Err(too_slow(late)))
    };
    match watcher.until(starting).await {
        None => return false,
        Some(Ok(())) => {}
        Some(Err(error)) => {
            watcher.emit(SignalKind::LabFault { reason: lab_fault(&error), message: error.to_string() });
            return false;
        }
    }
    watcher.leave(Phase::Start);
    watcher.enter(Phase::Settle);
    if !settle::settle(watcher, mate).await {
        return false;
    }
    drop(place);
    let took = watcher.judge.boot_age();
    watcher.leave(Phase::Settle);
    let known = limits::after_first_boot(took, &mate.job.cell.health, mate.job.image.quirks);
    *mate.limits.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = (known, took);
    watcher.emit(SignalKind::Limits { limits: known });
    if let Some(Ok(facts)) = watcher.until(async { mate.agent(Duration::from_secs(10)).os_info().await }).await {
        watcher.emit(SignalKind::Facts { facts });
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
        let watch = mate.job.cell.health.watch;
        if !restart::soak(watcher, mate, n).await || !watch::watch(watcher, mate, watch).await {
            return false;
        }
    }
    true
}

/// The end of a cell whose machine could not even be made.
pub fn not_started(emitter: &Emitter, cell: &CellId, reason: ReasonId, message: String) -> Lived {
    let what = SignalKind::LabFault { reason, message };
    let at = emitter.emit(Some(cell), RunEvent::Signal { signal: what.clone() });
    Lived { verdict: judge(&[Signal { at, what }]), artifacts: Vec::new() }
}

fn lab_fault(error: &LabError) -> ReasonId {
    match error {
        LabError::ImageMissing(_) => ReasonId::ImageMissing,
        LabError::OutOfSpace(_) => ReasonId::OutOfSpace,
        _ => ReasonId::StartFailed,
    }
}

impl Cellmate<'_> {
    /// A client of the machine's agent whose requests may take so long.
    pub fn agent(&self, timeout: Duration) -> Agent<'_> {
        Agent::new(self.vm.as_ref(), timeout, &self.transcript)
    }

    /// A new name for a command's output files.
    pub fn tag(&self) -> String {
        self.tags.fetch_add(1, Ordering::Relaxed).to_string()
    }

    pub fn limits(&self) -> Limits {
        self.limits.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).0
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
        self.limits.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).1
    }

    /// The step with its secrets in place: for the guest's eyes only.
    pub fn reveal(&self, kind: &StepKind) -> StepKind {
        let reveal = |text: &String| self.job.secrets.reveal(text);
        match kind {
            StepKind::Run { argv } => StepKind::Run { argv: argv.iter().map(reveal).collect() },
            StepKind::Sh { script } => StepKind::Sh { script: reveal(script) },
            StepKind::Copy { .. } | StepKind::Files { .. } => kind.clone(),
        }
    }

    /// Runs a small command to its end.
    pub async fn finish(&self, command: &Command, patience: Duration) -> Result<Exit, AgentError> {
        let agent = self.agent(patience);
        let deadline = Instant::now() + patience;
        let pid = agent.exec(&command.path, &command.args).await?;
        let mut pause = Duration::from_millis(15);
        loop {
            let status = agent.exec_status(pid).await?;
            if status.exited {
                return Ok(self.family.exit(&status));
            }
            if Instant::now() >= deadline {
                return Err(AgentError::Timeout);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(Duration::from_millis(250));
        }
    }

    /// Removes a command's output files in the guest; if that fails they stay in the clone's memory.
    pub async fn tidy(&self, command: &Command) {
        let remove = self.family.remove_output(command);
        let _ = self.agent(Duration::from_secs(10)).exec(&remove.path, &remove.args).await;
    }
}
