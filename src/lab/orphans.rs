use std::{fs, io};

use rustix::{
    io::Errno,
    process::{Pid, WaitId, WaitIdOptions, getpid, set_child_subreaper, waitid},
};
use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
};
use tokio_util::task::AbortOnDropHandle;

/// Waits for QEMU processes whose starter has ended, until this is dropped.
///
/// libvirt's driver starts QEMU as a process without a parent, and believes in its end only when somebody has waited for
/// it. That is process 1, which in a container often waits for nobody (`tail -f /dev/null`): libvirt then needs two
/// minutes to end a machine. So this process takes its orphans in (prctl(2), `PR_SET_CHILD_SUBREAPER`).
#[derive(Debug)]
pub struct Orphans(#[expect(dead_code, reason = "held until the lab closes")] AbortOnDropHandle<()>);

impl Orphans {
    /// # Errors
    /// The kernel refuses, or signals cannot be received.
    pub fn take_in(runtime: &Handle) -> io::Result<Self> {
        set_child_subreaper(Some(getpid()))?;
        let ours = Stat::parse(&fs::read_to_string("/proc/self/stat")?).ok_or(io::ErrorKind::InvalidData)?;
        let _inside = runtime.enter();
        let mut child_ended = signal(SignalKind::child())?;
        let task = runtime.spawn(async move {
            while child_ended.recv().await.is_some() {
                let _ = tokio::task::spawn_blocking(move || bury(ours.session)).await;
            }
        });
        Ok(Self(AbortOnDropHandle::new(task)))
    }
}

/// Waits for every orphan that has ended.
fn bury(session: i32) {
    let us = getpid();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?)) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if Stat::parse(&stat).is_some_and(|stat| stat.is_dead_orphan(pid, us, session))
            && let Err(error) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
            // Another lab of this process was faster.
            && error != Errno::CHILD
        {
            tracing::debug!("cannot wait for process {}: {error}", pid.as_raw_pid());
        }
    }
}

/// Some of `/proc/PID/stat`, man page proc_pid_stat(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// QEMU or swtpm by name.
    emulator: bool,
    dead: bool,
    parent: i32,
    /// 0: its leader is outside of this namespace, as after `docker exec`.
    session: i32,
}

impl Stat {
    fn parse(stat: &str) -> Option<Self> {
        // The second field may hold anything, even `)` and spaces.
        let (name, rest) = stat.rsplit_once(')')?;
        let name = name.split_once('(')?.1;
        let emulator = name.starts_with("qemu-") || name == "swtpm";
        let mut fields = rest.split_whitespace();
        let dead = fields.next()? == "Z";
        let parent = fields.next()?.parse().ok()?;
        let session = fields.nth(1)?.parse().ok()?;
        Some(Self { emulator, dead, parent, session })
    }

    /// Nobody else in this process waits for it: not a child that was started here, which is of our session, nor
    /// libvirt's first fork on the way to an orphan, which begins a session of its own. So does the first fork of an
    /// emulator that makes itself one, but nobody waits for that.
    fn is_dead_orphan(&self, pid: Pid, us: Pid, session: i32) -> bool {
        let ours = self.parent == us.as_raw_pid();
        let forked_here = self.session == pid.as_raw_pid() && !self.emulator;
        let started_here = self.session == session || forked_here;
        self.dead && ours && !started_here
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use super::*;

    #[test]
    fn only_the_dead_whose_parent_left_them_are_waited_for() {
        let of = |stat: &str| Stat::parse(stat).unwrap();
        let [us, pid] = [10, 30].map(|pid| Pid::from_raw(pid).unwrap());
        let orphan = of("30 (qemu) system) Z 10 29 29 0 -1 4 0");
        assert_eq!(orphan, Stat { emulator: false, dead: true, parent: 10, session: 29 });
        assert!(orphan.is_dead_orphan(pid, us, 9));
        assert!(of("30 (qemu-system-x86) Z 10 30 30 0").is_dead_orphan(pid, us, 9));
        assert!(of("30 (swtpm) Z 10 30 30 0").is_dead_orphan(pid, us, 9));
        for other in [
            "30 (qemu) S 10 29 29 0",
            "30 (qemu) Z 1 29 29 0",
            "30 (virsh) Z 10 9 9 0",
            "30 (first fork) Z 10 30 30 0",
            "30 (swtpm) Z 10 9 9 0",
        ] {
            assert!(!of(other).is_dead_orphan(pid, us, 9), "{other}");
        }
        assert_eq!(Stat::parse(""), None);
        assert_eq!(Stat::parse("30 (x) Z"), None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_orphan_that_ends_leaves_no_zombie_and_our_own_child_is_ours_to_wait_for() {
        let _orphans = Orphans::take_in(&Handle::current()).unwrap();
        let mut starter = Command::new("setsid");
        let starter = starter.args(["sh", "-c", "sleep 0.2 >&2 & echo $!"]);
        let said = starter.output().unwrap();
        assert!(said.status.success());
        let orphan = String::from_utf8(said.stdout).unwrap();
        let of_orphan = format!("/proc/{}/stat", orphan.trim());
        assert_eq!(Stat::parse(&fs::read_to_string(&of_orphan).unwrap()).unwrap().parent, getpid().as_raw_pid());
        let gone = async {
            while fs::exists(&of_orphan).unwrap() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap();
    }
}
