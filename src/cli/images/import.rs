use std::path::PathBuf;

use super::{
    super::Context,
    CatalogArg,
    making::{self, Stop},
};
use crate::{
    image::{ImageError, Making, Shelf, Source, States},
    lab::libvirt::{Described, describe},
    model::Family,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bootgate images import --domain win11 --name win11-24h2-p1 --label os=win11-24h2 --label patch=p1
  bootgate images import --domain srv --snapshot clean --connect qemu:///system --out /var/lib/golden

The domain is shut off; or a snapshot is named, which may be an external one of a domain that runs. It has one disk, in a \
file, on virtio or SATA. Its disk becomes one qcow2 file without others below it; UEFI variables and the TPM's state are \
copied where they can be read. Nothing of the domain is changed. docs/windows-images.md tells more.
Exit code 0: the image is made and in the catalogue; 2: it is not; 130: stopped.")]
pub struct Args {
    /// The domain's name
    #[arg(long, value_name = "DOMAIN")]
    domain: String,
    /// The domain as it was at this snapshot
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    /// The libvirt to ask [default: qemu:///system for root, else qemu:///session]
    #[arg(long, value_name = "URI")]
    connect: Option<String>,
    /// The image's name [default: the domain's]
    #[arg(long)]
    name: Option<String>,
    /// A label of the image, by which a matrix picks it [default: os=NAME]
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = making::label)]
    labels: Vec<(String, String)>,
    /// What the guest is [default: what libosinfo's metadata says]
    #[arg(long, value_parser = ["linux", "windows"])]
    family: Option<String>,
    /// The folder of the new files [default: golden/ beside the catalogue]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    catalog: CatalogArg,
    /// Compress the disk: less space, more time
    #[arg(long)]
    compress: bool,
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    let shelf = Shelf::open(&args.catalog.place())?;
    let name = args.name.unwrap_or_else(|| making::plain_name(args.snapshot.as_ref().unwrap_or(&args.domain)));
    shelf.check_name(&name)?;
    let labels = making::labels(args.labels)?;
    let out = making::out(args.out, &shelf)?;
    let uri = making::uri(args.connect)?;
    let described = describe(&uri, &args.domain, args.snapshot.as_deref())?;
    let source = choose(&described, args.snapshot.as_deref())?;
    let family = match args.family.as_deref() {
        Some("windows") => Family::Windows,
        Some(_) => Family::Linux,
        None => source.machine.family.ok_or_else(|| ImageError::Unfit {
            what: "the domain's definition does not say what its guest is".to_owned(),
            hint: "give --family linux or --family windows".to_owned(),
        })?,
    };
    let uuid = source.machine.uuid.clone().unwrap_or_default();
    let states = States::of(&uri, &source.machine.name, &uuid, making::config_folder().as_deref());
    let making = Making { source, name, labels, family, out, compress: args.compress, states };
    making::make(&making, &shelf, &Stop::listen()?, context)
}

fn choose(described: &Described, snapshot: Option<&str>) -> Result<Source, ImageError> {
    let unfit = |what: &str, hint: &str| ImageError::Unfit { what: what.to_owned(), hint: hint.to_owned() };
    match (snapshot, &described.snapshot) {
        (Some(name), Some(xml)) => Source::snapshot(xml, name, &described.xml, described.runs.as_deref()),
        _ if described.runs.is_some() => {
            Err(unfit("the domain runs", "shut it down from within, or name one of its snapshots with --snapshot"))
        }
        _ if described.is_saved => Err(unfit(
            "the domain was suspended to disk, so its disk alone is no whole machine",
            "start it and shut it down, or: virsh managedsave-remove DOMAIN",
        )),
        _ => Source::domain(&described.xml),
    }
}
