use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Assessment, CellFacts, Descriptor, Evidence, Facts, Ledger, Opened, Opening, RuleOutcome, Ruling, Statement,
    TestOutcome, TestResult,
    decide::assess_run,
    rules::passing,
    statement::{PolicyFacts, RuleFacts, STATEMENT, TEST_RESULT},
};
use crate::{
    event::{Decision, Journal, RunState},
    model::{ApprovalPolicy, Cell, HostFile, Outcome, Plan, Rules, Sha256},
};

/// By what an approver decides.
#[derive(Clone, Debug)]
pub struct Approver<'a> {
    pub policy: &'a ApprovalPolicy,
    /// Of the policy's file; none: the matrix has it.
    pub policy_sha256: Option<&'a Sha256>,
    /// None: the policy has no rings.
    pub opening: Option<Opening<'a>>,
    /// What was signed before, revocations among it.
    pub ledger: &'a Ledger,
    pub now: OffsetDateTime,
}

impl Approver<'_> {
    fn rules(&self) -> &Rules {
        self.opening.as_ref().map_or(&self.policy.rules, |opening| &opening.ring.rules)
    }
}

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
    #[error(
        "the update brings no file into a guest, or none into one that was well: an approval is about files, named by their digests"
    )]
    NoFiles,
    #[error("the run was revoked at {utc}: {reason}")]
    Revoked { utc: String, reason: String },
    #[error("the run does not say when it ended: its times are no UTC times ({0})")]
    Times(String),
}

/// What is to be signed of a run: the decision, made again from its journal, and what it rests on.
///
/// `state` is the journal's, [judged again](super::judge_again); the plan is the one whose digest the journal has.
///
/// # Errors
/// [`Unsignable`].
pub fn approve(
    plan: &Plan,
    journal: &Journal,
    state: &RunState,
    approver: &Approver<'_>,
) -> Result<Statement, Unsignable> {
    let evidence = Evidence::of(state);
    let all = subject(plan, &|_| true);
    // A file that passed in no cell is not what is approved.
    let passed = passing(&evidence, approver.rules());
    let well = subject(plan, &|cell| passed.contains(&cell.id));
    if let Some(revocation) = approver.ledger.revokes_run(&state.run) {
        return Err(Unsignable::Revoked { utc: revocation.utc.clone(), reason: revocation.reason.clone() });
    }
    if all.is_empty() {
        return Err(Unsignable::NoFiles);
    }
    let opened = approver.opening.as_ref().map(|opening| opening.try_with(if well.is_empty() { &all } else { &well }));
    let Assessment { ruling, rules } = by_rules(state, opened.as_ref(), approver);
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
    let subject = if result == TestOutcome::Passed { well } else { all };
    if subject.is_empty() {
        return Err(Unsignable::NoFiles);
    }
    let Some(start) = &state.start else { return Err(Unsignable::Undecided(ruling)) };
    let ids = |passed: bool| {
        let cells = evidence.permutations().filter(move |cell| passed_or_failed(cell) == Some(passed));
        cells.map(|cell| cell.id.to_string()).collect()
    };
    let wrong = |error: time::error::Format| Unsignable::Times(error.to_string());
    let ended = evidence.ended.ok_or_else(|| Unsignable::Times(format!("it began at `{}`", start.utc)))?;
    let told = |rule: RuleOutcome| RuleFacts {
        rule: rule.rule.to_owned(),
        holds: rule.against.is_none(),
        says: rule.says,
        cells: rule.cells,
    };
    let policy = PolicyFacts {
        name: approver.policy.name.clone(),
        ring: approver.opening.as_ref().map(|opening| opening.ring.name.clone()),
        passed: opened.map(|opened| opened.passed).unwrap_or_default(),
        rules: rules.into_iter().map(told).collect(),
    };
    let (passed_tests, failed_tests) = (ids(true), ids(false));
    let facts = Facts {
        run: state.run.clone(),
        name: start.name.clone(),
        bootgate: env!("CARGO_PKG_VERSION").to_owned(),
        decision: ruling.decision,
        reasons: ruling.reasons,
        started: start.utc.clone(),
        ended: ended.format(&Rfc3339).map_err(wrong)?,
        journal_sha256: journal.sha256.clone(),
        plan_sha256: start.plan_sha256.clone(),
        update_sha256: start.update_sha256.clone(),
        lab: start.lab.clone(),
        accelerator: start.accelerator,
        cells: evidence.cells,
        policy: Some(policy),
        signed: Some(approver.now.format(&Rfc3339).map_err(wrong)?),
    };
    let mut configuration = configuration(plan, state, &start.plan_sha256);
    configuration.extend(approver.policy_sha256.map(|sha256| Descriptor::of("policy", sha256)));
    Ok(Statement {
        kind: STATEMENT.to_owned(),
        subject,
        predicate_type: TEST_RESULT.to_owned(),
        predicate: TestResult { result, configuration, passed_tests, failed_tests, bootgate: facts },
    })
}

/// By the rules of the ring that is to be opened, and by what came of those before it.
fn by_rules(state: &RunState, opened: Option<&Opened>, approver: &Approver<'_>) -> Assessment {
    let assessment = assess_run(state, approver.rules(), approver.now);
    match opened {
        None => assessment,
        Some(opened) => {
            let outcomes = assessment.rules.into_iter().chain([opened.outcome.clone()]);
            Assessment::of(outcomes.collect())
        }
    }
}

/// None: neither. A cell that broke once has failed, whatever it did on another try.
fn passed_or_failed(cell: &CellFacts) -> Option<bool> {
    if cell.outcome == Outcome::Unhealthy || cell.unhealthy_before {
        return Some(false);
    }
    (cell.outcome == Outcome::Healthy).then_some(true)
}

/// The files that the update's steps bring into these cells, the candidate first.
fn subject(plan: &Plan, of: &dyn Fn(&Cell) -> bool) -> Vec<Descriptor> {
    let is_candidate = |file: &HostFile| plan.candidate.as_ref().is_some_and(|one| one.sha256 == file.sha256);
    let name = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let steps = plan.cells.iter().filter(|cell| of(cell)).flat_map(|cell| &cell.update);
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

#[cfg(test)]
mod tests;
