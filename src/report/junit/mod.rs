//! `junit.xml`: a suite per cell, a case per phase and per check.
//!
//! The update's fault is a `<failure>`, the lab's fault an `<error>`, what was not reached is skipped.

mod cases;
mod output;

use std::time::Duration;

use quick_junit::{Report, TestSuite, XmlString};
use time::format_description::well_known::Rfc3339;

use crate::{
    event::{Attempt, CellState, RunStart, RunState},
    model::{one_line, plain},
};

/// The file's bytes; the same events give the same bytes.
///
/// # Errors
/// If not even the run's start was recorded.
pub fn render(state: &RunState) -> Result<Vec<u8>, String> {
    let start = state.start.as_ref().ok_or("the run's start was not recorded")?;
    let mut report = Report::new(xml(&start.name));
    report.set_time(state.now.as_duration());
    report.add_test_suites(state.cells.iter().map(|cell| suite(state, start, cell)));
    let mut bytes = Vec::new();
    report.serialize(&mut bytes).map_err(|error| error.to_string())?;
    without_skipped(&mut bytes);
    Ok(bytes)
}

/// Takes the sum of what was skipped out of the root; each suite has its own. Jenkins' xUnit plugin refuses a file whose
/// root has an attribute that is not in its schema (`junit-10.xsd`).
fn without_skipped(xml: &mut Vec<u8>) {
    let find = |from: usize, what: &[u8]| {
        let found = xml[from..].windows(what.len()).position(|window| window == what);
        found.map(|at| from + at)
    };
    // Quotes in names are escaped.
    const SKIPPED: &[u8] = b" skipped=\"";
    let Some(root) = find(0, b"<testsuites") else { return };
    let (Some(end), Some(begin)) = (find(root, b">"), find(root, SKIPPED)) else { return };
    if let Some(length) = find(begin + SKIPPED.len(), b"\"").filter(|quote| *quote < end) {
        xml.drain(begin..=length);
    }
}

fn suite(state: &RunState, start: &RunStart, cell: &CellState) -> TestSuite {
    let planned = &cell.planned;
    let last = cell.attempts.last();
    let mut suite = TestSuite::new(xml(planned.id.as_ref()));
    suite.set_time(cell.ended().map_or(Duration::ZERO, |end| end.took.as_duration()));
    if let Some(timestamp) = last.and_then(|attempt| began(state, attempt)) {
        suite.extra.insert("timestamp".into(), timestamp.into());
    }
    let mut property = |name: &str, value: &str| {
        suite.add_property((xml(name), xml(value)));
    };
    property("image", &planned.image);
    if cell.is_control() {
        property("control", "true");
    }
    if let Some(run) = cell.known_from() {
        property("known-from", run.as_ref());
    }
    if let Some((start, _)) = last.and_then(Attempt::began) {
        property("start", start.as_str());
    }
    for axis in &planned.axes {
        property(&axis.axis, &axis.value);
    }
    if let Some(name) = &start.candidate_name {
        property("candidate", name);
    }
    if let Some(sha256) = &start.candidate_sha256 {
        property("candidate.sha256", sha256.as_ref());
    }
    if let Some(about) = &start.candidate_about {
        property("candidate.about", &about.to_string());
    }
    property("update.sha256", start.update_sha256.as_ref());
    property("lab", &start.lab);
    property("accelerator", &start.accelerator.to_string());
    property("attempts", &cell.attempts.len().to_string());
    property("outcome", &state.verdict(cell).outcome.to_string());
    property("run", state.run.as_ref());

    let classname = format!("{}.{}", start.name, planned.id);
    suite.add_test_cases(cases::cases(state, cell, &classname));
    if let Some(text) = last.and_then(output::of_cell) {
        suite.set_system_out(block(&text));
    }
    suite
}

/// When the attempt began, to the second, as RFC 3339 in UTC.
fn began(state: &RunState, attempt: &Attempt) -> Option<String> {
    state.utc_of(attempt.started)?.replace_nanosecond(0).ok()?.format(&Rfc3339).ok()
}

/// For attributes: one line.
fn xml(text: &str) -> XmlString {
    XmlString::new(one_line(text))
}

/// For the text of an element.
fn block(text: &str) -> XmlString {
    XmlString::new(plain(text))
}

#[cfg(test)]
mod tests;
