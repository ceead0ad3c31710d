//! Which accelerator works here, found out by booting something.
//!
//! `/dev/kvm` may exist, open and create a machine, and yet hang every guest (seen on a cloud machine without
//! nested virtualisation). So the answer comes from a guest that has to say something by a deadline.

use std::{
    env, fs,
    io::{self, Read as _, Write as _},
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use super::{
    Account, LabError,
    boot_sector::{EXIT, PORT, boot_sector},
    host::find_program,
    root::make_state_dir,
};
use crate::{
    files::{Access, replace},
    model::{Accelerator, Millis, StateDir},
};

pub(super) const KVM: &str = "/dev/kvm";
pub(super) const QEMU: &str = "qemu-system-x86_64";
/// A working accelerator takes some 300 ms: this is for hosts that are very busy.
const DEADLINE: Duration = Duration::from_secs(10);

/// The version of what is remembered: what a weaker test guest found does not count.
const VERSION: u32 = 2;

/// The accelerator to use, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detected {
    pub accelerator: Accelerator,
    pub why: String,
    /// How long it took to find out; zero if nothing was booted.
    pub tried: Millis,
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    version: u32,
    /// What the answer depends on.
    key: String,
    detected: Detected,
}

/// Finds the accelerator, or remembers it from the last time on this boot of the host with this QEMU.
/// `recheck` forgets what was found before.
///
/// # Errors
/// QEMU is not installed.
pub fn detect(state: &StateDir, account: Option<&Account>, recheck: bool) -> Result<Detected, LabError> {
    let qemu = find_program(QEMU).ok_or_else(|| {
        LabError::Other(format!("{QEMU} is not in PATH; install QEMU (Debian: apt install qemu-system-x86)"))
    })?;
    if let Some(why) = kvm_unusable(account) {
        return Ok(Detected { accelerator: Accelerator::Tcg, why, tried: Millis::ZERO });
    }
    let key = key(&qemu, account);
    if !recheck && let Some(detected) = remembered(&state.accelerator(), &key) {
        return Ok(detected);
    }
    let detected = try_kvm(&qemu, DEADLINE)?;
    let text =
        serde_json::to_vec(&Remembered { version: VERSION, key, detected: detected.clone() }).unwrap_or_default();
    // Only a shortcut for next time.
    if make_state_dir(state).is_ok() {
        let _ = replace(&state.accelerator(), &text, Access::Umask);
    }
    Ok(detected)
}

fn kvm_unusable(account: Option<&Account>) -> Option<String> {
    if let Err(error) = fs::File::options().read(true).write(true).open(KVM) {
        return Some(match error.kind() {
            std::io::ErrorKind::NotFound => format!("there is no {KVM}"),
            _ => format!("cannot open {KVM}: {error}"),
        });
    }
    let account = account.filter(|account| !account.may_use(Path::new(KVM)))?;
    Some(format!("the account {} under which QEMU runs may not open {KVM}", account.name))
}

fn key(qemu: &Path, account: Option<&Account>) -> String {
    let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let (size, changed) = fs::metadata(qemu).map_or((0, 0), |meta| (meta.size(), meta.ctime()));
    format!(
        "{} {} {} {size} {changed} {}",
        line("/proc/sys/kernel/osrelease"),
        line("/proc/sys/kernel/random/boot_id"),
        qemu.display(),
        account.map_or("", |account| &account.name)
    )
}

fn remembered(path: &Path, key: &str) -> Option<Detected> {
    let remembered: Remembered = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (remembered.version == VERSION && remembered.key == key).then_some(remembered.detected)
}

fn try_kvm(qemu: &Path, deadline: Duration) -> Result<Detected, LabError> {
    let begun = Instant::now();
    let outcome = boot(qemu, "kvm", deadline)?;
    let tried = Millis::from(begun.elapsed());
    let (accelerator, why) = match outcome {
        Outcome::Ran => (Accelerator::Kvm, "a test guest ran under KVM".to_owned()),
        Outcome::Hung => {
            (Accelerator::Tcg, format!("a test guest under KVM did nothing for {}", Millis::from(deadline)))
        }
        Outcome::Failed(why) => (Accelerator::Tcg, format!("QEMU cannot use KVM: {why}")),
    };
    Ok(Detected { accelerator, why, tried })
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Ran,
    Hung,
    Failed(String),
}

fn boot(qemu: &Path, accelerator: &str, deadline: Duration) -> Result<Outcome, LabError> {
    let temp = env::temp_dir();
    let in_temp = |action| LabError::io(action, &temp);
    // Without a name, so that nothing is left of it whatever happens.
    let mut disk = tempfile::tempfile().map_err(in_temp("create a file in"))?;
    disk.write_all(&boot_sector()).map_err(in_temp("write a file in"))?;

    let mut command = Command::new(qemu);
    command
        .args(["-accel", accelerator, "-machine", "pc", "-m", "16", "-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-device", &format!("isa-debug-exit,{PORT}")])
        .args(["-drive", "if=ide,format=raw,file=/proc/self/fd/0"])
        .stdin(disk)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut guest = TestGuest::start(&mut command).map_err(LabError::io("run", qemu))?;
    let end = Instant::now() + deadline;
    let status = loop {
        match guest.0.try_wait().map_err(LabError::io("wait for", qemu))? {
            Some(status) => break status,
            None if Instant::now() >= end => {
                let _ = guest.0.kill();
                let _ = guest.0.wait();
                return Ok(Outcome::Hung);
            }
            None => thread::sleep(Duration::from_millis(10)),
        }
    };
    if status.code() == Some(EXIT) {
        return Ok(Outcome::Ran);
    }
    let mut said = String::new();
    if let Some(stderr) = guest.0.stderr.take() {
        let _ = stderr.take(64 << 10).read_to_string(&mut said);
    }
    Ok(Outcome::Failed(said.lines().next().map_or_else(|| status.to_string(), str::to_owned)))
}

/// A QEMU that ends with whoever waits for it: one whose guest hangs ends by nothing else.
struct TestGuest(Child);

impl TestGuest {
    /// The kernel kills it when the thread that starts it ends (prctl(2), `PR_SET_PDEATHSIG`): that has to be the one that
    /// waits for it.
    #[allow(unsafe_code)]
    fn start(command: &mut Command) -> io::Result<Self> {
        let us = getpid();
        let die_with_us = move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // We may have ended before that.
            if getppid() == Some(us) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
        };
        // SAFETY: between fork and exec, two system calls and nothing that allocates or locks.
        unsafe { command.pre_exec(die_with_us) };
        command.spawn().map(Self)
    }
}

impl Drop for TestGuest {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = self.0.kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_starts_like_a_kernel_runs_under_pure_emulation() {
        let qemu = find_program(QEMU).expect("QEMU is installed (see `bootgate doctor`)");
        assert_eq!(boot(&qemu, "tcg", Duration::from_secs(60)).unwrap(), Outcome::Ran);
    }

    #[test]
    fn a_guest_that_says_nothing_by_the_deadline_means_emulation() {
        let temp = tempfile::tempdir().unwrap();
        let fake = temp.path().join("qemu");
        fs::write(&fake, "#!/bin/sh\nexec sleep 60\n").unwrap();
        fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let detected = try_kvm(&fake, Duration::from_millis(50)).unwrap();
        assert_eq!(
            (detected.accelerator, detected.why.as_str()),
            (Accelerator::Tcg, "a test guest under KVM did nothing for 50 ms")
        );
        fs::write(&fake, "#!/bin/sh\necho Could not access KVM >&2\nexit 1\n").unwrap();
        let detected = try_kvm(&fake, Duration::from_secs(60)).unwrap();
        assert_eq!(detected.why, "QEMU cannot use KVM: Could not access KVM");
    }

    #[test]
    fn a_test_guest_ends_with_the_thread_that_waits_for_it() {
        let start = || TestGuest::start(Command::new("sleep").arg("600")).unwrap();
        // As a bootgate that is killed: nothing of ours runs any more.
        let mut left = thread::spawn(move || std::mem::ManuallyDrop::new(start())).join().unwrap();
        let status = left.0.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::KILL.as_raw()));

        let dropped = start();
        let process = format!("/proc/{}/status", dropped.0.id());
        drop(dropped);
        let ended = || fs::read_to_string(&process).map_or(true, |status| status.contains("State:\tZ"));
        let begun = Instant::now();
        while !ended() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it still runs");
            thread::yield_now();
        }
    }

    #[test]
    fn what_was_found_is_remembered_for_the_same_key_only() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("accelerator.json");
        let line = r#"{"version":2,"key":"6.1 boot qemu","detected":{"accelerator":"tcg","why":"hangs","tried":5000}}"#;
        fs::write(&path, line).unwrap();
        assert_eq!(remembered(&path, "6.1 boot qemu").map(|found| found.tried), Some(Millis(5000)));
        assert_eq!(remembered(&path, "6.2 boot qemu"), None);
    }
}
