use std::time::Duration;

use super::{Asked, Boot, Happening};

/// What a guest does when its agent is told to run a command.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(super) contains: String,
    pub(super) takes: Duration,
    pub(super) outcome: Outcome,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) effects: Vec<Effect>,
}

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Exits(i32),
    /// Ended by a signal (Linux) or an exception (Windows).
    Killed(i32),
    /// Still running, for ever; its output and effects come all the same.
    NeverEnds,
    /// The agent cannot even begin.
    NoSuchProgram,
}

/// What a command changes, at the moment in which it ends.
#[derive(Clone, Debug)]
pub enum Effect {
    Happens(Happening),
    /// The next boots are these instead; the last one repeats.
    NextBoots(Vec<Boot>),
    /// How requests to restart are met from now on: by the agent, by the power button.
    Asked(Asked, Asked),
    /// These rules come before the others from now on.
    Rules(Vec<Rule>),
}

impl Rule {
    /// For commands whose words, joined with blanks, contain this text. Scripts of the engine's own, such as
    /// the one that catches output, do not count; the paths that it hands to them do, when it copies files.
    /// The command takes 10 ms, exits with 0 and prints nothing.
    pub fn on(contains: &str) -> Self {
        Self {
            contains: contains.to_owned(),
            takes: Duration::from_millis(10),
            outcome: Outcome::Exits(0),
            stdout: Vec::new(),
            stderr: Vec::new(),
            effects: Vec::new(),
        }
    }

    pub fn takes(mut self, takes: Duration) -> Self {
        self.takes = takes;
        self
    }

    pub fn ends(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    pub fn exits(self, code: i32) -> Self {
        self.ends(Outcome::Exits(code))
    }

    /// On standard output.
    pub fn prints(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdout = text.into();
        self
    }

    /// On standard error.
    pub fn complains(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stderr = text.into();
        self
    }

    /// Adds an effect; they come in the order in which they were added.
    pub fn then(mut self, effect: Effect) -> Self {
        self.effects.push(effect);
        self
    }

    pub fn happens(self, happening: Happening) -> Self {
        self.then(Effect::Happens(happening))
    }
}
