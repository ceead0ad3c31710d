use super::boot::Boot;
use crate::model::{Millis, Phase, ReasonId, Says};

/// A restart that the OS or an installer asks for in a boot may come so long after that has finished.
const SOON: Millis = Millis::from_secs(10);

/// Resets that nobody asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Resets {
    /// Since the last settled boot.
    pub unexplained: u32,
    /// One of them hit a machine that was up; when and in which phase.
    pub after_it_was_up: Option<(Millis, Phase)>,
    /// It settled again. More such resets make a loop all the same.
    pub came_back: bool,
    /// How many more the OS may do by itself.
    pub allowed: u32,
    /// How many more the steps may do; how many of these an installer that has ended announced, and how many the running
    /// step brought with it.
    pub by_step: u32,
    announced: u32,
    own: u32,
    /// The running step did one of its own; one of a step before it hit it, or may have.
    pub step_did: bool,
    pub step_was_hit: bool,
    /// When and in which phase a boot in which the kernel had panicked ended in such a reset, and what it had said.
    pub panic: Option<(Millis, Phase, String)>,
}

impl Resets {
    /// A step begins, that may restart the machine so often.
    pub fn step_begins(&mut self, restarts: u32) {
        (self.own, self.step_did, self.step_was_hit) = (restarts, false, false);
        self.by_step = self.by_step.saturating_add(restarts);
    }

    /// An installer that says so is about to restart the machine.
    pub fn expect(&mut self, says: Option<Says>) {
        let restarts = u32::from(says == Some(Says::Restarting));
        self.by_step = self.by_step.saturating_add(restarts);
        self.announced = self.announced.saturating_add(restarts);
    }

    /// What steps may still do, which they may no more.
    pub fn take_by_step(&mut self) -> u32 {
        (self.announced, self.own) = (0, 0);
        std::mem::take(&mut self.by_step)
    }

    /// Whether the boot that ended was one of those that the update's step, or the OS, may end by itself: then it is spent.
    pub fn explain(&mut self, at: Millis, before: &Boot) -> bool {
        // Who asks for a restart at the end of a boot may be a moment behind it.
        let is_young = before.settled_at.is_none_or(|settled| at.since(settled) < SOON && !before.watched);
        let stopped = panicked(before).is_some() || before.shows_stop().is_some();
        if self.by_step > 0 && !before.panicked && !stopped {
            self.by_step -= 1;
            // What was announced comes first: nobody knows of it whose it was, if the running step may do one too.
            if self.announced > 0 {
                self.announced -= 1;
                self.step_was_hit = true;
            } else if self.own > 0 {
                self.own -= 1;
                self.step_did = true;
            } else {
                self.step_was_hit = true;
            }
            true
        } else if self.allowed > 0 && is_young && !stopped {
            self.allowed -= 1;
            true
        } else {
            false
        }
    }

    /// One more that nothing explains ended this boot.
    pub fn count(&mut self, at: Millis, phase: Phase, before: &Boot) {
        self.unexplained += 1;
        if let Some(words) = panicked(before) {
            self.panic = Some((at, phase, words));
        }
        if before.came_up() && self.after_it_was_up.is_none() {
            self.after_it_was_up = Some((at, phase));
        }
    }

    /// What so many of them are.
    pub fn as_loop(&self) -> (ReasonId, String) {
        let count = self.unexplained;
        if let Some((.., text)) = &self.panic {
            return (ReasonId::StopError, format!("{count} resets that nobody asked for, with a kernel panic: {text}"));
        }
        let between = if self.came_back { "however often it settled" } else { "and no settled boot between" };
        (ReasonId::BootLoop, format!("{count} resets that nobody asked for, {between}"))
    }

    /// The machine has settled: what was counted is forgotten, what is still allowed is not. What the kernel said, if it
    /// panicked on the way.
    pub fn forget(&mut self) -> Option<String> {
        (self.unexplained, self.after_it_was_up, self.came_back) = (0, None, false);
        self.panic.take().map(|(.., text)| text)
    }
}

/// What the kernel said when it stopped with an error. On a machine that has settled any program may print such a line, and
/// goes on.
fn panicked(before: &Boot) -> Option<String> {
    if before.is_settled() { before.last_panic.clone() } else { before.last_words() }
}
