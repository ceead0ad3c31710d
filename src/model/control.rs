use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{Bytes, Millis};

/// What a machine is like without the candidate: what its cells are compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControlFacts {
    /// From power-on until settled.
    pub settle: Millis,
    /// From the request to restart until settled again, without the time that the lab took: the longest of its restarts.
    pub restart: Millis,
    /// CPU time of the machine's process for such a restart.
    pub restart_cpu: Millis,
    /// How long the lab's fixed piece of work takes where the lab is not slow, in microseconds: what the time that it took
    /// was measured by. None: not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_us: Option<u32>,
    /// Checks that fail without the candidate too.
    pub failing_checks: Vec<String>,
    /// What it did at the end of its last watch; none: nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity: Option<Activity>,
    /// None: the guest could not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<Box<GuestState>>,
}

/// What a guest says of itself after a restart: two looks, before and after it was watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GuestState {
    /// Services that run, or programs where the guest knows no services; by name.
    pub services: Vec<String>,
    /// Those of them that were not the same processes at the first look.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub restarted: Vec<String>,
    /// How many lines the logs have, by level (`err`, `warning`, ...).
    pub log_lines: BTreeMap<String, u64>,
    /// Different texts at level `err` and worse, numbers replaced by `#`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// There are more of them, which nobody knows.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub errors_cut: bool,
    /// Memory that is not available to programs.
    pub memory_used: Bytes,
    pub disks: Vec<DiskState>,
    /// The guest's clock minus the host's, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_ahead_ms: Option<i64>,
    /// What the network has: `eth0 up`, `eth0 address`, `default route`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network: Vec<String>,
    /// Crash dumps that lie in the guest's usual places.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dumps: Vec<String>,
}

/// A restart that is longer by less than this is not slow where the lab took as much of it: a small guest boots in seconds.
pub const BOOT_NOISE: Millis = Millis::from_secs(10);

/// What a machine that has settled does by itself, seen from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// CPU time of its virtual CPUs together, in percent of one core, of the time in which the host had one for them.
    pub cpu_percent: u64,
    /// Requests to its disks.
    pub disk_per_second: u64,
}

impl Activity {
    /// Whether this is rest for a machine that usually does so much by itself: no more than twice that, or that and what a
    /// machine that waits for work may do (an idle lab guest: below 1 % and no request).
    pub fn is_rest(self, usual: Self) -> bool {
        let within = |own: u64, usual: u64, idle: u64| own <= usual.saturating_add(usual.max(idle));
        within(self.cpu_percent, usual.cpu_percent, 40) && within(self.disk_per_second, usual.disk_per_second, 50)
    }

    /// Whether it does nothing at all.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPU {} %, {} disk requests a second", self.cpu_percent, self.disk_per_second)
    }
}

/// A mounted file system on a disk of the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskState {
    /// Where it is mounted.
    pub mount: String,
    pub size: Bytes,
    pub free: Bytes,
    /// How many files it can hold, and how many more; 0: there is no such bound, or it is not known.
    #[serde(default, skip_serializing_if = "super::plan::is_default")]
    pub files: u64,
    #[serde(default, skip_serializing_if = "super::plan::is_default")]
    pub files_free: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// How much worse than its control a machine may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tolerances {
    /// A restart may take so many times the control's.
    pub boot: f64,
    /// So many times the control's memory may be used.
    pub memory: f64,
    /// The share of a disk that must be free, in percent, where it is for the control.
    pub disk_free: f64,
    /// How much more its clock may be off.
    pub clock: Millis,
    /// Differences that the update is meant to make: a reason's id, or `ID TEXT` for those whose message has the text.
    pub ignore: Vec<String>,
}

impl Default for Tolerances {
    fn default() -> Self {
        Self { boot: 2.0, memory: 1.5, disk_free: 5.0, clock: Millis::from_secs(60), ignore: Vec::new() }
    }
}
