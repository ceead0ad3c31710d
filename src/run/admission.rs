use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

use super::slots::{Slot, Slots};
use crate::{
    lab::{LabInfo, host_memory},
    model::{Accelerator, Bytes, GoldenImage},
};

/// What QEMU needs beside the guest's memory: its own, and under emulation its cache of translated code.
const QEMU_OVERHEAD: Bytes = Bytes::mib(96);
const TRANSLATED_CODE: Bytes = Bytes::mib(128);

/// Memory that is left to the host.
const HOST_MEMORY: Bytes = Bytes::mib(384);

/// Disk space that is left to the host, and what a starting clone is assumed to write before it shows.
const HOST_DISK: Bytes = Bytes::mib(256);
const CLONE_DISK: Bytes = Bytes::mib(128);

/// How long other programs are given to free memory that no machine of ours holds.
const OTHERS_PATIENCE: Duration = Duration::from_secs(600);

/// How long a new machine takes to make its use of memory and disk visible.
const GROWING: Duration = Duration::from_secs(30);

/// Where the free memory is read.
#[derive(Clone, Debug)]
pub enum Memory {
    /// From the host: `MemAvailable` of `/proc/meminfo` (proc(5)).
    Host,
    /// A fixed amount for all machines of this run together.
    Fixed(Bytes),
}

/// How many machines the host can hold.
#[derive(Debug)]
pub struct Capacity {
    slots: Slots,
    memory: Memory,
    clones: PathBuf,
    emulated: bool,
    /// Clones are files of this host.
    on_disk: bool,
    /// Machines that have not grown to their size yet.
    growing: VecDeque<(Instant, Bytes)>,
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

impl Capacity {
    /// `jobs`: how many machines at once; none: by the host's cores.
    ///
    /// # Errors
    /// The folder of the slots cannot be made.
    pub fn new(slots: &Path, lab: &LabInfo, jobs: Option<u32>, memory: Memory) -> io::Result<Self> {
        let emulated = lab.accelerator == Accelerator::Tcg;
        // An emulated guest burns a core while it boots; a settling one on KVM mostly waits.
        let by_cores = if emulated { lab.cpus + lab.cpus.div_ceil(2) } else { lab.cpus * 2 };
        let slots = Slots::open(slots, jobs.unwrap_or(by_cores))?;
        let clones = lab.clones.clone();
        let on_disk = lab.accelerator != Accelerator::Sim;
        Ok(Self {
            slots,
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
        while self.growing.front().is_some_and(|(since, _)| since.elapsed() > GROWING) {
            self.growing.pop_front();
        }
        if alone {
            self.growing.clear();
        }
        if let Some(answer) = self.short_of_disk(alone).or_else(|| self.short_of_memory(need, alone)) {
            return Ok(answer);
        }
        let Some(slot) = self.slots.take()? else {
            return Ok(Admission::Wait(format!("all {} places for VMs are taken", self.slots.count())));
        };
        self.growing.push_back((Instant::now(), need));
        self.running = Bytes(self.running.0 + need.0);
        Ok(Admission::Admitted(slot))
    }

    /// A machine of this image is gone.
    pub fn release(&mut self, image: &GoldenImage) {
        self.running = Bytes(self.running.0.saturating_sub(self.need(image).0));
    }

    fn need(&self, image: &GoldenImage) -> Bytes {
        let emulation = if self.emulated { TRANSLATED_CODE.0 } else { 0 };
        Bytes(image.memory.0 + QEMU_OVERHEAD.0 + emulation)
    }

    fn short_of_memory(&mut self, need: Bytes, alone: bool) -> Option<Admission> {
        let (free, total) = match &self.memory {
            Memory::Fixed(total) => (Bytes(total.0.saturating_sub(self.running.0)), *total),
            Memory::Host => {
                let host = host_memory()?;
                let promised: u64 = self.growing.iter().map(|(_, bytes)| bytes.0).sum();
                (Bytes(host.available.0.saturating_sub(promised + HOST_MEMORY.0)), host.total)
            }
        };
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
        let stat = rustix::fs::statvfs(&self.clones).ok()?;
        let free = Bytes(stat.f_bavail.saturating_mul(stat.f_frsize));
        let promised = CLONE_DISK.0 * (1 + self.growing.len() as u64) + HOST_DISK.0;
        if free.0 >= promised {
            return None;
        }
        let text = format!("a clone needs {} in {}, {free} is free", Bytes(promised), self.clones.display());
        Some(if alone { Admission::Never(Refusal::Disk(text)) } else { Admission::Wait(text) })
    }
}
