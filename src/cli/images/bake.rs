//! `images bake`: layers above golden images.

use std::{
    env,
    fs::{self, File},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    super::{
        Context, EXIT_INCONCLUSIVE,
        reading::Reading,
        session::{Begun, LabArgs, Session, Use, in_lab},
    },
    CatalogArg, verify,
};
use crate::{
    catalog::{Baked, BakedFiles, Catalog, DigestCache, Recipe, verify as verify_image},
    cell::KEPT,
    event::Decision,
    image::lay,
    model::{Bytes, GoldenImage, Outcome, Plan},
    plan::{self, Planned},
    source::{Diagnostic, Diagnostics},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bootgate images bake
  bootgate images bake win11-24h2-p2

A layer is an image of the catalogue with `from`, the image below it, and `apply`, the steps that make it, which are those
of a matrix's `update`. A clone of the image below takes the steps, is restarted until it has settled, restarted once more
and judged; a healthy one is turned off, and its disk becomes the layer, in baked/ beside the catalogue. A layer that is
there is made again only if what it is made of was changed. Layers below come first.
Exit code 0: all are there; 1: steps failed or broke the machine; 2: the catalogue cannot be read; 3: the lab could not
tell; 130: stopped.")]
pub struct Args {
    /// The layers [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    source: CatalogArg,
    /// Bake the named layers, or all, even if they are there
    #[arg(long)]
    force: bool,
    /// Where the runs' directories are made, which `explain` and `judge` read
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
    #[command(flatten)]
    lab: LabArgs,
}

pub fn run(args: &Args, context: &Context) -> anyhow::Result<u8> {
    let catalog = args.source.read()?;
    let names = chosen(&catalog, &args.names)?;
    let Some(first) = names.first() else {
        tell!("the catalogue has no layer: no image of it has `from` and `apply`");
        return Ok(0);
    };
    let _one_at_a_time = lock(&BakedFiles::of(catalog.file.folder(), first).record)?;
    crate::lab::make_state_dir(&context.state)?;
    let digests = DigestCache::open(context.state.digests());
    let is_forced = |name: &String| args.force && (args.names.is_empty() || args.names.contains(name));
    let is_there = |catalog: &Catalog, name: &str| is_there(catalog, name, &digests);
    if names.iter().all(|name| !is_forced(name) && is_there(&catalog, name)) {
        return names.iter().try_fold(0, |code, name| told_there(name, context).map(|()| code));
    }
    // All that is wrong is told before an hour's work.
    let mut wrong = Diagnostics::default();
    for name in names.iter().filter(|name| is_forced(name) || !is_there(&catalog, name)) {
        if let Err(found) = planned(&catalog, name)? {
            wrong.extend(found.0);
        }
    }
    wrong.or(())?;
    in_lab(context, &args.lab, async |session: &Session<'_>| {
        for name in &names {
            // Read again: what was baked just now is what the next one stands on.
            let catalog = args.source.read()?;
            if !is_forced(name) && is_there(&catalog, name) {
                told_there(name, context)?;
                continue;
            }
            let code = bake(&catalog, name, args, context, session).await?;
            if code != 0 {
                return Ok(code);
            }
        }
        Ok(0)
    })
}

fn told_there(name: &str, context: &Context) -> anyhow::Result<()> {
    context.print(&format!("{}  {name} is there\n", console::style("ok   ").green()))
}

/// The layers to look after, each behind the one below it.
fn chosen(catalog: &Catalog, names: &[String]) -> Result<Vec<String>, Diagnostics> {
    let mut found = Diagnostics::default();
    for image in verify::chosen(catalog, names)? {
        if !names.is_empty() && catalog.recipe(&image.name).is_none() {
            let error = Diagnostic::error(format!("`{}` has a disk of its own: there is nothing to bake", image.name));
            found.push(error.hint("a layer has `from` and `apply` in the catalogue"));
        }
    }
    // From the top down: a layer is wanted if it is named, or below one that is.
    let mut wanted: Vec<&Recipe> = Vec::new();
    for recipe in catalog.recipes.iter().rev() {
        let is_below = wanted.iter().any(|above| above.from.value == recipe.image);
        if names.is_empty() || is_below || names.contains(&recipe.image) {
            wanted.push(recipe);
        }
    }
    found.or(wanted.into_iter().rev().map(|recipe| recipe.image.clone()).collect())
}

/// Waits until nobody else bakes here, and keeps others from it as long as it lives. What an earlier one left is removed.
fn lock(record: &Path) -> anyhow::Result<File> {
    let folder = record.parent().context("a layer has no folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let held = File::open(folder).with_context(|| format!("cannot open {}", folder.display()))?;
    if flock(&held, FlockOperation::NonBlockingLockExclusive).is_err() {
        tell!("another `images bake` works in {}: waiting for it", folder.display());
        flock(&held, FlockOperation::LockExclusive).with_context(|| format!("cannot lock {}", folder.display()))?;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(crate::image::UNFINISHED) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(held)
}

/// Whether the layer is what the catalogue asks for. A file that is gone since, such as an update that has been baked in, says
/// nothing.
fn is_there(catalog: &Catalog, name: &str, digests: &DigestCache) -> bool {
    let Some(image) = catalog.image(name) else { return false };
    let mut go_on = |_| ControlFlow::Continue(());
    if verify_image(image, digests, false, &mut go_on).is_err() {
        return false;
    }
    let files = BakedFiles::of(catalog.file.folder(), name);
    let Some(record) = Baked::read(&files.record) else { return false };
    record.files.iter().all(|(path, was)| digests.digest(path, false, &mut go_on).map_or(true, |is| is == *was))
}

/// What is to be done, above which image, in which run.
fn planned<'a>(
    catalog: &'a Catalog,
    name: &str,
) -> anyhow::Result<Result<(&'a Recipe, &'a GoldenImage, Planned), Diagnostics>> {
    let recipe = catalog.recipe(name).context("the layer is gone from the catalogue")?;
    let base = catalog.image(&recipe.from.value).context("the layer's base is gone from the catalogue")?;
    let mut reading = Reading::begin();
    let planned = plan::bake(recipe, base, catalog, &|name| env::var(name).ok(), &mut |read| reading.more(read));
    Ok(planned.map(|planned| (recipe, base, planned)))
}

async fn bake(
    catalog: &Catalog,
    name: &str,
    args: &Args,
    context: &Context,
    session: &Session<'_>,
) -> anyhow::Result<u8> {
    let (recipe, base, planned) = planned(catalog, name)??;
    context.print_diagnostics(&planned.warnings);
    tell!("{name}: {} above {}", crate::model::count(recipe.apply.len(), "step"), base.name);
    let files = brought_in(&planned.plan);
    let begun = Begun::new(&args.runs, planned.plan, planned.secrets)?;
    let (dir, run) = (begun.folder.dir.clone(), begun.folder.run.clone());
    let kept = begun.folder.cell(&begun.plan.cells[0].id, 1).join(KEPT);
    let finished = session.run(begun, Use::default()).await?;
    let Some(cell) = finished.as_ref().and_then(|finished| finished.state.cells.first()) else {
        return Ok(EXIT_INCONCLUSIVE);
    };
    let verdict = finished.as_ref().map(|finished| finished.state.verdict(cell)).context("the run has no verdict")?;
    if session.interrupt.is_cancelled() {
        let _ = fs::remove_dir_all(&kept);
        return Ok(Decision::Cancelled.exit_code());
    }
    if let Some(lead) = verdict.lead() {
        let why = crate::model::one_line(&lead.message);
        tell!(
            "{name} is not baked: {} in phase {}: {why}; `bootgate explain {} {name}`",
            lead.id,
            lead.phase,
            dir.display()
        );
        return Ok(if verdict.outcome == Outcome::Unhealthy { 1 } else { EXIT_INCONCLUSIVE });
    }
    if !kept.is_dir() {
        tell!("{name} is not baked: its machine is healthy, but left no disk, as the warning above says");
        return Ok(EXIT_INCONCLUSIVE);
    }
    let utc = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
    let mut record = Baked::new(recipe.asks(base), base.sha256.clone(), utc, run.0);
    record.files = files;
    let laid = laid(&kept, base, &BakedFiles::of(catalog.file.folder(), name), record, session).await;
    let _ = fs::remove_dir_all(&kept);
    let disk = laid?;
    let size = disk.metadata().map_or("-".to_owned(), |about| Bytes(about.len()).to_string());
    context.print(&format!("{}  {name}: {}, {size}\n", console::style("baked").green(), disk.display()))?;
    Ok(0)
}

/// Every file of this host that the steps bring in, with its digest.
fn brought_in(plan: &Plan) -> std::collections::BTreeMap<PathBuf, crate::model::Sha256> {
    let steps = plan.cells.iter().flat_map(|cell| &cell.update);
    let files = steps.flat_map(|step| step.kind.files());
    files.map(|file| (file.from.path.clone(), file.from.sha256.clone())).collect()
}

/// The layer's disk.
async fn laid(
    kept: &Path,
    base: &GoldenImage,
    files: &BakedFiles,
    record: Baked,
    session: &Session<'_>,
) -> anyhow::Result<PathBuf> {
    let stop = Arc::new(AtomicBool::new(false));
    let (kept, base, of_layer, flag) = (kept.to_owned(), base.clone(), files.clone(), Arc::clone(&stop));
    let mut laying = tokio::task::spawn_blocking(move || lay(&kept, &base, &of_layer, record, &flag));
    let result = tokio::select! {
        result = &mut laying => result,
        () = session.interrupt.cancelled() => {
            stop.store(true, Ordering::Relaxed);
            laying.await
        }
    };
    result.context("the layer could not be made")??;
    Ok(files.disk.clone())
}
