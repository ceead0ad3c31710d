use std::{io, path::Path, sync::Arc};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Context, EXIT_INCONCLUSIVE};
use crate::{
    catalog::DigestCache,
    event::{Decision, Event, JournalWriter, RunState},
    gate::RunSigner,
    lab::{
        Boots, Lab, LabError, boot_places,
        libvirt::{LibvirtLab, OpenOptions},
    },
    model::{Accelerator, Bytes, Plan, Secrets, Sha256},
    report::terminal::{Live, LiveOptions},
    run::{self, Capacity, Finished, History, Images, Memory, Order, RunFolder, Sink},
    seal::{SealCache, Seals},
    sign::lab_key,
};

/// Which lab the machines run in.
#[derive(Clone, Debug, clap::Args)]
pub struct LabArgs {
    /// Use this libvirt instead of the driver in bootgate's own process: qemu:///session, qemu:///system
    #[arg(long, value_name = "URI")]
    connect: Option<String>,
    /// What executes the guests' code [default: KVM if it works here, else TCG]
    #[arg(long, value_enum, value_name = "NAME", env = "BOOTGATE_ACCELERATOR")]
    accelerator: Option<Choice>,
}

impl LabArgs {
    /// Whether libvirt's driver is in this process, so that no connection can be lost.
    pub fn is_embedded(&self) -> bool {
        self.connect.is_none()
    }
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Choice {
    Kvm,
    Tcg,
}

impl From<Choice> for Accelerator {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Kvm => Accelerator::Kvm,
            Choice::Tcg => Accelerator::Tcg,
        }
    }
}

/// How much of the host the machines of a run may take.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct RoomArgs {
    /// How many VMs at once, shared with other bootgate processes [default: as many as the memory
    /// holds; how many of them boot at a time follows from the host's cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    jobs: Option<u32>,
    /// How much memory all VMs of this run may use together, such as 8GiB [default: what the host has free]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Bytes>,
    /// How much disk space seals (settled machines that cells start from) may take; the least recently used go
    /// [default: 16GiB]
    #[arg(long, value_name = "SIZE")]
    seal_space: Option<Bytes>,
}

impl RoomArgs {
    pub fn how(&self) -> Use {
        Use { jobs: self.jobs, memory: self.memory, seal_space: self.seal_space, ..Use::default() }
    }
}

/// How a run uses the lab.
#[derive(Clone, Copy, Debug, Default)]
pub struct Use {
    pub jobs: Option<u32>,
    pub memory: Option<Bytes>,
    /// How much space seals may take.
    pub seal_space: Option<Bytes>,
    pub fail_fast: bool,
    pub rehash: bool,
    pub quiet: bool,
}

/// A run that is about to begin or to go on.
pub struct Begun {
    pub folder: RunFolder,
    pub plan: Plan,
    pub plan_sha256: Sha256,
    pub secrets: Secrets,
    pub journal: JournalWriter,
    pub resumed: Option<RunState>,
}

impl Begun {
    /// A new run, in a directory of its own below `runs`.
    pub fn new(runs: &Path, plan: Plan, secrets: Secrets) -> anyhow::Result<Self> {
        let (folder, plan_sha256) = RunFolder::create(runs, &plan)?;
        let journal = JournalWriter::create(&folder.journal(), folder.run.clone())?;
        Ok(Self { folder, plan, plan_sha256, secrets, journal, resumed: None })
    }
}

/// The user's ways to stop what goes on.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Cleanly.
    pub interrupt: CancellationToken,
    /// At once.
    pub hurry: CancellationToken,
}

/// An open lab, and the user's way to stop what goes on in it.
pub struct Session<'a> {
    context: &'a Context,
    lab: Arc<LibvirtLab>,
    pub interrupt: CancellationToken,
    hurry: CancellationToken,
}

/// Opens the lab, works in it and closes it again. The exit code is the work's.
pub fn in_lab(
    context: &Context,
    args: &LabArgs,
    work: impl AsyncFnOnce(&Session<'_>) -> anyhow::Result<u8>,
) -> anyhow::Result<u8> {
    stoppable(async |stop: &Stop| {
        let session = match Session::open(context, args, stop).await {
            Ok(Some(session)) => session,
            Ok(None) => return Ok(Decision::Cancelled.exit_code()),
            Err(error) => return lab_failed(context, &error.into()),
        };
        let result = work(&session).await;
        session.close().await;
        result
    })
}

/// Works until the work ends, which the user may ask it to do.
pub fn stoppable(work: impl AsyncFnOnce(&Stop) -> anyhow::Result<u8>) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(async {
        let stop = Stop::default();
        listen_for_signals(stop.interrupt.clone(), stop.hurry.clone())?;
        work(&stop).await
    });
    // A lab call that hangs must not keep the process from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    code
}

/// The lab's fault, not the user's: inconclusive.
fn lab_failed(context: &Context, error: &anyhow::Error) -> anyhow::Result<u8> {
    context.print_error(error);
    tell!("`bootgate doctor` shows what this machine lacks");
    Ok(EXIT_INCONCLUSIVE)
}

impl<'a> Session<'a> {
    /// Opens the lab. None: the user did not wait for it.
    ///
    /// # Errors
    /// The lab's.
    pub async fn open(context: &'a Context, args: &LabArgs, stop: &Stop) -> Result<Option<Self>, LabError> {
        let options = OpenOptions {
            state: context.state.clone(),
            uri: args.connect.clone(),
            accelerator: args.accelerator.map(Accelerator::from),
        };
        let opened = tokio::select! {
            opened = LibvirtLab::open(options) => opened,
            () = stop.interrupt.cancelled() => return Ok(None),
        };
        let Stop { interrupt, hurry } = stop.clone();
        opened.map(|lab| Some(Self { context, lab, interrupt, hurry }))
    }

    /// Closes the lab; what cannot be closed is told.
    pub async fn close(&self) {
        if let Err(error) = self.lab.close().await {
            tell!("warning: the lab could not be closed cleanly: {error}; `bootgate clean` removes what is left");
        }
    }

    /// Cancelled by the next signal to stop, whether or not one came before.
    pub fn next_stop(&self) -> &CancellationToken {
        if self.interrupt.is_cancelled() { &self.hurry } else { &self.interrupt }
    }

    /// Runs to the end. None: it broke, which has been told.
    ///
    /// # Errors
    /// It could not begin.
    pub async fn run(&self, begun: Begun, how: Use) -> anyhow::Result<Option<Finished>> {
        let Self { context, lab, .. } = self;
        let unusable = || format!("the state folder {} cannot be used", context.state.path().display());
        let memory = how.memory.map_or(Memory::Host, Memory::Fixed);
        let capacity = Capacity::new(&context.state.slots(), lab.info(), how.jobs, memory).with_context(unusable)?;
        let digests = Arc::new(DigestCache::open(context.state.digests()));
        let cache = SealCache::new(&context.state, digests.clone(), how.seal_space.unwrap_or(SealCache::LIMIT));
        cache.sweep().log();
        let seals = Seals::new(cache, lab.clone());
        let places = boot_places(lab.info().accelerator, lab.info().cpus, None);
        let boots = Boots::open(&context.state.boots(), places).with_context(unusable)?;
        let (history, warning) = History::open(&context.state.history());
        if let Some(warning) = warning {
            tell!("warning: {warning}");
        }
        let state = begun.resumed.clone().unwrap_or_else(|| RunState::new(begun.folder.run.clone()));
        let live = Live::new(state, LiveOptions { quiet: how.quiet, verbose: context.verbose });
        let (run, plan_sha256) = (begun.folder.run.clone(), begun.plan_sha256.clone());
        let signer = RunSigner::new(lab_key(&context.state)?, &begun.folder.dir, run, plan_sha256);
        let order = Order {
            folder: begun.folder,
            plan: begun.plan,
            plan_sha256: begun.plan_sha256,
            signer,
            secrets: begun.secrets,
            lab: lab.clone(),
            capacity,
            boots,
            history,
            images: Images::new(digests, how.rehash),
            seals: Some(seals),
            fail_fast: how.fail_fast,
            interrupt: self.interrupt.clone(),
            hurry: self.hurry.clone(),
            journal: begun.journal,
            resumed: begun.resumed,
        };
        let finished = run::run(order, &mut ToTerminal(&live)).await;
        live.close();
        Ok(finished.map_err(|error| context.print_error(&error.into())).ok())
    }
}

struct ToTerminal<'a>(&'a Live);

impl Sink for ToTerminal<'_> {
    fn event(&mut self, event: &Event, _state: &RunState) {
        self.0.event(event);
    }
}

/// Whether this process was started with SIGHUP ignored (proc(5), `SigIgn` of `/proc/self/status`).
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

async fn recv(signal: &mut Option<Signal>) -> Option<()> {
    signal.as_mut()?.recv().await
}

/// What asks a process to stop.
pub(super) struct StopSignals {
    ctrl_c: Signal,
    terminate: Signal,
    hang_up: Option<Signal>,
}

impl StopSignals {
    /// From now on these do not end the process. Only within a runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            ctrl_c: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            // A closed terminal; whoever was told to ignore that (nohup) goes on doing so.
            hang_up: if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    /// Until one comes.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.ctrl_c.recv() => {}
            _ = self.terminate.recv() => {}
            Some(()) = recv(&mut self.hang_up) => {}
        }
    }
}

/// The first signal stops cleanly, the second at once.
fn listen_for_signals(interrupt: CancellationToken, hurry: CancellationToken) -> io::Result<()> {
    let mut signals = StopSignals::listen()?;
    tokio::spawn(async move {
        loop {
            signals.next().await;
            if interrupt.is_cancelled() {
                hurry.cancel();
            } else {
                interrupt.cancel();
                // After the deed: standard error may be gone, and that must not stop the stopping.
                tell!("stopping: machines are removed, reports written; once more: at once");
            }
        }
    });
    Ok(())
}
