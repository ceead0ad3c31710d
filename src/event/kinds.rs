use serde::{Deserialize, Serialize};
use time::Date;

use crate::model::{
    About, Accelerator, ApprovalPolicy, AxisValue, Cell, CellId, Millis, Role, RunId, Sha256, SignalKind, Verdict,
};

/// The version each line of the journal carries.
pub const JOURNAL_VERSION: u32 = 1;

/// Something that happened in a run: what the engine emits and every report folds over.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Since the run's first event, monotonic.
    pub at: Millis,
    /// None: about the whole run.
    pub cell: Option<CellId>,
    pub what: RunEvent,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum RunEvent {
    /// Always the first line.
    RunStarted {
        start: Box<RunStart>,
    },
    /// `--resume` goes on with this run.
    RunResumed {
        /// RFC 3339, UTC.
        utc: String,
    },
    /// From here on no cell is started, and those that run are cancelled.
    RunStopping {
        why: StopCause,
    },
    /// Written before any work on the cell; without a `cell-ended` behind it, bootgate died in between.
    CellStarted {
        /// 1 for the first try.
        attempt: u32,
    },
    /// Something the judge sees. Always about a cell.
    Signal {
        signal: SignalKind,
    },
    /// Something people should know that decides nothing.
    Note {
        level: Level,
        text: String,
    },
    CellEnded {
        end: CellEnd,
    },
    /// Always the last line of a run that was not killed.
    RunEnded {
        decision: Decision,
    },
}

impl RunEvent {
    /// Whether the run begins with it, or a cell or the run has its answer with it: what is to last, and is signed.
    pub fn is_to_last(&self) -> bool {
        matches!(self, Self::RunStarted { .. } | Self::CellEnded { .. } | Self::RunEnded { .. })
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStart {
    /// RFC 3339, UTC: what `at_ms` 0 means.
    pub utc: String,
    /// The version of bootgate that ran.
    pub bootgate: String,
    /// The matrix's name.
    pub name: String,
    pub plan_sha256: Sha256,
    /// Every planned cell, in the plan's order: whatever is not answered is inconclusive.
    pub cells: Vec<PlannedCell>,
    pub update_sha256: Sha256,
    pub candidate_sha256: Option<Sha256>,
    /// The candidate's file name.
    pub candidate_name: Option<String>,
    /// What the candidate is, by its content; none in a run from before this was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate_about: Option<About>,
    /// What ran the VMs, such as `libvirt 9.0.0 qemu 7.2.22 (qemu:///embed)`.
    pub lab: String,
    pub accelerator: Accelerator,
    /// The matrix says `control: off`: nothing was compared, which bars approval.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncontrolled: bool,
    /// By what is decided where nobody says otherwise; the strictest in a run from before that was kept.
    #[serde(default, skip_serializing_if = "ApprovalPolicy::is_usual")]
    pub policy: ApprovalPolicy,
}

/// What a report must know of a cell before it ran: enough to name what was never reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedCell {
    pub id: CellId,
    /// The golden image's name.
    pub image: String,
    /// In the matrix's order.
    pub axes: Vec<AxisValue>,
    /// Restarts after the first one.
    #[serde(default, deserialize_with = "crate::model::soak")]
    pub soak: u32,
    /// The ids of its health checks, in order.
    #[serde(default)]
    pub checks: Vec<String>,
    #[serde(default, skip_serializing_if = "Role::is_alone")]
    pub role: Role,
    /// How long it took in earlier runs; none: it never ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_ms: Option<Millis>,
    /// The day on which its golden image was made, by the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_made: Option<Date>,
}

impl From<&Cell> for PlannedCell {
    fn from(cell: &Cell) -> Self {
        Self {
            id: cell.id.clone(),
            image: cell.image.clone(),
            axes: cell.axes.clone(),
            soak: cell.health.soak,
            checks: cell.health.checks.iter().map(|check| check.id.clone()).collect(),
            role: cell.role.clone(),
            expected_ms: None,
            image_made: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Info,
    Warning,
}

/// Why a run stops before its last cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopCause {
    /// Ctrl-C or SIGTERM: the run's decision is `cancelled`.
    Interrupted,
    /// `--fail-fast`, after the first unhealthy cell: the decision stays what that cell made it.
    FailFast,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellEnd {
    pub attempt: u32,
    pub verdict: Verdict,
    /// Files in the cell's folder of the run directory, relative to the run directory.
    pub artifacts: Vec<String>,
    /// Since its `cell-started`.
    pub took: Millis,
}

/// The gate's answer, worst first wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    Approved,
    Rejected,
    Inconclusive,
    Cancelled,
}

impl Decision {
    pub fn as_str(self) -> &'static str {
        match self {
            Decision::Approved => "approved",
            Decision::Rejected => "rejected",
            Decision::Inconclusive => "inconclusive",
            Decision::Cancelled => "cancelled",
        }
    }

    /// The process exit code that stands for it.
    pub fn exit_code(self) -> u8 {
        match self {
            Decision::Approved => 0,
            Decision::Rejected => 1,
            Decision::Inconclusive => 3,
            Decision::Cancelled => 130,
        }
    }
}

/// One line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line<What = RunEvent> {
    pub v: u32,
    /// From 0, without gaps.
    pub seq: u64,
    /// The SHA-256 of the line before (without its newline); of nothing for the first.
    pub prev: Sha256,
    pub run: RunId,
    pub at_ms: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<CellId>,
    #[serde(flatten)]
    pub what: What,
}
