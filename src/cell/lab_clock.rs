use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    lab::{Lab, Load},
    model::{LabTime, Millis},
};

/// Work that takes so many times as long as it did is usual: two programs on one core's two threads. Deadlines allow for it.
const USUAL: f64 = 1.5;

/// Counts the time that a lab takes from a cell, whose machine's counters do not show it.
pub(super) struct LabClock {
    lab: Arc<dyn Lab>,
    /// What the control's lost time was measured by, in microseconds; none: not known.
    base_us: Option<u32>,
    counted: Mutex<Counted>,
}

struct Counted {
    load: Load,
    lost_us: f64,
    /// How long the lab could not tell of the machine.
    blind: Millis,
}

impl LabClock {
    pub fn new(lab: Arc<dyn Lab>, base_us: Option<u32>) -> Self {
        let counted = Mutex::new(Counted { load: lab.load(), lost_us: 0.0, blind: Millis::ZERO });
        Self { lab, base_us, counted }
    }

    /// How long the fixed work takes where the lab is not slow, in microseconds: what lost time is measured by. None: it was
    /// not measured yet.
    pub fn base_us(&self) -> Option<u32> {
        self.base_us.or(self.lab.load().quickest_us)
    }

    /// So long the lab could not tell of the machine.
    pub fn was_blind(&self, blind: Millis) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.blind = counted.blind + blind;
    }

    /// Up to now, with what the machine's counters show. Ask often: only what was lost counts, and where the lab is
    /// faster than it was nothing is given back.
    pub fn time(&self, cpu_wait: Millis) -> LabTime {
        let load = self.lab.load();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(base) = self.base_us() {
            counted.lost_us += load.lost_us_since(&counted.load, (f64::from(base) * USUAL) as u32);
        }
        counted.load = load;
        // Nobody looked then, as when the harness itself stood still.
        let timer_late = load.timer_late + counted.blind;
        LabTime { cpu_wait, timer_late, probe_lost: Millis((counted.lost_us / 1000.0) as u64) }
    }
}

/// What the lab took from a machine, added up look by look. The measures overlap: where the host has no core for the guest, it
/// often has none for the harness either. In a short span the greater of the two was taken; over a long one, of which one part was
/// taken in one way and one in another, that would be too little, and their sum is too much. The probe tells some seconds late, so
/// that it is compared over the whole time.
#[derive(Debug, Default)]
pub(super) struct Taken {
    last: Option<LabTime>,
    stood: Millis,
    lost: Millis,
}

impl Taken {
    /// All that was taken up to the last look.
    pub fn total(&self) -> Millis {
        self.stood.max(self.lost)
    }

    /// All that was taken up to now. Look often.
    pub fn look(&mut self, now: LabTime) -> Millis {
        if let Some(last) = self.last.replace(now) {
            let stood = now.cpu_wait.since(last.cpu_wait).max(now.timer_late.since(last.timer_late));
            self.stood = self.stood + stood;
            self.lost = self.lost + now.probe_lost.since(last.probe_lost);
        }
        self.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_in_one_moment_in_two_ways_is_taken_once() {
        let mut taken = Taken::default();
        let mut look = |wait, late, lost| {
            taken.look(LabTime { cpu_wait: Millis(wait), timer_late: Millis(late), probe_lost: Millis(lost) }).0
        };
        assert_eq!(look(5000, 100, 0), 0, "what was before is none of it");
        assert_eq!(look(5700, 300, 0), 700, "both waited for the same core");
        assert_eq!(look(5700, 60_300, 0), 60_700, "the whole host stood still");
        assert_eq!(look(5800, 60_300, 400), 60_800, "the probe told of that late");
        assert_eq!(look(0, 60_300, 70_000), 70_000, "another machine, on a host that is throttled");
    }
}
