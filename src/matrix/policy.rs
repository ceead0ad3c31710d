//! By what is decided: a file of the approver's own.

use std::{path::Path, sync::Arc};

use schemars::JsonSchema;
use serde::Deserialize;
use time::{Date, format_description::well_known::Iso8601};

use super::{check::Checker, file::AxisValues};
use crate::{
    model::{Labels, Quarantine, Rules, is_label},
    source::{Diagnostics, Placed, SourceFile, read_yaml},
};

/// A bootgate policy: what must hold for an approval, owned by whoever approves.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename = "PolicyFile",
    deny_unknown_fields,
    expecting = "a mapping with the keys `version`, `name` and `rules`"
)]
pub struct PolicyFile {
    /// The version of this format: 1.
    pub version: Placed<u32>,
    /// The policy's name: decisions and approvals say it.
    pub name: Placed<String>,
    /// What must hold; without any rule every cell must be healthy.
    #[serde(default)]
    pub rules: RulesEntry,
}

/// What must hold. The default of every rule is the strictest.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Rules", deny_unknown_fields, default, expecting = "a mapping such as `{soak: 2, max_age: 24h}`")]
pub struct RulesEntry {
    /// Axes and values: each entry must match at least one planned cell, and every one that it matches must be healthy.
    pub required: Vec<Placed<AxisValues>>,
    /// How many of the cells must be healthy, in percent; 100 by default. The others must not be unhealthy.
    pub coverage: Option<Placed<f64>>,
    /// How many times as long as its control's a cell's restart may take: one that is `slow-boot` and no more than that
    /// passes, one that is healthy and slower does not.
    pub slow_down: Option<Placed<f64>>,
    /// How many flaky cells are let pass; 0 by default.
    pub flaky: Option<Placed<u32>>,
    /// Cells whose outcome does not count until a day.
    pub quarantine: Vec<Placed<QuarantineEntry>>,
    /// How old a run may be at its decision, e.g. `24h`.
    pub max_age: Option<Placed<String>>,
    /// Further restarts that every cell must have been planned with.
    pub soak: Option<Placed<u32>>,
    /// How many days old a golden image may be when the run begins, by `made` in the catalogue.
    pub image_age: Option<Placed<u32>>,
}

/// Cells whose outcome does not count until a day.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename = "Quarantine",
    deny_unknown_fields,
    expecting = "a mapping such as `{cells: {os: debian-12}, reason: text, until: 2026-12-31}`"
)]
pub struct QuarantineEntry {
    /// Axes and values that a cell must have.
    pub cells: Placed<AxisValues>,
    /// Why, for whoever reads the decision.
    pub reason: Placed<String>,
    /// The last day on which it holds, UTC: `2026-12-31`. From then on the cells count again.
    pub until: Placed<String>,
}

/// A policy that makes sense by itself.
#[derive(Clone, Debug)]
pub struct PolicyRules {
    pub name: String,
    pub rules: Rules,
}

impl PolicyRules {
    /// Reads and checks a policy file.
    ///
    /// # Errors
    /// All that is wrong with it. An unknown rule is.
    pub fn read(path: &Path) -> Result<Self, Diagnostics> {
        let file = SourceFile::read(path)?;
        let raw: PolicyFile = read_yaml(&file, |_, _| None)?;
        let mut checker = Checker { file: Arc::clone(&file), axes: Vec::new(), found: Diagnostics::default() };
        if raw.version.value != 1 {
            let message = format!("version {} of policy files is not known", raw.version.value);
            checker.error(raw.version.place, message, "this bootgate reads version 1");
        }
        if !is_label(&raw.name.value) {
            checker.error(
                raw.name.place,
                "this is no name for a policy",
                "use a text of 1 to 200 printable characters",
            );
        }
        let rules = checker.rules(raw.rules);
        checker.found.or(Self { name: raw.name.value, rules })
    }
}

impl Checker {
    pub(super) fn rules(&mut self, raw: RulesEntry) -> Rules {
        let usual = Rules::default();
        Rules {
            required: raw.required.iter().map(|entry| self.labels(entry)).collect(),
            coverage: self.number(raw.coverage, 0.0, 100.0, "it is a share in percent").unwrap_or(usual.coverage),
            slow_down: self.number(raw.slow_down, 1.0, 1000.0, "1 is as long as the control's restart"),
            flaky: raw.flaky.map_or(usual.flaky, |flaky| flaky.value),
            quarantine: raw.quarantine.into_iter().filter_map(|entry| self.quarantine(entry.value)).collect(),
            max_age: self.deadline(raw.max_age),
            soak: raw.soak.map_or(usual.soak, |soak| soak.value),
            image_age: raw.image_age.map(|days| days.value),
        }
    }

    fn quarantine(&mut self, raw: QuarantineEntry) -> Option<Quarantine> {
        let cells = self.labels(&raw.cells);
        if raw.reason.value.trim().is_empty() || raw.reason.value.chars().any(char::is_control) {
            self.error(raw.reason.place, "this is no reason", "say in a line why these cells do not count");
        }
        match Date::parse(&raw.until.value, &Iso8601::DATE) {
            Ok(until) => Some(Quarantine { cells, reason: raw.reason.value, until }),
            Err(_) => {
                let message = format!("`{}` is no day", raw.until.value);
                self.error(raw.until.place, message, "write it as 2026-12-31: a quarantine ends");
                None
            }
        }
    }

    /// Nobody knows here which axes there are.
    fn labels(&mut self, raw: &Placed<AxisValues>) -> Labels {
        if raw.value.0.is_empty() {
            self.error(raw.place, "this names no axis", "give at least one pair, e.g. `{os: debian-12}`");
        }
        let values = raw.value.0.iter().map(|(axis, values)| {
            (axis.value.clone(), values.value.0.iter().map(|value| value.value.0.clone()).collect())
        });
        Labels(values.collect())
    }
}
