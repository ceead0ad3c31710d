//! The matrix file as it is written: raw values with their places, nothing checked.
//!
//! The doc comments here are what `bootgate schema matrix` shows in an editor.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::{
    policy::{RingEntry, RulesEntry},
    steps_file::{CheckEntry, StepEntry},
};
use crate::{
    model::Start,
    source::{Entries, OneOrMany, Placed, Written},
};

/// Axes and, for each, a value or a list of values.
pub type AxisValues = Entries<Placed<OneOrMany<Placed<Written>>>>;

/// A bootgate matrix: which golden images to clone, what update to apply, and what healthy means.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "Matrix", deny_unknown_fields, expecting = "a mapping with the keys of a matrix")]
pub struct MatrixFile {
    /// The version of this format: 1.
    pub version: Placed<u32>,
    /// The matrix's name: `a` to `z`, digits and `-`. Part of the name of a run.
    pub name: Placed<String>,
    /// The catalogue of golden images, relative to this file. Without it `images/catalog.yaml` is looked for.
    pub catalog: Option<Placed<String>>,
    /// Axes and their values. An axis that is a label of the images picks the golden image; any other
    /// is a variable for the steps: `${axis}`. A run has a cell for every combination.
    pub axes: Placed<AxisValues>,
    /// Takes out every cell that matches all the pairs of an entry.
    #[serde(default)]
    pub exclude: Vec<Placed<AxisValues>>,
    /// Adds one whole cell per entry: a value for every axis, which need not be among the axis's values.
    #[serde(default)]
    pub include: Vec<Placed<Entries<Placed<Written>>>>,
    /// Which combinations are tried: `full` is every one.
    #[serde(default)]
    pub coverage: CoverageEntry,
    /// What a clone's network card is connected to: `none` (the default), `user` (QEMU's own), or the name
    /// of a libvirt network.
    pub network: Option<Placed<String>>,
    /// `on` (the default): each golden image gets a control, a cell that goes the same way without the update and
    /// with which its other cells are compared. `off`: nothing is compared, and the run cannot be approved.
    #[schemars(schema_with = "on_or_off")]
    pub control: Option<Placed<Written>>,
    /// How machines begin: `live` (the default), as clones of a machine that has settled already, where that is
    /// possible; or `cold`, from power-on. `--start` on the command line goes first.
    #[serde(default)]
    pub start: Start,
    /// Cells that begin from power-on whatever `start` says: each that matches all the pairs of an entry.
    #[serde(default)]
    pub cold: Vec<Placed<AxisValues>>,
    /// Steps that prepare the machine before the update. Their failure is no fault of the update.
    #[serde(default)]
    pub setup: Vec<Placed<StepEntry>>,
    /// The update under test, step by step.
    pub update: Placed<Vec<Placed<StepEntry>>>,
    /// The file under test, relative to this file; `--candidate` gives another one. `${candidate}` in
    /// `copy.from` is this file.
    pub candidate: Option<Placed<String>>,
    /// Variables for the steps (`${key}`) with their default values; `--set key=value` gives others.
    #[serde(default)]
    pub vars: Entries<Placed<Written>>,
    /// What healthy means, and how long to look.
    #[serde(default)]
    pub health: HealthEntry,
    /// How often cells are tried again, what an approval needs, and where the update goes first.
    #[serde(default)]
    pub policy: PolicyEntry,
    /// Absolute paths in the guest to fetch when a cell fails.
    #[serde(default)]
    pub collect: Vec<Placed<String>>,
}

fn on_or_off(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["on", "off", true, false] })
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Coverage", rename_all = "kebab-case")]
pub enum CoverageEntry {
    /// Every combination.
    #[default]
    Full,
}

/// What healthy means, and how long to look.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Health", deny_unknown_fields, default, expecting = "a mapping such as `{soak: 1, checks: [...]}`")]
pub struct HealthEntry {
    /// Further restarts after the first one, each of which must lead to a healthy boot.
    pub soak: Option<Placed<u32>>,
    /// How long a settled machine is watched for late crashes, e.g. `3s`.
    pub watch: Option<Placed<String>>,
    /// The longest time one boot may take, e.g. `5m`. By default derived from the boot before the update.
    pub boot_timeout: Option<Placed<String>>,
    /// How long a request to restart may take until the machine resets, e.g. `60s`.
    pub restart_timeout: Option<Placed<String>>,
    /// Questions to the guest once it has settled after the update.
    pub checks: Vec<Placed<CheckEntry>>,
    /// How much worse than its control a machine may be.
    pub compare: CompareEntry,
}

/// How much worse than its control a machine may be.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    rename = "Compare",
    deny_unknown_fields,
    default,
    expecting = "a mapping such as `{memory: 2, ignore: [event-log]}`"
)]
pub struct CompareEntry {
    /// `slow-boot`: a restart may take so many times the control's; 2 by default.
    pub boot: Option<Placed<f64>>,
    /// `memory-growth`: so many times the control's memory may be used; 1.5 by default.
    pub memory: Option<Placed<f64>>,
    /// `disk-full`: the share of a disk that must stay free where it is free in the control, in percent; 5 by default.
    pub disk_free: Option<Placed<f64>>,
    /// `clock-wrong`: how much more than the control's its clock may be off; `60s` by default.
    pub clock: Option<Placed<String>>,
    /// Differences that the update is meant to make: a reason id such as `service-down`, or `service-down cron` for those
    /// whose message has the text that follows.
    pub ignore: Vec<Placed<String>>,
}

/// How often cells are tried again, what an approval needs, and where the update goes first.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Policy", deny_unknown_fields, default, expecting = "a mapping such as `{retry_inconclusive: 1}`")]
pub struct PolicyEntry {
    /// How often a cell about which the lab could not tell is tried again; 0 by default.
    pub retry_inconclusive: Option<Placed<u32>>,
    /// How often a cell that the update broke is tried again; 0 by default. One that is healthy then is flaky, which
    /// is told, and approved only where `rules` let it pass.
    pub retries: Option<Placed<u32>>,
    /// What must hold, where the approver has no policy of their own; without any rule every cell must be healthy.
    pub rules: Option<RulesEntry>,
    /// Where the update goes, one after the other.
    pub rings: Vec<Placed<RingEntry>>,
}
