//! The verbs about golden images, a file each.

mod bake;
mod build;
mod building;
mod check;
mod import;
mod list;
mod making;
mod verify;

use std::path::{Path, PathBuf};

use super::{Context, plan::Format, select::find_catalog};
use crate::{catalog::Catalog, source::Diagnostics};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the golden images of a catalogue, and the seals that cells start from
    #[command(after_help = "\
A seal is a machine of a golden image that had settled when it was saved: cells start as clones of it, which is faster \
than from power-on. `bootgate run` makes them, and `bootgate clean --seals` removes them. The seals of other \
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
        how: check::CheckArgs,
    },
    /// Make a golden image of a libvirt domain, or of one of its snapshots
    Import(import::Args),
    /// Make a golden image by installing Windows from its ISO
    Build(Box<build::Args>),
    /// Make golden images of others and updates: patch levels as layers
    Bake(bake::Args),
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

    /// Where a new image is entered: a catalogue that is there, or the one that will be.
    fn place(&self) -> PathBuf {
        let found = || find_catalog(Path::new(".")).unwrap_or_else(|_| "images/catalog.yaml".into());
        self.catalog.clone().unwrap_or_else(found)
    }
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    match args.verb {
        Verb::List { source, format } => list::list(&source.read()?, format, context),
        Verb::Verify { names, source, rehash } => {
            let catalog = source.read()?;
            verify::verify_all(&verify::chosen(&catalog, &names)?, rehash, context)
        }
        Verb::Check { name, source, how } => {
            let catalog = source.read()?;
            let image = verify::chosen(&catalog, &[name])?.remove(0);
            check::check(image, &catalog, &how, context)
        }
        Verb::Import(args) => import::run(args, context),
        Verb::Build(args) => build::run(*args, context),
        Verb::Bake(args) => bake::run(&args, context),
    }
}
