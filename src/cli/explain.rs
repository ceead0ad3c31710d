use std::{fmt::Write as _, path::PathBuf};

use anyhow::anyhow;

use super::{
    Context,
    judge::Expected,
    report::{read_journal, state_of},
    signed::LabKeyArg,
};
use crate::{
    event::{Attempt, CellState, RunState},
    health::{agree, judge},
    model::{CellId, Verdict, one_line},
    report::{Detail, story},
    source::nearest,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bootgate explain runs/20260102T030405Z-nightly debian-12.p1
  bootgate explain runs/20260102T030405Z-nightly debian-12.p1 --all

Times count from the begin of the attempt. The verdict is judged again from the record; where another one was recorded, \
that is said. Exit code 0; 2: there is no such run or cell.")]
pub struct Args {
    /// The run's directory, the one with events.jsonl
    run: PathBuf,
    /// The cell's id, as `plan` and the reports show it
    cell: String,
    /// Samples, deadlines and facts too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    lab_key: LabKeyArg,
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    let journal = read_journal(&args.run)?;
    args.lab_key.doubt(&args.run, &journal, context);
    let state = state_of(&args.run, journal);
    let cell = find(&state, &args.cell)?;
    let detail = if args.all { Detail::All } else { Detail::Story };
    context.print(&text(&state, cell, &args, detail))?;
    Ok(0)
}

/// The cell of this id.
///
/// # Errors
/// The run has no such cell; one that may have been meant is named.
pub(super) fn find<'a>(state: &'a RunState, id: &str) -> anyhow::Result<&'a CellState> {
    state.cell(&CellId::from(id)).ok_or_else(|| {
        let ids = state.cells.iter().map(|cell| cell.planned.id.as_ref());
        let hint = nearest(id, ids).map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
        anyhow!("the run {} has no cell `{id}`{hint}", state.run)
    })
}

/// What an attempt's signals say, if another verdict was recorded.
fn otherwise(attempt: &Attempt) -> Option<Verdict> {
    let recorded = &attempt.end.as_ref()?.verdict;
    Some(judge(&attempt.signals)).filter(|says| !agree(recorded, says))
}

fn text(state: &RunState, cell: &CellState, args: &Args, detail: Detail) -> String {
    let recorded = state.verdict(cell);
    let otherwise_told = cell.attempts.last().and_then(otherwise);
    let but = if otherwise_told.is_some() { Expected::of(&recorded).told() } else { String::new() };
    let verdict = otherwise_told.unwrap_or(recorded);
    let mut text = format!("{}: {}{but}\n", cell.planned.id, verdict.outcome);
    for what in &state.contradictions {
        let _ = writeln!(text, "  the journal contradicts itself: {}", one_line(what));
    }
    for reason in &verdict.reasons {
        let _ = writeln!(text, "  {} in phase {}: {}", reason.id, reason.phase, one_line(&reason.message));
    }
    for attempt in &cell.attempts {
        let began = attempt.started;
        let _ = writeln!(
            text,
            "\nattempt {}, {began} after the run began; image {}",
            attempt.number,
            one_line(&cell.planned.image)
        );
        for (at, line) in story(attempt, detail) {
            let _ = writeln!(text, "{:>10}  {line}", at.to_string());
        }
        let Some(end) = &attempt.end else {
            let but = attempt
                .proven
                .as_ref()
                .and_then(Verdict::lead)
                .map(|lead| format!(", and its signals say {}", lead.id));
            let _ = writeln!(text, "            bootgate ended before this attempt did{}", but.unwrap_or_default());
            continue;
        };
        let says = otherwise(attempt).map(|says| says.outcome).filter(|outcome| *outcome != end.verdict.outcome);
        let but = says.map_or_else(String::new, |outcome| format!(", and its signals say {outcome}"));
        let _ = writeln!(text, "{:>10}  ended: {}{but}", end.took.to_string(), end.verdict.outcome);
        let pictures = |path: &&PathBuf| path.extension().is_some_and(|kind| kind == "png");
        let files: Vec<PathBuf> = end.artifacts.iter().map(|path| args.run.join(path)).collect();
        for (what, wanted) in [("pictures", true), ("files", false)] {
            let paths: Vec<&PathBuf> = files.iter().filter(|path| pictures(path) == wanted).collect();
            if !paths.is_empty() {
                let _ = writeln!(text, "  {what}");
                for path in paths {
                    let _ = writeln!(text, "    {}", one_line(&path.display().to_string()));
                }
            }
        }
    }
    text
}
