use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context as _;

use super::{
    super::Context,
    CatalogArg,
    building::Build,
    making::{self, Stop},
};
use crate::{
    image::{ANSWER_FILE, FINISH_FILE, Making, ProductKey, Shelf, Source, States, WindowsVersion, finish_script},
    lab::{
        LabRoot, Users, detect,
        libvirt::{Installing, clean_domains},
    },
    model::{Accelerator, Bytes, Family, Millis},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bootgate images build win11-24h2 --iso Win11_24H2.iso --virtio virtio-win.iso --label os=win11-24h2 --label patch=rtm
  bootgate images build server-2022 --iso eval.iso --virtio virtio-win.iso --edition standard-eval --dry-run

Editions: pro, enterprise, education, enterprise-eval; for servers standard, datacenter, each also with -core, and with \
-eval for evaluation media; or index:N, name:TEXT as `dism /Get-ImageInfo` shows them. docs/windows-images.md tells what \
is set, why, and what of this was tried.
Exit code 0: the image is made and in the catalogue; 2: it is not; 130: stopped.")]
pub struct Args {
    /// What is on the ISO
    #[arg(value_name = "VERSION", value_parser = WindowsVersion::ALL.map(WindowsVersion::as_str))]
    pub(super) windows: String,
    /// The installation medium
    #[arg(long, value_name = "FILE")]
    pub(super) iso: PathBuf,
    /// virtio-win's drivers and agent
    #[arg(long, value_name = "FILE")]
    pub(super) virtio: PathBuf,
    /// Which of the medium's images [default: pro, or standard for servers]
    #[arg(long)]
    pub(super) edition: Option<String>,
    /// Instead of Microsoft's setup key for the edition
    #[arg(long, value_name = "KEY")]
    pub(super) product_key: Option<ProductKey>,
    /// The image's name [default: the version]
    #[arg(long)]
    pub(super) name: Option<String>,
    /// A label of the image, by which a matrix picks it [default: os=NAME]
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = making::label)]
    pub(super) labels: Vec<(String, String)>,
    /// The folder of the new files [default: golden/ beside the catalogue]
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) catalog: CatalogArg,
    /// bios, uefi or uefi-secure [default: uefi-secure for Windows 11 and Server 2025, else uefi]
    #[arg(long, value_parser = ["bios", "uefi", "uefi-secure"])]
    pub(super) firmware: Option<String>,
    /// The medium's language
    #[arg(long, default_value = "en-US")]
    pub(super) language: String,
    /// An input locale, e.g. 0409:00000409 [default: the language's]
    #[arg(long)]
    pub(super) keyboard: Option<String>,
    /// As `tzutil /l` lists them
    #[arg(long, default_value = "UTC")]
    pub(super) time_zone: String,
    /// Of the local administrator `bootgate`; every clone has it
    #[arg(long, default_value = "Bootgate-1")]
    pub(super) password: String,
    /// The machine's RAM; what the catalogue's entry says, too
    #[arg(long, default_value = "4GiB")]
    pub(super) memory: Bytes,
    /// Its virtual CPUs
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(super) vcpus: u32,
    /// How large the disk seems to Windows; the file grows as it is written to
    #[arg(long, default_value = "64GiB")]
    pub(super) disk_size: Bytes,
    /// The libvirt to run it in [default: qemu:///system for root, else qemu:///session]
    #[arg(long, value_name = "URI")]
    pub(super) connect: Option<String>,
    /// How long it may take
    #[arg(long, default_value = "3h")]
    pub(super) timeout: Millis,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Only write the answers' medium and the machine's definition here, and print what to do with them
    #[arg(long, value_name = "DIR", conflicts_with = "dry_run")]
    pub(super) answers_only: Option<PathBuf>,
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    let shelf = Shelf::open(&args.catalog.place())?;
    let mut build = Build::check(&args)?;
    shelf.check_name(&build.name)?;
    let labels = making::labels(args.labels)?;
    let out = making::out(args.out, &shelf)?;
    let uri = making::uri(args.connect)?;
    let folder = out.join(format!("{}.build", build.name));
    // As far as it is known now: hours later would be too late to refuse it.
    let source = Source::domain(&build.domain_xml(&folder, None)?)?;
    let (name, states) = (build.name.clone(), States::default());
    let mut making = Making { source, name, labels, family: Family::Windows, out, compress: true, states };
    making.check(&shelf)?;
    if args.dry_run {
        let text = format!(
            "{ANSWER_FILE}:\n{}\n{FINISH_FILE}:\n{}\ndomain.xml:\n{}\n{}",
            build.answers.xml(),
            finish_script(build.answers.version),
            build.domain_xml(&folder, None)?,
            build.by_hand(&folder, &uri)
        );
        context.print(&text)?;
        return Ok(0);
    }
    if let Some(folder) = args.answers_only {
        let folder = std::path::absolute(folder)?;
        build.write(&folder, &uri, None)?;
        context.print(&build.by_hand(&folder, &uri))?;
        return Ok(0);
    }
    build.accelerator = detect(&context.state, None, false)?.accelerator;
    if build.accelerator != Accelerator::Kvm {
        tell!("note: this host has no KVM: an installation takes many hours, and --timeout is {}", args.timeout);
    }
    let stop = Stop::listen()?;
    // Machines first: the folders of those that are still there are in use.
    clean_domains(&uri, &context.state)?.log();
    let root = LabRoot::take(&context.state, &Users::of_libvirtd(&uri))?;
    build.write(&folder, &uri, Some(&root))?;
    build.make_disk(&folder)?;
    let machine = Installing::start(&uri, &build.domain_xml(&folder, Some(&root))?)?;
    let ended = build.wait(&machine, &folder, Duration::from_millis(args.timeout.0), &stop);
    let made = ended.and_then(|()| {
        making.source = Source::domain(&machine.definition()?)?;
        let uuid = making.source.machine.uuid.clone().unwrap_or_default();
        making.states = States::of(&uri, &making.source.machine.name, &uuid, making::config_folder().as_deref());
        making::make(&making, &shelf, &stop, context)
    });
    // Tried in any case; the first failure is the one to tell.
    let removed = machine.remove();
    if made.is_err() {
        let _ = root.leave(&folder);
    }
    let code = made.with_context(|| format!("no golden image; what there was is in {}", folder.display()))?;
    removed?;
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(code)
}
