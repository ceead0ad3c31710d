//! Removing what a killed process left in a lab root that nobody holds any more.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::{adopted::adopted, root};
use crate::model::StateDir;

/// How long a killed QEMU may take to be gone.
const DEATH: Duration = Duration::from_secs(10);

/// What was removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CleanReport {
    /// QEMU processes that were killed: name of the machine and process id.
    pub killed: Vec<(String, i32)>,
    /// Machines removed through libvirt.
    pub domains: Vec<String>,
    /// Folders of machines and seals.
    pub folders: Vec<PathBuf>,
    /// What could not be removed, and why.
    pub failed: Vec<String>,
}

impl CleanReport {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what was removed elsewhere.
    pub fn merge(&mut self, other: Self) {
        self.killed.extend(other.killed);
        self.domains.extend(other.domains);
        self.folders.extend(other.folders);
        self.failed.extend(other.failed);
    }

    /// Says it in the log, for cleaning that nobody asked for.
    pub fn log(&self) {
        for (name, pid) in &self.killed {
            tracing::warn!("killed {name} (process {pid}), left by a bootgate that died");
        }
        for name in &self.domains {
            tracing::warn!("ended {name} in libvirt, left by a bootgate that died");
        }
        for folder in &self.folders {
            tracing::info!("removed {}, left by a bootgate that died", folder.display());
        }
        for failure in &self.failed {
            tracing::warn!("{failure}");
        }
    }
}

/// Cleans every lab root that no process holds.
///
/// # Errors
/// Only if the roots cannot be listed; what could not be removed is in the report.
pub fn clean(state: &StateDir) -> Result<CleanReport, super::LabError> {
    let mut report = CleanReport::default();
    root::for_each_free(state, |root| report.merge(sweep_root(root)))?;
    Ok(report)
}

/// Kills the machines of this root and removes everything but libvirt's cache. The caller holds the root's lock.
pub(super) fn sweep_root(root: &Path) -> CleanReport {
    let mut report = CleanReport::default();
    let vms = root.join("vms");
    let elsewhere = adopted(root);
    for dir in elsewhere.iter().chain([&vms]) {
        for (pid, name) in processes(dir, machine_name) {
            match kill(pid, dir, machine_name) {
                Ok(()) => report.killed.push((name, pid.as_raw_pid())),
                Err(error) => report.failed.push(format!("cannot kill {name} (process {}): {error}", pid.as_raw_pid())),
            }
        }
    }
    // Without the root's note nobody would look again for what is still used, or cannot be removed.
    if let Some(folder) = &elsewhere {
        let removed = if report.failed.is_empty() { fs::remove_dir_all(folder) } else { Ok(()) };
        if let Err(error) = &removed {
            report.failed.push(format!("cannot remove {}: {error}", folder.display()));
        }
        if !report.failed.is_empty() {
            return report;
        }
    }
    // Most have ended with their machines.
    if let Err(error) = kill_tpm(&root.join("lib/swtpm")) {
        report.failed.push(format!("cannot kill a TPM of {}: {error}", root.display()));
    }
    let list = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    report.folders = list(&vms).chain(elsewhere).collect();
    for path in list(root).filter(|path| !path.ends_with("cache")) {
        let is_dir = fs::symlink_metadata(&path).is_ok_and(|about| about.is_dir());
        let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        if let Err(error) = removed {
            report.failed.push(format!("cannot remove {}: {error}", path.display()));
        }
    }
    report
}

/// Kills the QEMU whose machine has its files in `dir`, if there is one. Answers whether there was.
pub(super) fn kill_machine(dir: &Path) -> io::Result<bool> {
    let mut found = false;
    for (pid, _) in processes(dir, machine_name) {
        kill(pid, dir, machine_name)?;
        found = true;
    }
    Ok(found)
}

/// Kills every swtpm that keeps a TPM's state below `dir`.
pub(super) fn kill_tpm(dir: &Path) -> io::Result<()> {
    processes(dir, tpm_name).into_iter().try_for_each(|(pid, _)| kill(pid, dir, tpm_name))
}

/// Names a process so that no later process has the same name: its id and its start time (in clock ticks
/// since the host's boot, man page proc_pid_stat(5)).
pub(super) fn process_token(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field may hold anything, even `)` and spaces.
    let start = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?;
    Some(format!("{pid}-{start}"))
}

/// What a command line is of, if it is of a process that belongs below this folder.
type NameOf = fn(&[u8], &Path) -> Option<String>;

/// The processes with files below `dir`, with their names.
///
/// The command lines are searched and not libvirt's pid files, which do not exist yet when libvirt is killed
/// while it starts a machine.
fn processes(dir: &Path, name_of: NameOf) -> Vec<(Pid, String)> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let name = name_of(&fs::read(entry.path().join("cmdline")).ok()?, dir)?;
            Some((pid, name))
        })
        .collect()
}

/// The machine's name, if this is the command line of a QEMU that libvirt started with files below `dir`.
///
/// A QEMU that libvirt only asks what it can do has `-machine none` and no name: it counts too, or it would
/// stay for ever when bootgate is killed in that moment.
fn machine_name(cmdline: &[u8], dir: &Path) -> Option<String> {
    let args: Vec<&str> = cmdline.split(|byte| *byte == 0).map(|arg| str::from_utf8(arg).unwrap_or("")).collect();
    let program = Path::new(args.first()?).file_name()?.to_str()?;
    let inside = format!("{}/", dir.to_str()?);
    let is_inside = args.iter().any(|arg| arg.contains(&inside));
    let machine = args.iter().position(|arg| *arg == "-machine").and_then(|at| args.get(at + 1));
    if program.starts_with("qemu") && is_inside && machine.is_some_and(|machine| machine.starts_with("none,")) {
        return Some("capability probe".to_owned());
    }
    let after_name = args.iter().position(|arg| *arg == "-name")? + 1;
    let name = args.get(after_name)?.strip_prefix("guest=")?.split(',').next()?;
    let ours = program.starts_with("qemu") && name.starts_with("bootgate-");
    (ours && is_inside).then(|| name.to_owned())
}

/// As [`machine_name`], for the swtpm that libvirt started beside a machine.
fn tpm_name(cmdline: &[u8], dir: &Path) -> Option<String> {
    let mut args = cmdline.split(|byte| *byte == 0).map(|arg| str::from_utf8(arg).unwrap_or(""));
    let program = Path::new(args.next()?).file_name()?;
    // `--tpmstate dir=DIR/tpm2,mode=0600`; of all TPMs, or of one.
    let inside = format!("dir={}/", dir.to_str()?);
    (program == "swtpm" && args.any(|arg| arg.starts_with(&inside))).then(|| "TPM".to_owned())
}

/// Kills and waits. A handle on the process, looked at again after it was taken, so that nobody else is hit if
/// the id was given away meanwhile.
fn kill(pid: Pid, dir: &Path, name_of: NameOf) -> io::Result<()> {
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let cmdline = fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid())).unwrap_or_default();
    if name_of(&cmdline, dir).is_none() {
        return Ok(());
    }
    match pidfd_send_signal(&handle, Signal::KILL) {
        Err(Errno::SRCH) => return Ok(()),
        result => result?,
    }
    let deadline = Timespec { tv_sec: DEATH.as_secs() as i64, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&deadline))?;
    if ended == 0 { Err(io::Error::new(io::ErrorKind::TimedOut, "still there 10 s after SIGKILL")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn cmdline(args: &[&str]) -> Vec<u8> {
        args.iter().flat_map(|arg| arg.bytes().chain([0])).collect()
    }

    #[test]
    fn only_a_qemu_with_our_name_and_our_files_is_a_machine_of_the_root() {
        let root = Path::new("/s/lab/1");
        let disk = r#"{"driver":"file","filename":"/s/lab/1/vms/ab12cd/disk.qcow2"}"#;
        let ours = cmdline(&["/usr/bin/qemu-system-x86_64", "-name", "guest=bootgate-ab12cd,debug-threads=on", disk]);
        assert_eq!(machine_name(&ours, root).as_deref(), Some("bootgate-ab12cd"));
        let socket = "unix:/s/lab/1/lib/qemu/qmp-x/qmp.monitor,server=on,wait=off";
        let probe = cmdline(&["/usr/bin/qemu-system-i386", "-S", "-machine", "none,accel=kvm:tcg", "-qmp", socket]);
        assert!(machine_name(&probe, root).is_some());
        assert_eq!(machine_name(&probe, Path::new("/s/lab/2")), None);
        assert_eq!(machine_name(&ours, Path::new("/s/lab/10")), None);
        assert_eq!(machine_name(&ours, Path::new("/s/lab/1/vms/ab12c")), None);
        for others in [
            cmdline(&["/usr/bin/qemu-system-x86_64", "-name", "guest=web,debug-threads=on", disk]),
            cmdline(&["/usr/bin/vim", "-name", "guest=bootgate-ab12cd", disk]),
            cmdline(&["/usr/bin/qemu-system-x86_64", "-name"]),
            Vec::new(),
        ] {
            assert_eq!(machine_name(&others, root), None);
        }
    }

    #[test]
    fn only_a_swtpm_with_its_state_in_the_root_is_a_tpm_of_it() {
        let state = "dir=/s/lab/1/lib/swtpm/0a1b/tpm2,mode=0600";
        let ours = cmdline(&["/usr/bin/swtpm", "socket", "--tpmstate", state]);
        for dir in ["/s/lab/1/lib/swtpm", "/s/lab/1/lib/swtpm/0a1b"] {
            assert!(tpm_name(&ours, Path::new(dir)).is_some());
        }
        for dir in ["/s/lab/2/lib/swtpm", "/s/lab/1/lib/swtpm/0a", "/s/lab/10/lib/swtpm"] {
            assert_eq!(tpm_name(&ours, Path::new(dir)), None);
        }
        assert_eq!(tpm_name(&cmdline(&["/usr/bin/vim", state]), Path::new("/s/lab/1/lib/swtpm")), None);
    }

    #[test]
    fn a_leftover_process_of_the_root_is_killed_and_others_live() {
        let temp = tempfile::tempdir().unwrap();
        let start = |root: &Path| {
            // A shell that calls itself QEMU.
            let disk = format!("{}/vms/x/disk.qcow2", root.display());
            std::os::unix::process::CommandExt::arg0(&mut Command::new("/bin/sh"), "qemu-fake")
                .args(["-c", "read line", "-name", "guest=bootgate-x", &disk])
                .stdin(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let (root, other_root) = (temp.path().join("0"), temp.path().join("1"));
        let (mut ours, mut other) = (start(&root), start(&other_root));
        // Until exec has happened the command line is still this test's.
        let there = |root: &Path| !processes(root, machine_name).is_empty();
        while !(there(&root) && there(&other_root)) {
            std::thread::yield_now();
        }
        let report = sweep_root(&root);
        assert_eq!(report.killed, [("bootgate-x".to_owned(), ours.id() as i32)]);
        assert!(!ours.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        drop(other.stdin.take());
        let _ = other.wait();
    }
}
