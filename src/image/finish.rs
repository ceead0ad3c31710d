//! The last commands of an installation: a batch file on the answers' medium, run when the administrator is signed in
//! for the first time. It tells what it does on the first serial port, which the host keeps a log of.

use super::{WindowsVersion, answers::DRIVES};
use crate::model::one_line;

/// On the answers' medium.
pub const FINISH_FILE: &str = "bootgate.cmd";

/// What begins every line on the serial port.
const WORD: &str = "bootgate: ";
const READY: &str = "ready";
const FAILED: &str = "failed";

/// The longest serial log that is looked at, from its end.
const LOOKED_AT: usize = 64 << 10;

/// How an installation went, by its serial log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ready,
    /// The script's own words.
    Failed(String),
    /// Setup never came to the last commands, or they did not come to their end. The last that was told.
    Silent(Option<String>),
}

/// Reads a serial log. Firmware and Windows may write other things into it.
pub fn outcome(log: &[u8]) -> Outcome {
    let tail = &log[log.len().saturating_sub(LOOKED_AT)..];
    let text = String::from_utf8_lossy(tail);
    // It is shown on a terminal.
    let shown = |told: &str| one_line(told).chars().take(200).collect::<String>();
    let told = text.lines().filter_map(|line| line.trim().split_once(WORD)).map(|(_, told)| shown(told));
    let mut last = None;
    for told in told {
        if told == READY {
            return Outcome::Ready;
        }
        if let Some(why) = told.strip_prefix(FAILED) {
            return Outcome::Failed(why.trim_start_matches([':', ' ']).to_owned());
        }
        last = Some(told);
    }
    Outcome::Silent(last)
}

/// Finds the batch file, whatever letter its drive has, and runs it. At most 1024 characters ("CommandLine",
/// Unattended Windows Setup Reference).
pub fn first_command() -> String {
    let drives = DRIVES.map(String::from).join(" ");
    format!("cmd.exe /d /c for %d in ({drives}) do @if exist %d:\\{FINISH_FILE} call %d:\\{FINISH_FILE}")
}

/// The batch file. It always turns the machine off, so that a failure is known at once.
pub fn script(version: WindowsVersion) -> String {
    let drives = DRIVES.map(String::from).join(" ");
    let text = format!(
        r#"@echo off
rem Written by bootgate: what is left to do once {version} is installed.
setlocal
set "LOGS=%ProgramData%\bootgate"
if not exist "%LOGS%" mkdir "%LOGS%"
mode COM1 baud=115200 parity=n data=8 stop=1 to=on xon=off odsr=off octs=off dtr=on rts=on >nul 2>&1
call :say first sign-in

rem Nobody is signed in by himself from here on, and the password is not kept in the registry.
set "WINLOGON=HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon"
reg add "%WINLOGON%" /v AutoLogonCount /t REG_DWORD /d 0 /f >nul
reg add "%WINLOGON%" /v AutoAdminLogon /t REG_SZ /d 0 /f >nul
reg delete "%WINLOGON%" /v DefaultPassword /f >nul 2>&1

set "VIRTIO="
for %%d in ({drives}) do if exist %%d:\guest-agent\qemu-ga-x86_64.msi set "VIRTIO=%%d:"
if not defined VIRTIO call :fail no virtio-win medium & goto :end
call :install drivers "%VIRTIO%\virtio-win-gt-x64.msi" || goto :end
call :install agent "%VIRTIO%\guest-agent\qemu-ga-x86_64.msi" || goto :end
sc query QEMU-GA >nul || (call :fail the guest agent is not installed & goto :end)

rem A machine that sleeps, or whose next start is no boot, is of no use. What it cannot do it need not leave off.
powercfg /hibernate off || call :say no hibernation to switch off
powercfg /change standby-timeout-ac 0 || call :say no standby to switch off
powercfg /change monitor-timeout-ac 0
powercfg /change disk-timeout-ac 0

>"%LOGS%\golden-image.txt" echo {version}
call :say {READY}

:end
shutdown /s /t 5
exit /b 0

:install
call :say installing %1
start "" /wait msiexec.exe /i %2 /qn /norestart /l*v "%LOGS%\%1.log"
if %ERRORLEVEL% equ 0 exit /b 0
if %ERRORLEVEL% equ 3010 exit /b 0
call :fail msiexec %1: %ERRORLEVEL%
exit /b 1

:fail
call :say {FAILED}: %*
exit /b 1

:say
>>"%LOGS%\build.log" echo %DATE% %TIME% %*
>\\.\COM1 echo {WORD}%*
exit /b 0
"#
    );
    // What cmd.exe expects: with other line ends it misses labels.
    text.replace('\n', "\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_finds_the_script_is_short_enough_for_an_answer_file() {
        let command = first_command();
        assert!(command.len() < 1024 && command.contains(r"%d:\bootgate.cmd"), "{command}");
    }

    #[test]
    fn the_script_is_plain_and_every_label_that_it_goes_to_is_there() {
        for version in WindowsVersion::ALL {
            let script = script(version);
            assert!(script.is_ascii());
            assert_eq!(script.matches('\n').count(), script.matches("\r\n").count());
            let labels: Vec<&str> = script.lines().filter_map(|line| line.strip_prefix(':')).collect();
            for word in script.split_whitespace().filter_map(|word| word.strip_prefix(':')) {
                let word = word.trim_end_matches(')');
                assert!(labels.contains(&word), "no label {word}");
            }
        }
        insta::assert_snapshot!(script(WindowsVersion::Win11_24H2).replace("\r\n", "\n"));
    }

    #[test]
    fn only_the_word_at_the_end_says_that_an_installation_is_ready() {
        assert_eq!(outcome(b""), Outcome::Silent(None));
        assert_eq!(outcome(b"\x1b[2Jbootgate: first sign-in\r\n"), Outcome::Silent(Some("first sign-in".into())));
        assert_eq!(outcome(b"bootgate: installing agent\r\nbootgate: ready\r\n"), Outcome::Ready);
        assert_eq!(outcome(b"bootgate: ready to fail\r\n"), Outcome::Silent(Some("ready to fail".into())));
        let failed = outcome(b"\xff\xfebootgate: failed: msiexec agent: 1603 \r\n");
        assert_eq!(failed, Outcome::Failed("msiexec agent: 1603".into()));
    }

    proptest::proptest! {
        #[test]
        fn hostile_logs_do_no_harm(log in proptest::collection::vec(0..=255_u8, 0..4000)) {
            let _ = outcome(&log);
        }
    }
}
