use std::collections::BTreeSet;

use crate::model::{ConsoleMark, Millis, Progress};

/// Change on the screen below this share of its pixels is a blinking cursor (a text cursor: at most a
/// cell of 9x16 in 720x400, 500 ppm for a block, 63 for an underline).
const CURSOR_PPM: u32 = 150;

/// A screen that differs from the settled one in fewer pixels than this shows the same thing.
const SAME_SCREEN_PPM: u32 = 20_000;

/// Waiting for one of the host's cores stretches a deadline at most so many times: beyond that the machine
/// is given up, or a guest whose CPUs all spin on a busy host would never be.
const MOST_STRETCH: u64 = 8;

/// What is known of the boot that is running, since the last reset or the start.
#[derive(Clone, Debug, Default)]
pub(super) struct Boot {
    pub since: Millis,
    /// The agent's channel is open.
    pub channel: bool,
    pub channel_lost: Option<Millis>,
    /// The agent has answered in this boot.
    pub answered: bool,
    pub id: Option<String>,
    pub settled: bool,
    pub panicked: bool,
    pub marks: BTreeSet<ConsoleMark>,
    /// The telling console line, for the message.
    pub console_text: Option<String>,
    /// Since when there is proof of life other than the agent: a login prompt, the settled screen.
    alive: Option<(Millis, Progress)>,
    /// The last sample in whose span the agent answered.
    heard: Option<(Millis, Progress)>,
    /// The first sample of this boot.
    first: Option<(Millis, Progress)>,
    /// The last sample in which something had changed.
    changed: Option<(Millis, Progress)>,
    last: Option<(Millis, Progress)>,
}

impl Boot {
    pub fn starting_at(since: Millis) -> Self {
        Boot { since, ..Boot::default() }
    }

    pub fn sample(&mut self, at: Millis, now: Progress) {
        let moved = match &self.last {
            None => true,
            Some((_, before)) => {
                now.agent
                    || now.disk_reads != before.disk_reads
                    || now.disk_writes != before.disk_writes
                    || now.serial_bytes != before.serial_bytes
                    || now.screen_changed_ppm.is_some_and(|ppm| ppm > CURSOR_PPM)
            }
        };
        if self.first.is_none() {
            self.first = Some((at, now));
        }
        if now.agent {
            self.heard = Some((at, now));
        }
        if moved {
            self.changed = Some((at, now));
        }
        if now.screen_unlike_settled_ppm.is_some_and(|ppm| ppm < SAME_SCREEN_PPM) {
            self.alive_at(at);
        }
        self.last = Some((at, now));
    }

    pub fn panic_on_console(&self) -> bool {
        self.marks.contains(&ConsoleMark::KernelPanic)
    }

    pub fn alive_at(&mut self, at: Millis) {
        let counters = self.last.map(|(_, progress)| progress).unwrap_or_default();
        self.alive.get_or_insert((at, counters));
    }

    pub fn is_alive(&self) -> bool {
        self.alive.is_some()
    }

    /// How long the machine has been showing that it is up while its agent said nothing.
    pub fn deaf(&self) -> Millis {
        let alive = spent(&self.alive, &self.last);
        if self.heard.is_some() { alive.min(spent(&self.heard, &self.last)) } else { alive }
    }

    /// How long nothing has changed, not counting time in which the host had no core for the guest.
    pub fn quiet(&self) -> Millis {
        spent(&self.changed, &self.last)
    }

    /// How long this boot has taken so far, counted in the same way.
    pub fn age(&self) -> Millis {
        let (Some((first_at, _)), Some(_)) = (&self.first, &self.last) else { return Millis::ZERO };
        first_at.since(self.since) + spent(&self.first, &self.last)
    }

    /// The share of one core that the guest used while nothing changed, in percent.
    pub fn quiet_cpu_percent(&self) -> u64 {
        let (Some((from, before)), Some((to, now))) = (&self.changed, &self.last) else { return 0 };
        let wall = to.since(*from).0.max(1);
        now.cpu.since(before.cpu).0.saturating_mul(100) / wall
    }

    /// Whether the agent answered within this time. One answer takes as long as the question: not every
    /// sample of a machine that answers has one.
    pub fn agent_answers(&self, within: Millis) -> bool {
        self.heard.is_some() && spent(&self.heard, &self.last) < within
    }
}

fn spent(from: &Option<(Millis, Progress)>, to: &Option<(Millis, Progress)>) -> Millis {
    let (Some((from, before)), Some((to, now))) = (from, to) else { return Millis::ZERO };
    let waited = now.cpu_wait.since(before.cpu_wait);
    let wall = to.since(*from).0;
    Millis(wall.saturating_sub(waited.0).max(wall / MOST_STRETCH))
}
