//! Where one boot ends and the next begins: what is asked for, what the host sees, and what the guest says of it.

use super::Judge;
use crate::{
    health::{boot::Boot, words},
    model::{Millis, ONE_RESET, Phase, Reason, ReasonId, RestartVia},
};

impl Judge {
    pub(super) fn restart_asked(&mut self, at: Millis, via: RestartVia) {
        if self.asked.is_none() {
            // What the console says from here on it says on the way down.
            self.boot.last_panic = None;
        } else if via == RestartVia::Forced {
            self.panicked_on_its_way_down(at, self.boot.untold_panic());
        }
        (self.asked, self.early, self.restarts_itself) = (Some(via), None, false);
        (self.requested_boot, self.boot_counted) = (false, false);
        if self.phase == Phase::Setup {
            self.resets.allowed = self.limits.extra_restarts;
        }
        // What was proven of the boot that ends here says nothing about the next.
        self.done.checks.clear();
        self.done.checks_ended = false;
        self.states_before.extend(self.state.take());
        (self.restart, self.activity) = (None, None);
        if via == RestartVia::Forced {
            let message = format!(
                "the machine did not reset within {0} of the agent's request, nor within {0} of the power button's",
                self.limits.restart
            );
            self.blame(at, ReasonId::RestartRefused, message);
        }
    }

    pub(super) fn reset(&mut self, at: Millis) {
        let again = self.last_reset.is_some_and(|last| at >= last && at.since(last) < ONE_RESET);
        if again && self.asked.is_none() && !self.boot.was_up() {
            return;
        }
        self.last_reset = Some(at);
        let before = std::mem::replace(&mut self.boot, Boot::starting_at(at));
        self.boots_before.extend(before.id.clone());
        if let Some(via) = self.asked.take() {
            self.requested_boot = via != RestartVia::Forced;
            if via != RestartVia::Forced {
                self.panicked_on_its_way_down(at, before.untold_panic());
            }
            // It counts as any other text there does: if the boot does not settle.
            if let Some((mark, text)) = self.early.take() {
                self.boot.marks.insert(mark);
                self.boot.console_text = Some(text);
            }
        } else if let Some(said) = before.untold_panic().filter(|said| words::is_for_want_of_a_core(said)) {
            // It tries its timer while it starts: read before the host told of the reset.
            self.for_want_of_a_core(at, &said);
        } else if (self.update_began || self.phase == Phase::Setup) && self.resets.explain(at, &before) {
            // Nothing to blame anybody for.
            self.restarts_itself = true;
        } else if !before.panicked {
            self.unexplained_reset(at, &before);
        }
    }

    fn panicked_on_its_way_down(&mut self, at: Millis, said: Option<String>) {
        match said {
            // It tries its timer while it starts: this is the next boot's, read before the host told of the reset.
            Some(said) if words::is_for_want_of_a_core(&said) => self.for_want_of_a_core(at, &said),
            Some(said) => self.blame(at, ReasonId::StopError, format!("the kernel panicked on its way down: {said}")),
            None => {}
        }
    }

    fn unexplained_reset(&mut self, at: Millis, before: &Boot) {
        self.resets.count(at, self.phase, before);
        if self.resets.unexplained >= self.limits.resets {
            let (id, message) = self.resets.as_loop();
            self.blame(at, id, message);
        }
    }

    pub(super) fn settled(&mut self, at: Millis) {
        if self.boot.is_settled() {
            return;
        }
        self.boot.settled_at = Some(at);
        if self.resets.after_it_was_up.is_some() && self.resets.panic.is_none() {
            self.resets.came_back = true;
            return;
        }
        let panic = self.resets.forget();
        if let Some(text) = panic {
            let message = format!("the kernel panicked, and the machine came back by itself: {text}");
            self.blame(at, ReasonId::StopError, message);
            return;
        }
        self.done.settled |= !self.update_began;
        if !matches!(self.phase, Phase::Boot | Phase::Soak(_)) {
            return;
        }
        let is_new = |id: &String| !self.boots_before.is_empty() && !self.boots_before.contains(id);
        let new_boot = self.boot.id.as_ref().is_some_and(is_new);
        if self.requested_boot && new_boot {
            // One that the machine adds by itself, as it may, is part of the same restart.
            self.done.boots += u32::from(!std::mem::replace(&mut self.boot_counted, true));
        } else {
            let message = "the machine settled, but nothing proves that this is a new boot".to_owned();
            self.blame(at, ReasonId::RestartRefused, message);
        }
    }

    /// What is proven already, whatever comes of the machine: a panic that ended in a reset of its own, or a crash that it
    /// came back from. More such resets may give it another name.
    pub(super) fn proven(&self) -> Option<Reason> {
        if let (Some((when, phase, text)), false) = (&self.resets.panic, self.over) {
            let message = format!("the kernel panicked, and the machine reset itself: {text}");
            return Some(self.blamed(*when, *phase, ReasonId::StopError, message));
        }
        self.crash()
    }

    /// The crash that a machine came back from.
    pub(super) fn crash(&self) -> Option<Reason> {
        let (when, phase) = self.resets.after_it_was_up.filter(|_| self.resets.came_back && !self.over)?;
        let message = format!("the machine reset itself in phase {phase} after it had come up, and came back");
        Some(self.blamed(when, phase, ReasonId::LateCrash, message))
    }

    pub(super) fn boot_id(&mut self, at: Millis, id: &str) {
        if id.trim().is_empty() {
            return;
        }
        let before = self.boot.id.replace(id.to_owned());
        if self.asked.is_none() && before.is_some_and(|before| before != id) {
            let message = "the guest has booted anew, and the host saw no reset".to_owned();
            self.blame(at, ReasonId::LateCrash, message);
        }
    }
}
