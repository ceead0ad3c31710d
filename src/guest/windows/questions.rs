//! What a guest is asked: batch scripts that print it in sections. All of it is read on the host.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::batch::{captured_script, prefix};
use crate::guest::Command;

/// Begins a section of what a script prints.
const SECTION: &str = "[bootgate]";

/// Names of sections.
pub(super) const SETUP: &str = "setup";
pub(super) const PREFETCH: &str = "prefetch";
pub(super) const START_EVENT: &str = "start-event";
pub(super) const SERVICES: &str = "services";
pub(super) const DRIVERS: &str = "drivers";
pub(super) const START_TYPES: &str = "start-types";
pub(super) const DUMPS: &str = "dumps";
pub(super) const VERSION: &str = "version";
pub(super) const LOCALE: &str = "locale";
pub(super) const CRASH_CONTROL: &str = "crash-control";
pub(super) const POWER: &str = "power";
pub(super) const SECURE_BOOT: &str = "secure-boot";
pub(super) const SAFE_MODE: &str = "safe-mode";
pub(super) const UPDATE_POLICY: &str = "update-policy";
pub(super) const UPDATE_SERVICE: &str = "update-service";
pub(super) const PACKAGES: &str = "packages";
pub(super) const END: &str = "end";
pub(super) const SERVICING: &str = "servicing";
pub(super) const PANIC_DRIVER: &str = "panic-driver";
/// Each is there only where a restart is pending.
pub(super) const PENDING: [(&str, &str); 4] = [
    ("servicing", r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending"),
    ("windows update", r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired"),
    ("file renames", r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager /v PendingFileRenameOperations"),
    ("computer name", r"HKLM\SYSTEM\CurrentControlSet\Services\Netlogon /v JoinDomain"),
];

/// How many boots there were, as the prefetcher counts them, and the event that the last one wrote.
pub(super) fn boot_id(tag: &str) -> Command {
    let event = "*[System[Provider[@Name='Microsoft-Windows-Kernel-General'] and (EventID=12)]]";
    let prefetch =
        r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters /v BootId";
    let start = section(START_EVENT, &format!("wevtutil qe System \"/q:{event}\" /c:1 /rd:true /f:xml 2>nul"));
    captured_script(tag, &[query(PREFETCH, prefetch), start, DONE.to_owned()].concat())
}

/// Whether setup or its first sign-in goes on, what services are starting, and whether servicing is at work.
pub(super) fn settled(tag: &str) -> Command {
    let servicing =
        r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\Interface /v ServicingInProgress";
    let asked = [query(SETUP, r"HKLM\SYSTEM\Setup"), list(SERVICES, "service"), query(SERVICING, servicing)];
    captured_script(tag, &(asked.concat() + DONE))
}

/// Services that run.
pub(super) fn services(tag: &str) -> Command {
    captured_script(tag, &(running() + DONE))
}

/// The same of Wine, whose `sc` lists nothing.
pub(super) fn wine_services(tag: &str) -> Command {
    captured_script(tag, &format!("net start\n{DONE}"))
}

/// What the guest is like.
pub(super) fn inventory(tag: &str) -> Command {
    let dumps = r"for %%f in (C:\Windows\Minidump\*.dmp C:\Windows\MEMORY.DMP) do if exist %%f echo %%f";
    captured_script(tag, &[running(), section(DUMPS, dumps), pending(), DONE.to_owned()].concat())
}

/// The packages of component based servicing, and their states. What is cut has no end: a full disk is no error of `reg`'s.
pub(super) fn packages(tag: &str) -> Command {
    let all = r#"reg query "HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\Packages" /s /v CurrentState 2>nul"#;
    captured_script(tag, &[&section(PACKAGES, all), &section(END, "rem"), DONE].concat())
}

/// What Windows it is, and how it is set up.
pub(super) fn facts(tag: &str) -> Command {
    let asked = [
        (VERSION, r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion"),
        (LOCALE, r"HKLM\SYSTEM\CurrentControlSet\Control\Nls\CodePage /v OEMCP"),
        (CRASH_CONTROL, r"HKLM\SYSTEM\CurrentControlSet\Control\CrashControl"),
        (POWER, r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Power /v HiberbootEnabled"),
        (SECURE_BOOT, r"HKLM\SYSTEM\CurrentControlSet\Control\SecureBoot\State /v UEFISecureBootEnabled"),
        (SAFE_MODE, r"HKLM\SYSTEM\CurrentControlSet\Control\SafeBoot\Option /v OptionValue"),
        (UPDATE_POLICY, r"HKLM\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU /v NoAutoUpdate"),
    ];
    let asked = asked.map(|(name, what)| query(name, what)).concat();
    let services = [(UPDATE_SERVICE, "wuauserv"), (PANIC_DRIVER, "pvpanic")];
    let services = services.map(|(name, service)| section(name, &format!("sc query {service} 2>nul"))).concat();
    captured_script(tag, &[asked, services, pending(), DONE.to_owned()].concat())
}

/// The logs that tell how a machine is.
const LOGS: [&str; 4] = ["System", "Application", "Setup", "Microsoft-Windows-CodeIntegrity/Operational"];

/// Exports the logs' events since this moment, in Unix milliseconds, and the files that they are in then. Prints those that
/// are there: the agent's words for one that is not are in the guest's language.
pub(super) fn export_logs(since: i64, tag: &str) -> (Command, Vec<String>) {
    let since = OffsetDateTime::from_unix_timestamp(since.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let since = since.format(&Rfc3339).unwrap_or_default();
    let files = LOGS.map(|log| format!("{}-{}.evtx", prefix(tag), log.replace('/', "-")));
    let query = format!("*[System[TimeCreated[@SystemTime>='{since}']]]");
    let export = |(log, file): (&&str, &String)| format!("wevtutil epl {log} \"{file}\" \"/q:{query}\" /ow:true\n");
    let lines: String = LOGS.iter().zip(&files).map(export).collect();
    let there = format!("for %%f in ({}) do if exist %%f echo %%f\n", files.join(" "));
    (captured_script(tag, &[&lines, &there, DONE].concat()), files.to_vec())
}

/// Whatever the last question came to.
const DONE: &str = "exit 0\n";

/// Services and drivers that run, and how each is started.
fn running() -> String {
    let start = section(START_TYPES, r#"reg query "HKLM\SYSTEM\CurrentControlSet\Services" /s /v Start 2>nul"#);
    [list(SERVICES, "service"), list(DRIVERS, "driver"), start].concat()
}

/// What is active, which is what `sc` lists if nothing else is said; in one piece, for which it takes a buffer of 256 KiB at
/// most (Microsoft: "Sc query").
fn list(name: &str, kind: &str) -> String {
    section(name, &format!("sc queryex type= {kind} bufsize= 262144"))
}

fn pending() -> String {
    PENDING.map(|(name, what)| query(&format!("pending {name}"), what)).concat()
}

/// `what`: a key, and `/v` with the name of a value where only that is wanted.
fn query(name: &str, what: &str) -> String {
    let (key, value) =
        what.split_once(" /v ").map_or((what, String::new()), |(key, value)| (key, format!(" /v {value}")));
    section(name, &format!("reg query \"{key}\"{value} 2>nul"))
}

fn section(name: &str, line: &str) -> String {
    format!("echo {SECTION} {name}\n{line}\n")
}

/// What a section of a script's output holds. The last of that name: a guest cannot know what comes later.
pub(super) fn read_section<'a>(printed: &'a str, name: &str) -> &'a str {
    let mut found = "";
    let mut rest = printed;
    while let Some((_, after)) = next_section(rest) {
        let (title, body) = after.split_once('\n').unwrap_or((after, ""));
        let end = next_section(body).map_or(body.len(), |(at, _)| at);
        if title.trim() == name {
            found = &body[..end];
        }
        rest = &body[end..];
    }
    found
}

/// Whether all of it is there: the section that a script ends with is the last line.
pub(super) fn has_end(printed: &str) -> bool {
    printed.trim_end().strip_suffix(END).is_some_and(|rest| rest.trim_end().ends_with(SECTION))
}

/// Where the next section begins, and what is behind its mark.
fn next_section(text: &str) -> Option<(usize, &str)> {
    let at = text.match_indices(SECTION).map(|(at, _)| at).find(|at| *at == 0 || text[..*at].ends_with('\n'))?;
    Some((at, &text[at + SECTION.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_ends_where_the_next_begins() {
        let printed = "noise\r\n[bootgate] a\r\none\r\n[bootgate] b\r\ntwo [bootgate] c\r\n[bootgate] d";
        assert_eq!(read_section(printed, "a").trim(), "one");
        assert_eq!(read_section(printed, "b").trim(), "two [bootgate] c");
        assert_eq!((read_section(printed, "c"), read_section(printed, "d")), ("", ""));
    }

    #[test]
    fn what_was_cut_before_its_last_section_has_no_end() {
        let whole = "[bootgate] packages\r\none\r\n[bootgate] end\r\n";
        assert!(has_end(whole));
        for cut in 1..whole.len() {
            assert_eq!(has_end(&whole[..whole.len() - cut]), cut < 3, "{cut}");
        }
    }

    #[test]
    fn logs_are_exported_from_a_moment_on() {
        let (command, files) = export_logs(1_763_000_000_123, "4");
        assert_eq!(files[0], r"C:\Windows\Temp\bootgate-4-System.evtx");
        let text = String::from_utf8(command.scripts[0].content.clone()).unwrap();
        assert!(text.contains("\"/q:*[System[TimeCreated[@SystemTime>='2025-11-13T02:13:20Z']]]\" /ow:true"), "{text}");
        assert!(files.iter().all(|file| !file.contains(' ')), "{files:?}");
        assert!(text.contains(&format!("for %%f in ({}) do if exist %%f echo %%f\r\n", files.join(" "))), "{text}");
    }

    #[test]
    fn every_question_is_one_line_of_a_script() {
        for command in [boot_id("1"), settled("1"), services("1"), inventory("1"), facts("1"), packages("1")] {
            assert_eq!(command.scripts.len(), 2);
            let text = String::from_utf8(command.scripts[0].content.clone()).unwrap();
            assert!(text.lines().all(|line| line.len() < 8000) && text.contains("exit 0"), "{text}");
        }
        let text = String::from_utf8(facts("1").scripts[0].content.clone()).unwrap();
        insta::assert_snapshot!(text.replace("\r\n", "\n"));
    }
}
