use serde::{Deserialize, Serialize};
use time::Date;

use super::{AxisValue, Millis};

/// What an approver asks for, by a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalPolicy {
    /// For people, and for what is signed.
    pub name: String,
    #[serde(default)]
    pub rules: Rules,
    /// Where the update goes, one after the other; empty: everywhere at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rings: Vec<Ring>,
}

impl Default for ApprovalPolicy {
    fn default() -> Self {
        Self { name: "every cell healthy".to_owned(), rules: Rules::default(), rings: Vec::new() }
    }
}

impl ApprovalPolicy {
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    pub fn ring(&self, name: &str) -> Option<&Ring> {
        self.rings.iter().find(|ring| ring.name == name)
    }
}

/// Machines that get an update together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ring {
    pub name: String,
    /// The policy's, but for those that it has of its own.
    pub rules: Rules,
    /// How long the update is in this ring before its result counts for the next one.
    pub soak_time: Millis,
}

/// By what an approver decides, beside the verdicts. The default is as strict as can be: every cell healthy, none flaky.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Each entry matches at least one cell, and every one that it matches is healthy.
    pub required: Vec<Labels>,
    /// How many of the cells must be healthy, in percent.
    pub coverage: f64,
    /// A cell that is only `slow-boot` counts as healthy up to so many times its control's restart; and one that is healthy
    /// must not be slower than that.
    pub slow_down: Option<f64>,
    /// How many flaky cells are let pass.
    pub flaky: u32,
    pub quarantine: Vec<Quarantine>,
    /// How old the run may be at its decision.
    pub max_age: Option<Millis>,
    /// Further restarts that every cell must have been planned with.
    pub soak: u32,
    /// How many days old a golden image may be at the run's begin.
    pub image_age: Option<u32>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            required: Vec::new(),
            coverage: 100.0,
            slow_down: None,
            flaky: 0,
            quarantine: Vec::new(),
            max_age: None,
            soak: 0,
            image_age: None,
        }
    }
}

/// Axes, and the values each of them may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels(pub Vec<(String, Vec<String>)>);

impl Labels {
    /// The same once for each value, with no other of its axis.
    pub fn each_value(&self) -> Vec<Self> {
        let only = |n: usize, value: &String| {
            let mut all = self.0.clone();
            all[n].1 = vec![value.clone()];
            Self(all)
        };
        self.0.iter().enumerate().flat_map(|(n, (_, values))| values.iter().map(move |value| only(n, value))).collect()
    }

    pub fn matches(&self, axes: &[AxisValue]) -> bool {
        let value = |name: &str| axes.iter().find(|pair| pair.axis == name).map(|pair| &pair.value);
        self.0.iter().all(|(name, values)| value(name).is_some_and(|value| values.contains(value)))
    }
}

impl std::fmt::Display for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|(name, values)| format!("{name}={}", values.join("|"))).collect();
        f.write_str(&pairs.join(" "))
    }
}

/// Cells whose outcome does not count for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quarantine {
    pub cells: Labels,
    /// For whoever reads the decision.
    pub reason: String,
    /// The last day, UTC, on which it holds.
    pub until: Date,
}
