use std::time::Duration;

use tokio::task::JoinHandle;

use super::{life::Cellmate, observe::Observer, settle};
use crate::{
    lab::{BootKind, BootPermit, Stats},
    model::{LabTime, Millis, SignalKind},
};

/// A first boot may keep its place for so long; what is usual for the machine is not known yet.
const FIRST: Duration = Duration::from_secs(300);

/// How many times as long as the first boot a further one keeps its place.
const PATIENCE: u32 = 2;

/// A place to boot in, kept until this is dropped or the boot takes too long: a machine that hangs must not hold up
/// the others.
pub(super) struct BootPlace(JoinHandle<()>);

impl BootPlace {
    /// For a machine that is new.
    pub fn first(permit: BootPermit) -> Self {
        Self::keep(permit, FIRST)
    }

    fn keep(permit: BootPermit, longest: Duration) -> Self {
        Self(tokio::spawn(async move {
            tokio::time::sleep(longest).await;
            drop(permit);
        }))
    }
}

impl Drop for BootPlace {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A restart that may be asked for now: its place, and what it costs.
pub(super) struct Restart {
    _place: BootPlace,
    began: Millis,
    /// The machine's counters, and what the lab had taken from it.
    before: Option<(Stats, LabTime)>,
}

impl Restart {
    /// Waits for a place to boot in, observing meanwhile: no deadline runs. None: the judge is over.
    pub async fn begin(watcher: &mut Observer, mate: &Cellmate<'_>) -> Option<Self> {
        let boots = mate.job.boots.clone();
        let permit = watcher.until(boots.acquire(BootKind::Restart)).await?;
        let place = BootPlace::keep(permit, mate.first_boot().as_duration() * PATIENCE);
        watcher.drain();
        if !watcher.judge.is_settled() && !settle::settle(watcher, mate).await {
            return None;
        }
        let before = counters(watcher).await;
        (!watcher.judge.is_over()).then(|| Self { _place: place, began: watcher.now(), before })
    }

    /// The machine has settled again.
    pub async fn settled(self, watcher: &mut Observer) {
        let took = watcher.now().since(self.began);
        if let (Some(before), Some(now)) = (self.before, counters(watcher).await) {
            let cpu = now.0.process_cpu.since(before.0.process_cpu);
            let waited = waited(took, &before, &now);
            let probe_us = watcher.lab.base_us();
            watcher.emit(SignalKind::BootCost { took, waited, cpu, probe_us });
        }
    }
}

/// How much of a restart's time was the lab's: what it took from the virtual CPUs, and while these had nothing to do what it
/// took from QEMU's other threads, which they wait for. Not what QEMU computed. Deadlines end some time even on a lab that
/// gives a guest next to nothing; how long its restart takes there is not known better for that.
fn waited(took: Millis, (before, begin): &(Stats, LabTime), (now, end): &(Stats, LabTime)) -> Millis {
    let cpus = u64::from(now.vcpus.max(1));
    let busy = now.cpu.since(before.cpu).0 + now.cpu_wait.since(before.cpu_wait).0;
    let idle = took.since(Millis(busy / cpus));
    let behind = now.emulator_wait.since(before.emulator_wait).min(idle);
    let end = LabTime { cpu_wait: Millis(end.cpu_wait.0 + behind.0), ..*end };
    let taken = LabTime::taken(begin, &end);
    // Several CPUs may wait at once: then it is not known how much of that the restart waited.
    let most = if cpus > 1 { took.since(LabTime::counted(took, begin, &end)) } else { taken };
    taken.min(most).min(took.since(now.process_cpu.since(before.process_cpu)))
}

/// None: the lab does not tell.
async fn counters(watcher: &Observer) -> Option<(Stats, LabTime)> {
    watcher.stats().await.map(|stats| (stats, watcher.lab.time(stats.cpu_wait)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a restart that took so long: what the CPU computed and waited, and the other threads waited.
    fn own(took: u64, cpu: u64, cpu_wait: u64, emulator_wait: u64) -> u64 {
        let now = Stats {
            cpu: Millis(cpu),
            process_cpu: Millis(cpu + 500),
            cpu_wait: Millis(cpu_wait),
            emulator_wait: Millis(emulator_wait),
            vcpus: 1,
            ..Stats::default()
        };
        let end = LabTime { cpu_wait: now.cpu_wait, ..LabTime::default() };
        let begin = (Stats::default(), LabTime::default());
        took - waited(Millis(took), &begin, &(now, end)).0
    }

    #[test]
    fn what_a_busy_host_took_from_any_thread_of_the_machine_is_not_the_restarts() {
        assert_eq!(own(6_000, 5_000, 0, 0), 6_000);
        assert_eq!(own(16_000, 5_000, 10_000, 0), 6_000);
        // The CPU waits for the disk, which waits for a core; more than that it cannot have waited.
        assert_eq!(own(26_000, 5_000, 10_000, 10_000), 6_000);
        assert_eq!(own(26_000, 5_000, 10_000, 90_000), 5_500);
        // A host that gives next to nothing.
        assert_eq!(own(133_000, 5_800, 117_000, 9_500), 6_500);
    }

    #[test]
    fn a_restart_in_which_the_guest_waits_for_itself_is_long_on_any_host() {
        assert_eq!(own(40_000, 5_000, 0, 0), 40_000);
        assert_eq!(own(60_000, 5_000, 20_000, 3_000), 37_000);
    }
}
