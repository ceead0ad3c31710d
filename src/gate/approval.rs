use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    CellFacts, Descriptor, Facts, Ruling, Statement, TestOutcome, TestResult, ruling,
    statement::{STATEMENT, TEST_RESULT},
};
use crate::{
    event::{CellState, Decision, Journal, RunEvent, RunState},
    model::{HostFile, Outcome, Plan, Sha256},
};

/// Why a run has nothing that could be signed.
#[derive(Debug, thiserror::Error)]
pub enum Unsignable {
    #[error("the run is {}, and only what was approved or rejected is signed: {}", .0.decision.as_str(), .0.reasons.join("; "))]
    Undecided(Ruling),
    #[error("the journal contradicts itself, so nothing of it is signed: {0}")]
    Contradiction(String),
    #[error(
        "{0} was compared with no control, so nothing is signed: images have to show that they are well without the update"
    )]
    NotCompared(String),
    #[error("the update brings no file into a guest: an approval is about files, named by their digests")]
    NoFiles,
    #[error("the run does not say when it ended: its times are no UTC times ({0})")]
    Times(String),
}

/// What is to be signed of a run: the decision, made again from its journal, and what it rests on.
///
/// `state` is the journal's, [judged again](super::judge_again); the plan is the one whose digest the journal has.
///
/// # Errors
/// [`Unsignable`].
pub fn approve(plan: &Plan, journal: &Journal, state: &RunState) -> Result<Statement, Unsignable> {
    let ruling = ruling(state);
    let result = match ruling.decision {
        Decision::Approved => TestOutcome::Passed,
        Decision::Rejected => TestOutcome::Failed,
        Decision::Inconclusive | Decision::Cancelled => return Err(Unsignable::Undecided(ruling)),
    };
    if let Some(contradiction) = state.contradictions.first() {
        return Err(Unsignable::Contradiction(contradiction.clone()));
    }
    if let Some(cell) = state.permutations().find(|cell| cell.planned.role.is_alone()) {
        return Err(Unsignable::NotCompared(cell.planned.id.to_string()));
    }
    let subject = subject(plan);
    if subject.is_empty() {
        return Err(Unsignable::NoFiles);
    }
    let Some(start) = &state.start else { return Err(Unsignable::Undecided(ruling)) };
    let ids = |passed: bool| {
        let cells = state.permutations().filter(move |cell| passed_or_failed(state, cell) == Some(passed));
        cells.map(|cell| cell.planned.id.to_string()).collect()
    };
    let facts = Facts {
        run: state.run.clone(),
        name: start.name.clone(),
        bootgate: env!("CARGO_PKG_VERSION").to_owned(),
        decision: ruling.decision,
        reasons: ruling.reasons,
        started: start.utc.clone(),
        ended: ended(journal)?,
        journal_sha256: journal.sha256.clone(),
        plan_sha256: start.plan_sha256.clone(),
        update_sha256: start.update_sha256.clone(),
        lab: start.lab.clone(),
        accelerator: start.accelerator,
        cells: state.cells.iter().map(|cell| facts_of(state, cell)).collect(),
    };
    Ok(Statement {
        kind: STATEMENT.to_owned(),
        subject,
        predicate_type: TEST_RESULT.to_owned(),
        predicate: TestResult {
            result,
            configuration: configuration(plan, state, &start.plan_sha256),
            passed_tests: ids(true),
            failed_tests: ids(false),
            bootgate: facts,
        },
    })
}

/// None: neither. A cell that broke once has failed, whatever it did on another try.
fn passed_or_failed(state: &RunState, cell: &CellState) -> Option<bool> {
    let outcome = state.verdict(cell).outcome;
    if outcome == Outcome::Unhealthy || cell.earlier_with(Outcome::Unhealthy).next().is_some() {
        return Some(false);
    }
    (outcome == Outcome::Healthy).then_some(true)
}

fn facts_of(state: &RunState, cell: &CellState) -> CellFacts {
    let verdict = state.verdict(cell);
    let began = cell.attempts.last().and_then(|attempt| attempt.began());
    CellFacts {
        id: cell.planned.id.clone(),
        image: cell.planned.image.clone(),
        control: cell.is_control(),
        outcome: verdict.outcome,
        reasons: verdict.reasons,
        attempts: cell.attempts.len(),
        flaky: cell.is_flaky(),
        known_from: cell.known_from().cloned(),
        start: began.map(|(start, _)| start),
        seal: began.and_then(|(_, seal)| seal).map(str::to_owned),
        took_ms: cell.ended().map(|end| end.took).unwrap_or_default(),
    }
}

/// The files that the update's steps bring in, the candidate first.
fn subject(plan: &Plan) -> Vec<Descriptor> {
    let is_candidate = |file: &HostFile| plan.candidate.as_ref().is_some_and(|one| one.sha256 == file.sha256);
    let name = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let steps = plan.cells.iter().flat_map(|cell| &cell.update);
    let files = steps.flat_map(|step| step.kind.files()).map(|file| &file.from);
    let all: BTreeSet<(bool, String, &Sha256)> =
        files.map(|file| (!is_candidate(file), name(&file.path), &file.sha256)).collect();
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    all.iter().for_each(|(_, name, _)| *names.entry(name).or_default() += 1);
    // Names have to be unique in a statement.
    let unique = |name: &String, sha256: &Sha256| match names.get(name.as_str()) {
        Some(1) => name.clone(),
        _ => format!("{name} ({})", sha256.short()),
    };
    all.iter().map(|(_, name, sha256)| Descriptor::of(unique(name, sha256), sha256)).collect()
}

fn configuration(plan: &Plan, state: &RunState, plan_sha256: &Sha256) -> Vec<Descriptor> {
    let mut all = Vec::new();
    all.extend(plan.matrix_sha256.iter().map(|sha256| Descriptor::of("matrix", sha256)));
    all.extend(plan.catalog_sha256.iter().map(|sha256| Descriptor::of("catalogue", sha256)));
    all.push(Descriptor::of("plan", plan_sha256));
    for image in plan.images.values() {
        for (n, (_, sha256)) in image.chain().enumerate() {
            let below = if n == 0 { String::new() } else { format!(", {n} below") };
            all.push(Descriptor::of(format!("golden image {}{below}", image.name), sha256));
        }
        for (what, state) in [("UEFI variables", &image.nvram), ("TPM state", &image.tpm_state)] {
            let state = state.iter().map(|state| Descriptor::of(format!("{what} of {}", image.name), &state.sha256));
            all.extend(state);
        }
    }
    // A seal's key is a digest of all that makes it what it is, and not of a file.
    let began = state.cells.iter().filter_map(|cell| cell.attempts.last()?.began()?.1);
    let seals: BTreeSet<&str> = began.collect();
    all.extend(seals.into_iter().map(|key| Descriptor {
        name: format!("seal {key}"),
        digest: BTreeMap::new(),
        uri: Some(format!("urn:bootgate:seal:{key}")),
    }));
    all
}

/// When the run ended: the journal's clock counts from its start and leaves out the time until it was resumed.
fn ended(journal: &Journal) -> Result<String, Unsignable> {
    let anchor = journal.events.iter().rev().find_map(|event| match &event.what {
        RunEvent::RunStarted { start } => Some((event.at, &start.utc)),
        RunEvent::RunResumed { utc } => Some((event.at, utc)),
        _ => None,
    });
    let (Some((at, utc)), Some(last)) = (anchor, journal.events.last()) else {
        return Err(Unsignable::Times("it has no start".to_owned()));
    };
    let wrong = |why: String| Unsignable::Times(why);
    let from = OffsetDateTime::parse(utc, &Rfc3339).map_err(|error| wrong(error.to_string()))?;
    let ended = from.checked_add(last.at.since(at).as_duration().try_into().unwrap_or(time::Duration::MAX));
    let ended = ended.ok_or_else(|| wrong("its end lies beyond all calendars".to_owned()))?;
    ended.format(&Rfc3339).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests;
