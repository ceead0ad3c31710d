use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Millis;

/// What a machine is like without the candidate: what its cells are compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControlFacts {
    /// From power-on until settled.
    pub settle: Millis,
    /// From the request to restart until settled again: the longest of its restarts.
    pub restart: Millis,
    /// CPU time of the machine's process for such a restart.
    pub restart_cpu: Millis,
    /// Services that run, or programs where the guest knows no services.
    pub services: Vec<String>,
    /// How many lines the logs have, by level (`err`, `warn`, ...).
    pub log_lines: BTreeMap<String, u64>,
    /// Checks that fail without the candidate too.
    pub failing_checks: Vec<String>,
}
