use serde::{Deserialize, Serialize};

use super::Millis;

/// A slow lab stretches a deadline at most so many times: beyond that the machine is given up, or a guest whose CPUs all
/// spin on a busy host would never be.
const MOST_STRETCH: u64 = 8;

/// Time that the lab took from a machine, by three measures. All count up; only their change between two moments means
/// anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabTime {
    /// Time in which the guest was ready to run and the host had no core for it: that of the virtual CPU that waited most.
    pub cpu_wait: Millis,
    /// By how much the harness's own timers fired too late: it stood still, or its whole host did.
    #[serde(default, skip_serializing_if = "Millis::is_zero")]
    pub timer_late: Millis,
    /// What a fixed piece of work takes longer now than it should, as a share of the time that went by: a host that is
    /// itself given too little, or throttled, and whose own counters do not show it.
    #[serde(default, skip_serializing_if = "Millis::is_zero")]
    pub probe_lost: Millis,
}

impl LabTime {
    /// How much of a span of time counts against the guest: what was measured at its end and at its begin is taken off.
    ///
    /// Nobody looked while the harness stood still: none of that counts, however long it was. Of the rest, what the CPUs
    /// waited and what the probe lost are two views of the same: the greater is taken off. They may have waited while
    /// nobody looked as well, so of the time in which somebody did, an eighth always counts.
    pub fn counted(span: Millis, begin: &LabTime, end: &LabTime) -> Millis {
        let seen = span.since(end.timer_late.since(begin.timer_late));
        span.since(Self::taken(begin, end)).max(Millis(seen.0 / MOST_STRETCH))
    }

    /// All that is known of what the lab took between two moments.
    pub fn taken(begin: &LabTime, end: &LabTime) -> Millis {
        let late = end.timer_late.since(begin.timer_late);
        let waited = end.cpu_wait.since(begin.cpu_wait);
        let lost = end.probe_lost.since(begin.probe_lost);
        Millis(late.0.saturating_add(waited.max(lost).0))
    }

    /// Whether the lab took so much of a span that what counts of it is no more than the share that always does: how long the
    /// guest took is not known then.
    pub fn took_nearly_all(span: Millis, taken: Millis) -> bool {
        span.since(taken).0.saturating_mul(MOST_STRETCH) <= span.0.saturating_add(MOST_STRETCH)
    }

    /// What the guest took by itself of a span, of which the lab took this. None: it got next to nothing, so nobody knows.
    pub fn own(span: Millis, taken: Millis) -> Option<Millis> {
        (!Self::took_nearly_all(span, taken)).then(|| span.since(taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(span: u64, waited: u64, late: u64, lost: u64) -> u64 {
        let end = LabTime { cpu_wait: Millis(waited), timer_late: Millis(late), probe_lost: Millis(lost) };
        LabTime::counted(Millis(span), &LabTime::default(), &end).0
    }

    #[test]
    fn what_the_lab_took_does_not_count_and_what_two_measures_saw_of_it_is_taken_off_once() {
        assert_eq!(counted(8000, 0, 0, 0), 8000);
        assert_eq!(counted(8000, 3000, 0, 1000), 5000);
        assert_eq!(counted(8000, 1000, 0, 3000), 5000);
        assert_eq!(counted(8000, 1000, 2000, 3000), 3000);
    }

    #[test]
    fn a_slow_lab_stretches_a_deadline_eightfold_and_one_that_stood_still_as_long_as_it_did() {
        assert_eq!(counted(8000, 9000, 0, 0), 1000);
        assert_eq!(counted(8000, 0, 0, 9000), 1000);
        assert_eq!(counted(600_000, 0, 599_000, 0), 1000);
        assert_eq!(counted(600_000, 600_000, 592_000, 0), 1000);
        assert_eq!(counted(600_000, 0, 700_000, 0), 0);
    }
}
