use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::{Context, EXIT_INCONCLUSIVE, outs::refuse_same, signed::LabKeyArg};
use crate::{
    event::{self, Journal, JournalError, RunState, Tail},
    files::write_out,
    gate,
    report::{
        Document, ReportFile,
        terminal::{self, Look},
        write_all,
    },
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bootgate report runs/20260102T030405Z-nightly
  bootgate report runs/20260102T030405Z-nightly --only junit
  bootgate report runs/20260102T030405Z-nightly --format client --out for-the-client.html
  bootgate report runs/20260102T030405Z-nightly --format markdown >> \"$GITHUB_STEP_SUMMARY\"")]
pub struct Args {
    /// The run's directory, the one with events.jsonl
    run: PathBuf,
    /// Rebuild only these
    #[arg(long, value_name = "REPORT", value_delimiter = ',')]
    only: Vec<Only>,
    /// Rebuild nothing, and write this one to standard output or to --out
    #[arg(long, value_enum, value_name = "REPORT", conflicts_with = "only")]
    format: Option<Format>,
    /// Where to write it
    #[arg(long, value_name = "FILE", requires = "format")]
    out: Option<PathBuf>,
    #[command(flatten)]
    lab_key: LabKeyArg,
    /// Exit with the run's own code: 0 approved, 1 rejected, 3 inconclusive or not as the lab signed it, 130 cancelled
    #[arg(long)]
    exit_code: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Only {
    /// junit.xml
    Junit,
    /// result.json
    Json,
    /// report.html
    Html,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// As junit.xml
    Junit,
    /// As result.json
    Json,
    /// As report.html, without links to the files beside it
    Html,
    /// A page for a client: what was tested, on what, the result, a recommendation
    Client,
    /// A summary for a pull request or a job's page
    Markdown,
    /// Workflow commands for GitHub Actions: annotations, at most ten of a level
    Github,
    /// Logging commands for Azure Pipelines: issues, at most ten of a level, and the step's result
    Azure,
    /// Numbers as OpenMetrics text, such as for GitLab's metrics report
    Metrics,
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    let journal = read_journal(&args.run).inspect_err(|_| tell_what_is_stale(&args.run))?;
    let is_doubtful = args.lab_key.doubt(&args.run, &journal, context).is_some();
    let state = state_of(&args.run, journal);
    let mut own_code = if args.exit_code { gate::ruling(&state).decision.exit_code() } else { 0 };
    if is_doubtful {
        own_code = if args.exit_code && own_code == 0 { EXIT_INCONCLUSIVE } else { own_code };
    }
    if let Some(out) = &args.out {
        refuse_same(out, &[&args.run.join("events.jsonl"), &args.run.join("plan.json")])?;
    }
    if let Some(format) = args.format {
        let bytes = format.document().render(&state, &args.run).map_err(anyhow::Error::msg)?;
        match &args.out {
            Some(path) => write_out(path, &bytes).with_context(|| format!("cannot write {}", path.display()))?,
            None => context.print_bytes(&bytes)?,
        }
        return Ok(own_code);
    }
    let files: Vec<ReportFile> = match args.only.as_slice() {
        [] => ReportFile::ALL.to_vec(),
        only => only.iter().map(|only| only.file()).collect(),
    };
    // A closed pipe (`| head`) must not keep the files from being written.
    let _ = io::stdout().write_all(terminal::summary(&state, Look::of_stdout(), &args.run).as_bytes());
    let mut code = own_code;
    for written in write_all(&args.run, &state, &files) {
        if let Err(error) = written.result {
            tell!("cannot write {}: {error}", written.path.display());
            // A report that is missing must not look like a success, and never softens the run's own code.
            code = if code == 0 { EXIT_INCONCLUSIVE } else { code };
        }
    }
    Ok(code)
}

/// Reports from before do not vanish with the journal that they were made from: nobody may take them for its words.
fn tell_what_is_stale(run: &Path) {
    let there = ReportFile::ALL.map(ReportFile::file_name).map(|name| run.join(name));
    for path in there.iter().filter(|path| path.exists()) {
        tell!("{} is from before and does not count: its journal cannot be read", path.display());
    }
}

impl Only {
    fn file(self) -> ReportFile {
        match self {
            Only::Junit => ReportFile::Junit,
            Only::Json => ReportFile::Json,
            Only::Html => ReportFile::Html,
        }
    }
}

impl Format {
    fn document(self) -> Document {
        match self {
            Format::Junit => Document::Junit,
            Format::Json => Document::Json,
            Format::Html => Document::Html,
            Format::Client => Document::Client,
            Format::Markdown => Document::Markdown,
            Format::Github => Document::Github,
            Format::Azure => Document::Azure,
            Format::Metrics => Document::Metrics,
        }
    }
}

/// What a run directory's journal adds up to.
///
/// # Errors
/// There is no such run, or its journal is damaged.
pub(super) fn read_run(run: &Path) -> anyhow::Result<RunState> {
    Ok(state_of(run, read_journal(run)?))
}

pub(super) fn state_of(run: &Path, journal: Journal) -> RunState {
    if let Tail::Torn { line, .. } = journal.tail {
        let path = run.join("events.jsonl");
        tell!("bootgate was killed while it wrote line {line} of {}: that line is left out", path.display());
    }
    let mut state = RunState::of(journal.run, &journal.events);
    gate::judge_again(&mut state);
    state
}

/// # Errors
/// There is no such run, or its journal is damaged.
pub(super) fn read_journal(run: &Path) -> anyhow::Result<Journal> {
    event::read(&run.join("events.jsonl")).map_err(|error| not_a_run(error, run))
}

fn not_a_run(error: JournalError, run: &Path) -> anyhow::Error {
    let is_missing = matches!(&error, JournalError::Io { source, .. }
        if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory));
    let result = Err::<(), _>(error);
    if is_missing {
        let hint = if run.file_name().is_some_and(|name| name == "events.jsonl") {
            "give the directory, not the file"
        } else {
            "give the directory that `bootgate run` named at its end"
        };
        return result.context(format!("{} is no run directory: {hint}", run.display())).unwrap_err();
    }
    result.context(format!("cannot read the run {}", run.display())).unwrap_err()
}
