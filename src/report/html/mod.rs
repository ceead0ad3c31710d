//! `report.html`: a run as a page for people, whole in one file; and `client.html`, the same without internals.
//!
//! What guests say is hostile. The templates escape all text, [`text`] takes what is hidden in it, and the page's own
//! policy lets no script and no style run but the one that it came with, and nothing be loaded.

mod budget;
mod cell;
mod client;
mod grid;
mod pictures;
#[cfg(test)]
mod tests;
mod timeline;

use std::path::Path;

use askama::Template;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::Digest as _;

use super::{
    causes::{Finding, by_cause, called, finding},
    common::common_ground,
    terminal::{Mark, advice, decided},
};
use crate::{
    event::{CellState, Level, RunState},
    gate,
    model::{Outcome, count, cut, one_line},
};
use budget::Budget;
use cell::CellView;
pub(super) use client::render as render_client;
use grid::Matrix;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Longest text on one line, in characters.
const LINE: usize = 1000;

/// Most cells that are named for one cause.
const NAMED: usize = 12;

/// Where the page will lie, for its links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// In the run directory: to the files beside it.
    Beside,
    /// Anywhere: none.
    None,
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    policy: String,
    style: &'static str,
    script: &'static str,
    name: String,
    run: String,
    decision: Decided,
    ground: Option<(String, String)>,
    warnings: Vec<String>,
    candidate: Vec<(&'static str, String)>,
    facts: Vec<(&'static str, String)>,
    legend: Vec<Tally>,
    controls: Vec<Tally>,
    matrix: Matrix,
    causes: Vec<Cause>,
    /// By what was decided, where the matrix has rules of its own: whether each holds, its name, what it says, on which cells.
    rules: Vec<(Mark, &'static str, String, Vec<String>)>,
    cells: Vec<CellView>,
    left_out: Option<String>,
}

/// The gate's answer.
struct Decided {
    word: &'static str,
    mark: Mark,
    told: String,
    exit_code: u8,
    also: Vec<String>,
}

/// How many cells stand like this.
struct Tally {
    mark: Mark,
    cells: usize,
}

/// Cells that have their first cause in common.
struct Cause {
    mark: Mark,
    id: &'static str,
    cells: usize,
    named: Vec<Named>,
    advice: Option<&'static str>,
}

/// A cell, and what its first cause said.
struct Named {
    id: String,
    told: String,
}

/// The page's bytes; the same events and pictures give the same bytes.
///
/// # Errors
/// If not even the run's start was recorded.
pub(super) fn render(state: &RunState, run_dir: &Path, links: Links) -> Result<Vec<u8>, String> {
    let start = state.start.as_ref().ok_or("the run's start was not recorded")?;
    let mut budget = Budget::new();
    let cells: Vec<CellView> =
        ranked(state).into_iter().map(|cell| CellView::of(state, cell, run_dir, links, &mut budget)).collect();
    let page = Page {
        policy: policy(SCRIPT),
        style: STYLE,
        script: SCRIPT,
        name: text(&start.name),
        run: state.run.to_string(),
        decision: Decided::of(state),
        ground: common_ground(state)
            .map(|ground| (text(&ground.sentence), ground.support.map(|it| it.to_string()).unwrap_or_default())),
        warnings: state.notes.iter().filter(|note| note.level == Level::Warning).map(|note| text(&note.text)).collect(),
        candidate: candidate(state),
        facts: facts(state),
        legend: tallies(state, state.permutations()),
        controls: tallies(state, state.controls()),
        matrix: Matrix::of(state),
        causes: causes(state),
        rules: rules(state),
        cells,
        left_out: budget.left_out(),
    };
    let mut html = page.render().map_err(|error| error.to_string())?;
    html.push('\n');
    Ok(html.into_bytes())
}

/// Text of a guest, a matrix or a file on one line: nothing hidden in it, not too long.
fn text(dirty: &str) -> String {
    cut(&one_line(dirty), LINE)
}

/// A policy that lets this script run and no other, and nothing be fetched.
fn policy(script: &str) -> String {
    let digest = |text: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(sha2::Sha256::digest(text.as_bytes())));
    format!(
        "default-src 'none'; img-src data:; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
        digest(STYLE),
        digest(script)
    )
}

/// Those that need looking at first; else in the plan's order, controls last.
fn ranked(state: &RunState) -> Vec<&CellState> {
    let mut cells: Vec<&CellState> = state.cells.iter().collect();
    cells.sort_by_key(|cell| {
        let rank = match Mark::of_ended(state, cell) {
            Mark::Unhealthy => 0,
            Mark::Flaky => 1,
            Mark::Inconclusive => 2,
            Mark::Healthy => 3,
        };
        (rank, cell.is_control())
    });
    cells
}

impl Decided {
    fn of(state: &RunState) -> Self {
        let gate::Ruling { decision, reasons } = gate::ruling(state);
        let told = decided(state, decision, &reasons);
        // The leading reason is what the sentence says.
        let also = reasons.iter().skip(1).map(|reason| text(reason)).collect();
        let mark = Mark::of_decision(decision);
        Self { word: decision.as_str(), mark, told: text(&told), exit_code: decision.exit_code(), also }
    }
}

/// What was tested.
fn candidate(state: &RunState) -> Vec<(&'static str, String)> {
    let Some(start) = &state.start else { return Vec::new() };
    let mut rows = Vec::new();
    if let Some(name) = &start.candidate_name {
        rows.push(("Candidate", text(name)));
    }
    if let Some(sha256) = &start.candidate_sha256 {
        rows.push(("SHA-256", sha256.to_string()));
    }
    if let Some(about) = &start.candidate_about {
        rows.push(("What it is", text(&about.to_string())));
    }
    rows.push(("Whole update", start.update_sha256.to_string()));
    rows
}

/// Where, when and with what.
fn facts(state: &RunState) -> Vec<(&'static str, String)> {
    let Some(start) = &state.start else { return Vec::new() };
    let controls = state.controls().count();
    let and = if controls == 0 { String::new() } else { format!(" and {}", count(controls, "control")) };
    let mut rows = vec![
        ("Tested", format!("{}{and}, in {}", count(state.permutations().count(), "cell"), state.now)),
        ("Started", moment(&start.utc)),
    ];
    if !state.resumed.is_empty() {
        rows.push(("Resumed", state.resumed.iter().map(|(_, utc)| moment(utc)).collect::<Vec<_>>().join(", ")));
    }
    rows.push(("Lab", text(&format!("{}, {}", start.lab, start.accelerator))));
    rows.push(("Bootgate", text(&start.bootgate)));
    rows
}

/// A moment without what nobody reads.
fn moment(utc: &str) -> String {
    let seconds = utc.split_once('.').map_or(utc.trim_end_matches('Z'), |(seconds, _)| seconds);
    text(&format!("{} UTC", seconds.replacen('T', " ", 1)))
}

fn tallies<'a>(state: &RunState, cells: impl Iterator<Item = &'a CellState>) -> Vec<Tally> {
    let marks: Vec<Mark> = cells.map(|cell| Mark::of_ended(state, cell)).collect();
    let tally = |mark| Tally { mark, cells: marks.iter().filter(|found| **found == mark).count() };
    let kinds = [Mark::Unhealthy, Mark::Flaky, Mark::Inconclusive, Mark::Healthy];
    kinds.map(tally).into_iter().filter(|tally| tally.cells > 0).collect()
}

/// Cells that are not healthy, by their first cause, the most frequent first; what blames the update before the rest.
fn causes(state: &RunState) -> Vec<Cause> {
    let mut causes = Vec::new();
    for outcome in [Outcome::Unhealthy, Outcome::Inconclusive] {
        let all = state.cells.iter().filter_map(|cell| finding(state, cell));
        for (id, cells) in by_cause(all.filter(|found| found.outcome == outcome).collect()) {
            causes.push(Cause {
                mark: Mark::of_outcome(outcome),
                id: called(id),
                cells: cells.len(),
                named: cells.iter().take(NAMED).map(Named::of).collect(),
                advice: id.and_then(advice),
            });
        }
    }
    causes
}

impl Named {
    fn of(found: &Finding<'_>) -> Self {
        let told = found.lead.as_ref().map(|lead| text(&format!("{}: {}", lead.phase, lead.message)));
        Self { id: found.cell.planned.id.to_string(), told: told.unwrap_or_default() }
    }
}

fn rules(state: &RunState) -> Vec<(Mark, &'static str, String, Vec<String>)> {
    if state.start.as_ref().is_none_or(|start| start.policy.is_usual()) {
        return Vec::new();
    }
    let told = |rule: gate::RuleOutcome| {
        let cells = rule.cells.iter().take(NAMED).map(ToString::to_string).collect();
        let more = rule.cells.len().saturating_sub(NAMED);
        let and = if more > 0 { format!(" (and {more} more than are named)") } else { String::new() };
        (Mark::of_rule(rule.against), rule.rule, text(&rule.says) + &and, cells)
    };
    gate::assessment(state).rules.into_iter().map(told).collect()
}
