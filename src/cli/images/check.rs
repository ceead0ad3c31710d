use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::{
    catalog::Catalog,
    cli::{
        Context, EXIT_INCONCLUSIVE,
        plan::Format,
        report::read_run,
        session::{Begun, LabArgs, Session, Use, in_lab},
    },
    event::RunState,
    model::{GoldenImage, Outcome, Secrets, SignalKind},
    plan::look_at,
    report::{
        Fit, fitness,
        terminal::{self, Look},
    },
};

/// Restarts after the first one: two of them are seen.
const SOAK: u32 = 1;

#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Where the run's directory is made, which `explain` and `judge` read
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
    /// Write what was seen as a trace: no more than signals, to send in
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    lab: LabArgs,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Boots an image from power-on, restarts it twice, and says whether it is fit.
pub fn check(image: &GoldenImage, catalog: &Catalog, args: &CheckArgs, context: &Context) -> anyhow::Result<u8> {
    if let Some(path) = args.record.as_deref().filter(|path| path.exists()) {
        anyhow::bail!("{} is there already: a trace is never written over", path.display());
    }
    let catalog = std::path::absolute(&catalog.file.path)?;
    in_lab(context, &args.lab, async |session: &Session<'_>| {
        let begun = Begun::new(&args.runs, look_at(image, &catalog, SOAK), Secrets::default())?;
        let dir = begun.folder.dir.clone();
        if session.run(begun, Use::default()).await?.is_none() {
            return Ok(EXIT_INCONCLUSIVE);
        }
        // A run lets go of signals while it goes on; its journal has them all.
        tell(&read_run(&dir)?, image, args, context, &dir)
    })
}

fn tell(state: &RunState, image: &GoldenImage, args: &CheckArgs, context: &Context, dir: &Path) -> anyhow::Result<u8> {
    let cell = state.cells.first().context("the run has no cell")?;
    let verdict = state.verdict(cell);
    let found = fitness(cell, &verdict);
    let text = match args.format {
        Format::Table => terminal::fitness(&image.name, &found, Look::of_stdout(), dir),
        Format::Json => {
            let found: Vec<_> = found
                .iter()
                .map(|one| serde_json::json!({"fit": word(one.fit), "about": one.about, "detail": one.detail}))
                .collect();
            serde_json::to_string_pretty(&serde_json::json!({"image": image.name, "findings": found, "run": dir}))?
                + "\n"
        }
    };
    context.print(&text)?;
    if let Some(path) = &args.record {
        let signals = cell.attempts.last().map_or(&[][..], |attempt| &attempt.signals);
        let told = signals.iter().filter(|signal| !matches!(signal.what, SignalKind::Screen { .. }));
        let lines: Vec<String> = told.map(serde_json::to_string).collect::<Result<_, _>>()?;
        std::fs::write(path, lines.join("\n") + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(match verdict.outcome {
        Outcome::Inconclusive => EXIT_INCONCLUSIVE,
        _ => u8::from(found.iter().any(|one| one.fit == Fit::No)),
    })
}

fn word(fit: Fit) -> &'static str {
    match fit {
        Fit::Yes => "yes",
        Fit::Partly => "partly",
        Fit::No => "no",
    }
}
