//! `result.json`: the run for programs. Described in `docs/formats.md`; names and meanings are stable.

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::Serialize;

use crate::{
    event::{CellState, Counts, Decision, RunState},
    gate,
    model::{About, Accelerator, AxisValue, CellId, Millis, Outcome, Phase, Reason, RunId, Sha256, Start},
};

/// The version `result.json` carries.
const RESULT_VERSION: u32 = 1;

/// A run of bootgate: what was tested, how each cell ended, and what that means for the update.
///
/// Readers skip fields that they do not know. A later version of bootgate may have more reasons and kinds of files.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Result")]
struct ResultFile<'a> {
    /// Of the format.
    #[schemars(extend("const" = RESULT_VERSION))]
    version: u32,
    run: &'a RunId,
    /// The matrix's.
    name: &'a str,
    decision: Decision,
    /// As `bootgate run` gave it: 0 approved, 1 rejected, 3 inconclusive, 130 cancelled.
    exit_code: u8,
    /// Sentences, the weightiest first; empty when approved.
    reasons: Vec<String>,
    /// The name of the policy that it was decided by.
    policy: &'a str,
    /// The policy's rules, in the order in which they are read.
    rules: Vec<RuleResult>,
    /// UTC.
    #[schemars(extend("format" = "date-time"))]
    started: &'a str,
    /// Until the last event.
    took_ms: Millis,
    /// The file under test; null: the matrix names none.
    candidate: Option<Candidate<'a>>,
    /// Of everything under test.
    update_sha256: &'a Sha256,
    /// Of `plan.json`.
    plan_sha256: &'a Sha256,
    /// What ran the machines.
    lab: &'a str,
    accelerator: Accelerator,
    /// Its version.
    bootgate: &'a str,
    /// Of every planned cell that is no control.
    counts: Counts,
    /// Of the controls.
    controls: Counts,
    /// How many of the healthy cells were unhealthy on an earlier attempt.
    flaky: usize,
    /// In the plan's order, controls first.
    cells: Vec<Cell<'a>>,
}

/// What a rule made of the run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RuleResult {
    rule: &'static str,
    holds: bool,
    /// In a sentence.
    says: String,
    /// Those that it rests on.
    cells: Vec<CellId>,
}

impl From<gate::RuleOutcome> for RuleResult {
    fn from(rule: gate::RuleOutcome) -> Self {
        Self { rule: rule.rule, holds: rule.against.is_none(), says: rule.says, cells: rule.cells }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct Candidate<'a> {
    name: Option<&'a str>,
    sha256: &'a Sha256,
    /// Absent in older runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<&'a About>,
}

/// One permutation, or a control.
#[derive(Debug, Serialize, JsonSchema)]
struct Cell<'a> {
    id: &'a CellId,
    /// The golden image's name.
    image: &'a str,
    /// Whether it got no update, and others are compared with it.
    control: bool,
    /// None for a control.
    axes: &'a [AxisValue],
    outcome: Outcome,
    /// The first leads; none when healthy.
    reasons: Vec<Reason>,
    /// 0: it was never started.
    attempts: usize,
    /// Healthy now, and unhealthy on an earlier attempt.
    flaky: bool,
    /// The earlier run that a control is known from; else absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    known_from: Option<&'a RunId>,
    /// Of the last machine; null: none was begun.
    start: Option<Start>,
    /// What a live start is a clone of; else absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    seal: Option<&'a str>,
    took_ms: Millis,
    /// Of the last attempt.
    phases: Vec<PhaseTime>,
    /// Paths within the run's directory.
    artifacts: &'a [String],
}

#[derive(Debug, Serialize, JsonSchema)]
struct PhaseTime {
    phase: Phase,
    ms: Millis,
    /// Whether it did what it was for.
    done: bool,
}

/// The JSON Schema of `result.json`, made of what is written.
pub fn result_schema() -> Schema {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<ResultFile<'static>>()
}

/// The file's bytes; the same events give the same bytes.
///
/// # Errors
/// If not even the run's start was recorded.
pub fn render(state: &RunState) -> Result<Vec<u8>, String> {
    let start = state.start.as_ref().ok_or("the run's start was not recorded")?;
    let gate::Assessment { ruling: gate::Ruling { decision, reasons }, rules } = gate::assessment(state);
    let candidate = start.candidate_sha256.as_ref().map(|sha256| Candidate {
        name: start.candidate_name.as_deref(),
        sha256,
        about: start.candidate_about.as_ref(),
    });
    let file = ResultFile {
        version: RESULT_VERSION,
        run: &state.run,
        name: &start.name,
        decision,
        exit_code: decision.exit_code(),
        reasons,
        policy: &start.policy.name,
        rules: rules.into_iter().map(RuleResult::from).collect(),
        started: &start.utc,
        took_ms: state.now,
        candidate,
        update_sha256: &start.update_sha256,
        plan_sha256: &start.plan_sha256,
        lab: &start.lab,
        accelerator: start.accelerator,
        bootgate: &start.bootgate,
        counts: state.final_counts(),
        controls: state.control_counts(),
        flaky: state.permutations().filter(|cell| cell.is_flaky()).count(),
        cells: state.cells.iter().map(|cell| one_cell(state, cell)).collect(),
    };
    let mut bytes = serde_json::to_vec_pretty(&file).map_err(|error| error.to_string())?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn one_cell<'a>(state: &RunState, cell: &'a CellState) -> Cell<'a> {
    let verdict = state.verdict(cell);
    let last = cell.attempts.last();
    let began = last.and_then(|attempt| attempt.began());
    let spans = last.map_or(&[][..], |attempt| &attempt.phases);
    Cell {
        id: &cell.planned.id,
        image: &cell.planned.image,
        control: cell.is_control(),
        axes: &cell.planned.axes,
        outcome: verdict.outcome,
        reasons: verdict.reasons,
        attempts: cell.attempts.len(),
        flaky: cell.is_flaky(),
        known_from: cell.known_from(),
        start: began.map(|(start, _)| start),
        seal: began.and_then(|(_, seal)| seal),
        took_ms: cell.ended().map_or(Millis::ZERO, |end| end.took),
        phases: spans
            .iter()
            .map(|span| PhaseTime { phase: span.phase, ms: span.took(state.now), done: span.done })
            .collect(),
        artifacts: last.and_then(|attempt| attempt.end.as_ref()).map_or(&[], |end| &end.artifacts),
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        event::{RunEvent, testing},
        model::{About, Content},
    };

    #[test]
    fn a_result_names_every_cell_and_what_became_of_it() {
        let state = testing::three().state();
        let bytes = super::render(&state).unwrap();
        assert_eq!(bytes, super::render(&testing::three().state()).unwrap(), "same events, same bytes");
        insta::assert_snapshot!(String::from_utf8(bytes).unwrap());
    }

    #[test]
    fn a_candidate_that_was_read_is_described() {
        let mut story = testing::three();
        let RunEvent::RunStarted { start } = &mut story.events[0].what else { panic!("no start") };
        start.candidate_about = Some(About::of(Content::Script { interpreter: "sh".into() }));
        let result: serde_json::Value = serde_json::from_slice(&super::render(&story.state()).unwrap()).unwrap();
        assert_eq!(result["candidate"]["about"], serde_json::json!({"kind": "script", "interpreter": "sh"}));
    }

    #[test]
    fn controls_are_marked_and_counted_by_themselves() {
        let bytes = super::render(&testing::controlled().state()).unwrap();
        let result: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(result["counts"], serde_json::json!({"healthy": 1, "unhealthy": 1, "inconclusive": 2}));
        assert_eq!(result["controls"], serde_json::json!({"healthy": 2, "unhealthy": 0, "inconclusive": 2}));
        let cells = result["cells"].as_array().unwrap();
        assert_eq!(cells.iter().filter(|cell| cell["control"] == true).count(), 4);
        assert_eq!(cells[0]["known_from"], "20260101T000000Z-demo");
        assert!(cells[0]["start"].is_null() && cells[1].get("known_from").is_none());
        assert_eq!(cells[5]["start"], "cold", "the machine that counted");
        assert!(cells[5].get("seal").is_none());
    }
}
