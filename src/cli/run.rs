use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

use super::{Context, EXIT_INCONCLUSIVE, Select, table::table};
use crate::{
    catalog::DigestCache,
    event::{Decision, Event, JournalWriter, RunState},
    gate,
    lab::{
        Boots, Lab, boot_places,
        libvirt::{LibvirtLab, OpenOptions},
    },
    model::{Accelerator, Bytes, Plan, Secrets, Sha256},
    plan,
    report::{
        Rate, Rates, ReportFile, count,
        terminal::{self, Live, LiveOptions, Look},
        write_all,
    },
    run::{self, Capacity, Finished, History, Images, Memory, Order, RunFolder, Sink},
    seal::{SealCache, Seals},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bootgate run matrices/demo.yaml
  bootgate run nightly.yaml --candidate build/content.bin --set channel=beta
  bootgate run nightly.yaml --only os=lab-os-10 --soak 5 --fail-fast
  bootgate run nightly.yaml --only os=lab-os-10 --repeat 20
  bootgate run --resume runs/20260102T030405Z-nightly

Exit code: 0 approved; 1 rejected, an update broke something; 2 usage or configuration, nothing was
started; 3 inconclusive, the lab could not tell; 130 cancelled. Ctrl-C once stops cleanly and reports what
is known; twice stops now. Nothing is left behind either way.")]
pub struct Args {
    #[command(flatten)]
    select: Option<Select>,
    /// Finish an interrupted run: cells that have an answer keep it, the others run again
    #[arg(long, value_name = "RUN", conflicts_with = "Select")]
    resume: Option<PathBuf>,
    /// Run it all so many times, each in a directory of its own, and tell how often each cell ended how. The exit code is
    /// that of the worst run
    #[arg(long, value_name = "N", conflicts_with = "resume", value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: Option<u32>,
    /// Where run directories are made
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
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
    /// Stop at the first unhealthy cell; the others are reported as cancelled
    #[arg(long)]
    fail_fast: bool,
    /// Read every byte of the golden images again, instead of trusting unchanged files' digests
    #[arg(long)]
    rehash: bool,
    /// Use this libvirt instead of the driver in bootgate's own process: qemu:///session, qemu:///system
    #[arg(long, value_name = "URI")]
    connect: Option<String>,
    /// What executes the guests' code [default: KVM if it works here, else TCG]
    #[arg(long, value_enum, value_name = "NAME", env = "BOOTGATE_ACCELERATOR")]
    accelerator: Option<Choice>,
    /// Show nothing but the summary
    #[arg(short, long)]
    quiet: bool,
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

/// A run that is about to begin or to go on.
struct Begun {
    folder: RunFolder,
    plan: Plan,
    plan_sha256: Sha256,
    secrets: Secrets,
    journal: JournalWriter,
    resumed: Option<RunState>,
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(run_all(args, context));
    // A lab call that hangs must not keep the process from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    code
}

async fn run_all(args: Args, context: &Context) -> anyhow::Result<u8> {
    // Whatever can be wrong with the files is told before the lab is touched.
    let planned = match (&args.select, &args.resume) {
        (Some(select), None) => Some(select.plan()?),
        (None, Some(_)) => None,
        _ => bail!("nothing to run: give a matrix, or an interrupted run with --resume RUN"),
    };
    if let Some(planned) = &planned {
        context.print_diagnostics(&planned.warnings);
    }
    let interrupt = CancellationToken::new();
    let hurry = CancellationToken::new();
    listen_for_signals(interrupt.clone(), hurry.clone())?;
    let options = OpenOptions {
        state: context.state.clone(),
        uri: args.connect.clone(),
        accelerator: args.accelerator.map(Accelerator::from),
    };
    let opened = tokio::select! {
        opened = LibvirtLab::open(options) => opened,
        () = interrupt.cancelled() => return Ok(Decision::Cancelled.exit_code()),
    };
    let lab = match opened {
        Ok(lab) => lab,
        Err(error) => return lab_failed(context, &error.into()),
    };
    let result = match (args.repeat, planned) {
        (Some(times), Some(planned)) => repeat(&args, context, &planned, &lab, times, &interrupt, &hurry).await,
        (_, planned) => with_lab(&args, context, planned, lab.clone(), interrupt, hurry)
            .await
            .map(|ended| ended.decision.exit_code()),
    };
    if let Err(error) = lab.close().await {
        tell!("warning: the lab could not be closed cleanly: {error}; `bootgate clean` removes what is left");
    }
    result
}

/// The lab's fault, not the user's: inconclusive.
fn lab_failed(context: &Context, error: &anyhow::Error) -> anyhow::Result<u8> {
    context.print_error(error);
    tell!("`bootgate doctor` shows what this machine lacks");
    Ok(EXIT_INCONCLUSIVE)
}

/// What a run came to.
struct Ended {
    decision: Decision,
    /// None: it broke.
    state: Option<RunState>,
}

/// Runs the plan again and again, and tells how stable its cells are.
async fn repeat(
    args: &Args,
    context: &Context,
    planned: &plan::Planned,
    lab: &Arc<LibvirtLab>,
    times: u32,
    interrupt: &CancellationToken,
    hurry: &CancellationToken,
) -> anyhow::Result<u8> {
    let mut rates = Rates::default();
    let mut worst = Decision::Approved;
    for _ in 0..times {
        let (interrupt, hurry) = (interrupt.clone(), hurry.clone());
        let Ended { decision, state } =
            with_lab(args, context, Some(planned.clone()), lab.clone(), interrupt.clone(), hurry).await?;
        worst = gate::heavier(worst, decision);
        let Some(state) = state else { break };
        // What was cut short says nothing about the cells.
        if interrupt.is_cancelled() {
            break;
        }
        rates.add(&state);
    }
    context.print(&stability(&rates))?;
    Ok(worst.exit_code())
}

fn stability(rates: &Rates) -> String {
    let row = |rate: Rate| {
        let (low, high) = rate.unhealthy_share;
        let reasons: Vec<String> = rate.reasons.iter().map(|(id, count)| format!("{id} {count}")).collect();
        let counts = [rate.healthy, rate.unhealthy, rate.inconclusive].map(|count| count.to_string());
        let [healthy, unhealthy, inconclusive] = counts;
        let share = format!("{:.1} to {:.1} %", low * 100.0, high * 100.0);
        [rate.cell.to_string(), healthy, unhealthy, inconclusive, share, reasons.join(", ")]
    };
    let rows: Vec<[String; 6]> = rates.cells().into_iter().map(row).collect();
    let head = ["CELL", "HEALTHY", "UNHEALTHY", "INCONCLUSIVE", "UNHEALTHY, 95 %", "REASONS"];
    format!("\n{}\n{}", count(rates.runs() as usize, "run"), table(head, &rows))
}

async fn with_lab(
    args: &Args,
    context: &Context,
    planned: Option<plan::Planned>,
    lab: Arc<LibvirtLab>,
    interrupt: CancellationToken,
    hurry: CancellationToken,
) -> anyhow::Result<Ended> {
    let begun = match (planned, &args.resume) {
        (Some(planned), _) => begin(args, planned)?,
        (None, Some(dir)) => resume(dir)?,
        (None, None) => bail!("nothing to run"),
    };
    let capacity =
        Capacity::new(&context.state.slots(), lab.info(), args.jobs, args.memory.map_or(Memory::Host, Memory::Fixed))
            .with_context(|| format!("the state folder {} cannot be used", context.state.path().display()))?;
    let digests = Arc::new(DigestCache::open(context.state.digests()));
    let cache = SealCache::new(&context.state, digests.clone(), args.seal_space.unwrap_or(SealCache::LIMIT));
    cache.sweep().log();
    let seals = Seals::new(cache, lab.clone());
    let places = boot_places(lab.info().accelerator, lab.info().cpus, None);
    let boots = Boots::open(&context.state.boots(), places)
        .with_context(|| format!("the state folder {} cannot be used", context.state.path().display()))?;
    let (history, warning) = History::open(&context.state.history());
    if let Some(warning) = warning {
        tell!("warning: {warning}");
    }
    let dir = begun.folder.dir.clone();
    let state = begun.resumed.clone().unwrap_or_else(|| RunState::new(begun.folder.run.clone()));
    let live = Live::new(state, LiveOptions { quiet: args.quiet, verbose: context.verbose });
    let order = Order {
        folder: begun.folder,
        plan: begun.plan,
        plan_sha256: begun.plan_sha256,
        secrets: begun.secrets,
        lab,
        capacity,
        boots,
        history,
        images: Images::new(digests, args.rehash),
        seals: Some(seals),
        fail_fast: args.fail_fast,
        interrupt,
        hurry,
        journal: begun.journal,
        resumed: begun.resumed,
    };
    let finished = run::run(order, &mut ToTerminal(&live)).await;
    live.close();
    match finished {
        Ok(finished) => {
            let decision = report(&finished, &dir, &shown(&dir));
            Ok(Ended { decision, state: Some(finished.state) })
        }
        Err(error) => {
            context.print_error(&error.into());
            Ok(Ended { decision: Decision::Inconclusive, state: None })
        }
    }
}

fn begin(args: &Args, planned: plan::Planned) -> anyhow::Result<Begun> {
    let (folder, plan_sha256) = RunFolder::create(&args.runs, &planned.plan)?;
    let journal = JournalWriter::create(&folder.journal(), folder.run.clone())?;
    let plan::Planned { plan, secrets, .. } = planned;
    Ok(Begun { folder, plan, plan_sha256, secrets, journal, resumed: None })
}

fn resume(dir: &Path) -> anyhow::Result<Begun> {
    let path = dir.join("events.jsonl");
    let (journal, recorded) =
        JournalWriter::resume(&path).with_context(|| format!("{} cannot be resumed", dir.display()))?;
    let state = RunState::of(recorded.run.clone(), &recorded.events);
    let Some(start) = &state.start else {
        bail!("{} ended before its first event: start it anew with `bootgate run MATRIX`", dir.display());
    };
    let (folder, plan) = RunFolder::open(dir, recorded.run, &start.plan_sha256)?;
    let secrets = plan::secrets(&plan, &|name| std::env::var(name).ok())?;
    Ok(Begun { plan_sha256: start.plan_sha256.clone(), folder, plan, secrets, journal, resumed: Some(state) })
}

/// Writes the reports and the summary. A report that cannot be written never counts as an approval.
fn report(finished: &Finished, dir: &Path, shown: &Path) -> Decision {
    let decision = finished.ruling.decision;
    let mut complete = true;
    for written in write_all(dir, &finished.state, &ReportFile::ALL) {
        if let Err(error) = written.result {
            complete = false;
            tell!("error: cannot write {}: {error}", written.path.display());
        }
    }
    // A closed pipe (`| head`) changes no verdict.
    let _ = io::stdout().write_all(terminal::summary(&finished.state, Look::of_stdout(), shown).as_bytes());
    if complete { decision } else { gate::heavier(decision, Decision::Inconclusive) }
}

/// A path as its user would write it here.
fn shown(path: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path).to_owned()
}

struct ToTerminal<'a>(&'a Live);

impl Sink for ToTerminal<'_> {
    fn event(&mut self, event: &Event, _state: &RunState) {
        self.0.event(event);
    }
}

/// Whether this process was started with SIGHUP ignored (proc(5), `SigIgn` of `/proc/self/status`).
pub(super) fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

pub(super) async fn recv(signal: &mut Option<tokio::signal::unix::Signal>) -> Option<()> {
    signal.as_mut()?.recv().await
}

/// The first Ctrl-C, SIGTERM or SIGHUP stops cleanly, the second at once.
fn listen_for_signals(interrupt: CancellationToken, hurry: CancellationToken) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut ctrl_c = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // A closed terminal; whoever was told to ignore that (nohup) goes on doing so.
    let mut hang_up = if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = ctrl_c.recv() => {}
                _ = terminate.recv() => {}
                Some(()) = recv(&mut hang_up) => {}
            }
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
