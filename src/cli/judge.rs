use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Context, explain,
    plan::Format,
    report::{read_journal, state_of},
    signed::LabKeyArg,
};
use crate::{
    event::{MAX_LINE, in_line},
    gate::RunSignatureError,
    health::{agree, deciding, judge},
    model::{CellId, Millis, Outcome, ReasonId, Signal, Verdict, one_line},
    report::told,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bootgate judge runs/20260102T030405Z-nightly
  bootgate judge runs/20260102T030405Z-nightly --cell debian-12.p1
  bootgate judge runs/20260102T030405Z-nightly --cell debian-12.p1 --trace panics.jsonl
  bootgate judge panics.jsonl
  bootgate judge panics.jsonl --trace least.jsonl

Exit code 0: every verdict is the recorded one; 1: one is not, or a cell has none, or the run has
no cell or no end, or its record contradicts itself or is another than this lab signed; 2: it cannot be read.")]
pub struct Args {
    /// A run's directory, or a trace: a file with a signal a line
    #[arg(value_name = "RUN|TRACE")]
    source: PathBuf,
    /// Only this cell of the run
    #[arg(long, value_name = "ID")]
    cell: Option<String>,
    /// Write what the verdict of the cell, or of the trace, rests on as a trace
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    lab_key: LabKeyArg,
}

/// The first line of a trace: what is to be said of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Expected {
    outcome: Outcome,
    reasons: Vec<ReasonId>,
}

/// A verdict that was judged again.
#[derive(Debug, Serialize)]
struct Judged {
    /// None: a trace.
    cell: Option<CellId>,
    /// Which of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    verdict: Verdict,
    /// Whether that is what was recorded; none: nothing was.
    as_recorded: Option<bool>,
    recorded: Option<Expected>,
    /// The signals that it rests on.
    deciding: Vec<Signal>,
    /// What times count from, as `explain` does: the begin of the attempt, or of what there is of it.
    #[serde(skip)]
    began: Millis,
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    let is_there = args.source.try_exists().with_context(|| format!("cannot look at {}", args.source.display()))?;
    if !is_there {
        bail!("{} is not there: give a run's directory or the file of a trace", args.source.display());
    }
    if args.source.is_file() && args.source.file_name().is_some_and(|name| name == "events.jsonl") {
        bail!("{} is a run's journal: give the directory, not the file", args.source.display());
    }
    if let (true, Some(id)) = (args.source.is_file(), &args.cell) {
        bail!("{} is a trace, which has no cell `{id}`: --cell is for a run's directory", args.source.display());
    }
    if let (false, Some(path), None) = (args.source.is_file(), &args.trace, &args.cell) {
        bail!("{} would be of one cell: --cell ID says of which", path.display());
    }
    let (all, is_whole) =
        if args.source.is_file() { (vec![trace(&args.source)?], true) } else { cells(&args, context)? };
    if let (Some(path), Some(last)) = (&args.trace, all.last()) {
        write_trace(path, last)?;
    }
    let text = match args.format {
        Format::Table => all.iter().map(for_people).collect::<Vec<_>>().join("\n"),
        Format::Json => serde_json::to_string_pretty(&all)? + "\n",
    };
    context.print(&text)?;
    if all.is_empty() {
        tell!("{}: the run planned no cell, so nothing was judged", args.source.display());
        return Ok(1);
    }
    let answered = |judged: &Judged| judged.as_recorded.unwrap_or(judged.cell.is_none());
    Ok(u8::from(!all.iter().all(answered) || !is_whole))
}

/// Each cell's attempts that came to an end, and the last one; a cell that was never begun has no signals. And whether the run's
/// record has its end, contradicts itself nowhere and is no other than this lab signed.
fn cells(args: &Args, context: &Context) -> anyhow::Result<(Vec<Judged>, bool)> {
    let journal = read_journal(&args.source)?;
    // Of another lab's run, or one that nobody signed, nothing is known but what it says.
    let doubt = args.lab_key.doubt(&args.source, &journal, context);
    let mut is_whole = !matches!(doubt, Some(RunSignatureError::Differs { .. } | RunSignatureError::Added));
    let state = state_of(&args.source, journal);
    for what in &state.contradictions {
        is_whole = false;
        tell!("the journal contradicts itself: {what}");
    }
    if state.decision.is_none() {
        is_whole = false;
        tell!("the run has no end: it goes on, or was killed (`bootgate run --resume` finishes it)");
    }
    let cells = match &args.cell {
        Some(id) => vec![explain::find(&state, id)?],
        None => state.cells.iter().collect(),
    };
    let judged = cells.into_iter().flat_map(|cell| {
        let (last, earlier) = cell.attempts.split_last().unzip();
        let ended =
            earlier.unwrap_or_default().iter().filter_map(|attempt| Some((Some(attempt), attempt.end.as_ref()?)));
        let ended = ended.map(|(attempt, end)| (attempt, Some(end)));
        ended.chain([(last, cell.ended())]).map(|(attempt, end)| {
            let signals = attempt.map_or(&[][..], |attempt| &attempt.signals);
            let (verdict, recorded) = (judge(signals), end.map(|end| &end.verdict));
            Judged {
                cell: Some(cell.planned.id.clone()),
                attempt: attempt.map(|attempt| attempt.number).filter(|_| cell.attempts.len() > 1),
                as_recorded: recorded.map(|recorded| agree(recorded, &verdict)),
                recorded: recorded.map(Expected::of),
                deciding: deciding(signals),
                verdict,
                began: attempt.map(|attempt| attempt.started).unwrap_or_default(),
            }
        })
    });
    Ok((judged.collect(), is_whole))
}

fn trace(path: &Path) -> anyhow::Result<Judged> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let is_blank = |line: &[u8]| line.trim_ascii().is_empty();
    let mut lines = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !is_blank(line)).peekable();
    let is_expected =
        |line: &&[u8]| serde_json::from_slice(line).is_ok_and(|line: Value| line.get("outcome").is_some());
    let recorded = match lines.next_if(|(_, line)| is_expected(line)) {
        None => None,
        Some((index, line)) => Some(serde_json::from_slice::<Expected>(line).map_err(|error| {
            let hint = "it says what is expected, such as `{\"outcome\": \"healthy\", \"reasons\": []}`";
            anyhow!("{}, line {}: {}; {hint}", path.display(), index + 1, in_line(&error))
        })?),
    };
    let mut signals: Vec<Signal> = Vec::new();
    for (index, line) in lines {
        let signal = match line.len() as u64 {
            ..MAX_LINE => serde_json::from_slice(line).map_err(|error| in_line(&error)),
            _ => Err(format!("it is longer than {} MiB", MAX_LINE >> 20)),
        };
        signals.push(signal.map_err(|why| {
            let hint = "a trace has a signal a line, `judge RUN --cell ID --trace FILE` writes one";
            anyhow!("{}, line {}: this is no signal: {why}; {hint}", path.display(), index + 1)
        })?);
    }
    if signals.is_empty() && recorded.is_none() {
        bail!("{} is empty: a trace has a signal a line", path.display());
    }
    let verdict = judge(&signals);
    let says = Expected::of(&verdict);
    let as_recorded = recorded.as_ref().map(|recorded| *recorded == says);
    let deciding = deciding(&signals);
    let began = signals.first().map(|signal| signal.at).unwrap_or_default();
    Ok(Judged { cell: None, attempt: None, as_recorded, recorded, deciding, verdict, began })
}

fn write_trace(path: &Path, judged: &Judged) -> anyhow::Result<()> {
    let mut text = serde_json::to_string(&Expected::of(&judged.verdict))? + "\n";
    for signal in &judged.deciding {
        text.push_str(&(serde_json::to_string(signal)? + "\n"));
    }
    let mut file = fs::File::create_new(path).with_context(|| {
        format!("cannot write the trace {}: it must be a file that is not there yet", path.display())
    })?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

impl Expected {
    pub(super) fn of(verdict: &Verdict) -> Self {
        Self { outcome: verdict.outcome, reasons: verdict.reasons.iter().map(|reason| reason.id).collect() }
    }

    /// What follows a verdict that is another one.
    pub(super) fn told(&self) -> String {
        let ids: Vec<&str> = self.reasons.iter().map(|id| id.as_str()).collect();
        let ids = if ids.is_empty() { "no reason".to_owned() } else { ids.join(", ") };
        format!(", and recorded as {} ({ids})", self.outcome)
    }
}

fn for_people(judged: &Judged) -> String {
    let Judged { cell, attempt, verdict, as_recorded, recorded, deciding, began } = judged;
    let name = cell.as_ref().map_or("the trace", AsRef::as_ref);
    let attempt = attempt.map_or(String::new(), |number| format!(", attempt {number}"));
    let mut text = format!("{name}{attempt}: {}", verdict.outcome);
    match (as_recorded, recorded) {
        (Some(true), _) => text.push_str(", as recorded"),
        (Some(false), Some(recorded)) => text.push_str(&recorded.told()),
        _ => text.push_str("; no verdict was recorded"),
    }
    text.push('\n');
    for reason in &verdict.reasons {
        // Some are of no moment.
        let when = if reason.at < *began { String::new() } else { format!(" at {}", reason.at.since(*began)) };
        let _ = writeln!(text, "  {} in phase {}{when}: {}", reason.id, reason.phase, one_line(&reason.message));
    }
    for Signal { at, what } in deciding {
        let _ = writeln!(text, "{:>10}  {}", at.since(*began).to_string(), told(what));
    }
    text
}
