use std::time::Duration;

use tokio::time::Instant;

use crate::lab::{Screenshot, Stats};

/// Counters of a machine, which follow the virtual time.
pub(super) struct Meter {
    since: Instant,
    running: bool,
    spinning: bool,
    /// Reads, and as many writes, per second.
    rate: u64,
    /// In millionths of a second of CPU time.
    cpu_us: u64,
    requests: u64,
    /// Requests of the current rate that are not whole yet, in billionths.
    part: u128,
}

impl Meter {
    pub fn new(now: Instant) -> Self {
        Self { since: now, running: false, spinning: false, rate: 0, cpu_us: 0, requests: 0, part: 0 }
    }

    /// Counts the time up to `now` at the rates so far.
    pub fn advance(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since);
        self.since = now;
        if !self.running {
            return;
        }
        let share = if self.spinning { 1 } else { 100 };
        self.cpu_us += micros(elapsed) / share;
        let requests = self.part + elapsed.as_nanos() * u128::from(self.rate);
        self.requests += u64::try_from(requests / 1_000_000_000).unwrap_or(u64::MAX);
        self.part = requests % 1_000_000_000;
    }

    /// A boot begins, idle.
    pub fn boot(&mut self) {
        (self.running, self.spinning, self.rate) = (true, false, 0);
    }

    pub fn stop(&mut self) {
        self.running = false;
    }

    pub fn spin(&mut self, spinning: bool) {
        self.spinning = spinning;
    }

    pub fn disk_rate(&mut self, per_second: u64) {
        (self.rate, self.part) = (per_second, 0);
    }

    pub fn disk_requests(&mut self, requests: u64) {
        self.requests += requests;
    }

    pub fn stats(&self) -> Stats {
        let cpu = Duration::from_micros(self.cpu_us).into();
        Stats { cpu, process_cpu: cpu, disk_reads: self.requests, disk_writes: self.requests, ..Stats::default() }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Picture number 0 is black. The factors are odd, so that no two numbers share a channel's value.
pub(super) fn picture(number: u8) -> Screenshot {
    const WIDTH: u32 = 64;
    const HEIGHT: u32 = 40;
    let pixel = [83, 151, 199].map(|factor: u8| number.wrapping_mul(factor));
    Screenshot { width: WIDTH, height: HEIGHT, rgb: pixel.repeat((WIDTH * HEIGHT) as usize) }
}
