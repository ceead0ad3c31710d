use super::{
    batch::{captured, captured_script, folder_removal, in_quotes, line, prefix, removal},
    code_page::decode,
    install, look, questions,
    servicing::Packages,
};
use crate::{
    guest::{BootId, Command, ExecStatus, Facts, GuestFamily, Look, Placed, Script},
    model::{Exit, Package, StepKind},
};

/// A guest that runs programs for Windows.
pub(in crate::guest) struct Windows {
    /// Wine's, on Linux: without a kernel, a servicing stack, an event log of Windows.
    pub wine: bool,
}

/// Windows PowerShell, which every Windows has; a UTF-8 script needs its byte order mark there.
const POWERSHELL: &str = r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where Wine shows its host's identity of the running boot.
const LINUX_BOOT_ID: &str = r"Z:\proc\sys\kernel\random\boot_id";

impl GuestFamily for Windows {
    fn command(&self, kind: &StepKind, facts: &Facts, tag: &str) -> Option<Command> {
        match kind {
            StepKind::Run { argv } => {
                let (program, words) = argv.split_first()?;
                Some(captured(tag, &line(program, words.iter().map(String::as_str)), Vec::new()))
            }
            StepKind::Cmd { script } => Some(captured_script(tag, script)),
            StepKind::Ps1 { script } if !self.wine => {
                let path = format!("{}.ps1", prefix(tag));
                let words = ["-NoLogo", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File", &path];
                let line = line(POWERSHELL, words);
                let content = [BYTE_ORDER_MARK, script.as_bytes()].concat();
                Some(captured(tag, &line, vec![Script { path, content }]))
            }
            StepKind::Package { package } => Some(captured(tag, &install::install(package, facts), Vec::new())),
            _ => None,
        }
    }

    fn boot_id(&self, tag: &str) -> BootId {
        if self.wine { BootId::File(LINUX_BOOT_ID) } else { BootId::Printed(questions::boot_id(tag)) }
    }

    fn read_boot_id(&self, printed: &str) -> Option<String> {
        look::boot_id(printed)
    }

    fn settled(&self, probe: Option<&str>, tag: &str) -> Option<Command> {
        match probe {
            Some(probe) => Some(captured_script(tag, probe)),
            // Its agent begins when all services have.
            None if self.wine => None,
            None => Some(questions::settled(tag)),
        }
    }

    fn has_settled(&self, probe: Option<&str>, exit: &Exit, printed: &str) -> bool {
        *exit == (Exit::Code { code: 0 }) && (probe.is_some() || look::has_settled(printed))
    }

    fn facts(&self, tag: &str) -> Option<Command> {
        (!self.wine).then(|| questions::facts(tag))
    }

    fn read_facts(&self, printed: &str) -> Facts {
        look::facts(printed)
    }

    fn services(&self, tag: &str) -> Command {
        if self.wine { questions::wine_services(tag) } else { questions::services(tag) }
    }

    fn inventory(&self, tag: &str) -> Command {
        if self.wine { questions::wine_services(tag) } else { questions::inventory(tag) }
    }

    fn read_look(&self, printed: &str) -> Look {
        if self.wine { look::wine_look(printed) } else { look::look(printed) }
    }

    fn export_logs(&self, since: i64, tag: &str) -> Option<(Command, Vec<String>)> {
        (!self.wine).then(|| questions::export_logs(since, tag))
    }

    fn read_log(&self, content: &[u8]) -> Option<(Vec<String>, bool)> {
        look::log(content)
    }

    fn packages(&self, tag: &str) -> Option<Command> {
        (!self.wine).then(|| questions::packages(tag))
    }

    fn read_packages(&self, printed: &str) -> Option<Packages> {
        let is_whole = questions::has_end(printed);
        is_whole.then(|| Packages::read(questions::read_section(printed, questions::PACKAGES)))?
    }

    fn leaves_dumps(&self) -> bool {
        !self.wine
    }

    fn read_dump(&self, content: &[u8]) -> Option<String> {
        look::dump(content)
    }

    fn decode(&self, output: &[u8], facts: &Facts) -> String {
        // A script of ours with text beyond ASCII has its console speak UTF-8.
        match (std::str::from_utf8(output), facts.get(look::CODE_PAGE).and_then(|page| page.parse().ok())) {
            (Err(_), Some(page)) => decode(output, page),
            _ => String::from_utf8_lossy(output).into_owned(),
        }
    }

    fn asks_agent(&self) -> bool {
        true
    }

    fn reads_media(&self) -> bool {
        !self.wine
    }

    fn make_parents(&self, files: &[&str], tag: &str) -> Command {
        let mut folders: Vec<&str> =
            files.iter().filter_map(|path| path.rsplit_once('\\')).map(|(dir, _)| dir).collect();
        folders.sort_unstable();
        folders.dedup();
        let lines = folders.iter().map(|folder| {
            // In Wine a file `exists` with a backslash behind it, too.
            let (inside, folder) = (in_quotes(&format!(r"{folder}\*")), in_quotes(folder));
            format!("if not exist {inside} md {folder}\nif not exist {inside} exit 1\n")
        });
        captured_script(tag, &lines.chain(["exit 0\n".to_owned()]).collect::<String>())
    }

    fn place(&self, files: &[Placed], tag: &str) -> Command {
        let lines = files.iter().enumerate().map(|(n, file)| {
            let (from, to) = (in_quotes(&self.beside(&file.to)), in_quotes(&file.to));
            let (folder, old) = (in_quotes(&format!(r"{}\*", file.to)), in_quotes(&format!("{}.bootgate-old", file.to)));
            // The file of a running program cannot be replaced, but it can be moved away. Whether a move succeeded is seen by
            // what is left: `||` after `if` and redirections does not mean the same everywhere.
            format!(
                "if exist {folder} echo {to} is a folder: give the whole path of the file>&2\nif exist {folder} exit 1\n\
                 move /y {from} {to} >nul 2>nul\nif not exist {from} goto moved{n}\n\
                 move /y {to} {old} >nul\nmove /y {from} {to} >nul\nif exist {from} exit 1\n:moved{n}\n"
            )
        });
        captured_script(tag, &lines.chain(["exit 0\n".to_owned()]).collect::<String>())
    }

    fn copy_from_medium(&self, files: &[(String, String)], tag: &str) -> Command {
        let first = files.first().map_or("", |(name, _)| name);
        // A drive takes a while to show a new medium; `ping` waits a second, for `timeout` wants a console.
        let mut lines = format!(
            "set d=\nset n=0\n:find\nfor %%d in (D E F G H I J K L M N O P Q R S T U V W X Y Z) do if exist %%d:\\{first} set d=%%d:\n\
             if defined d goto found\nset /a n+=1\nping -n 2 127.0.0.1 >nul\nif %n% lss 30 goto find\n\
             echo the CD drive shows no medium>&2\nexit 1\n:found\n"
        );
        for (name, to) in files {
            let to = in_quotes(&self.beside(to));
            lines.push_str(&format!("copy /b /y %d%\\{name} {to} >nul\nif not exist {to} exit 1\n"));
        }
        captured_script(tag, &(lines + "exit 0\n"))
    }

    fn beside(&self, path: &str) -> String {
        format!("{path}.bootgate")
    }

    fn remove_output(&self, command: &Command) -> Command {
        removal(command)
    }

    fn remove_package(&self, package: &Package) -> Option<Command> {
        let (folder, _) = package.path().rsplit_once('\\')?;
        Some(folder_removal(folder))
    }

    fn exit(&self, status: &ExecStatus) -> Exit {
        // An exit code has 32 bits, and the agent tells those of 0xc0000000 and more as `signal`: an exception's code is
        // what such a program exits with (QEMU qga/commands.c, `qmp_guest_exec_status`).
        match status.exitcode.or(status.signal) {
            #[allow(clippy::cast_possible_truncation, reason = "the 32 bits that there are")]
            Some(code) if i64::from(code as i32) == code || i64::from(code as u32) == code => {
                Exit::Code { code: code as i32 }
            }
            Some(code) => Exit::Refused { message: format!("the agent gave {code}, which is no exit code") },
            None => Exit::Refused { message: "the agent gave no exit code".to_owned() },
        }
    }

    fn evidence(&self) -> &'static [&'static str] {
        if self.wine {
            return &[r"Z:\var\log\messages"];
        }
        &[
            r"C:\Windows\Logs\CBS\CBS.log",
            r"C:\Windows\Logs\DISM\dism.log",
            r"C:\Windows\INF\setupapi.dev.log",
            r"C:\Windows\Panther\setupact.log",
        ]
    }

    fn log_of(&self, kind: &StepKind) -> Option<String> {
        match kind {
            StepKind::Package { package } => install::log(package),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOWS: Windows = Windows { wine: false };

    fn text(command: &Command) -> String {
        let text = String::from_utf8(command.scripts[0].content.clone()).unwrap();
        text.replace("\r\n", "\n")
    }

    #[test]
    fn files_are_put_in_place_beside_running_programs() {
        let files = [Placed { to: r"C:\Program Files\100%\a.sys".into(), mode: None }];
        insta::assert_snapshot!(text(&WINDOWS.place(&files, "1")));
        insta::assert_snapshot!(text(&WINDOWS.make_parents(&[r"C:\a b\x", r"C:\a b\y", r"D:\z\q"], "1")));
        insta::assert_snapshot!(text(&WINDOWS.copy_from_medium(&[("f00001".into(), r"C:\a".into())], "1")));
    }

    #[test]
    fn an_exit_code_has_32_bits_however_the_agent_tells_it() {
        let exit = |exitcode, signal| WINDOWS.exit(&ExecStatus { exited: true, exitcode, signal });
        for (exitcode, signal, code) in [
            (Some(3010), None, 3010),
            (Some(0x8024_0017), None, -2_145_124_329),
            (Some(-2_145_124_329), None, -2_145_124_329),
            (None, Some(0xc000_0005), -1_073_741_819),
            (None, Some(-1_073_741_819), -1_073_741_819),
        ] {
            assert_eq!(exit(exitcode, signal), Exit::Code { code });
        }
        for strange in [Some(i64::MAX), Some(i64::MIN), None] {
            assert!(matches!(exit(strange, None), Exit::Refused { .. }), "{strange:?}");
        }
    }

    #[test]
    fn output_is_read_in_the_guests_code_page_unless_it_is_utf_8() {
        let facts = Facts::from([("oem-code-page".to_owned(), "850".to_owned())]);
        assert_eq!(WINDOWS.decode(b"\x84", &facts), "ä");
        assert_eq!(WINDOWS.decode("ä".as_bytes(), &facts), "ä");
        assert_eq!(WINDOWS.decode(b"\x84", &Facts::new()), "\u{fffd}");
    }

    #[test]
    fn a_windows_that_is_being_set_up_has_not_settled() {
        let said = |setup: &str| format!("[bootgate] setup\r\n\r\nHKEY_LOCAL_MACHINE\\SYSTEM\\Setup\r\n{setup}\r\n");
        let settled = |setup: &str| WINDOWS.has_settled(None, &Exit::Code { code: 0 }, &said(setup));
        assert!(settled("    SystemSetupInProgress    REG_DWORD    0x0\r\n    OOBEInProgress    REG_DWORD    0x0"));
        assert!(!settled("    SystemSetupInProgress    REG_DWORD    0x1"));
        assert!(!settled("    OOBEInProgress    REG_DWORD    0x1"));
        assert!(!WINDOWS.has_settled(None, &Exit::Code { code: 0 }, "Zugriff verweigert"));
    }

    #[test]
    fn a_boot_is_told_from_others_by_the_prefetchers_count_or_by_its_start_event() {
        let key =
            r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters";
        let event = "[bootgate] start-event\r\n<Event><System><EventRecordID>4711</EventRecordID></System></Event>\r\n";
        let counted = format!("[bootgate] prefetch\r\n{key}\r\n    BootId    REG_DWORD    0x23\r\n{event}");
        assert_eq!(WINDOWS.read_boot_id(&counted).as_deref(), Some("boot 35, start event 4711"));
        let off = format!("[bootgate] prefetch\r\n{event}");
        assert_eq!(WINDOWS.read_boot_id(&off).as_deref(), Some("start event 4711"));
        assert_eq!(WINDOWS.read_boot_id("[bootgate] prefetch\r\n"), None);
    }

    #[test]
    fn what_starts_by_itself_is_compared_and_what_comes_and_goes_is_not() {
        let service = |name: &str, kind: &str, state: &str| {
            format!(
                "SERVICE_NAME: {name}\r\nDISPLAY_NAME: {name}\r\n        TYPE               : {kind}  X\r\n        STATE              : \
                 {state}  X\r\n                                (STOPPABLE)\r\n        WIN32_EXIT_CODE    : 0  (0x0)\r\n        \
                 SERVICE_EXIT_CODE  : 0  (0x0)\r\n        CHECKPOINT         : 0x0\r\n        WAIT_HINT          : 0x0\r\n        \
                 PID                : 7\r\n        FLAGS              :\r\n\r\n"
            )
        };
        let key = |name: &str, start: u32| {
            format!(
                "HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\{name}\r\n    Start    REG_DWORD    0x{start}\r\n\r\n"
            )
        };
        let printed = [
            "[bootgate] services\r\n".to_owned(),
            service("Sensor", "10", "4"),
            service("BITS", "20", "4"),
            service("CDPUserSvc_3f1c2", "e0", "4"),
            "[bootgate] drivers\r\n".to_owned(),
            service("SensorFlt", "2", "4"),
            "[bootgate] start-types\r\n".to_owned(),
            key("Sensor", 2),
            key("BITS", 3),
            key("SensorFlt", 1),
        ]
        .concat();
        let state = |printed: &str| WINDOWS.read_look(printed).since(&Look::default());
        assert_eq!(state(&printed).services, ["CDPUserSvc", "Sensor", "SensorFlt"]);
        assert!(state(&printed).errors.is_empty());
        let pending = format!("{printed}[bootgate] pending servicing\r\n{}", key("RebootPending", 0));
        assert_eq!(state(&pending).errors, ["servicing waits for one more restart"]);
        let starting = format!("[bootgate] setup\r\n{}[bootgate] services\r\n", key("Setup", 0));
        let settled =
            |services: String| WINDOWS.has_settled(None, &Exit::Code { code: 0 }, &format!("{starting}{services}"));
        assert!(settled(service("Sensor", "10", "4")) && !settled(service("Sensor", "10", "2")));
        let servicing = |state: &str, at_work: u32| {
            let key =
                r"HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\Interface";
            let value =
                format!("[bootgate] servicing\r\n{key}\r\n    ServicingInProgress    REG_DWORD    0x{at_work}\r\n");
            settled(service("TrustedInstaller", "10", state) + &value)
        };
        assert!(servicing("4", 0) && servicing("4", 1) && !servicing("4", 2) && servicing("1", 2));
    }

    #[test]
    fn windows_11_is_known_by_its_build() {
        let key = r"HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT\CurrentVersion";
        let said = |build: &str| {
            format!(
                "[bootgate] version\r\n{key}\r\n    ProductName    REG_SZ    Windows 10 Pro\r\n    InstallationType    REG_SZ    \
                 Client\r\n    CurrentBuildNumber    REG_SZ    {build}\r\n    UBR    REG_DWORD    0x10fd\r\n\
                 [bootgate] pending servicing\r\n{key}\\x\r\n"
            )
        };
        let facts = WINDOWS.read_facts(&said("26100"));
        assert_eq!((facts["product"].as_str(), facts["build"].as_str()), ("Windows 11 Pro", "26100.4349"));
        assert_eq!(facts["pending-restart"], "servicing");
        assert_eq!(WINDOWS.read_facts(&said("19045"))["product"], "Windows 10 Pro");
    }
}
