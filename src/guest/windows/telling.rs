use super::{event_log::LogEvent, printable};
use crate::{
    bytes::utf16,
    model::{Bugcheck, windows_code_name},
};

/// What an event says that matters to whether a machine is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    pub kind: TellingKind,
    /// The same whenever the same happens again, on any machine of the same image: no times, addresses, numbers of devices
    /// or sessions. For comparing machines. (Event 7026 lists several drivers: compare those of [`TellingKind::Service`], for
    /// one that loads now makes another list.)
    pub stable: String,
    /// For people.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TellingKind {
    /// The kernel started: where a boot begins in the log.
    Boot,
    /// The kernel stopped, and said so after it had started again.
    Bugcheck(Bugcheck),
    /// The machine went down without being shut down, by a bugcheck if one is known.
    UncleanShutdown(Option<Bugcheck>),
    /// Services or drivers did not start or ended by themselves. Several: event 7026 lists all of a boot at once.
    Service(Vec<String>),
    /// A disk, volume or file system reports an error.
    Storage,
    UpdateInstalled,
    UpdateFailed,
    /// Code integrity did not let a file be loaded.
    CodeRefused,
}

/// Whether an event is one that matters. By provider and id alone: no text of it is in a known language.
pub fn telling(event: &LogEvent) -> Option<Telling> {
    let is = |provider: &str| event.provider.eq_ignore_ascii_case(provider);
    let told = |kind, stable: &str, text: String| Some(Telling { kind, stable: printable(stable), text });
    match event.id {
        12 if is("Microsoft-Windows-Kernel-General") => told(TellingKind::Boot, "boot", "Windows started".to_owned()),
        // Before Windows Vista, and in some tools, by the name of its source.
        1001 if is("Microsoft-Windows-WER-SystemErrorReporting") || is("BugCheck") => {
            let bugcheck = bugcheck_in(event.field("param1", 0)?)?;
            told(TellingKind::Bugcheck(bugcheck), &format!("bugcheck 0x{:08x}", bugcheck.code), bugcheck.to_string())
        }
        41 if is("Microsoft-Windows-Kernel-Power") => Some(kernel_power(event)),
        6008 if is("EventLog") => {
            let text = "the shutdown before was unexpected (EventLog 6008)".to_owned();
            told(TellingKind::UncleanShutdown(None), "unclean-shutdown eventlog-6008", text)
        }
        _ if is("Service Control Manager") => service(event),
        _ if STORAGE.iter().any(|provider| is(provider)) && matches!(event.level, 1 | 2) => {
            let name = event.provider.to_ascii_lowercase();
            let device =
                event.field("DeviceName", 0).map(|device| format!(" {}", printable(device))).unwrap_or_default();
            told(
                TellingKind::Storage,
                &format!("storage {name}-{}", event.id),
                format!("storage error {} of {}{device}", event.id, printable(&event.provider)),
            )
        }
        19 | 20 if is("Microsoft-Windows-WindowsUpdateClient") => Some(update(event)),
        3033 | 3077 if is("Microsoft-Windows-CodeIntegrity") => Some(code_refused(event)),
        _ => None,
    }
}

/// Providers whose errors are about disks and what is on them.
const STORAGE: [&str; 6] = ["disk", "Ntfs", "Microsoft-Windows-Ntfs", "volmgr", "storahci", "stornvme"];

impl LogEvent {
    /// A value by its name or, where values have no names, by its place among those.
    pub fn field(&self, name: &str, place: usize) -> Option<&str> {
        let by_name = self.data.iter().find(|(key, _)| key == name);
        let found = by_name.or_else(|| self.data.iter().filter(|(key, _)| key.is_empty()).nth(place));
        found.map(|(_, text)| text.as_str())
    }
}

/// Of `0x0000007e (0xffffffffc0000005, 0x…, 0x…, 0x…)`, in words of any language.
fn bugcheck_in(text: &str) -> Option<Bugcheck> {
    let mut numbers = text.split(|c: char| !c.is_ascii_alphanumeric()).filter_map(number);
    let code = numbers.next()?;
    let mut parameters = [0; 4];
    parameters.iter_mut().zip(numbers).for_each(|(parameter, number)| *parameter = number);
    Some(Bugcheck { code, parameters })
}

/// Hexadecimal, with `0x`.
fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn kernel_power(event: &LogEvent) -> Telling {
    let any = |text: &str| number(text).or_else(|| text.parse().ok());
    let field = |name: &str, place| event.field(name, place).and_then(any);
    let parameters = [1, 2, 3, 4].map(|place| field(&format!("BugcheckParameter{place}"), place).unwrap_or_default());
    // Zero: power loss, a reset, or a kernel that could not say it any more.
    let bugcheck = field("BugcheckCode", 0).filter(|code| *code != 0).map(|code| Bugcheck { code, parameters });
    let (mut stable, mut text) =
        ("unclean-shutdown kernel-power-41".to_owned(), "Windows was not shut down".to_owned());
    if let Some(bugcheck) = bugcheck {
        stable = format!("{stable} 0x{:08x}", bugcheck.code);
        text = format!("{text}: {bugcheck}");
    }
    Telling { kind: TellingKind::UncleanShutdown(bugcheck), stable, text: format!("{text} (Kernel-Power 41)") }
}

/// Most drivers that are told of one event 7026.
const MOST_NAMES: usize = 64;

/// The service control manager's events, by their messages in Windows: `%1` is `param1`.
fn service(event: &LogEvent) -> Option<Telling> {
    let param = |place: usize| event.field(&format!("param{place}"), place - 1).unwrap_or_default();
    // 7009: "a timeout (%1 milliseconds) was reached while waiting for the %2 service to connect".
    let subject = if event.id == 7009 { 2 } else { 1 };
    let mut names = vec![key_name(event).unwrap_or_else(|| printable(without_session(param(subject))))];
    let (what, error) = match event.id {
        7000 => ("failed to start", Some(2)),
        7001 => ("could not start, for another one that it needs did not", Some(3)),
        7009 => ("did not connect in time", None),
        7022 => ("hung while starting", None),
        7023 => ("ended with an error", Some(2)),
        7024 => ("ended with an error of its own", Some(2)),
        7026 => {
            // In the order of loading, which may change.
            names = param(1).split_whitespace().map(printable).collect();
            names.sort();
            names.truncate(MOST_NAMES);
            ("did not load at boot", None)
        }
        7031 | 7034 => ("ended unexpectedly", None),
        _ => return None,
    };
    let needed = (event.id == 7001).then(|| printable(without_session(param(2))));
    let who = names.join(" ");
    let (mut stable, mut text) = (format!("service-{} {who}", event.id), format!("{} {what}", printable(&who)));
    if let Some(needed) = needed {
        stable = format!("{stable} needs {needed}");
        text = format!("{text}: {needed}");
    }
    if let Some(error) = error.map(param).filter(|error| !error.is_empty()) {
        text = format!("{text}: {}", system_error(error));
    }
    let text = format!("{text} (Service Control Manager {})", event.id);
    Some(Telling { kind: TellingKind::Service(names), stable, text })
}

/// The service's key name, which Windows puts behind the event in UTF-16; `param1` is its name in the guest's language.
fn key_name(event: &LogEvent) -> Option<String> {
    let (_, hex) = event.data.iter().find(|(name, _)| name == "Binary")?;
    let digits: Option<Vec<u8>> = hex.chars().map(|c| Some(c.to_digit(16)? as u8)).collect();
    let bytes: Vec<u8> = digits?.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    let text = utf16(&bytes, u16::from_le_bytes);
    let name = text.split(['\0', '/']).next()?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    is_name.then(|| printable(without_session(name)))
}

/// A service of a user's session (`CDPUserSvc_3f1c2`) without the session's number, which differs at every logon: the id of
/// a logon session in hexadecimal, and those below 0x10000 are the system's own.
pub(super) fn without_session(name: &str) -> &str {
    match name.rsplit_once('_') {
        Some((service, session)) if (5..=16).contains(&session.len()) && is_hex(session) => service,
        _ => name,
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

/// `%%1058`: the text of a system error, for the viewer to fill in.
fn system_error(text: &str) -> String {
    let code = text.strip_prefix("%%").and_then(|code| code.parse::<i64>().ok()).map(|code| code as u32);
    match code.map(|code| (code, windows_code_name(code))) {
        Some((code, Some(name))) => format!("error {} {name}", shown(code)),
        Some((code, None)) => format!("error {}", shown(code)),
        None => format!("error {}", printable(text)),
    }
}

/// As Microsoft's documents write codes of this size.
fn shown(code: u32) -> String {
    if code > 0xffff { format!("0x{code:08x}") } else { code.to_string() }
}

fn update(event: &LogEvent) -> Telling {
    let (title, code) = match event.id {
        19 => (event.field("updateTitle", 0), None),
        _ => (event.field("updateTitle", 1), event.field("errorCode", 0)),
    };
    let title = printable(title.unwrap_or("(no title)"));
    if event.id == 19 {
        let text = format!("installed the update {title}");
        return Telling { kind: TellingKind::UpdateInstalled, stable: format!("update-installed {title}"), text };
    }
    let code = code.map(|code| {
        let name = number(code).and_then(|code| windows_code_name(code.try_into().ok()?));
        name.map_or(printable(code), |name| format!("{} {name}", printable(code)))
    });
    let text = match code {
        Some(code) => format!("could not install the update {title}: {code}"),
        None => format!("could not install the update {title}"),
    };
    Telling { kind: TellingKind::UpdateFailed, stable: format!("update-failed {title}"), text }
}

fn code_refused(event: &LogEvent) -> Telling {
    // The names of its fields differ between versions of Windows: "FileNameBuffer", "File Name", "FileName".
    let field = |wanted: &str| {
        let is = |name: &str| {
            let name: String = name.to_ascii_lowercase().split_whitespace().collect();
            name.strip_prefix(wanted).is_some_and(|rest| matches!(rest, "" | "buffer"))
        };
        event.data.iter().find(|(name, _)| is(name)).map(|(_, text)| printable(text))
    };
    let file = field("filename").unwrap_or_else(|| "(a file without a name)".to_owned());
    let by = field("processname").map(|process| format!(", for {process}")).unwrap_or_default();
    Telling {
        kind: TellingKind::CodeRefused,
        stable: format!("code-refused {} {}", event.id, without_volume(&file)),
        text: format!("code integrity refused {file}{by} (CodeIntegrity {})", event.id),
    }
}

/// `\Device\HarddiskVolume3\Windows\…` from `\Windows`: volumes are numbered as they are found.
fn without_volume(path: &str) -> String {
    let path = path.to_lowercase();
    let rest =
        path.strip_prefix(r"\device\harddiskvolume").map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    rest.map_or(path.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(provider: &str, id: u32, level: u8, data: &[(&str, &str)]) -> LogEvent {
        LogEvent {
            channel: "System".into(),
            provider: provider.into(),
            id,
            level,
            record: 1234,
            time: 1_721_362_140_000,
            data: data.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect(),
        }
    }

    fn told(provider: &str, id: u32, data: &[(&str, &str)]) -> Telling {
        telling(&event(provider, id, 2, data)).unwrap_or_else(|| panic!("{provider} {id} tells nothing"))
    }

    const SERVICES: &str = "Service Control Manager";

    #[test]
    fn a_bugcheck_is_told_with_its_code_and_compared_without_its_addresses() {
        let wer = "Microsoft-Windows-WER-SystemErrorReporting";
        let text = "0x0000007e (0xffffffffc0000005, 0xfffff8048b58334c, 0xffff850429891ee8, 0xffff850429891720)";
        let fields = [("param1", text), ("param2", r"C:\Windows\MEMORY.DMP"), ("param3", "8a0d")];
        let bugcheck = told(wer, 1001, &fields);
        let parameters = [0xffff_ffff_c000_0005, 0xffff_f804_8b58_334c, 0xffff_8504_2989_1ee8, 0xffff_8504_2989_1720];
        assert_eq!(bugcheck.kind, TellingKind::Bugcheck(Bugcheck { code: 0x7e, parameters }));
        assert_eq!(bugcheck.stable, "bugcheck 0x0000007e");
        assert!(
            bugcheck.text.starts_with("bugcheck 0x0000007e SYSTEM_THREAD_EXCEPTION_NOT_HANDLED (0xffffffffc0000005,")
        );
        assert_eq!(told(wer, 1001, &[("", text)]), bugcheck, "without names, as Windows 7 writes it");
        // Another 1001 is Windows Error Reporting's, of any program; and one without a code says nothing.
        assert_eq!(telling(&event("Windows Error Reporting", 1001, 4, &fields)), None);
        assert_eq!(telling(&event(wer, 1001, 2, &[("param1", "unreadable")])), None);
    }

    #[test]
    fn an_unclean_shutdown_has_the_bugcheck_that_the_kernel_kept() {
        let power = "Microsoft-Windows-Kernel-Power";
        let [none, some] = ["0", "209"].map(|code| {
            told(
                power,
                41,
                &[("BugcheckCode", code), ("BugcheckParameter1", "0x10"), ("BugcheckParameter4", "0xfffff801")],
            )
        });
        assert_eq!(
            (none.kind, &*none.stable),
            (TellingKind::UncleanShutdown(None), "unclean-shutdown kernel-power-41")
        );
        let bugcheck = Bugcheck { code: 0xd1, parameters: [0x10, 0, 0, 0xffff_f801] };
        assert_eq!(some.kind, TellingKind::UncleanShutdown(Some(bugcheck)));
        assert_eq!(some.stable, "unclean-shutdown kernel-power-41 0x000000d1");
        assert!(some.text.contains("DRIVER_IRQL_NOT_LESS_OR_EQUAL"), "{}", some.text);
        let unexpected = told("EventLog", 6008, &[("", "04:09:00"), ("", "19.07.2024")]);
        assert_eq!(unexpected.stable, "unclean-shutdown eventlog-6008");
    }

    #[test]
    fn each_of_the_service_managers_events_names_its_service() {
        let cld_flt = "43006C00640046006C0074000000";
        for (id, data, stable, text) in [
            (
                7000,
                &[("param1", "Minifilter für Clouddateien"), ("param2", "%%1058"), ("Binary", cld_flt)][..],
                "service-7000 CldFlt",
                "CldFlt failed to start: error 1058 ERROR_SERVICE_DISABLED (Service Control Manager 7000)",
            ),
            (
                7001,
                &[("param1", "Sensor"), ("param2", "Base"), ("param3", "%%1068")],
                "service-7001 Sensor needs Base",
                "Sensor could not start, for another one that it needs did not: Base: error 1068 \
                 ERROR_SERVICE_DEPENDENCY_FAIL (Service Control Manager 7001)",
            ),
            (
                7009,
                &[("param1", "30000"), ("param2", "Sensor")],
                "service-7009 Sensor",
                "Sensor did not connect in time (Service Control Manager 7009)",
            ),
            (
                7022,
                &[("param1", "Sensor")],
                "service-7022 Sensor",
                "Sensor hung while starting (Service Control Manager 7022)",
            ),
            (
                7023,
                &[("param1", "Sensor"), ("param2", "%%2147942405")],
                "service-7023 Sensor",
                "Sensor ended with an error: error 0x80070005 E_ACCESSDENIED (Service Control Manager 7023)",
            ),
            (
                7024,
                &[("param1", "Sensor"), ("param2", "%%-1")],
                "service-7024 Sensor",
                "Sensor ended with an error of its own: error 0xffffffff (Service Control Manager 7024)",
            ),
            (
                7026,
                &[("param1", "\r\ndam\r\nCSC")],
                "service-7026 CSC dam",
                "CSC dam did not load at boot (Service Control Manager 7026)",
            ),
            (
                7031,
                &[("param1", "Sensor"), ("param2", "3"), ("param3", "60000"), ("param4", "1")],
                "service-7031 Sensor",
                "Sensor ended unexpectedly (Service Control Manager 7031)",
            ),
            (
                7034,
                &[("param1", "Sensor"), ("param2", "2")],
                "service-7034 Sensor",
                "Sensor ended unexpectedly (Service Control Manager 7034)",
            ),
        ] {
            let told = told(SERVICES, id, data);
            assert_eq!((&*told.stable, &*told.text), (stable, text));
        }
        assert_eq!(telling(&event(SERVICES, 7045, 4, &[("ServiceName", "x")])), None);
        let many = told(SERVICES, 7026, &[("param1", "dam CSC")]);
        assert_eq!(many.kind, TellingKind::Service(vec!["CSC".into(), "dam".into()]));
    }

    #[test]
    fn a_users_service_is_the_same_in_every_session() {
        let stable = |name: &str| told(SERVICES, 7034, &[("param1", name)]).stable;
        assert_eq!(stable("CDPUserSvc_3f1c2"), stable("CDPUserSvc_a0b1c2d"));
        // The binary value's name counts, and has the session's number too.
        let utf16: String = "CDPUserSvc_3f1c2\0".bytes().map(|c| format!("{c:02X}00")).collect();
        let told = told(SERVICES, 7034, &[("param1", "Benutzerdienst_3f1c2"), ("Binary", &utf16)]);
        assert_eq!(told.stable, "service-7034 CDPUserSvc");
        // These are parts of names.
        for name in ["svc_2022", "our_agent", "net_DEADBEEF", "x_"] {
            assert_eq!(stable(name), format!("service-7034 {name}"));
        }
    }

    #[test]
    fn of_disks_only_errors_count_and_no_devices_number() {
        for provider in ["disk", "Disk", "Ntfs", "Microsoft-Windows-Ntfs", "volmgr", "storahci", "stornvme"] {
            for level in 1..=2 {
                let [first, other] = [r"\Device\Harddisk0\DR0", r"\Device\Harddisk0\DR3"]
                    .map(|device| telling(&event(provider, 7, level, &[("", device)])).unwrap());
                assert_eq!(first.stable, format!("storage {}-7", provider.to_lowercase()));
                assert_eq!(first.stable, other.stable);
                assert!(first.text.ends_with(r"\Device\Harddisk0\DR0"), "{}", first.text);
            }
            for level in [0, 3, 4, 5] {
                assert_eq!(telling(&event(provider, 7, level, &[])), None);
            }
        }
    }

    #[test]
    fn updates_are_told_by_their_titles() {
        let client = "Microsoft-Windows-WindowsUpdateClient";
        let title = "2024-07 Cumulative Update (KB5040442)";
        let installed = told(client, 19, &[("updateTitle", title), ("updateGuid", "{b13b}")]);
        assert_eq!(
            (installed.kind, installed.stable),
            (TellingKind::UpdateInstalled, format!("update-installed {title}"))
        );
        let failed = told(client, 20, &[("errorCode", "0x800f0922"), ("updateTitle", title)]);
        assert_eq!((failed.kind, failed.stable), (TellingKind::UpdateFailed, format!("update-failed {title}")));
        assert_eq!(failed.text, format!("could not install the update {title}: 0x800f0922 CBS_E_INSTALLERS_FAILED"));
    }

    #[test]
    fn code_that_was_refused_is_told_by_its_file_whatever_its_volume() {
        let provider = "Microsoft-Windows-CodeIntegrity";
        let old = told(
            provider,
            3033,
            &[("FileNameLength", "40"), ("FileNameBuffer", r"\Device\HarddiskVolume3\Windows\System32\Drivers\x.sys")],
        );
        assert_eq!(old.stable, r"code-refused 3033 \windows\system32\drivers\x.sys");
        let new = told(
            provider,
            3077,
            &[
                ("FileNameLength", "40"),
                ("File Name", r"\Device\HarddiskVolume12\x.dll"),
                ("Process Name", "System"),
                ("OriginalFileName", "y.dll"),
            ],
        );
        assert_eq!(new.stable, r"code-refused 3077 \x.dll");
        let text = r"code integrity refused \Device\HarddiskVolume12\x.dll, for System (CodeIntegrity 3077)";
        assert_eq!(new.text, text);
    }

    #[test]
    fn a_boot_is_known_by_the_kernel_and_other_providers_12_is_none() {
        assert_eq!(told("Microsoft-Windows-Kernel-General", 12, &[]).kind, TellingKind::Boot);
        assert_eq!(telling(&event("Microsoft-Windows-UserModePowerService", 12, 4, &[])), None);
        assert_eq!(telling(&event("", 0, 1, &[])), None);
    }

    #[test]
    fn nothing_that_a_guest_writes_reaches_a_text_unharmed() {
        let nasty = format!("a\x1b[2J\nb{}", "x".repeat(9000));
        for event in [
            event(SERVICES, 7000, 2, &[("param1", &nasty), ("param2", &nasty)]),
            event(SERVICES, 7001, 2, &[("param1", &nasty), ("param2", &nasty)]),
            event(SERVICES, 7026, 2, &[("param1", &nasty.repeat(9))]),
            event("disk", 7, 2, &[("", &nasty)]),
            event("Microsoft-Windows-WindowsUpdateClient", 20, 2, &[("errorCode", &nasty), ("updateTitle", &nasty)]),
            event("Microsoft-Windows-CodeIntegrity", 3077, 2, &[("File Name", &nasty), ("Process Name", &nasty)]),
        ] {
            let told = telling(&event).unwrap();
            for (text, most) in [(told.text, 1000), (told.stable, 1000 + MOST_NAMES * 200)] {
                assert!(text.chars().all(|c| !c.is_control()), "{text:?}");
                assert!(text.chars().count() < most, "{} {}", event.id, text.len());
            }
        }
    }
}
