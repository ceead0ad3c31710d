use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Millis, Phase};

/// What the judge says of a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub outcome: Outcome,
    /// In order of time: the first one leads. Empty when healthy.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// The first cause in time.
    pub fn lead(&self) -> Option<&Reason> {
        self.reasons.first()
    }

    /// Whether all that is known against it is that its restart took longer than its control's.
    pub fn is_only_slow(&self) -> bool {
        is_only_slow(self.outcome, &self.reasons)
    }
}

/// The same of a verdict in parts. Without any reason nothing is known, and that is not slow.
pub fn is_only_slow(outcome: Outcome, reasons: &[Reason]) -> bool {
    let is_slow = |reason: &Reason| reason.id == ReasonId::SlowBoot;
    outcome == Outcome::Unhealthy && !reasons.is_empty() && reasons.iter().all(is_slow)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Proven: a new boot, settled, checks passed, through every soak restart.
    Healthy,
    /// The update broke it.
    Unhealthy,
    /// The lab could not tell.
    Inconclusive,
}

/// Why a cell is not healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Reason {
    pub id: ReasonId,
    /// Where in the cell's life it happened.
    pub phase: Phase,
    /// When it was established.
    pub at: Millis,
    /// One sentence for people, with the evidence.
    pub message: String,
    /// The check that failed, for `check-failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
}

macro_rules! reasons {
    ($( $(#[$doc:meta])* $variant:ident = $id:literal => $outcome:ident ),* $(,)?) => {
        /// The stable name of a cause. Consumers match on the text form.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        pub enum ReasonId { $( $(#[$doc])* #[serde(rename = $id)] $variant ),* }

        impl ReasonId {
            pub const ALL: &'static [ReasonId] = &[$(ReasonId::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self { $(ReasonId::$variant => $id),* }
            }

            /// Whether this cause blames the update or the lab.
            pub fn outcome(self) -> Outcome {
                match self { $(ReasonId::$variant => Outcome::$outcome),* }
            }
        }
    };
}

reasons! {
    /// A step of the update ended with an exit code that is no success.
    UpdateFailed = "update-failed" => Unhealthy,
    /// A step of the update did not end by its deadline, while the agent still answered; or its installer found another one
    /// at work until then.
    UpdateTimeout = "update-timeout" => Unhealthy,
    /// No request led to a reset, of the agent or by the power button.
    RestartRefused = "restart-refused" => Unhealthy,
    /// The guest's kernel panicked (Linux) or stopped with a bugcheck (Windows).
    StopError = "stop-error" => Unhealthy,
    /// Three unexplained resets with no panic and no settled boot between.
    BootLoop = "boot-loop" => Unhealthy,
    /// No agent; disk, screen and console unchanged; the CPU idle or spinning.
    BootHang = "boot-hang" => Unhealthy,
    /// Not settled by the long deadline, yet something still moves; or settled, and not at rest by then, as the control was.
    BootTimeout = "boot-timeout" => Unhealthy,
    /// The firmware or the boot loader found nothing to start.
    NoBootDevice = "no-boot-device" => Unhealthy,
    /// The machine waits for somebody to repair it: a recovery screen, an emergency shell.
    RecoveryScreen = "recovery-screen" => Unhealthy,
    /// The guest turned itself off.
    PoweredOff = "powered-off" => Unhealthy,
    /// The agent is gone or never came, and the machine is alive.
    AgentLost = "agent-lost" => Unhealthy,
    /// An unexplained reset after the agent was up, then stable.
    LateCrash = "late-crash" => Unhealthy,
    /// What was to prove that the update took effect did not, after all of its steps had succeeded.
    UpdateNotApplied = "update-not-applied" => Unhealthy,
    /// A health check's answer was no success.
    CheckFailed = "check-failed" => Unhealthy,
    /// A service that the control has does not run.
    ServiceDown = "service-down" => Unhealthy,
    /// A service began anew while the settled machine was watched, and its control's did not.
    ServiceFlapping = "service-flapping" => Unhealthy,
    /// Errors in the log that the control does not have.
    EventLog = "event-log" => Unhealthy,
    /// A crash dump that the control does not have.
    CrashDump = "crash-dump" => Unhealthy,
    /// A restart took much longer than the control's.
    SlowBoot = "slow-boot" => Unhealthy,
    /// Much more memory is used than by the control.
    MemoryGrowth = "memory-growth" => Unhealthy,
    /// A disk is nearly full, and the control's is not.
    DiskFull = "disk-full" => Unhealthy,
    /// A disk cannot be written, and the control's can.
    DiskReadonly = "disk-readonly" => Unhealthy,
    /// The clock is off by much more than the control's.
    ClockWrong = "clock-wrong" => Unhealthy,
    /// A link, address or default route that the control has is missing.
    NetworkDown = "network-down" => Unhealthy,
    /// The golden image's machine is not well without the candidate either.
    ControlUnhealthy = "control-unhealthy" => Inconclusive,
    /// The golden image's file is not there.
    ImageMissing = "image-missing" => Inconclusive,
    /// The golden image's file is not what the catalogue says.
    ImageChanged = "image-changed" => Inconclusive,
    /// The VM did not get as far as the candidate's first step.
    StartFailed = "start-failed" => Inconclusive,
    /// The host's disk is full.
    OutOfSpace = "out-of-space" => Inconclusive,
    /// The VM's process or the connection to its host is gone.
    HostLost = "host-lost" => Inconclusive,
    /// Somebody or `--fail-fast` stopped the run.
    Cancelled = "cancelled" => Inconclusive,
    /// Bootgate itself ended before the cell did.
    HarnessDied = "harness-died" => Inconclusive,
}

impl fmt::Display for ReasonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Healthy => "healthy",
            Outcome::Unhealthy => "unhealthy",
            Outcome::Inconclusive => "inconclusive",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slow_is_what_has_that_reason_and_no_other() {
        let is_only_slow = |outcome, ids: &[ReasonId]| {
            let reason = |id| Reason { id, phase: Phase::Boot, at: Millis(1), message: String::new(), check: None };
            Verdict { outcome, reasons: ids.iter().copied().map(reason).collect() }.is_only_slow()
        };
        assert!(is_only_slow(Outcome::Unhealthy, &[ReasonId::SlowBoot, ReasonId::SlowBoot]));
        assert!(!is_only_slow(Outcome::Unhealthy, &[ReasonId::SlowBoot, ReasonId::EventLog]));
        assert!(!is_only_slow(Outcome::Unhealthy, &[]), "nobody says that it is slow");
        assert!(!is_only_slow(Outcome::Inconclusive, &[ReasonId::SlowBoot]));
    }
}
