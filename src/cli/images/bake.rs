//! `images bake`: layers above golden images.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    ops::ControlFlow,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, bail};

use super::{
    super::{
        Context, EXIT_INCONCLUSIVE,
        reading::Reading,
        session::{Begun, LabArgs, Session, Use, in_lab},
    },
    CatalogArg, verify,
};
use crate::{
    catalog::{Baked, Catalog, DigestCache, Recipe, baked_folder, verify as verify_image},
    clock::utc_now,
    event::Decision,
    files::UNFINISHED,
    image::{ImageError, lay},
    model::{Bytes, GoldenImage, Outcome, Plan, Sha256, count, one_line},
    plan::{self, Planned},
    source::{Diagnostic, Diagnostics},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bootgate images bake
  bootgate images bake win11-24h2-p2

A layer is an image of the catalogue with `from`, the image below it, and `apply`, the steps that make it, which are those \
of a matrix's `update`. A clone of the image below takes the steps, is restarted until it has settled, restarted once more \
and judged; a healthy one is turned off, and its disk becomes the layer, in baked/ beside the catalogue. A layer that is \
there is made again only if what it is made of was changed. Layers below come first.
Exit code 0: all are there; 1: steps failed or broke the machine; 2: the catalogue cannot be read; 3: the lab could not \
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
    if names.is_empty() {
        tell!("the catalogue has no layer: no image of it has `from` and `apply`");
        return Ok(0);
    }
    let folder = baked_folder(catalog.file.folder());
    let _one_at_a_time = Workplace::lock(&folder)?;
    let keep_in = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(&folder);
    let keep_in = keep_in.with_context(|| format!("cannot write to {}", folder.display()))?;
    crate::lab::make_state_dir(&context.state)?;
    let digests = DigestCache::open(context.state.digests());
    let is_forced = |name: &String| args.force && (args.names.is_empty() || args.names.contains(name));
    let kept = |name: &str| keep_in.path().join(name);
    // All that is wrong is told before an hour's work.
    let (mut wrong, mut none_to_bake) = (Diagnostics::default(), true);
    let mut plans = BTreeMap::new();
    for name in &names {
        let planned = planned(&catalog, name, &kept(name))?;
        if !is_forced(name) && is_there(&catalog, name, planned.as_ref().ok(), &digests) {
            continue;
        }
        none_to_bake = false;
        match planned {
            Ok(planned) => drop(plans.insert(name, planned)),
            Err(found) => wrong.extend(found.0),
        }
    }
    wrong.or(())?;
    if none_to_bake {
        return names.iter().try_fold(0, |code, name| told_there(name, context).map(|()| code));
    }
    in_lab(context, &args.lab, async |session: &Session<'_>| {
        for name in &names {
            // Read again: what was baked just now is what the next one stands on.
            let catalog = args.source.read()?;
            let planned = match plans.remove(name) {
                Some(planned) => planned,
                None => match planned(&catalog, name, &kept(name))? {
                    planned if is_there(&catalog, name, planned.as_ref().ok(), &digests) => {
                        told_there(name, context)?;
                        continue;
                    }
                    planned => planned?,
                },
            };
            let code = bake(&catalog, name, planned, args, context, session).await?;
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

/// Where layers are put, kept from others as long as this lives.
struct Workplace {
    folder: PathBuf,
    /// It was not there before: it is removed again if nothing was put into it.
    made: bool,
    _lock: File,
}

impl Workplace {
    /// Waits until nobody else bakes here. What an earlier one left is removed.
    fn lock(folder: &Path) -> anyhow::Result<Self> {
        let shown = folder.display();
        if fs::metadata(folder).is_ok_and(|about| !about.is_dir()) {
            bail!("{shown} is no folder, and layers are kept in one of that name: move it away");
        }
        let made = !folder.exists();
        fs::create_dir_all(folder).with_context(|| format!("cannot make {shown}"))?;
        let lock = File::open(folder).with_context(|| format!("cannot open {shown}"))?;
        if lock.try_lock().is_err() {
            tell!("another `images bake` works in {shown}: waiting for it");
            lock.lock().with_context(|| format!("cannot lock {shown}"))?;
        }
        let ours = lock.metadata().with_context(|| format!("cannot look at {shown}"))?;
        // Who was there before may have removed it.
        if !fs::metadata(folder).is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            return Self::lock(folder);
        }
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                let _ = fs::remove_file(entry.path()).or_else(|_| fs::remove_dir_all(entry.path()));
            }
        }
        Ok(Self { folder: folder.to_owned(), made, _lock: lock })
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if self.made {
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// Whether the layer is what the catalogue asks for. Where it cannot be planned, because an update that has been baked in is
/// gone since, the files that are left must be what they were.
fn is_there(catalog: &Catalog, name: &str, planned: Option<&Planned>, digests: &DigestCache) -> bool {
    let mut go_on = |_| ControlFlow::Continue(());
    let holds = catalog.image(name).is_some_and(|image| verify_image(image, digests, false, &mut go_on).is_ok());
    let record = Baked::read(&Baked::path(&baked_folder(catalog.file.folder()), name));
    let Some(record) = record.filter(|_| holds) else { return false };
    let is_unchanged = |(path, was): (&PathBuf, &Sha256)| match digests.digest(path, false, &mut go_on) {
        Ok(is) => is == *was,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    match planned {
        Some(planned) => brought_in(&planned.plan) == record.files,
        None => record.files.iter().all(is_unchanged),
    }
}

fn planned(catalog: &Catalog, name: &str, keep_in: &Path) -> anyhow::Result<Result<Planned, Diagnostics>> {
    let (recipe, base) = recipe(catalog, name)?;
    let mut reading = Reading::begin();
    Ok(plan::bake(recipe, base, catalog, keep_in, &mut |read| reading.more(read)))
}

/// How the layer is made, and of what.
fn recipe<'a>(catalog: &'a Catalog, name: &str) -> anyhow::Result<(&'a Recipe, &'a GoldenImage)> {
    let recipe = catalog.recipe(name).context("the layer is gone from the catalogue")?;
    let base = catalog.image(&recipe.from.value).context("the layer's base is gone from the catalogue")?;
    Ok((recipe, base))
}

async fn bake(
    catalog: &Catalog,
    name: &str,
    planned: Planned,
    args: &Args,
    context: &Context,
    session: &Session<'_>,
) -> anyhow::Result<u8> {
    let (recipe, base) = recipe(catalog, name)?;
    context.print_diagnostics(&planned.warnings);
    tell!("{name}: {} above {}", count(recipe.apply.len(), "step"), base.name);
    let mut plan = planned.plan;
    // As it is now, which may have been baked since the plan was made.
    plan.images.insert(base.name.clone(), base.clone());
    let files = brought_in(&plan);
    let kept = plan.cells.first().and_then(|cell| cell.keep_in.clone()).context("the plan keeps no disk")?;
    let begun = Begun::new(&args.runs, plan, planned.secrets)?;
    let (dir, run) = (begun.folder.dir.clone(), begun.folder.run.clone());
    let finished = session.run(begun, Use::default()).await?;
    let Some((state, cell)) = finished.as_ref().and_then(|run| Some((&run.state, run.state.cells.first()?))) else {
        return Ok(EXIT_INCONCLUSIVE);
    };
    if session.interrupt.is_cancelled() {
        return Ok(Decision::Cancelled.exit_code());
    }
    let verdict = state.verdict(cell);
    if let Some(lead) = verdict.lead() {
        let (id, phase, why) = (lead.id, lead.phase, one_line(&lead.message));
        tell!("{name} is not baked: {id} in phase {phase}: {why}; `bootgate explain {} {name}`", dir.display());
        return Ok(if verdict.outcome == Outcome::Unhealthy { 1 } else { EXIT_INCONCLUSIVE });
    }
    if !kept.is_dir() {
        tell!("{name} is not baked: its machine is healthy, but left no disk, as the warning above says");
        return Ok(EXIT_INCONCLUSIVE);
    }
    let mut record = Baked::new(recipe.asks(base), base.sha256.clone(), utc_now(), run.0);
    record.files = files;
    let folder = baked_folder(catalog.file.folder());
    let disk = match laid(&kept, base, &folder, name, record, session).await? {
        Ok(disk) => disk,
        Err(_) if session.interrupt.is_cancelled() => return Ok(Decision::Cancelled.exit_code()),
        Err(error) => {
            context.print_error(&error.into());
            return Ok(EXIT_INCONCLUSIVE);
        }
    };
    let _ = fs::remove_dir_all(&kept);
    let size = disk.metadata().map_or("-".to_owned(), |about| Bytes(about.len()).to_string());
    context.print(&format!("{}  {name}: {}, {size}\n", console::style("baked").green(), disk.display()))?;
    Ok(0)
}

/// Every file of this host that the steps bring in, with its digest.
fn brought_in(plan: &Plan) -> BTreeMap<PathBuf, Sha256> {
    let steps = plan.cells.iter().flat_map(|cell| &cell.update);
    let files = steps.flat_map(|step| step.kind.files());
    files.map(|file| (file.from.path.clone(), file.from.sha256.clone())).collect()
}

/// The layer's disk.
async fn laid(
    kept: &Path,
    base: &GoldenImage,
    folder: &Path,
    name: &str,
    record: Baked,
    session: &Session<'_>,
) -> anyhow::Result<Result<PathBuf, ImageError>> {
    let stop = Arc::new(AtomicBool::new(false));
    let (kept, base, folder, name) = (kept.to_owned(), base.clone(), folder.to_owned(), name.to_owned());
    let flag = Arc::clone(&stop);
    let mut laying = tokio::task::spawn_blocking(move || lay(&kept, &base, &folder, &name, record, &flag));
    let result = tokio::select! {
        result = &mut laying => result,
        () = session.interrupt.cancelled() => {
            stop.store(true, Ordering::Relaxed);
            laying.await
        }
    };
    result.context("the layer could not be made")
}
