use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{life::Cellmate, observe::Observer, patience::SOON, settle};
use crate::{
    lab::{BootKind, BootPermit, Vm},
    model::{LabTime, Millis, SignalKind},
};

/// A first boot may keep its place for so long; what is usual for the machine is not known yet, nor is there a machine.
const FIRST: Duration = Duration::from_secs(300);

/// How many times as long as the first boot a further one keeps its place.
const PATIENCE: u32 = 2;

/// A place to boot in, kept until this is dropped or the boot takes too long: a machine that hangs must not hold up
/// the others. One that only waits for a core keeps it: were its place given away, more and more machines would wait for
/// the same cores.
pub(super) struct BootPlace(JoinHandle<()>);

impl BootPlace {
    /// For a machine that is new.
    pub fn first(permit: BootPermit) -> Self {
        Self(tokio::spawn(async move {
            sleep(FIRST).await;
            drop(permit);
        }))
    }

    /// For a machine that runs, which may take so long by itself.
    fn again(permit: BootPermit, vm: Arc<dyn Vm>, longest: Duration) -> Self {
        Self(tokio::spawn(async move {
            let (began, before) = (Instant::now(), waited(&*vm).await);
            let mut own = Duration::ZERO;
            while own < longest {
                sleep((longest - own).max(SOON)).await;
                own = LabTime::counted(began.elapsed().into(), &before, &waited(&*vm).await).as_duration();
            }
            drop(permit);
        }))
    }
}

/// How long the machine has waited for a core. One that does not tell waits for none.
async fn waited(vm: &dyn Vm) -> LabTime {
    LabTime { cpu_wait: vm.stats().await.map_or(Millis::ZERO, |stats| stats.cpu_wait), ..LabTime::default() }
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
    /// CPU time of the machine's process, and what the lab had taken from it.
    cost: Option<(Millis, Millis)>,
}

impl Restart {
    /// Waits for a place to boot in, observing meanwhile: no deadline runs. None: the judge is over.
    pub async fn begin(watcher: &mut Observer, mate: &Cellmate<'_>) -> Option<Self> {
        let boots = mate.job.boots.clone();
        let permit = watcher.until(boots.acquire(BootKind::Restart)).await?;
        let place = BootPlace::again(permit, watcher.vm.clone(), mate.first_boot().as_duration() * PATIENCE);
        watcher.drain();
        if !watcher.judge.is_settled() && !settle::settle(watcher, mate).await {
            return None;
        }
        let cost = watcher.cost().await;
        watcher.read_host_clock();
        (!watcher.judge.is_over()).then(|| Self { _place: place, began: watcher.now(), cost })
    }

    /// It is asked for in another way, because nothing came of the first: an agent that its update restarts loses what it was
    /// asked, and the wait for that is no time that the machine took.
    pub async fn asked_again(&mut self, watcher: &mut Observer) {
        self.cost = watcher.cost().await;
        watcher.read_host_clock();
        self.began = watcher.now();
    }

    /// The machine has settled again.
    pub async fn settled(self, watcher: &mut Observer) {
        let moment = watcher.now();
        let whole = moment.since(self.began);
        if let (Some((cpu, before)), Some((cpu_now, now))) = (self.cost, watcher.cost().await) {
            // Its control boots once: what is compared is the last of several boots, of which the CPU time is a guess.
            let (took, before) = match watcher.judge.last_boot_of_several(moment) {
                Some(took) => (took, watcher.taken_before),
                None => (whole, before),
            };
            let waited = now.since(before).min(took);
            let cpu = cpu_now.since(cpu).scaled(took.0 as f64 / whole.0.max(1) as f64);
            let probe_us = watcher.lab.base_us();
            watcher.emit(SignalKind::BootCost { took, waited, cpu, probe_us });
        }
    }
}
