use std::{path::PathBuf, sync::Arc};

use serde::Serialize;

use super::Template;
use crate::{
    model::{ApprovalPolicy, Collect, Millis, Network, PackageKind, Policy, Start, Tolerances},
    source::{Place, Placed, SourceFile},
};

/// A matrix that makes sense by itself.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// Where it was read from, for errors that are found later.
    pub file: Arc<SourceFile>,
    pub name: String,
    /// As given by the key `catalog`, joined to the matrix's folder.
    pub catalog: Option<Placed<PathBuf>>,
    /// At least one, each with at least one value.
    pub axes: Vec<Axis>,
    pub exclude: Vec<Placed<Pairs>>,
    /// A value for every axis, in the axes' order.
    pub include: Vec<Placed<Vec<String>>>,
    pub network: Network,
    /// Where `control: off` is written; none: each golden image gets a control.
    pub control_off: Option<Place>,
    pub start: Start,
    /// The cells that begin from power-on whatever `start` says.
    pub cold: Vec<Placed<Pairs>>,
    pub setup: Vec<StepSpec>,
    pub update: Vec<StepSpec>,
    /// Joined to the matrix's folder.
    pub candidate: Option<Placed<PathBuf>>,
    /// Variables and their defaults.
    pub vars: Vec<(Placed<String>, String)>,
    pub health: HealthSpec,
    pub policy: Policy,
    pub approval: ApprovalPolicy,
    pub collect: Collect,
}

#[derive(Clone, Debug)]
pub struct Axis {
    pub name: Placed<String>,
    pub values: Vec<Placed<String>>,
}

/// Axes (by index) and the values each of them may have.
pub type Pairs = Vec<(usize, Vec<String>)>;

/// A step whose variables are not put in yet.
#[derive(Clone, Debug, Serialize)]
pub struct StepSpec {
    #[serde(skip)]
    pub place: Place,
    pub name: Option<String>,
    pub timeout: Millis,
    pub restarts: u32,
    pub success: Vec<i32>,
    /// The cells it belongs to; none: all.
    pub when: Pairs,
    pub action: Action,
}

/// What a step does, variables not put in yet.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Copy { from: Placed<Template>, to: Placed<Template>, mode: Option<u32> },
    Files { from: Placed<Template>, to: Placed<Template> },
    Run { argv: Vec<Placed<Template>> },
    Sh { script: Placed<Template> },
    Cmd { script: Placed<Template> },
    Ps1 { script: Placed<Template> },
    Package { kind: PackageKind, file: Placed<Template>, args: Vec<Placed<Template>>, beside: Option<Placed<Template>> },
}

impl Action {
    /// Its key in a step.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Copy { .. } => "copy",
            Self::Files { .. } => "files",
            Self::Run { .. } => "run",
            Self::Sh { .. } => "sh",
            Self::Cmd { .. } => "cmd",
            Self::Ps1 { .. } => "ps1",
            Self::Package { kind, .. } => kind.as_str(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct CheckSpec {
    pub place: Place,
    pub id: String,
    pub evidence: bool,
    pub timeout: Millis,
    pub success: Vec<i32>,
    /// What runs something.
    pub action: Action,
}

#[derive(Clone, Debug)]
pub struct HealthSpec {
    pub checks: Vec<CheckSpec>,
    pub soak: u32,
    pub watch: Millis,
    pub boot_timeout: Option<Millis>,
    pub restart_timeout: Option<Millis>,
    pub tolerances: Tolerances,
}

/// Whether this is `[a-z0-9-]+` with no `-` at an end: the form of a matrix's name and of a check's id.
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 60
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}
