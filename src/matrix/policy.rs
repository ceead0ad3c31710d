//! By what is decided: a file of the approver's own.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::{
    check::{Checker, NAME_HINT},
    file::AxisValues,
    is_name,
};
use crate::{
    model::{ApprovalPolicy, Labels, Quarantine, Ring, Rules, Sha256, is_label, parse_day},
    source::{Diagnostics, Placed, SourceFile, read_yaml},
};

/// A bootgate policy: what must hold for an approval, owned by whoever approves.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename = "PolicyFile",
    deny_unknown_fields,
    expecting = "a mapping with the keys `version`, `name`, `rules` and `rings`"
)]
pub struct PolicyFile {
    /// The version of this format: 1.
    pub version: Placed<u32>,
    /// The policy's name: decisions and approvals say it.
    pub name: Placed<String>,
    /// What must hold; without any rule every cell must be healthy.
    pub rules: Option<RulesEntry>,
    /// Where the update goes, one after the other: each but the first needs what came of the one before it.
    #[serde(default)]
    pub rings: Vec<Placed<RingEntry>>,
}

/// Machines that get an update together.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "Ring", deny_unknown_fields, expecting = "a mapping such as `{name: canary, soak_time: 24h}`")]
pub struct RingEntry {
    /// The ring's name: `a` to `z`, digits and `-`.
    pub name: Placed<String>,
    /// In place of those of the policy's `rules` that are given here; the others hold here too.
    pub rules: Option<RulesEntry>,
    /// How long the update must be in this ring before what comes of it counts for the next one, e.g. `24h`.
    pub soak_time: Option<Placed<String>>,
}

/// What must hold. The default of every rule is the strictest.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Rules", deny_unknown_fields, default, expecting = "a mapping such as `{soak: 2, max_age: 24h}`")]
pub struct RulesEntry {
    /// Axes and values: for each value at least one cell must have been planned that has it and matches the rest of its entry,
    /// and every cell that an entry matches must be healthy.
    #[serde(deserialize_with = "given")]
    pub required: Option<Vec<Placed<AxisValues>>>,
    /// How many of the cells must be healthy, in percent; 100 by default. The others must not be unhealthy.
    #[serde(deserialize_with = "given")]
    pub coverage: Option<Placed<f64>>,
    /// How many times as long as its control's a cell's restart may take: one that is `slow-boot` and no more than that
    /// passes, one that is healthy and slower does not.
    #[serde(deserialize_with = "given")]
    pub slow_down: Option<Placed<f64>>,
    /// How many flaky cells are let pass; 0 by default.
    #[serde(deserialize_with = "given")]
    pub flaky: Option<Placed<u32>>,
    /// Cells whose outcome does not count until a day.
    #[serde(deserialize_with = "given")]
    pub quarantine: Option<Vec<Placed<QuarantineEntry>>>,
    /// How old a run may be at its decision, e.g. `24h`.
    #[serde(deserialize_with = "given")]
    pub max_age: Option<Placed<String>>,
    /// Further restarts that every cell must have been planned with.
    #[serde(deserialize_with = "given")]
    pub soak: Option<Placed<u32>>,
    /// How many days old a golden image may be when the run begins, by `made` in the catalogue.
    #[serde(deserialize_with = "given")]
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

/// Reads and checks a policy file, and says what its digest is.
///
/// # Errors
/// All that is wrong with it. An unknown rule is.
pub fn read_policy(path: &Path) -> Result<(ApprovalPolicy, Sha256), Diagnostics> {
    let file = SourceFile::read(path)?;
    let raw: PolicyFile = read_yaml(&file, |_, _| None)?;
    let mut checker = Checker { file: Arc::clone(&file), axes: Vec::new(), found: Diagnostics::default() };
    if raw.version.value != 1 {
        let message = format!("version {} of policy files is not known", raw.version.value);
        checker.error(raw.version.place, message, "this bootgate reads version 1");
    }
    if !is_label(&raw.name.value) {
        checker.error(raw.name.place, "this is no name for a policy", "use a text of 1 to 200 printable characters");
    }
    let policy = checker.approval(raw.name.value, raw.rules, raw.rings, &[]);
    checker.found.or((policy, file.sha256.clone()))
}

impl Checker {
    pub(super) fn approval(
        &mut self,
        name: String,
        rules: Option<RulesEntry>,
        rings: Vec<Placed<RingEntry>>,
        include: &[Placed<Vec<String>>],
    ) -> ApprovalPolicy {
        let usual = Rules::default();
        let rules = rules.map_or(usual.clone(), |rules| self.rules(rules, &usual, include));
        let (mut known, mut names): (Vec<Ring>, BTreeSet<String>) = (Vec::new(), BTreeSet::new());
        for Placed { value: raw, .. } in rings {
            if !is_name(&raw.name.value) {
                self.error(raw.name.place, format!("`{}` is no name for a ring", raw.name.value), NAME_HINT);
            }
            if !names.insert(raw.name.value.clone()) {
                self.error(
                    raw.name.place,
                    format!("two rings are called `{}`", raw.name.value),
                    "give each its own name",
                );
            }
            let rules = match raw.rules {
                Some(own) => self.rules(own, &rules, include),
                None => rules.clone(),
            };
            let soak_time = self.duration(raw.soak_time).unwrap_or_default();
            known.push(Ring { name: raw.name.value, rules, soak_time });
        }
        ApprovalPolicy { name, rules, rings: known }
    }

    /// Those that are not given are these.
    fn rules(&mut self, raw: RulesEntry, others: &Rules, include: &[Placed<Vec<String>>]) -> Rules {
        let required = raw.required.map(|all| all.iter().map(|entry| self.labels(entry, include)).collect());
        let quarantine = raw
            .quarantine
            .map(|all| all.into_iter().filter_map(|entry| self.quarantine(entry.value, include)).collect());
        Rules {
            required: required.unwrap_or_else(|| others.required.clone()),
            coverage: self.number(raw.coverage, 0.0, 100.0, "it is a share in percent").unwrap_or(others.coverage),
            slow_down: self
                .number(raw.slow_down, 1.0, 1000.0, "1 is as long as the control's restart")
                .or(others.slow_down),
            flaky: raw.flaky.map_or(others.flaky, |flaky| flaky.value),
            quarantine: quarantine.unwrap_or_else(|| others.quarantine.clone()),
            max_age: self.deadline(raw.max_age).or(others.max_age),
            soak: raw.soak.map_or(others.soak, |soak| soak.value),
            image_age: raw.image_age.map(|days| days.value).or(others.image_age),
        }
    }

    fn quarantine(&mut self, raw: QuarantineEntry, include: &[Placed<Vec<String>>]) -> Option<Quarantine> {
        let cells = self.labels(&raw.cells, include);
        if raw.reason.value.trim().is_empty() || raw.reason.value.chars().any(char::is_control) {
            self.error(raw.reason.place, "this is no reason", "say in a line why these cells do not count");
        }
        let Some(until) = parse_day(&raw.until.value) else {
            let message = format!("`{}` is no day", raw.until.value);
            self.error(raw.until.place, message, "write it as 2026-12-31: a quarantine ends");
            return None;
        };
        Some(Quarantine { cells, reason: raw.reason.value, until })
    }

    /// In a file of the approver's own nobody knows which axes there are.
    fn labels(&mut self, raw: &Placed<AxisValues>, include: &[Placed<Vec<String>>]) -> Labels {
        if !self.axes.is_empty() {
            self.pairs(&raw.value, include, Some(raw.place));
        } else if raw.value.0.is_empty() {
            self.error(raw.place, "this names no axis", "give at least one pair, e.g. `{os: debian-12}`");
        } else {
            for (axis, values) in raw.value.0.iter().filter(|(_, values)| values.value.0.is_empty()) {
                self.error(values.place, format!("no value is given for `{}`", axis.value), "give at least one");
            }
        }
        let values = raw.value.0.iter().map(|(axis, values)| {
            (axis.value.clone(), values.value.0.iter().map(|value| value.value.0.clone()).collect())
        });
        Labels(values.collect())
    }
}

/// A key with nothing behind it is no rule that was left out.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
