use std::fmt;

use serde::{Deserialize, Serialize};

/// What a screen is known to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownScreen {
    pub kind: ScreenKind,
    /// For people: "the screen shows …".
    pub name: String,
}

/// What a known screen says about the boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScreenKind {
    /// A kernel stopped: a panic, a stop screen.
    Stop,
    /// The firmware or the boot loader found nothing to start.
    NothingToBoot,
    /// The machine waits for somebody to repair it.
    Recovery,
    /// Somebody may sign in: the system is up.
    SignIn,
}

impl fmt::Display for KnownScreen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
