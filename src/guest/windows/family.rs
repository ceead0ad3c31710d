use super::{
    batch::{captured, captured_script, line, prefix, removal},
    code_page::decode,
    install, look, questions,
};
use crate::{
    guest::{BootId, Command, ExecStatus, Facts, GuestFamily, Look, Placed, Script},
    model::{Exit, StepKind},
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
            StepKind::Run { argv } => Some(captured(tag, &line(argv.iter().map(String::as_str)), Vec::new())),
            StepKind::Cmd { script } => Some(captured_script(tag, script)),
            StepKind::Ps1 { script } if !self.wine => {
                let path = format!("{}.ps1", prefix(tag));
                let words = ["-NoLogo", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File", &path];
                let line = line([POWERSHELL].into_iter().chain(words));
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
        if self.wine { Some(printed.trim().to_owned()).filter(|id| !id.is_empty()) } else { look::boot_id(printed) }
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

    fn read_log(&self, content: &[u8]) -> Vec<String> {
        look::log(content)
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
            let (inside, folder) = (in_quotes(&format!(r"{folder}\")), in_quotes(folder));
            format!("if not exist {inside} md {folder} || exit 1\n")
        });
        captured_script(tag, &lines.chain(["exit 0\n".to_owned()]).collect::<String>())
    }

    fn place(&self, files: &[Placed], tag: &str) -> Command {
        let lines = files.iter().map(|file| {
            let (from, to) = (in_quotes(&self.beside(&file.to)), in_quotes(&file.to));
            let (folder, old) = (in_quotes(&format!(r"{}\", file.to)), in_quotes(&format!("{}.bootgate-old", file.to)));
            // The file of a running program cannot be replaced, but it can be moved away.
            format!(
                "if exist {folder} (echo {to} is a folder: give the whole path of the file>&2& exit 1)\n\
                 move /y {from} {to} >nul 2>nul || (move /y {to} {old} >nul && move /y {from} {to} >nul) || exit 1\n"
            )
        });
        captured_script(tag, &lines.chain(["exit 0\n".to_owned()]).collect::<String>())
    }

    fn copy_from_medium(&self, files: &[(String, String)], tag: &str) -> Command {
        let first = files.first().map_or("", |(name, _)| name);
        // A drive takes a while to show a new medium, and no program that a script could wait with is on every Windows.
        let mut lines = format!(
            "set d=\nset n=0\n:find\nfor %%d in (D E F G H I J K L M N O P Q R S T U V W X Y Z) do if exist %%d:\\{first} set d=%%d:\n\
             if defined d goto found\nset /a n+=1\nif %n% geq 1000 (echo the CD drive shows no medium>&2& exit 1)\n\
             goto find\n:found\n"
        );
        for (name, to) in files {
            lines.push_str(&format!("copy /b /y %d%\\{name} {} >nul || exit 1\n", in_quotes(&self.beside(to))));
        }
        captured_script(tag, &(lines + "exit 0\n"))
    }

    fn beside(&self, path: &str) -> String {
        format!("{path}.bootgate")
    }

    fn remove_output(&self, command: &Command) -> Command {
        removal(command)
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

/// A path in a batch script. It has no quotes of its own, and within quotes only `%` means something.
fn in_quotes(path: &str) -> String {
    format!("\"{}\"", path.replace('%', "%%"))
}
