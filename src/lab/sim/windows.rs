//! What programs of a Windows guest print, as far as they are asked.
//!
//! Registry, services and logs lie among the guest's files, named by the words that ask for them, so that whatever writes a
//! file changes them:
//!
//! | path | content |
//! |---|---|
//! | `KEY /v NAME` | type and data as `reg` prints them: `REG_DWORD    0x1`. Both empty: a key without values |
//! | `sc NAME` | kind in hexadecimal, state, process: `10 4 700` |
//! | `wevtutil LOG` | the log as a file, of which all is exported |

use super::{Rule, filesystem::Filesystem};

/// Where Windows counts its boots.
pub(super) const BOOT_COUNT: &str =
    r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters /v BootId";

/// A Windows 10 whose programs speak German; `Sensor` starts with it, and so does the file system's driver.
pub(super) const FILES: [(&str, &str); 12] = [
    (r"HKLM\SYSTEM\Setup /v SystemSetupInProgress", "REG_DWORD    0x0"),
    (r"HKLM\SYSTEM\Setup /v OOBEInProgress", "REG_DWORD    0x0"),
    (r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion /v ProductName", "REG_SZ    Windows 10 Pro"),
    (r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion /v CurrentBuildNumber", "REG_SZ    19045"),
    (r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion /v UBR", "REG_DWORD    0x10fd"),
    (r"HKLM\SYSTEM\CurrentControlSet\Control\Nls\CodePage /v OEMCP", "REG_SZ    850"),
    (r"HKLM\SYSTEM\CurrentControlSet\Services\Ntfs /v Start", "REG_DWORD    0x0"),
    (r"HKLM\SYSTEM\CurrentControlSet\Services\Sensor /v Start", "REG_DWORD    0x2"),
    (r"HKLM\SYSTEM\CurrentControlSet\Services\TrustedInstaller /v Start", "REG_DWORD    0x3"),
    ("sc Ntfs", "2 4 0"),
    ("sc Sensor", "10 4 700"),
    ("sc TrustedInstaller", "10 1 0"),
];

/// What `cmd /d /c PREFIX.cmd` runs, as rules see it, and where its output goes but for `.out` and `.err`: the engine's
/// script that brings it there does not count.
pub(super) fn asked(disk: &Filesystem, script: &str) -> Option<(String, String)> {
    let prefix = script.strip_suffix(".cmd")?;
    let text = String::from_utf8_lossy(disk.content(script));
    let end = format!(" >\"{prefix}.out\"");
    let line = text.lines().find_map(|line| Some(line.split_once(&end)?.0))?;
    let body = format!("{prefix}-body.cmd");
    let lines = match line.contains(&body) {
        true => String::from_utf8_lossy(disk.content(&body)).replace("@echo off\r\n", ""),
        false => line.to_owned(),
    };
    Some((lines, prefix.to_owned()))
}

/// Runs the lines of a batch script. What is none of the programs that are known here succeeds without a word.
pub(super) fn run(disk: &mut Filesystem, ready: bool, lines: &str) -> Rule {
    let (mut out, mut err) = (String::new(), String::new());
    let (mut failed, mut code) = (false, 0);
    for line in lines.lines() {
        let words = words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = match words[..] {
            ["exit", number] => {
                code = number.parse().unwrap_or(1);
                break;
            }
            ["if", "not", "errorlevel", "1", "exit", number] if !failed => {
                code = number.parse().unwrap_or(1);
                break;
            }
            ["if", ..] => continue,
            ["echo", ..] => Some(line.trim_start_matches("echo ").to_owned() + "\r\n"),
            ["reg", "query", key, ref options @ ..] => reg(disk, key, options),
            ["sc", "query" | "queryex", ref what @ ..] => sc(disk, ready, what),
            ["wevtutil", "epl", log, file, ..] => export(disk, log, file),
            ["for", ..] => Some(existing(disk, line)),
            _ => Some(String::new()),
        };
        failed = said.is_none();
        match (line.strip_suffix(">&2"), said) {
            (Some(_), Some(text)) => err.push_str(&text.replace(">&2", "")),
            (None, Some(text)) if !words.contains(&">nul") => out.push_str(&text),
            _ => {}
        }
    }
    Rule::on("").exits(code).prints(out).complains(err)
}

/// Words, quotes around them taken off.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.trim().chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// `reg query KEY [/v NAME] [/s]`. None: there is no such key or value.
fn reg(disk: &Filesystem, key: &str, options: &[&str]) -> Option<String> {
    let name = options.iter().skip_while(|word| **word != "/v").nth(1);
    let mut text = String::new();
    let mut shown = "";
    for (rest, data) in disk.below(key) {
        let Some((below, value)) = rest.split_once(" /v ") else { continue };
        let deeper = below.starts_with('\\') && options.contains(&"/s");
        if !(below.is_empty() || deeper) || name.is_some_and(|name| *name != value) {
            continue;
        }
        if text.is_empty() || shown != below {
            text.push_str(&format!("\r\n{}{below}\r\n", key.replace("HKLM\\", "HKEY_LOCAL_MACHINE\\")));
            shown = below;
        }
        if !data.is_empty() {
            text.push_str(&format!("    {value}    {}\r\n", String::from_utf8_lossy(data)));
        }
    }
    (!text.is_empty()).then_some(text)
}

/// `sc queryex type= KIND …`, of what is active, or `sc query NAME`. Until the boot has finished services are starting.
fn sc(disk: &Filesystem, ready: bool, what: &[&str]) -> Option<String> {
    let wanted = |name: &str, is_driver: bool, stopped: bool| match what {
        ["type=", kind, ..] => is_driver == (*kind == "driver") && !stopped,
        [one, ..] => *one == name,
        [] => false,
    };
    let mut text = String::new();
    for (name, about) in disk.below("sc ") {
        let about = String::from_utf8_lossy(about);
        let [kind, state, process] = about.split(' ').collect::<Vec<_>>()[..] else { continue };
        let is_driver = matches!(kind, "1" | "2");
        if wanted(name, is_driver, state == "1") {
            let state = if state == "4" && !is_driver && !ready { "2" } else { state };
            text.push_str(&format!(
                "\r\nDIENSTNAME: {name}\r\n        TYP                : {kind}  X\r\n        STATUS             : {state}  X\r\n        \
                 WIN32_EXITCODE     : 0  (0x0)\r\n        DIENST_EXITCODE    : 0  (0x0)\r\n        PRÜFPUNKT          : 0x0\r\n        \
                 WARTEZEIT          : 0x0\r\n        PID                : {process}\r\n        FLAGS              :\r\n"
            ));
        }
    }
    (!text.is_empty()).then_some(text)
}

/// `wevtutil epl LOG FILE`. None: there is no such log.
fn export(disk: &mut Filesystem, log: &str, file: &str) -> Option<String> {
    let content = disk.content(&format!("wevtutil {log}")).to_vec();
    (!content.is_empty()).then(|| disk.write(file, &content)).map(|()| String::new())
}

/// `for %%f in (PATTERN…) do if exist %%f echo %%f`.
fn existing(disk: &Filesystem, line: &str) -> String {
    let patterns = line.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(patterns, _)| patterns);
    let mut text = String::new();
    for pattern in patterns.split(' ') {
        let (begin, end) = pattern.split_once('*').unwrap_or((pattern, ""));
        let found =
            disk.below(begin).filter(|(rest, _)| rest.ends_with(end) && (pattern.contains('*') || rest.is_empty()));
        found.for_each(|(rest, _)| text.push_str(&format!("{begin}{rest}\r\n")));
    }
    text
}
