//! Reads what the scripts of [`questions`](super::questions) print.

use std::collections::BTreeMap;

use super::{
    dump::Dump,
    event_log::EventLog,
    questions::{self, read_section},
    reg::{RegKey, read_reg},
    sc::{ServiceState, read_sc},
    telling::{TellingKind, telling, without_session},
};
use crate::guest::{Facts, Look};

/// `SERVICE_AUTO_START`; drivers that start with the kernel have less.
const AUTO_START: u64 = 2;

/// The fact that says how programs' output is to be read.
pub(super) const CODE_PAGE: &str = "oem-code-page";

/// Most events of a log that are looked at: the newest.
const EVENTS: usize = 50_000;

/// Windows 11 still calls itself Windows 10 in `ProductName` (Microsoft: "Windows 11 release information": its first build).
const WINDOWS_11: u64 = 22_000;

/// Which boot this is: the prefetcher's count, else the last start event of the kernel.
pub(super) fn boot_id(printed: &str) -> Option<String> {
    let count = number(&read_reg(read_section(printed, questions::PREFETCH)), "BootId");
    let event = || {
        let xml = read_section(printed, questions::START_EVENT);
        let record = xml.split_once("<EventRecordID>")?.1.split_once('<')?.0.trim();
        (!record.is_empty() && record.bytes().all(|b| b.is_ascii_digit())).then(|| format!("start event {record}"))
    };
    // Both: a prefetcher that was turned off leaves its last count.
    let parts: Vec<String> = count.map(|count| format!("boot {count}")).into_iter().chain(event()).collect();
    Some(parts.join(", ")).filter(|id| !id.is_empty())
}

/// The service that packages are installed by ("Windows Modules Installer").
const INSTALLER: &str = "TrustedInstaller";

/// `ServicingInProgress`: 0 nothing, 1 a restart is pending, 2 servicing is at work. Undocumented, and read by Windows itself;
/// the values are those that Ansible's `win_updates` waits for (ansible.windows, plugins/action/win_updates.py).
const WORKS: u64 = 2;

/// Neither setup nor its first sign-in goes on, no service is still starting, and servicing is not at work on what waited for
/// the restart. Its service alone says nothing: it stays for minutes after its last work. Without it nothing is at work,
/// whatever a servicing that was broken off left in the registry.
pub(super) fn has_settled(printed: &str) -> bool {
    let setup = read_reg(read_section(printed, questions::SETUP));
    let goes_on = |name: &str| number(&setup, name).is_some_and(|value| value != 0);
    let services = read_sc(read_section(printed, questions::SERVICES));
    let all_started = services.iter().all(|service| service.state != ServiceState::StartPending);
    let servicing = read_reg(read_section(printed, questions::SERVICING));
    let is_at_work = number(&servicing, "ServicingInProgress").is_some_and(|value| value >= WORKS)
        && services.iter().any(|service| service.name.eq_ignore_ascii_case(INSTALLER) && service.is_running());
    let is_set_up = !setup.is_empty() && !goes_on("SystemSetupInProgress") && !goes_on("OOBEInProgress");
    is_set_up && all_started && !is_at_work
}

/// Services that run, and dumps.
pub(super) fn look(printed: &str) -> Look {
    let mut look = Look::default();
    let start: BTreeMap<String, u64> = read_reg(read_section(printed, questions::START_TYPES))
        .into_iter()
        .filter_map(|key| Some((service_of(&key.path)?.to_lowercase(), key.value("Start")?.number()?)))
        .collect();
    for service in
        [questions::SERVICES, questions::DRIVERS].iter().flat_map(|name| read_sc(read_section(printed, name)))
    {
        // What runs only on demand comes and goes.
        let by_itself = start.get(&service.name.to_lowercase()).is_none_or(|start| *start <= AUTO_START);
        if service.is_running() && by_itself {
            look.program(without_session(&service.name), service.pid.unwrap_or(0));
        }
    }
    let (servicing, _) = questions::PENDING[0];
    if !read_reg(read_section(printed, &format!("pending {servicing}"))).is_empty() {
        look.error("servicing waits for one more restart".to_owned());
    }
    for dump in read_section(printed, questions::DUMPS).lines().map(str::trim).filter(|line| !line.is_empty()) {
        look.dump(dump);
    }
    look
}

/// `HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\NAME`, and nothing below it.
fn service_of(key: &str) -> Option<&str> {
    let (services, name) = key.rsplit_once('\\')?;
    services.to_ascii_lowercase().ends_with(r"\services").then_some(name)
}

/// `net start` of Wine: a title, and the services that run, indented.
pub(super) fn wine_look(printed: &str) -> Look {
    let mut look = Look::default();
    for line in printed.lines().filter(|line| line.starts_with("    ")) {
        look.program(line.trim(), 0);
    }
    look
}

/// What is worth telling of the guest's Windows, by names of ours.
pub(super) fn facts(printed: &str) -> Facts {
    let mut facts = Facts::new();
    let version = read_reg(read_section(printed, questions::VERSION));
    let mut keep = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            facts.insert(name.to_owned(), value.chars().take(200).collect());
        }
    };
    let build = text(&version, "CurrentBuildNumber").or_else(|| text(&version, "CurrentBuild"));
    let is_11 = build.as_ref().and_then(|build| build.parse().ok()).is_some_and(|build: u64| build >= WINDOWS_11);
    let is_client = text(&version, "InstallationType").is_some_and(|kind| kind == "Client");
    let product = text(&version, "ProductName");
    keep(
        "product",
        match product {
            Some(name) if is_11 && is_client => Some(name.replacen("Windows 10", "Windows 11", 1)),
            other => other,
        },
    );
    keep("edition", text(&version, "EditionID"));
    keep("release", text(&version, "DisplayVersion").or_else(|| text(&version, "ReleaseId")));
    keep(
        "build",
        match (build, number(&version, "UBR")) {
            (Some(build), Some(revision)) => Some(format!("{build}.{revision}")),
            (build, _) => build,
        },
    );
    let one =
        |section: &str, name: &str| number(&read_reg(read_section(printed, section)), name).map(|n| n.to_string());
    keep(CODE_PAGE, text(&read_reg(read_section(printed, questions::LOCALE)), "OEMCP"));
    keep("crash-dump-kind", one(questions::CRASH_CONTROL, "CrashDumpEnabled"));
    keep("crash-restarts", one(questions::CRASH_CONTROL, "AutoReboot"));
    keep("fast-start-up", one(questions::POWER, "HiberbootEnabled"));
    keep("secure-boot", one(questions::SECURE_BOOT, "UEFISecureBootEnabled"));
    keep("safe-mode", one(questions::SAFE_MODE, "OptionValue"));
    let runs = |section: &str| read_sc(read_section(printed, section)).first().map(|service| service.is_running());
    if !version.is_empty() {
        keep("pvpanic", Some(if runs(questions::PANIC_DRIVER) == Some(true) { "yes" } else { "no" }.to_owned()));
        keep("no-auto-update", one(questions::UPDATE_POLICY, "NoAutoUpdate").or(Some("0".to_owned())));
    }
    keep(
        "update-service",
        runs(questions::UPDATE_SERVICE).map(|runs| if runs { "running" } else { "stopped" }.to_owned()),
    );
    let pending = questions::PENDING.map(|(name, _)| name);
    let is_pending = |name: &&str| !read_reg(read_section(printed, &format!("pending {name}"))).is_empty();
    let pending: Vec<&str> = pending.into_iter().filter(is_pending).collect();
    keep("pending-restart", Some(pending.join(", ")));
    facts
}

fn number(keys: &[RegKey], name: &str) -> Option<u64> {
    keys.iter().find_map(|key| key.value(name)?.number())
}

fn text(keys: &[RegKey], name: &str) -> Option<String> {
    keys.iter().find_map(|key| key.value(name)?.text()).map(str::to_owned)
}

/// What is wrong, by a log: the same words for the same happening on any machine. And whether there is more in it.
pub(super) fn log(content: &[u8]) -> Option<(Vec<String>, bool)> {
    let log = EventLog::read(content, EVENTS).ok()?;
    let mut found = Vec::new();
    for told in log.events.iter().filter_map(telling) {
        match told.kind {
            TellingKind::Boot | TellingKind::UpdateInstalled => {}
            // A list of drivers, of which one more or less makes another list.
            TellingKind::Service(names) if told.stable.starts_with("service-7026 ") => {
                found.extend(names.iter().map(|name| format!("{name} did not load at boot")));
            }
            _ => found.push(told.stable),
        }
    }
    found.sort();
    found.dedup();
    Some((found, log.left_out > 0 || log.unreadable > 0))
}

/// The cause that a crash dump names.
pub(super) fn dump(content: &[u8]) -> Option<String> {
    let dump = Dump::read(content).ok()?;
    let driver = dump.fault_driver().map(|driver| format!(" in {}", driver.name)).unwrap_or_default();
    Some(format!("{}{driver}", dump.bugcheck))
}
