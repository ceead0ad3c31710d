//! A run as Markdown, for a pull request or a job's page: the decision first, and why.

mod grid;
mod words;

use crate::{
    event::{Counts, Level, RunStart, RunState},
    gate,
    model::{Outcome, count},
    report::{
        causes::{self, Finding, by_cause, called, permutations_with},
        common::common_ground,
        terminal::{Mark, advice, decided},
    },
};
use words::{Page, code, in_table, told};

/// Most bytes. A step's summary may have 1 MiB on GitHub, and a comment there 65,536 characters.
const MOST: usize = 60_000;

/// Most cells that are told for one cause; a matrix may have hundreds.
const CELLS: usize = 20;

/// Most notes about the whole run.
const NOTES: usize = 10;

/// The document's bytes; the same events give the same bytes.
///
/// # Errors
/// If not even the run's start was recorded.
pub(super) fn render(state: &RunState) -> Result<Vec<u8>, String> {
    let start = state.start.as_ref().ok_or("the run's start was not recorded")?;
    let mut page = Page::new(MOST);
    decision(&mut page, state);
    tested(&mut page, state, start);
    rules(&mut page, state);
    grid::grid(&mut page, state);
    page.line(&legend(state));
    failed(&mut page, permutations_with(state, Outcome::Unhealthy), "cell");
    if let Some(ground) = common_ground(state) {
        let support = ground.support.map(|support| format!(" {support}.")).unwrap_or_default();
        page.paragraph(&format!("**{}**{support}", told(&ground.sentence)));
    }
    flaky(&mut page, state);
    failed(&mut page, causes::controls(state), "control");
    failed(&mut page, permutations_with(state, Outcome::Inconclusive), "cell");
    notes(&mut page, state);
    let rest = "`report.html` has the whole run, `bootgate explain RUN CELL` one cell's story.";
    Ok(page.finish(&format!("{rest} Made by bootgate {}.", told(&start.bootgate))).into_bytes())
}

fn decision(page: &mut Page, state: &RunState) {
    let gate::Ruling { decision, reasons } = gate::ruling(state);
    let (mark, word) = (Mark::of_decision(decision), decision.as_str().to_uppercase());
    page.line(&format!("## {} {word}: {}", sign(mark), told(&decided(state, decision, &reasons))));
    page.line("");
    // The leading reason is what the line above says.
    for reason in reasons.iter().skip(1) {
        page.line(&format!("- also: {}", told(reason)));
    }
    page.line("");
}

fn tested(page: &mut Page, state: &RunState, start: &RunStart) {
    page.line("| | |");
    page.line("|---|---|");
    let mut row = |head: &str, value: &str| page.line(&format!("| {head} | {value} |"));
    row("matrix", &in_table(&start.name));
    if let Some(name) = &start.candidate_name {
        row("candidate", &in_table(name));
    }
    if let Some(sha256) = &start.candidate_sha256 {
        row("its SHA-256", &in_table(sha256.as_ref()));
    }
    if let Some(about) = start.candidate_about.as_ref().filter(|about| about.is_telling()) {
        row("what it is", &in_table(&about.to_string()));
    }
    row("everything under test", &in_table(start.update_sha256.as_ref()));
    row("run", &format!("{}, {} on {}", in_table(state.run.as_ref()), state.now, in_table(&start.lab)));
    page.line("");
}

/// By what was decided, where the matrix has rules of its own.
fn rules(page: &mut Page, state: &RunState) {
    if state.start.as_ref().is_none_or(|start| start.policy.is_usual()) {
        return;
    }
    for gate::RuleOutcome { rule, against, says, .. } in gate::assessment(state).rules {
        page.line(&format!("- {} {}: {}", sign(Mark::of_rule(against)), code(rule), told(&says)));
    }
    page.line("");
}

/// How many cells ended how.
fn legend(state: &RunState) -> String {
    let flaky = state.permutations().filter(|cell| cell.is_flaky()).count();
    let Counts { healthy, unhealthy, inconclusive } = state.final_counts();
    let of = |n: usize, mark: Mark| (n > 0).then(|| format!("{} {n} {}", sign(mark), mark.word()));
    let cells = [
        of(healthy.saturating_sub(flaky), Mark::Healthy),
        of(flaky, Mark::Flaky),
        of(unhealthy, Mark::Unhealthy),
        of(inconclusive, Mark::Inconclusive),
    ];
    let mut told: Vec<String> = cells.into_iter().flatten().collect();
    let controls = state.control_counts();
    if controls.total() > 0 {
        told.push(format!("{} of {} healthy", controls.healthy, count(controls.total(), "control")));
    }
    told.join(" · ")
}

/// Cells of one outcome (which are `what`), grouped by their first cause.
fn failed(page: &mut Page, all: Vec<Finding<'_>>, what: &str) {
    for (id, cells) in by_cause(all) {
        page.paragraph(&format!("### `{}`: {}", called(id), count(cells.len(), what)));
        let more = cells.len().saturating_sub(CELLS);
        for found in cells.iter().take(CELLS) {
            page.line(&item(found));
        }
        if more > 0 {
            page.line(&format!("- and {more} more, all in `result.json`"));
        }
        if let Some(advice) = id.and_then(advice) {
            page.paragraph(advice);
        }
    }
}

fn item(found: &Finding<'_>) -> String {
    let cell = code(found.cell.planned.id.as_ref());
    match &found.lead {
        Some(lead) => format!("- {cell} in {}: {}", lead.phase, code(&lead.message)),
        None => format!("- {cell}"),
    }
}

fn flaky(page: &mut Page, state: &RunState) {
    let flaky: Vec<String> =
        state.permutations().filter(|cell| cell.is_flaky()).map(|cell| code(cell.planned.id.as_ref())).collect();
    if flaky.is_empty() {
        return;
    }
    page.paragraph(&format!("### flaky: {}", count(flaky.len(), "cell")));
    page.line("Unhealthy first, healthy on another try: not to be relied on.");
    page.line("");
    for cell in flaky.iter().take(CELLS) {
        page.line(&format!("- {cell}"));
    }
    if flaky.len() > CELLS {
        page.line(&format!("- and {} more, all in `result.json`", flaky.len() - CELLS));
    }
}

fn notes(page: &mut Page, state: &RunState) {
    let retried = gate::retried_after_lab_fault(state);
    if retried > 0 {
        page.paragraph(&format!("{} healthy only after the lab had failed at first.", count(retried, "cell")));
    }
    let warnings = state.notes.iter().filter(|note| note.level == Level::Warning);
    for note in warnings.take(NOTES) {
        page.paragraph(&format!("Warning: {}", told(&note.text)));
    }
}

/// What shows Markdown shows more than ASCII.
fn sign(mark: Mark) -> &'static str {
    mark.glyph(true)
}

#[cfg(test)]
mod tests;
