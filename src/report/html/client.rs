use askama::Template;

use super::{Mark, STYLE, policy, text};
use crate::{
    event::{CellState, Decision, RunState},
    gate,
    model::{Outcome, ReasonId, count},
    report::common::common_ground,
};

/// Most kinds of systems in the table: it has to stay one page.
const ROWS: usize = 20;

/// Most troubles, the most frequent first.
const TROUBLES: usize = 8;

/// Most systems that are named for one trouble.
const NAMED: usize = 8;

/// A run for somebody who has to decide, and has no use for how it was found.
#[derive(Template)]
#[template(path = "client.html")]
struct Page {
    policy: String,
    style: &'static str,
    what: String,
    mark: Mark,
    result: &'static str,
    told: String,
    recommendation: String,
    ground: Option<String>,
    facts: Vec<(&'static str, String)>,
    kind: String,
    rows: Vec<Row>,
    more_rows: usize,
    troubles: Vec<Trouble>,
    more_troubles: usize,
    run: String,
}

/// All systems of one kind.
struct Row {
    kind: String,
    tested: usize,
    works: usize,
    breaks: usize,
    unanswered: usize,
}

/// What went wrong on some systems, in everyday words.
struct Trouble {
    told: &'static str,
    on: String,
}

/// The page's bytes; the same events give the same bytes.
///
/// # Errors
/// If not even the run's start was recorded.
pub(in crate::report) fn render(state: &RunState) -> Result<Vec<u8>, String> {
    let start = state.start.as_ref().ok_or("the run's start was not recorded")?;
    let decision = gate::ruling(state).decision;
    let result = match decision {
        Decision::Approved => "Passed",
        Decision::Rejected => "Failed",
        Decision::Inconclusive | Decision::Cancelled => "No result",
    };
    let mut rows = rows(state);
    let more_rows = rows.len().saturating_sub(ROWS);
    rows.truncate(ROWS);
    let mut troubles = troubles(state);
    let more_troubles = troubles.len().saturating_sub(TROUBLES);
    troubles.truncate(TROUBLES);
    let page = Page {
        policy: policy(""),
        style: STYLE,
        what: text(start.candidate_name.as_deref().unwrap_or(&start.name)),
        mark: Mark::of_decision(decision),
        result,
        told: told(state, decision),
        recommendation: recommendation(state, decision),
        ground: common_ground(state)
            .filter(|ground| ground.support.is_some_and(|support| support.is_exact()))
            .map(|ground| text(&ground.sentence)),
        facts: facts(state),
        kind: state.permutations().find_map(kind).map_or("System".to_owned(), |(axis, _)| axis),
        rows,
        more_rows,
        troubles,
        more_troubles,
        run: state.run.to_string(),
    };
    let mut html = page.render().map_err(|error| error.to_string())?;
    html.push('\n');
    Ok(html.into_bytes())
}

fn systems(state: &RunState) -> String {
    count(state.permutations().count(), "system")
}

fn told(state: &RunState, decision: Decision) -> String {
    let all = systems(state);
    let broken = state.permutations().filter(|cell| is_broken(state, cell)).count();
    let works = |cell: &&CellState| state.verdict(cell).outcome == Outcome::Healthy && !is_broken(state, cell);
    let works = state.permutations().filter(works).count();
    match decision {
        // The approver's policy lets some pass.
        Decision::Approved if works < state.permutations().count() => {
            format!("The update works on {works} of {all}, and the rules it was tested by allow for the others.")
        }
        Decision::Approved => format!("The update works on {all}: each restarted and was well afterwards."),
        Decision::Rejected if broken > 0 => {
            format!("The update does harm on {broken} of {all}.")
        }
        Decision::Rejected => "The test does not meet what is asked of it.".to_owned(),
        Decision::Inconclusive => format!("Not all of {all} could be tested to the end."),
        Decision::Cancelled => "The test was stopped before its end.".to_owned(),
    }
}

fn recommendation(state: &RunState, decision: Decision) -> String {
    let steady = "Deploy it in stages all the same, a small group first.";
    match decision {
        Decision::Approved
            if state
                .permutations()
                .any(|cell| state.verdict(cell).outcome != Outcome::Healthy || is_broken(state, cell)) =>
        {
            format!("Install the update where it was found to work. {steady}")
        }
        Decision::Approved => format!("Install the update. {steady}"),
        Decision::Rejected if !state.permutations().any(|cell| is_broken(state, cell)) => {
            "Do not install the update yet. The test did not come up to the rules it was made by.".to_owned()
        }
        Decision::Rejected if state.permutations().all(|cell| is_broken(state, cell)) => {
            "Do not install the update. Ask its vendor for a corrected one, and have that tested.".to_owned()
        }
        Decision::Rejected => {
            "Do not install the update, also where it worked: wait for a corrected one, and have that \
                               tested."
                .to_owned()
        }
        Decision::Inconclusive | Decision::Cancelled => {
            "Do not install the update yet. The test has to be repeated; this says nothing against the update."
                .to_owned()
        }
    }
}

/// Unhealthy now or on an earlier try: no client should meet that by chance.
fn is_broken(state: &RunState, cell: &CellState) -> bool {
    state.verdict(cell).outcome == Outcome::Unhealthy || cell.earlier_with(Outcome::Unhealthy).next().is_some()
}

fn facts(state: &RunState) -> Vec<(&'static str, String)> {
    let Some(start) = &state.start else { return Vec::new() };
    let mut rows = Vec::new();
    if let Some(about) = start.candidate_about.as_ref().filter(|about| about.is_telling()) {
        rows.push(("What it is", text(&about.to_string())));
    }
    if let Some(sha256) = &start.candidate_sha256 {
        rows.push(("SHA-256 of the file", sha256.to_string()));
    }
    rows.push(("Date", text(start.utc.split('T').next().unwrap_or_default())));
    let restarts = state.permutations().map(|cell| u64::from(cell.planned.soak) + 1).max().unwrap_or(1);
    let times = if restarts == 1 { "once".to_owned() } else { format!("{restarts} times") };
    let compared = if start.uncontrolled { "" } else { " Each was compared with the same system without the update." };
    let how = format!("On a copy of {}: installed, restarted {times}, then checked.{compared}", systems(state));
    rows.push(("How", how));
    rows
}

/// What kind of system a cell is: its first axis.
fn kind(cell: &CellState) -> Option<(String, String)> {
    cell.planned.axes.first().map(|axis| (text(&axis.axis), text(&axis.value)))
}

/// A cell as a client names it: its axes' values.
fn name(cell: &CellState) -> String {
    let values: Vec<String> = cell.planned.axes.iter().map(|axis| text(&axis.value)).collect();
    if values.is_empty() { text(&cell.planned.image) } else { values.join(" ") }
}

fn rows(state: &RunState) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for cell in state.permutations() {
        let kind = kind(cell).map_or_else(|| name(cell), |(_, value)| value);
        let at = rows.iter().position(|row| row.kind == kind).unwrap_or_else(|| {
            rows.push(Row { kind, tested: 0, works: 0, breaks: 0, unanswered: 0 });
            rows.len() - 1
        });
        let row = &mut rows[at];
        row.tested += 1;
        match state.verdict(cell).outcome {
            _ if is_broken(state, cell) => row.breaks += 1,
            Outcome::Healthy => row.works += 1,
            Outcome::Unhealthy | Outcome::Inconclusive => row.unanswered += 1,
        }
    }
    // What breaks comes first, so that a cut table still says it.
    rows.sort_by_key(|row| (row.breaks == 0, row.unanswered == 0));
    rows
}

fn troubles(state: &RunState) -> Vec<Trouble> {
    let mut found: Vec<(&'static str, Vec<String>)> = Vec::new();
    for cell in state.permutations() {
        let told = match state.verdict(cell) {
            verdict if verdict.outcome != Outcome::Healthy => {
                verdict.lead().map_or("Nothing more is known", |lead| in_everyday_words(lead.id))
            }
            _ if is_broken(state, cell) => "It failed at first, and worked on another try",
            _ => continue,
        };
        match found.iter_mut().find(|(known, _)| *known == told) {
            Some((_, cells)) => cells.push(name(cell)),
            None => found.push((told, vec![name(cell)])),
        }
    }
    found.sort_by_key(|(_, on)| std::cmp::Reverse(on.len()));
    let trouble = |(told, mut on): (&'static str, Vec<String>)| {
        let more = on.len().saturating_sub(NAMED);
        on.truncate(NAMED);
        let and = if more > 0 { format!(" and {more} more") } else { String::new() };
        Trouble { told, on: format!("{}{and}", on.join(", ")) }
    };
    found.into_iter().map(trouble).collect()
}

fn in_everyday_words(id: ReasonId) -> &'static str {
    match id {
        ReasonId::UpdateFailed => "The update could not be installed",
        ReasonId::UpdateTimeout => "The installation did not come to an end",
        ReasonId::UpdateNotApplied => "The installation said that it succeeded, and the update is not there",
        ReasonId::RestartRefused => "The system could not be restarted",
        ReasonId::StopError => "The system stopped with a fatal error (a blue screen or kernel panic)",
        ReasonId::BootLoop => "The system restarts again and again",
        ReasonId::BootHang | ReasonId::BootTimeout => "The system does not finish starting",
        ReasonId::NoBootDevice => "The system finds nothing to start from",
        ReasonId::RecoveryScreen => "The system waits for somebody to repair it",
        ReasonId::PoweredOff => "The system turned itself off",
        ReasonId::AgentLost => "The system starts, and cannot be managed any more",
        ReasonId::LateCrash | ReasonId::CrashDump => "The system crashed, and came back",
        ReasonId::CheckFailed => "The system starts, and something that has to work does not",
        ReasonId::ServiceDown | ReasonId::ServiceFlapping => "The system starts, and a service does not stay up",
        ReasonId::EventLog => "The system starts, and reports new errors",
        ReasonId::SlowBoot => "The system takes much longer to start",
        ReasonId::MemoryGrowth => "The system uses much more memory",
        ReasonId::DiskFull | ReasonId::DiskReadonly => "A disk is full, or can no longer be written",
        ReasonId::ClockWrong => "The system's clock is wrong",
        ReasonId::NetworkDown => "The system has lost its network",
        ReasonId::ControlUnhealthy => "Not tested: this system is not well without the update either",
        ReasonId::ImageMissing
        | ReasonId::ImageChanged
        | ReasonId::StartFailed
        | ReasonId::OutOfSpace
        | ReasonId::HostLost
        | ReasonId::Cancelled
        | ReasonId::HarnessDied => "Not tested to the end; this is no fault of the update's",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::testing::{Story, controlled, nine};

    fn page(state: &RunState) -> String {
        String::from_utf8(render(state).unwrap()).unwrap()
    }

    #[test]
    fn a_client_reads_result_and_recommendation_and_nothing_of_how_it_was_found() {
        let page = page(&nine().state());
        for told in ["Failed", "The update does harm on 3 of 9 systems.", "Do not install the update", "patch = p3"] {
            assert!(page.contains(told), "{told} is missing");
        }
        for internal in ["stop-error", "control-", "kernel panic: sensor", "QEMU", "<script", "cells"] {
            assert!(!page.contains(internal), "{internal} is an internal");
        }
    }

    #[test]
    fn what_could_not_be_tested_is_not_held_against_the_update() {
        let mut story = Story::of(&["a.p1", "a.p2"]);
        story.healthy("a.p1", 1).run_ended(Decision::Inconclusive);
        let page = page(&story.state());
        assert!(page.contains("No result") && page.contains("says nothing against the update"), "{page}");
    }

    #[test]
    fn an_approval_is_said_plainly() {
        let mut story = Story::of(&["a.p1", "a.p2"]);
        story.healthy("a.p1", 1).healthy("a.p2", 1).run_ended(Decision::Approved);
        let page = page(&story.state());
        assert!(page.contains("Passed") && page.contains("Install the update."), "{page}");
        assert!(!page.contains("What went wrong"));
    }

    #[test]
    fn controls_are_no_systems_of_the_client() {
        assert!(page(&controlled().state()).contains("of 4 systems"));
    }
}
