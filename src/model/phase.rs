use std::fmt;

use serde::{Deserialize, Serialize};

/// Where in its life a cell is. Also the name of a JUnit case (checks add their id).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^(start|settle|setup|apply|restart|boot|soak-[1-9][0-9]*|watch|check|collect|destroy)$"))]
pub enum Phase {
    /// The clone is made and its VM started, until QEMU runs it.
    Start,
    /// From then until the boot has finished.
    Settle,
    /// The matrix's `setup` steps.
    Setup,
    /// The candidate's steps.
    Apply,
    /// From the request to restart until the host saw the reset.
    Restart,
    /// The first boot with the update in place, until settled.
    Boot,
    /// The n-th repeated restart (from 1), request and boot together.
    Soak(u32),
    /// Settled, and being looked at for a while.
    Watch,
    /// The health checks.
    Check,
    /// Evidence is fetched.
    Collect,
    /// The VM and its clone are removed.
    Destroy,
}

impl Phase {
    /// Whether the candidate's first step has run by now: only from here on can it be to blame.
    pub fn is_after_update_began(self) -> bool {
        !matches!(self, Phase::Start | Phase::Settle | Phase::Setup)
    }
}

const PLAIN: [(&str, Phase); 10] = [
    ("start", Phase::Start),
    ("settle", Phase::Settle),
    ("setup", Phase::Setup),
    ("apply", Phase::Apply),
    ("restart", Phase::Restart),
    ("boot", Phase::Boot),
    ("watch", Phase::Watch),
    ("check", Phase::Check),
    ("collect", Phase::Collect),
    ("destroy", Phase::Destroy),
];

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Phase::Soak(n) = self {
            return f.pad(&format!("soak-{n}"));
        }
        let name = PLAIN.iter().find(|(_, phase)| phase == self).map_or("", |(name, _)| name);
        f.pad(name)
    }
}

impl From<Phase> for String {
    fn from(phase: Phase) -> String {
        phase.to_string()
    }
}

impl TryFrom<String> for Phase {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if let Some((_, phase)) = PLAIN.iter().find(|(name, _)| *name == text) {
            return Ok(*phase);
        }
        let soak = text.strip_prefix("soak-").and_then(|n| n.parse().ok()).map(Phase::Soak);
        soak.filter(|soak| soak.to_string() == text).ok_or_else(|| format!("{text:?} is no phase of a cell"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_is_read_back_from_its_name() {
        for phase in PLAIN.map(|(_, phase)| phase).into_iter().chain([Phase::Soak(1), Phase::Soak(12)]) {
            assert_eq!(Phase::try_from(phase.to_string()), Ok(phase));
        }
        for bad in ["soak-x", "soak-+1", "soak-01", "Boot"] {
            assert!(Phase::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
