use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{Context, plan::Format};
use crate::{
    files::free_space,
    lab::{
        self, Account, Detected, Lab as _, LabError,
        libvirt::{self, LibvirtLab, OpenOptions},
    },
    model::{Accelerator, Bytes, Firmware, Millis, StateDir},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code: 0 machines can run here; 1 something that is needed is missing.")]
pub struct Args {
    /// Find out again whether KVM works, instead of remembering
    #[arg(long)]
    recheck: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

/// Below this much space for clones, a run is likely to stop for want of it.
const LITTLE_SPACE: Bytes = Bytes(2 * Bytes::GIB);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Fine,
    /// Machines run, though not at their best.
    Warning,
    Missing,
}

#[derive(Debug, Serialize)]
struct Item {
    /// Stable, for programs.
    id: &'static str,
    status: Status,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Item {
    fn new(id: &'static str, status: Status, detail: impl Into<String>) -> Self {
        Self { id, status, detail: detail.into(), hint: None }
    }

    fn fine(id: &'static str, detail: impl Into<String>) -> Self {
        Self::new(id, Status::Fine, detail)
    }

    fn missing(id: &'static str, detail: impl Into<String>, hint: &str) -> Self {
        Self::new(id, Status::Missing, detail).hint(hint)
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()).filter(|hint: &String| !hint.is_empty()), ..self }
    }
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    let account = Account::for_qemu();
    let mut items = vec![libvirt_library()];
    items.extend(qemu());
    items.push(iohelper());
    items.push(uefi());
    items.push(tpm());
    items.push(account_item(&account));
    // Before the lab is opened, which cleans them away.
    let leftovers = leftovers(&context.state);
    let account = account.ok().flatten();
    let detected = lab::detect(&context.state, account.as_ref(), args.recheck);
    items.push(accelerator(&detected));
    items.push(lab_item(&context.state, detected.map(|found| found.accelerator).ok()));
    items.push(space(&context.state));
    items.push(host());
    items.push(leftovers);

    let missing = items.iter().any(|item| item.status == Status::Missing);
    let text = match args.format {
        Format::Table => for_people(&items),
        Format::Json => serde_json::to_string_pretty(&serde_json::json!({"version": 1, "items": items}))? + "\n",
    };
    context.print(&text)?;
    Ok(u8::from(missing))
}

fn for_people(items: &[Item]) -> String {
    let mut text = String::new();
    for item in items {
        let sign = match item.status {
            Status::Fine => console::style("✓").green(),
            Status::Warning => console::style("!").yellow(),
            Status::Missing => console::style("✗").red(),
        };
        let _ = writeln!(text, "{sign} {:<12} {}", item.id, item.detail);
        if let Some(hint) = &item.hint {
            let _ = writeln!(text, "{:15}→ {hint}", "");
        }
    }
    text
}

fn libvirt_library() -> Item {
    match libvirt::library_version() {
        Some(version) => Item::fine("libvirt", version),
        None => Item::missing("libvirt", "the library does not say its version", "apt install libvirt0"),
    }
}

/// QEMU and its tool. From different sources, one may write what the other cannot read.
fn qemu() -> [Item; 2] {
    let system = lab::program_version("qemu-system-x86_64");
    let img = lab::program_version("qemu-img");
    let hint = "Debian: apt install qemu-system-x86 qemu-utils";
    let img_item = match (&system, &img) {
        (_, None) => Item::missing("qemu-img", "not in PATH", hint),
        (Some(system), Some(img)) if system != img => {
            Item::new("qemu-img", Status::Warning, format!("{img}, but QEMU is {system}"))
                .hint("install both from the same source")
        }
        (_, Some(img)) => Item::fine("qemu-img", img.as_str()),
    };
    let system_item = match system {
        Some(system) => Item::fine("qemu", system),
        None => Item::missing("qemu", "qemu-system-x86_64 is not in PATH", hint),
    };
    [system_item, img_item]
}

/// libvirt's helper for files behind streams: screenshots need it.
fn iohelper() -> Item {
    let places = ["/usr/lib/libvirt", "/usr/libexec", "/usr/lib64/libvirt"];
    match places.iter().map(|dir| Path::new(dir).join("libvirt_iohelper")).find(|path| path.exists()) {
        Some(path) => Item::fine("iohelper", path.display().to_string()),
        None => Item::missing(
            "iohelper",
            "libvirt_iohelper is not installed",
            "Debian 12: apt install libvirt-daemon; Debian 13: apt install libvirt-daemon-common",
        ),
    }
}

/// Only images that ask for it need it.
fn uefi() -> Item {
    let found = [Firmware::Uefi, Firmware::UefiSecure].map(|wanted| (wanted.as_str(), lab::find_uefi(wanted, None)));
    let there: Vec<String> = found
        .iter()
        .filter_map(|(name, firmware)| Some(format!("{name}: {}", firmware.as_ref().ok()?.code.display())))
        .collect();
    match found.into_iter().find_map(|(_, firmware)| firmware.err()) {
        None => Item::fine("uefi", there.join(", ")),
        Some(why) => Item::new("uefi", Status::Warning, why).hint("images with other firmware run without it"),
    }
}

fn tpm() -> Item {
    match libvirt::check_tpm_host() {
        Ok(()) => Item::fine("tpm", format!("swtpm {}", lab::program_version("swtpm").unwrap_or_default())),
        Err(error) => Item::new("tpm", Status::Warning, error.to_string()).hint("images without a TPM run without it"),
    }
}

fn account_item(account: &Result<Option<Account>, LabError>) -> Item {
    match account {
        Ok(None) => Item::fine("account", "QEMU runs as you"),
        Ok(Some(account)) => Item::fine("account", format!("QEMU runs as {} ({})", account.name, account.uid)),
        Err(error) => Item::missing("account", error.to_string(), ""),
    }
}

fn accelerator(detected: &Result<Detected, LabError>) -> Item {
    let found = match detected {
        Ok(found) => found,
        Err(error) => return Item::missing("accelerator", error.to_string(), ""),
    };
    let tried = if found.tried == Millis::ZERO { String::new() } else { format!(", tried for {}", found.tried) };
    if found.accelerator == Accelerator::Kvm {
        return Item::fine("accelerator", format!("KVM: {}{tried}", found.why));
    }
    let hint = "guests run some ten times slower; once KVM works: bootgate doctor --recheck";
    Item::new("accelerator", Status::Warning, format!("TCG, pure emulation: {}{tried}", found.why)).hint(hint)
}

/// Opens the lab for real.
fn lab_item(state: &StateDir, accelerator: Option<Accelerator>) -> Item {
    let begun = Instant::now();
    let options = OpenOptions { state: state.clone(), uri: None, accelerator };
    let opened = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map(|runtime| {
        let opened = runtime.block_on(async {
            let lab = LibvirtLab::open(options).await?;
            let name = lab.info().name.clone();
            lab.close().await?;
            Ok::<_, LabError>(name)
        });
        // A call that libvirt never answers must not keep us.
        runtime.shutdown_timeout(Duration::from_secs(2));
        opened
    });
    match opened {
        Ok(Ok(name)) => Item::fine("lab", format!("{name}, opened in {}", Millis::from(begun.elapsed()))),
        Ok(Err(error)) => Item::missing("lab", error.to_string(), ""),
        Err(error) => Item::missing("lab", error.to_string(), ""),
    }
}

fn space(state: &StateDir) -> Item {
    let shown = state.path().display();
    match free_space(state.path()) {
        Err(error) => Item::missing("state", format!("{shown}: {error}"), "choose another folder: --state DIR"),
        Ok(free) => {
            let item = |status| Item::new("state", status, format!("{shown}, {free} free"));
            if free < LITTLE_SPACE {
                item(Status::Warning).hint("clones grow here: make room, or choose another folder: --state DIR")
            } else {
                item(Status::Fine)
            }
        }
    }
}

fn host() -> Item {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match lab::host_memory() {
        Some(memory) => Item::fine("host", format!("{cores} cores, {} of memory", memory.total)),
        None => Item::new("host", Status::Warning, format!("{cores} cores, memory unknown: no /proc/meminfo")),
    }
}

/// Folders of machines whose process is dead.
fn leftovers(state: &StateDir) -> Item {
    let count = |root: &Path| fs::read_dir(root.join("vms")).map_or(0, Iterator::count);
    let mut found = 0;
    match lab::for_each_free(state, |root| found += count(root)) {
        Err(error) => Item::new("leftovers", Status::Warning, error.to_string()),
        Ok(()) if found == 0 => Item::fine("leftovers", "none"),
        Ok(()) => Item::fine("leftovers", format!("{found} from a bootgate that died, removed just now")),
    }
}
