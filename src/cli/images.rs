use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context as _;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Context,
    image_check::{CheckArgs, check},
    plan::{Format, state},
    select::find_catalog,
    table::table,
};
use crate::{
    catalog::{Catalog, DigestCache, verify},
    model::{Bytes, GoldenImage},
    report::count,
    seal::Listed,
    source::{Diagnostic, Diagnostics, nearest},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the golden images of a catalogue, and the seals that cells start from
    #[command(after_help = "\
A seal is a machine of a golden image that had settled when it was saved: cells start as clones of it, which is faster
than from power-on. `bootgate run` makes them, and `bootgate clean --seals` removes them. The seals of other
catalogues' images are in the table, and not in the JSON.")]
    List {
        #[command(flatten)]
        source: CatalogArg,
        /// How to print the list
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Prove that golden images are what the catalogue says
    #[command(after_help = "\
Examples:
  bootgate images verify
  bootgate images verify lab-os-10-p1 --rehash

Every file of an image's disk is hashed, unless its inode, size and times are as they were the last time.
Exit code 0: all images hold; 1: some do not; 2: the catalogue cannot be read.")]
    Verify {
        /// The images [default: all]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        source: CatalogArg,
        /// Read every file again, whatever is remembered of it
        #[arg(long)]
        rehash: bool,
    },
    /// Boot a golden image and say whether it is fit for being tested on
    #[command(after_help = "\
Examples:
  bootgate images check win11-24h2-p1
  bootgate images check win11-24h2-p1 --record win11.jsonl

The image's clone starts from power-on and is restarted twice; the image itself is never written.
Exit code 0: fit; 1: not; 2: there is no such image; 3: the lab could not tell.")]
    Check {
        /// The image
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        source: CatalogArg,
        #[command(flatten)]
        how: CheckArgs,
    },
}

#[derive(Debug, clap::Args)]
struct CatalogArg {
    /// The catalogue [default: images/catalog.yaml here or above]
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
}

impl CatalogArg {
    fn read(&self) -> Result<Catalog, Diagnostics> {
        match &self.catalog {
            Some(path) => Catalog::read(path),
            None => Catalog::read(&find_catalog(Path::new("."))?),
        }
    }
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    match args.verb {
        Verb::List { source, format } => list(&source.read()?, format, context),
        Verb::Verify { names, source, rehash } => {
            let catalog = source.read()?;
            verify_all(&chosen(&catalog, &names)?, rehash, context)
        }
        Verb::Check { name, source, how } => {
            let catalog = source.read()?;
            let image = chosen(&catalog, &[name])?.remove(0);
            check(image, &catalog, &how, context)
        }
    }
}

fn list(catalog: &Catalog, format: Format, context: &Context) -> anyhow::Result<u8> {
    let seals = context.seals().list();
    if format == Format::Json {
        let described = |image: &GoldenImage| -> anyhow::Result<serde_json::Value> {
            let mut value = serde_json::to_value(image).context("an image cannot be written as JSON")?;
            value["state"] = state(image).into();
            let mine = seals.iter().filter(|seal| seal.about.image == image.name);
            value["seals"] = mine.map(seal_for_programs).collect();
            Ok(value)
        };
        let images = catalog.images.iter().map(described).collect::<anyhow::Result<Vec<_>>>()?;
        context.print(&(serde_json::to_string_pretty(&images)? + "\n"))?;
        return Ok(0);
    }
    let row = |image: &GoldenImage| {
        let labels: Vec<String> = image.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let size = image.disk.metadata().map_or("-".to_owned(), |about| Bytes(about.len()).to_string());
        [
            image.name.clone(),
            labels.join(" "),
            shown(&image.disk),
            size,
            image.memory.to_string(),
            image.firmware.as_str().to_owned(),
            state(image).to_owned(),
        ]
    };
    let rows: Vec<[String; 7]> = catalog.images.iter().map(row).collect();
    let mut text = table(["NAME", "LABELS", "DISK", "SIZE", "MEMORY", "FIRMWARE", "STATE"], &rows);
    if !seals.is_empty() {
        text += &format!("\n{}", seals_for_people(&seals, catalog, context));
    }
    context.print(&text)?;
    Ok(0)
}

fn seals_for_people(seals: &[Listed], catalog: &Catalog, context: &Context) -> String {
    let row = |Listed { about, used, in_use }: &Listed| {
        let foreign = if catalog.image(&about.image).is_some() { "" } else { " (not in this catalogue)" };
        [
            about.key.short().to_owned(),
            format!("{}{foreign}", about.image),
            minute(&about.utc),
            used.map_or("-".to_owned(), |used| minute(&utc(used))),
            about.size().to_string(),
            (if *in_use { "yes" } else { "no" }).to_owned(),
            about.setup.len().to_string(),
        ]
    };
    let rows: Vec<[String; 7]> = seals.iter().map(row).collect();
    let size = Bytes(seals.iter().map(|seal| seal.about.size().0).fold(0, u64::saturating_add));
    let folder = context.state.seals();
    table(["KEY", "IMAGE", "MADE", "LAST USED", "SIZE", "IN USE", "SETUP"], &rows)
        + &format!("{}, {size} in {}\n", count(seals.len(), "seal"), folder.display())
}

fn seal_for_programs(Listed { about, used, in_use }: &Listed) -> serde_json::Value {
    serde_json::json!({
        "key": about.key.short(),
        "made": about.utc,
        "last_used": used.map(utc),
        "size": about.size(),
        "in_use": in_use,
        "setup": about.setup,
    })
}

/// RFC 3339.
fn utc(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_default()
}

/// Seconds and less tell a reader nothing.
fn minute(utc: &str) -> String {
    utc.get(..16).map_or_else(|| utc.to_owned(), |minute| format!("{minute}Z"))
}

/// A path relative to the current folder where that is shorter to read.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let relative = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    relative.unwrap_or_else(|| path.to_owned()).display().to_string()
}

fn chosen<'a>(catalog: &'a Catalog, names: &[String]) -> Result<Vec<&'a GoldenImage>, Diagnostics> {
    if names.is_empty() {
        return Ok(catalog.images.iter().collect());
    }
    let (mut images, mut found) = (Vec::new(), Diagnostics::default());
    for name in names {
        match catalog.image(name) {
            Some(image) => images.push(image),
            None => {
                let error = Diagnostic::error(format!("the catalogue has no image `{name}`"));
                found.push(match nearest(name, catalog.images.iter().map(|image| image.name.as_str())) {
                    Some(meant) => error.hint(format!("did you mean `{meant}`?")),
                    None => error.hint("`bootgate images list` shows them"),
                });
            }
        }
    }
    found.or(images)
}

fn verify_all(images: &[&GoldenImage], rehash: bool, context: &Context) -> anyhow::Result<u8> {
    crate::lab::make_state_dir(&context.state)?;
    let cache = DigestCache::open(context.state.digests());
    // Only drawn on a terminal; how much there is to read is not known before it is read.
    let bar = indicatif::ProgressBar::new_spinner();
    bar.set_style(indicatif::ProgressStyle::with_template("{spinner} {msg} {bytes} ({bytes_per_sec})")?);
    let mut all_hold = true;
    for image in images {
        bar.reset();
        bar.set_message(image.name.clone());
        let held = verify(image, &cache, rehash, &mut |read| {
            bar.inc(read);
            ControlFlow::Continue(())
        });
        let line = match &held {
            Ok(()) => format!("{}  {}\n", console::style("ok    ").green(), image.name),
            Err(problem) => {
                format!("{}  {}: {problem}\n", console::style(format!("{}", problem.reason())).red(), image.name)
            }
        };
        all_hold &= held.is_ok();
        bar.suspend(|| context.print(&line))?;
    }
    bar.finish_and_clear();
    Ok(u8::from(!all_hold))
}
