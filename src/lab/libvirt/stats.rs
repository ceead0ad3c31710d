//! A machine's counters (virDomainListGetStats).

use std::{
    collections::BTreeMap,
    ffi::CStr,
    ptr,
    sync::{Mutex, PoisonError},
};

use virt::{domain::Domain, error::Error, sys};

use super::vm::state;

use crate::{lab::Stats, model::Millis};

/// How long a machine has waited for cores of the host: in each span between two looks as long as the virtual CPU that waited
/// most. Several wait at the same time, so that their sum is no time that anybody lost.
#[derive(Debug, Default)]
pub struct Waits {
    /// Of each virtual CPU, by its number, in nanoseconds.
    before: BTreeMap<u32, u64>,
    total: u64,
}

impl Waits {
    fn look(&mut self, now: BTreeMap<u32, u64>) -> u64 {
        let mut most = 0;
        for (cpu, delay) in now {
            // Two looks may come in the other order.
            let before = self.before.entry(cpu).or_default();
            most = most.max(delay.saturating_sub(*before));
            *before = delay.max(*before);
        }
        self.total = self.total.saturating_add(most);
        self.total
    }
}

/// All counters in one call.
pub fn read(domain: &Domain, waits: &Mutex<Waits>) -> Result<Stats, Error> {
    // SAFETY: the list of domains is NULL-terminated, as virDomainListGetStats asks, and the domain outlives the call.
    let (records, count) = unsafe {
        let mut domains = [domain.as_ptr(), ptr::null_mut()];
        let mut records: *mut sys::virDomainStatsRecordPtr = ptr::null_mut();
        // Not VIR_DOMAIN_STATS_CPU_TOTAL: its cache statistics make libvirt probe every QEMU of the host first.
        let wanted = sys::VIR_DOMAIN_STATS_VCPU | sys::VIR_DOMAIN_STATS_BLOCK | sys::VIR_DOMAIN_STATS_INTERFACE;
        let count = sys::virDomainListGetStats(domains.as_mut_ptr(), wanted, &mut records, 0);
        (records, count)
    };
    let Ok(count) = usize::try_from(count) else { return Err(Error::last_error()) };
    let mut sums = Sums::default();
    for n in 0..count {
        // SAFETY: libvirt returned `count` records, each with `nparams` parameters.
        let params = unsafe {
            let record = &**records.add(n);
            if record.params.is_null() {
                &[]
            } else {
                std::slice::from_raw_parts(record.params, record.nparams as usize)
            }
        };
        for param in params {
            // SAFETY: libvirt ends every field name with NUL.
            let name = unsafe { CStr::from_ptr(param.field.as_ptr()) }.to_string_lossy();
            if param.type_ as u32 == sys::VIR_TYPED_PARAM_ULLONG {
                // SAFETY: the type says which part of the union is set.
                sums.add(&name, unsafe { param.value.ul });
            }
        }
    }
    if !records.is_null() {
        // SAFETY: the list came from virDomainListGetStats, whose documentation says to free it this way.
        unsafe { sys::virDomainStatsRecordListFree(records) };
    }
    // Our own pauses have other reasons: it starts, it is saved, its guest panicked.
    sums.paused = state(domain)? == (sys::VIR_DOMAIN_PAUSED, sys::VIR_DOMAIN_PAUSED_USER);
    // All of QEMU's threads.
    sums.process_time = domain.info()?.cpu_time;
    if sums.vcpu_time == 0 {
        // Where the virtual CPUs are not told apart.
        sums.vcpu_time = sums.process_time;
    }
    let mut waits = waits.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = waits.look(std::mem::take(&mut sums.delays));
    Ok(sums.stats(waited))
}

#[derive(Debug, Default)]
struct Sums {
    /// Nanoseconds, as are the next two.
    vcpu_time: u64,
    process_time: u64,
    delays: BTreeMap<u32, u64>,
    paused: bool,
    reads: u64,
    writes: u64,
    received: u64,
    sent: u64,
}

impl Sums {
    /// Names as in the documentation of virConnectGetAllDomainStats: `vcpu.0.time`, `block.1.rd.reqs`.
    fn add(&mut self, name: &str, value: u64) {
        let parts: Vec<&str> = name.split('.').collect();
        let sum = match parts[..] {
            ["vcpu", _, "time"] => &mut self.vcpu_time,
            ["vcpu", cpu, "delay"] => self.delays.entry(cpu.parse().unwrap_or(u32::MAX)).or_default(),
            ["block", _, "rd", "reqs"] => &mut self.reads,
            ["block", _, "wr", "reqs"] => &mut self.writes,
            ["net", _, "rx", "bytes"] => &mut self.received,
            ["net", _, "tx", "bytes"] => &mut self.sent,
            _ => return,
        };
        *sum = sum.saturating_add(value);
    }

    /// `waited`: nanoseconds.
    fn stats(&self, waited: u64) -> Stats {
        let millis = |nanos: u64| Millis(nanos / 1_000_000);
        Stats {
            cpu: millis(self.vcpu_time),
            process_cpu: millis(self.process_time),
            cpu_wait: millis(waited),
            paused: self.paused,
            disk_reads: self.reads,
            disk_writes: self.writes,
            net_rx: self.received,
            net_tx: self.sent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_all_cpus_disks_and_networks_are_added_up() {
        let mut sums = Sums { process_time: 3_000_000_000, ..Sums::default() };
        for (name, value) in [
            ("vcpu.current", 2),
            ("vcpu.0.time", 2_000_000_000),
            ("vcpu.1.time", 500_000_000),
            ("vcpu.0.delay", 70_000_000),
            ("vcpu.1.delay", 20_000_000),
            ("block.0.rd.reqs", 10),
            ("block.1.rd.reqs", 5),
            ("block.0.wr.reqs", 3),
            ("block.0.wr.bytes", 4096),
            ("net.count", 2),
            ("net.0.rx.bytes", 100),
            ("net.0.rx.pkts", 1),
            ("net.0.tx.bytes", 60),
            ("net.1.tx.bytes", 7),
        ] {
            sums.add(name, value);
        }
        let expected = Stats {
            cpu: Millis(2500),
            process_cpu: Millis(3000),
            cpu_wait: Millis(70),
            paused: false,
            disk_reads: 15,
            disk_writes: 3,
            net_rx: 100,
            net_tx: 67,
        };
        assert_eq!(sums.delays, BTreeMap::from([(0, 70_000_000), (1, 20_000_000)]));
        assert_eq!(sums.stats(70_000_000), expected);
    }

    #[test]
    fn what_counts_as_waited_is_what_the_cpu_that_waited_most_did_in_each_span() {
        let mut waits = Waits::default();
        let mut look = |delays: &[u64]| waits.look((0..).zip(delays.iter().copied()).collect());
        assert_eq!(look(&[5, 3]), 5);
        assert_eq!(look(&[6, 9]), 11);
        assert_eq!(look(&[6, 9, 2]), 13, "a CPU that was added");
        assert_eq!(look(&[16, 9, 2]), 23);
        assert_eq!(look(&[]), 23);
        assert_eq!(look(&[14, 9, 2]), 23, "an older answer");
        assert_eq!(look(&[18, 9, 2]), 25);
    }
}
