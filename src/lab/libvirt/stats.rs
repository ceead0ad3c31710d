//! A machine's counters (virDomainListGetStats).

use std::{ffi::CStr, ptr};

use virt::{domain::Domain, error::Error, sys};

use crate::{lab::Stats, model::Millis};

/// All counters in one call.
pub fn read(domain: &Domain) -> Result<Stats, Error> {
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
    // All of QEMU's threads.
    sums.process_time = domain.info()?.cpu_time;
    if sums.vcpu_time == 0 {
        // Where the virtual CPUs are not told apart.
        sums.vcpu_time = sums.process_time;
    }
    Ok(sums.stats())
}

#[derive(Debug, Default)]
struct Sums {
    /// Nanoseconds, as are the next two.
    vcpu_time: u64,
    process_time: u64,
    delay: u64,
    vcpus: u64,
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
            ["vcpu", "current"] => &mut self.vcpus,
            ["vcpu", _, "delay"] => &mut self.delay,
            ["block", _, "rd", "reqs"] => &mut self.reads,
            ["block", _, "wr", "reqs"] => &mut self.writes,
            ["net", _, "rx", "bytes"] => &mut self.received,
            ["net", _, "tx", "bytes"] => &mut self.sent,
            _ => return,
        };
        *sum = sum.saturating_add(value);
    }

    fn stats(&self) -> Stats {
        let millis = |nanos: u64| Millis(nanos / 1_000_000);
        Stats {
            cpu: millis(self.vcpu_time),
            process_cpu: millis(self.process_time),
            cpu_wait: millis(self.delay),
            vcpus: u32::try_from(self.vcpus).unwrap_or(u32::MAX),
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
            vcpus: 2,
            cpu: Millis(2500),
            process_cpu: Millis(3000),
            cpu_wait: Millis(70),
            disk_reads: 15,
            disk_writes: 3,
            net_rx: 100,
            net_tx: 67,
        };
        assert_eq!(sums.stats(), expected);
    }
}
