//! `health.compare`: how much worse than its control a machine may be.

use super::{check::Checker, file::CompareEntry};
use crate::{
    model::{ReasonId, Tolerances},
    source::{Placed, hint_among},
};

/// The differences from the control that can be ignored.
const DIFFERENCES: [ReasonId; 11] = [
    ReasonId::ServiceDown,
    ReasonId::ServiceFlapping,
    ReasonId::EventLog,
    ReasonId::CrashDump,
    ReasonId::SlowBoot,
    ReasonId::MemoryGrowth,
    ReasonId::DiskFull,
    ReasonId::DiskReadonly,
    ReasonId::ClockWrong,
    ReasonId::NetworkDown,
    // Settled, and never at rest.
    ReasonId::BootTimeout,
];

impl Checker {
    pub(super) fn tolerances(&mut self, raw: CompareEntry) -> Tolerances {
        let CompareEntry { boot, memory, disk_free, clock, ignore } = raw;
        let usual = Tolerances::default();
        let hint = "1 is as much as the control";
        Tolerances {
            boot: self.number(boot, 1.0, 1000.0, hint).unwrap_or(usual.boot),
            memory: self.number(memory, 1.0, 1000.0, hint).unwrap_or(usual.memory),
            disk_free: self.number(disk_free, 0.0, 100.0, "it is a share in percent").unwrap_or(usual.disk_free),
            clock: self.duration(clock).unwrap_or(usual.clock),
            ignore: ignore.into_iter().map(|entry| self.ignored(entry)).collect(),
        }
    }

    pub(super) fn number(&mut self, raw: Option<Placed<f64>>, low: f64, high: f64, hint: &str) -> Option<f64> {
        let Placed { value, place } = raw?;
        if !(low..=high).contains(&value) {
            self.error(place, format!("{value} is not between {low} and {high}"), hint);
        }
        Some(value)
    }

    fn ignored(&mut self, raw: Placed<String>) -> String {
        let id = raw.value.split_whitespace().next().unwrap_or_default();
        if !DIFFERENCES.iter().any(|known| known.as_str() == id) {
            let known = DIFFERENCES.map(ReasonId::as_str);
            let hint = hint_among(id, &known, "differences");
            self.error(raw.place, format!("`{id}` is no difference from a control that can be ignored"), hint);
        }
        raw.value
    }
}
