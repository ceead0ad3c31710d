use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use super::{
    Context, NotifyArgs, Select,
    report::read_run,
    session::{Begun, LabArgs, RoomArgs, Session, Use, in_lab},
    table::table,
};
use crate::{
    event::{Decision, JournalWriter, RunState},
    gate,
    model::count,
    plan,
    report::{
        Rate, Rates, ReportFile,
        terminal::{self, Look},
        write_all,
    },
    run::{Finished, RunFolder},
    sign::lab_key,
};

#[derive(Debug, clap::Args)]
#[command(override_usage = "\
bootgate run [OPTIONS] <MATRIX>
       bootgate run [OPTIONS] --resume <RUN>")]
#[command(after_help = "\
Examples:
  bootgate run matrices/demo.yaml
  bootgate run nightly.yaml --candidate build/content.bin --set channel=beta
  bootgate run nightly.yaml --only os=lab-os-10 --soak 5 --fail-fast
  bootgate run nightly.yaml --only os=lab-os-10 --repeat 20
  bootgate run nightly.yaml --notify '${env:SLACK_WEBHOOK}'
  bootgate run --resume runs/20260102T030405Z-nightly

Exit code: 0 approved; 1 rejected, an update broke something; 2 usage or configuration, nothing was \
started; 3 inconclusive, the lab could not tell; 130 cancelled. Ctrl-C once stops cleanly and reports what \
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
    #[command(flatten)]
    room: RoomArgs,
    /// Stop at the first unhealthy cell; the others are reported as cancelled
    #[arg(long)]
    fail_fast: bool,
    /// Read every byte of the golden images again, instead of trusting unchanged files' digests
    #[arg(long)]
    rehash: bool,
    #[command(flatten)]
    lab: LabArgs,
    #[command(flatten)]
    notify: NotifyArgs,
    /// Show nothing but the summary
    #[arg(short, long)]
    quiet: bool,
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    // Whatever can be wrong with the files is told before the lab is touched.
    args.notify.check()?;
    let planned = match (&args.select, &args.resume) {
        (Some(select), None) => Some(select.plan()?),
        (None, Some(_)) => None,
        _ => bail!("nothing to run: give a matrix, or an interrupted run with --resume RUN"),
    };
    if let Some(planned) = &planned {
        context.print_diagnostics(&planned.warnings);
    }
    in_lab(context, &args.lab, async |session: &Session<'_>| match (args.repeat, planned) {
        (Some(times), Some(planned)) => repeat(&args, context, &planned, session, times).await,
        (_, planned) => once(&args, planned, context, session).await.map(|ended| ended.decision.exit_code()),
    })
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
    session: &Session<'_>,
    times: u32,
) -> anyhow::Result<u8> {
    let mut rates = Rates::default();
    let mut worst = Decision::Approved;
    for _ in 0..times {
        let Ended { decision, state } = once(args, Some(planned.clone()), context, session).await?;
        worst = gate::heavier(worst, decision);
        let Some(state) = state else { break };
        // What was cut short says nothing about the cells.
        if session.interrupt.is_cancelled() {
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

async fn once(
    args: &Args,
    planned: Option<plan::Planned>,
    context: &Context,
    session: &Session<'_>,
) -> anyhow::Result<Ended> {
    let begun = match (planned, &args.resume) {
        (Some(plan::Planned { plan, secrets, .. }), _) => Begun::new(&args.runs, plan, secrets)?,
        (None, Some(dir)) => resume(dir, context)?,
        (None, None) => bail!("nothing to run"),
    };
    let dir = begun.folder.dir.clone();
    let how = Use { fail_fast: args.fail_fast, rehash: args.rehash, quiet: args.quiet, ..args.room.how() };
    let ended = match session.run(begun, how).await? {
        Some(finished) => Ended { decision: report(&finished, &dir, &shown(&dir)), state: Some(finished.state) },
        None => Ended { decision: Decision::Inconclusive, state: None },
    };
    if args.notify.is_wanted() {
        tell_others(args, session, &dir, &ended).await;
    }
    Ok(ended)
}

/// Tells others what the exit code says.
async fn tell_others(args: &Args, session: &Session<'_>, dir: &Path, ended: &Ended) {
    // One that broke is told by what it has recorded.
    let recorded = if ended.state.is_none() { read_run(dir).ok() } else { None };
    let Some(state) = ended.state.as_ref().or(recorded.as_ref()) else { return };
    args.notify.tell_of_until(session.next_stop(), state, &ruling_as(state, ended.decision)).await;
}

/// What is told of a run that comes to this decision.
pub(super) fn ruling_as(state: &RunState, decision: Decision) -> gate::Ruling {
    let mut ruling = gate::ruling(state);
    if ruling.decision != decision {
        ruling.decision = decision;
        ruling.reasons.insert(0, "a report of the run could not be written".to_owned());
    }
    ruling
}

/// An interrupted run, ready to go on.
///
/// # Errors
/// It cannot: it is damaged, not this lab's, or at work.
pub(super) fn resume(dir: &Path, context: &Context) -> anyhow::Result<Begun> {
    let path = dir.join("events.jsonl");
    let refused = || format!("{} cannot be resumed", dir.display());
    let (journal, recorded) = JournalWriter::resume(&path).with_context(refused)?;
    // What others put into the journal would be signed at the end.
    let key = lab_key(&context.state)?.public();
    gate::check_resumable(dir, &recorded, &key).with_context(refused)?;
    let mut state = RunState::of(recorded.run.clone(), &recorded.events);
    gate::judge_again(&mut state);
    let Some(start) = &state.start else {
        bail!("{} ended before its first event: start it anew with `bootgate run MATRIX`", dir.display());
    };
    let (folder, plan) = RunFolder::open(dir, recorded.run, &start.plan_sha256)?;
    let secrets = plan::secrets(&plan, &|name| std::env::var(name).ok())?;
    Ok(Begun { plan_sha256: start.plan_sha256.clone(), folder, plan, secrets, journal, resumed: Some(state) })
}

/// Writes the reports and the summary.
fn report(finished: &Finished, dir: &Path, shown: &Path) -> Decision {
    let decision = write_reports(finished, dir);
    // A closed pipe (`| head`) changes no verdict.
    let _ = io::stdout().write_all(terminal::summary(&finished.state, Look::of_stdout(), shown).as_bytes());
    decision
}

/// Writes the reports. One that cannot be written never counts as an approval.
pub(super) fn write_reports(finished: &Finished, dir: &Path) -> Decision {
    let decision = finished.ruling.decision;
    // A run in progress lets go of samples and screens; the reports are made of the journal, as `report` makes them.
    let recorded = read_run(dir).inspect_err(|error| tell!("error: {error:#}"));
    let mut complete = recorded.is_ok();
    for written in write_all(dir, recorded.as_ref().unwrap_or(&finished.state), &ReportFile::ALL) {
        if let Err(error) = written.result {
            complete = false;
            tell!("error: cannot write {}: {error}", written.path.display());
        }
    }
    if complete { decision } else { gate::heavier(decision, Decision::Inconclusive) }
}

/// A path as its user would write it here.
pub(super) fn shown(path: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path).to_owned()
}
