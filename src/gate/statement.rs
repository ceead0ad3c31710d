use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    event::Decision,
    model::{Accelerator, CellId, Millis, Outcome, Reason, RunId, Sha256, Start},
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
}
