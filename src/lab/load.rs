//! How slow the lab itself is: what its hypervisor's counters do not show.

use std::{
    hint::black_box,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::model::Millis;

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(100);

/// A timer that fires so much too late is usual on a busy host, and no lateness.
const ALLOWANCE: Duration = Duration::from_millis(50);

/// The fixed work is done at every so many looks: about once a second.
const TICKS_PER_PROBE: u32 = 10;

/// How many calls into the C library the fixed work is: one to two milliseconds, measured with glibc 2.36 on an idle
/// Xeon; in a debug build little more, because the library is the same.
const CALLS: u32 = 40_000;

/// Of so many measurements the middle one counts: one that was interrupted says nothing.
const RECENT: usize = 5;

/// What a lab knows of its own slowness since it was opened. Only the change between two moments means anything.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// By how much its timers fired too late.
    pub timer_late: Millis,
    /// How long it was measured how fast its CPUs are, in microseconds.
    pub probed_us: f64,
    /// How often the fixed work would have been done in that time, one after the other.
    pub probes: f64,
    /// The least that the fixed work ever took, in microseconds; none: not measured yet.
    pub quickest_us: Option<u32>,
}

impl Load {
    /// What was lost since `earlier` to a lab in which the fixed work takes longer than `base_us`; in microseconds.
    pub fn lost_us_since(&self, earlier: &Load, base_us: u32) -> f64 {
        let could = (self.probes - earlier.probes) * f64::from(base_us);
        (self.probed_us - earlier.probed_us - could).max(0.0)
    }
}

/// Measures it until this is dropped.
#[derive(Debug)]
pub(super) struct LoadMeter {
    state: Arc<Mutex<State>>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct State {
    load: Load,
    /// When the clock is looked at next.
    due: Instant,
    /// When the fixed work was last done, and how late timers had been by then.
    probed: (Instant, Millis),
    /// How long it took, in microseconds, the latest last.
    recent: Vec<u32>,
}

impl LoadMeter {
    pub fn start(runtime: &Handle) -> Self {
        let now = Instant::now();
        let state = State { load: Load::default(), due: now + TICK, probed: (now, Millis::ZERO), recent: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let task = runtime.spawn(measure(Arc::clone(&state)));
        Self { state, _task: AbortOnDropHandle::new(task) }
    }

    pub fn read(&self) -> Load {
        lock(&self.state).read(Instant::now())
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In the same runtime as everything that has deadlines: what delays them delays this.
async fn measure(state: Arc<Mutex<State>>) {
    for turn in 1u32.. {
        tokio::time::sleep(TICK).await;
        let took = turn.is_multiple_of(TICKS_PER_PROBE).then(probe);
        let mut state = lock(&state);
        let now = Instant::now();
        if let Some(took) = took {
            state.probed(now, took);
        }
        state.looked(now);
    }
}

/// The fixed work: how long it took.
fn probe() -> Duration {
    let began = Instant::now();
    let mut sum = 0.0;
    for n in 0..CALLS {
        sum += f64::from(black_box(n)).sin();
    }
    black_box(sum);
    began.elapsed()
}

impl State {
    /// Whoever is woken before the meter after a stand-still must know of it: what is overdue counts already.
    fn read(&self, now: Instant) -> Load {
        let late = now.saturating_duration_since(self.due + ALLOWANCE);
        Load { timer_late: self.load.timer_late + late.into(), ..self.load }
    }

    fn looked(&mut self, now: Instant) {
        self.load.timer_late = self.read(now).timer_late;
        self.due = now + TICK;
    }

    fn probed(&mut self, now: Instant, took: Duration) {
        // A stand-still is counted as such.
        let late = self.read(now).timer_late;
        let stood = late.since(self.probed.1).as_duration();
        let span = now.saturating_duration_since(self.probed.0).saturating_sub(stood).as_secs_f64() * 1e6;
        self.probed = (now, late);
        if self.recent.len() == RECENT {
            self.recent.remove(0);
        }
        self.recent.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1));
        let mut sorted = self.recent.clone();
        sorted.sort_unstable();
        let usual = sorted[sorted.len() / 2];
        self.load.probed_us += span;
        self.load.probes += span / f64::from(usual);
        self.load.quickest_us = Some(self.load.quickest_us.map_or(usual, |quickest| quickest.min(usual)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn state(now: Instant) -> State {
        State { load: Load::default(), due: now + TICK, probed: (now, Millis::ZERO), recent: Vec::new() }
    }

    #[test]
    fn a_timer_that_fires_late_counts_before_its_task_is_woken_and_once() {
        let begin = Instant::now();
        let mut state = state(begin);
        state.looked(begin + 130 * MS);
        assert_eq!(state.read(begin + 200 * MS).timer_late, Millis::ZERO, "a little is usual");
        // 25 s without a look.
        let woken = begin + 25_230 * MS;
        assert_eq!(state.read(woken).timer_late, Millis(24_950));
        state.looked(woken + 10 * MS);
        assert_eq!(state.read(woken + 20 * MS).timer_late, Millis(24_960));
    }

    #[test]
    fn work_that_takes_twice_as_long_loses_half_of_the_time() {
        let begin = Instant::now();
        let mut state = state(begin);
        let at = |second: u32| begin + 1000 * MS * second;
        state.due = at(100);
        (1..=10).for_each(|second| state.probed(at(second), 2 * MS));
        let before = state.load;
        (11..=20).for_each(|second| state.probed(at(second), 4 * MS));
        // The middle one of five follows after two.
        assert_eq!(state.load.lost_us_since(&before, 2000).round(), 4e6);
        assert_eq!(state.load.lost_us_since(&before, 4000), 0.0, "a lab that is faster than it was gives nothing back");
        assert_eq!(state.load.quickest_us, Some(2000));
    }

    #[test]
    fn a_stand_still_is_no_time_in_which_the_lab_was_slow_as_well() {
        let begin = Instant::now();
        let mut state = state(begin);
        let woken = begin + 30_150 * MS;
        state.probed(woken, 4 * MS);
        state.looked(woken);
        assert_eq!(state.load.timer_late, Millis(30_000));
        assert_eq!(state.load.lost_us_since(&Load::default(), 1000).round(), 112_500.0);
    }

    #[test]
    fn one_measurement_that_was_interrupted_says_nothing() {
        let begin = Instant::now();
        let mut state = state(begin);
        state.due = begin + 100_000 * MS;
        for second in 1..=10 {
            state.probed(begin + 1000 * MS * second, if second == 5 { 500 * MS } else { 2 * MS });
        }
        assert_eq!(state.load.lost_us_since(&Load::default(), 2000), 0.0);
    }

    #[tokio::test]
    async fn a_meter_measures_by_itself() {
        let meter = LoadMeter::start(&Handle::current());
        while meter.read().quickest_us.is_none() {
            tokio::time::sleep(TICK).await;
        }
    }
}
