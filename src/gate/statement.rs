use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::Date;

use crate::{
    event::Decision,
    model::{Accelerator, AxisValue, BOOT_NOISE, CellId, Millis, Outcome, Reason, RunId, Sha256, Start, is_only_slow},
};

/// The type of an approval's payload (in-toto's envelope layer).
pub const STATEMENT_PAYLOAD: &str = "application/vnd.in-toto+json";
pub(super) const STATEMENT: &str = "https://in-toto.io/Statement/v1";
pub(super) const TEST_RESULT: &str = "https://in-toto.io/attestation/test-result/v0.1";

/// An in-toto statement with the predicate "test result" (<https://github.com/in-toto/attestation>).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    #[serde(rename = "_type")]
    pub kind: String,
    /// The files under test.
    pub subject: Vec<Descriptor>,
    pub predicate_type: String,
    pub predicate: TestResult,
}

/// Something named by its content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Descriptor {
    #[serde(default)]
    pub name: String,
    /// By algorithm; ours is `sha256`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}

impl Statement {
    /// Whether it says that the update may go on.
    pub fn is_approval(&self) -> bool {
        self.kind == STATEMENT
            && self.predicate_type == TEST_RESULT
            && self.predicate.result == TestOutcome::Passed
            && self.predicate.bootgate.decision == Decision::Approved
    }

    /// Whether all of these files were under test.
    pub fn covers(&self, files: &[Descriptor]) -> bool {
        are_among(files, &self.subject)
    }

    /// Whether these are its files, or some of them, or they and others.
    pub fn shares_all_with(&self, files: &[Descriptor]) -> bool {
        are_among(files, &self.subject) || are_among(&self.subject, files)
    }
}

fn are_among(files: &[Descriptor], others: &[Descriptor]) -> bool {
    let is_there = |file: &Descriptor| {
        let sha256 = file.digest.get("sha256");
        sha256.is_some() && others.iter().any(|other| other.digest.get("sha256") == sha256)
    };
    !files.is_empty() && files.iter().all(is_there)
}

impl Facts {
    /// The ring that it is about; none: its policy has none.
    pub fn ring(&self) -> Option<&str> {
        self.policy.as_ref()?.ring.as_deref()
    }
}

impl Descriptor {
    pub fn of(name: impl Into<String>, sha256: &Sha256) -> Self {
        Self { name: name.into(), digest: BTreeMap::from([("sha256".to_owned(), sha256.0.clone())]), uri: None }
    }

    pub fn is(&self, sha256: &Sha256) -> bool {
        self.digest.get("sha256") == Some(&sha256.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TestOutcome {
    Passed,
    /// Part of the format; bootgate never says it.
    Warned,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestResult {
    pub result: TestOutcome,
    /// What it was tested with: matrix, catalogue, plan, golden images, seals.
    pub configuration: Vec<Descriptor>,
    /// Ids of cells.
    pub passed_tests: Vec<String>,
    pub failed_tests: Vec<String>,
    /// What in-toto has no words for. The format asks extensions to be named by a URI.
    #[serde(rename = "https://bootgate.dev/approval/v1")]
    pub bootgate: Facts,
}

/// The run, as bootgate knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub run: RunId,
    /// The matrix's name.
    pub name: String,
    /// The version of bootgate that decided.
    pub bootgate: String,
    pub decision: Decision,
    /// Sentences, the weightiest first.
    pub reasons: Vec<String>,
    /// RFC 3339, UTC.
    pub started: String,
    pub ended: String,
    /// Digest of the journal's last line, and through its chain of the whole journal.
    pub journal_sha256: Sha256,
    pub plan_sha256: Sha256,
    /// Of everything under test: files, steps and all.
    pub update_sha256: Sha256,
    pub lab: String,
    pub accelerator: Accelerator,
    pub cells: Vec<CellFacts>,
    /// By what was decided; none in an approval from before policies were signed with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyFacts>,
    /// When it was signed, RFC 3339, UTC; none in an approval from before that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
}

/// The policy, and what came of each of its rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyFacts {
    pub name: String,
    /// The ring that the approval opens; none: the policy has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<String>,
    /// The rings before it, in order, in which it passed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<RingFacts>,
    pub rules: Vec<RuleFacts>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleFacts {
    pub rule: String,
    pub holds: bool,
    pub says: String,
    /// What it rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<CellId>,
}

/// A ring that the update was in, and the approval that opened it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingFacts {
    pub ring: String,
    /// Digest of the approval's payload.
    pub approval_sha256: Sha256,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellFacts {
    pub id: CellId,
    pub image: String,
    /// It got no update: others are compared with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub control: bool,
    pub outcome: Outcome,
    pub reasons: Vec<Reason>,
    /// 0: never started.
    pub attempts: usize,
    /// An earlier attempt was unhealthy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flaky: bool,
    /// The earlier run that a control is known from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_from: Option<RunId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// The saved machine that it is a clone of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<String>,
    pub took_ms: Millis,
    /// When it ended, RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// In the matrix's order; none of a control.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub axes: Vec<AxisValue>,
    /// Restarts after the first one, as planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<u32>,
    /// An earlier attempt was unhealthy, however the last one ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unhealthy_before: bool,
    /// The day on which the golden image was made, by the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_made: Option<Date>,
    /// What its last restart took, without what the lab took from it, and what its control's took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_ms: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_restart_ms: Option<Millis>,
}

impl CellFacts {
    /// Whether all that is known against it is that its restart took longer than its control's.
    pub fn is_only_slow(&self) -> bool {
        is_only_slow(self.outcome, &self.reasons)
    }

    /// Whether its restart took more than so many times its control's, and, where it was not found to be slow, not by so little
    /// that it may be chance; none: nobody measured it.
    pub fn is_slower_than(&self, times: f64) -> Option<bool> {
        let (own, control) = (self.restart_ms?, self.control_restart_ms.filter(|control| control.0 > 0)?);
        #[allow(clippy::cast_precision_loss, reason = "no restart takes 2^52 ms")]
        let slowed = own.0 as f64 / control.0 as f64;
        Some(slowed > times && (self.is_only_slow() || own.since(control) >= BOOT_NOISE))
    }
}
