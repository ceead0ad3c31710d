use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    ledger::{Ledger, Turn},
    slots::{Slot, Slots},
};
use crate::{
    files::free_space,
    lab::{HostMemory, LabInfo, host_memory, translation_cache},
    model::{Accelerator, Bytes, GoldenImage},
};

/// What QEMU needs beside the guest's memory: its own, and under emulation at least so much for translated code.
const QEMU_OVERHEAD: Bytes = Bytes::mib(96);
const TRANSLATED_CODE: Bytes = Bytes::mib(128);

/// Memory that is left to the host.
const HOST_MEMORY: Bytes = Bytes::mib(384);

/// Disk space that is left to the host, and what a starting clone is assumed to write before it shows.
const HOST_DISK: Bytes = Bytes::mib(256);
const CLONE_DISK: Bytes = Bytes::mib(128);

/// How long other programs are given to free memory that no machine of ours holds.
const OTHERS_PATIENCE: Duration = Duration::from_secs(600);

/// How long a new machine takes to make its use of the disk visible.
const GROWING: Duration = Duration::from_secs(30);

/// Places for VMs where nobody says how many: memory bounds them sooner.
const MANY: u32 = 4096;

/// How much memory machines may have.
#[derive(Clone, Debug)]
pub enum Memory {
    /// What the host has free: `MemAvailable` of `/proc/meminfo` (proc(5)).
    Host,
    /// A fixed amount for all machines of this run together.
    Fixed(Bytes),
}

/// How many machines the host can hold.
#[derive(Debug)]
pub struct Capacity {
    slots: Slots,
    ledger: Arc<Ledger>,
    memory: Memory,
    clones: PathBuf,
    emulated: bool,
    /// Clones are files of this host.
    on_disk: bool,
    /// Machines whose clones have not grown yet.
    growing: VecDeque<Instant>,
    /// What our running machines need, at the most.
    running: Bytes,
    /// Since when there has not been enough memory.
    short_since: Option<Instant>,
}

/// The answer to one more machine.
pub enum Admission {
    Admitted(Slot),
    /// Not now: what is missing.
    Wait(String),
    /// Not on this host, however long one waits.
    Never(Refusal),
}

/// Why a machine can never run here.
pub enum Refusal {
    Memory(String),
    Disk(String),
}

/// Memory for one more machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    free: Bytes,
    /// What a machine could have if it were the only one.
    total: Bytes,
}

impl Room {
    fn of_our_own(total: Bytes, ours: Bytes) -> Self {
        Self { free: Bytes(total.0.saturating_sub(ours.0)), total }
    }

    /// `baseline`: what was free when no machine was running. `ours` and `others`: what all running machines need.
    ///
    /// A guest may touch its memory at any time, so that what is free now is promised already; and other programs may
    /// have grown since the baseline, so that what was free then is not all there.
    fn of_the_host(host: HostMemory, baseline: Bytes, ours: Bytes, others: Bytes) -> Self {
        let promised = ours.0.saturating_add(others.0).saturating_add(HOST_MEMORY.0);
        let unpromised = baseline.0.saturating_sub(promised);
        let there = host.available.0.saturating_sub(HOST_MEMORY.0);
        Self { free: Bytes(unpromised.min(there)), total: host.total }
    }
}

impl Capacity {
    /// `jobs`: how many machines at once; none: as many as the memory holds.
    ///
    /// # Errors
    /// The folder of the slots cannot be made or written.
    pub fn new(slots: &Path, lab: &LabInfo, jobs: Option<u32>, memory: Memory) -> io::Result<Self> {
        let emulated = lab.accelerator == Accelerator::Tcg;
        let ledger = Arc::new(Ledger::open(slots)?);
        let slots = Slots::open(slots, jobs.unwrap_or(MANY))?;
        let clones = lab.clones.clone();
        let on_disk = lab.accelerator != Accelerator::Sim;
        Ok(Self {
            slots,
            ledger,
            memory,
            clones,
            emulated,
            on_disk,
            growing: VecDeque::new(),
            running: Bytes(0),
            short_since: None,
        })
    }

    /// Asks for room for one more machine of this image. `alone`: none of ours is running.
    ///
    /// # Errors
    /// The slots cannot be read.
    pub fn admit(&mut self, image: &GoldenImage, alone: bool) -> io::Result<Admission> {
        let need = self.need(image);
        while self.growing.front().is_some_and(|since| alone || since.elapsed() > GROWING) {
            self.growing.pop_front();
        }
        if let Some(answer) = self.short_of_disk(alone) {
            return Ok(answer);
        }
        // Two processes must not both find the last room: until it is claimed, no other one looks.
        let ledger = Arc::clone(&self.ledger);
        let turn = ledger.turn()?;
        let room = self.room(&turn, alone)?;
        if let Some(answer) = room.and_then(|room| self.short_of_memory(room, need, alone)) {
            return Ok(answer);
        }
        let Some(slot) = self.slots.take()? else {
            return Ok(Admission::Wait(format!("all {} places for VMs are taken", self.slots.count())));
        };
        self.growing.push_back(Instant::now());
        self.running = Bytes(self.running.0 + need.0);
        self.ledger.claim(self.running)?;
        Ok(Admission::Admitted(slot))
    }

    /// A machine of this image is gone.
    pub fn release(&mut self, image: &GoldenImage) {
        self.running = Bytes(self.running.0.saturating_sub(self.need(image).0));
        if let Err(error) = self.ledger.claim(self.running) {
            tracing::warn!("other processes cannot be told that memory is free again: {error}");
        }
    }

    fn need(&self, image: &GoldenImage) -> Bytes {
        let emulation = if self.emulated { TRANSLATED_CODE.0.max(translation_cache(image.memory).0) } else { 0 };
        Bytes(image.memory.0 + QEMU_OVERHEAD.0 + emulation)
    }

    /// None: it cannot be told.
    fn room(&self, turn: &Turn<'_>, alone: bool) -> io::Result<Option<Room>> {
        if let Memory::Fixed(total) = self.memory {
            return Ok(Some(Room::of_our_own(total, self.running)));
        }
        let Some(host) = host_memory() else { return Ok(None) };
        let others = turn.others()?;
        if alone && others == Bytes(0) {
            turn.set_baseline(host.available)?;
        }
        let baseline = turn.baseline().unwrap_or(host.available);
        Ok(Some(Room::of_the_host(host, baseline, self.running, others)))
    }

    fn short_of_memory(&mut self, room: Room, need: Bytes, alone: bool) -> Option<Admission> {
        let Room { free, total } = room;
        if free >= need {
            self.short_since = None;
            return None;
        }
        if need > total {
            let text = format!("a VM needs {need} of memory, and there is {total} in all");
            return Some(Admission::Never(Refusal::Memory(text)));
        }
        let since = *self.short_since.get_or_insert_with(Instant::now);
        if alone && since.elapsed() > OTHERS_PATIENCE {
            let text = format!("a VM needs {need} of memory, and other programs of the host left only {free}");
            return Some(Admission::Never(Refusal::Memory(text)));
        }
        let who = if alone { "other programs of the host" } else { "running VMs" };
        Some(Admission::Wait(format!("a VM needs {need} of memory, {free} is free: waiting for {who}")))
    }

    fn short_of_disk(&self, alone: bool) -> Option<Admission> {
        if !self.on_disk {
            return None;
        }
        let free = free_space(&self.clones).ok()?;
        let promised = CLONE_DISK.0 * (1 + self.growing.len() as u64) + HOST_DISK.0;
        if free.0 >= promised {
            return None;
        }
        let text = format!("a clone needs {} in {}, {free} is free", Bytes(promised), self.clones.display());
        Some(if alone { Admission::Never(Refusal::Disk(text)) } else { Admission::Wait(text) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = Bytes::GIB;

    fn room(available: u64, baseline: u64, ours: u64, others: u64) -> u64 {
        let host = HostMemory { total: Bytes(16 * GIB), available: Bytes(available * GIB + HOST_MEMORY.0) };
        Room::of_the_host(host, Bytes(baseline * GIB + HOST_MEMORY.0), Bytes(ours * GIB), Bytes(others * GIB)).free.0
            / GIB
    }

    #[test]
    fn memory_that_a_running_machine_has_not_touched_yet_is_promised_all_the_same() {
        assert_eq!(room(8, 8, 0, 0), 8);
        // Ours have touched nothing, all, or more than they said.
        assert_eq!([room(8, 8, 6, 0), room(2, 8, 6, 0), room(1, 8, 6, 0)], [2, 2, 1]);
        assert_eq!(room(8, 8, 9, 0), 0);
    }

    #[test]
    fn machines_of_other_processes_and_programs_that_grew_leave_less() {
        assert_eq!(room(8, 8, 2, 4), 2);
        assert_eq!(room(3, 8, 0, 0), 3);
        assert_eq!(room(8, 8, 4, 5), 0);
    }

    #[test]
    fn two_processes_together_promise_no_more_than_the_host_has() {
        let dir = tempfile::tempdir().unwrap();
        let lab = LabInfo {
            name: String::new(),
            accelerator: crate::model::Accelerator::Sim,
            cpus: 1,
            clones: dir.path().to_owned(),
        };
        let available = host_memory().unwrap().available.0;
        let mut image = GoldenImage::plain("big", "/golden/big.qcow2");
        image.memory = Bytes((available - HOST_MEMORY.0) / 2 - 2 * QEMU_OVERHEAD.0);
        let mut two = [(); 2].map(|()| Capacity::new(dir.path(), &lab, None, Memory::Host).unwrap());
        let mut admitted = |n: usize, alone| matches!(two[n].admit(&image, alone).unwrap(), Admission::Admitted(_));
        assert!(admitted(0, true) && admitted(1, true));
        assert!(!admitted(0, false) && !admitted(1, false));
        two[1].release(&image);
        assert!(matches!(two[0].admit(&image, false).unwrap(), Admission::Admitted(_)));
    }
}
