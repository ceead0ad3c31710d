use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestRerun};

use super::{block, output, xml};
use crate::{
    event::{Attempt, CellState, RunState},
    model::{Millis, Outcome, Phase, Reason, Subject, Verdict},
};

/// What one case is about.
enum Part<'a> {
    Phase(Phase),
    Check(&'a str),
}

impl Part<'_> {
    fn name(&self) -> String {
        match self {
            Part::Phase(phase) => phase.to_string(),
            Part::Check(id) => format!("check:{id}"),
        }
    }

    fn was_reached(&self, attempt: &Attempt) -> bool {
        match self {
            Part::Phase(phase) => attempt.phases.iter().any(|span| span.phase == *phase),
            Part::Check(id) => attempt.check(id).is_some(),
        }
    }

    fn was_done(&self, attempt: &Attempt) -> bool {
        match self {
            Part::Phase(phase) => attempt.phases.iter().any(|span| span.phase == *phase && span.done),
            Part::Check(id) => attempt.check(id).is_some_and(|step| step.result.is_some()),
        }
    }

    fn took(&self, attempt: &Attempt, now: Millis) -> Millis {
        match self {
            Part::Phase(phase) => {
                let spans = attempt.phases.iter().filter(|span| span.phase == *phase);
                Millis(spans.map(|span| span.took(now).0).sum())
            }
            Part::Check(id) => {
                attempt.check(id).and_then(|step| step.result.as_ref()).map_or(Millis::ZERO, |result| result.took)
            }
        }
    }

    fn owns(&self, subject: &Subject) -> bool {
        match (self, subject) {
            (Part::Phase(Phase::Setup), Subject::Setup { .. })
            | (Part::Phase(Phase::Apply), Subject::Update { .. }) => true,
            (Part::Check(mine), Subject::Check { id }) => mine == id,
            _ => false,
        }
    }
}

/// A reason as one case shows it.
struct Finding {
    kind: NonSuccessKind,
    reason: Reason,
}

/// Every case of a cell, in the order of its life.
pub(super) fn cases(state: &RunState, cell: &CellState, classname: &str) -> Vec<TestCase> {
    let verdict = state.verdict(cell);
    let parts = parts(cell);
    let last = cell.attempts.last();
    let mut findings: Vec<Vec<Finding>> = parts.iter().map(|_| Vec::new()).collect();
    for (reason, kind) in blame(&verdict) {
        findings[place(&reason, &parts, last)].push(Finding { kind, reason });
    }
    let mut cases: Vec<TestCase> = parts
        .iter()
        .zip(&findings)
        .map(|(part, findings)| {
            let mut case = TestCase::new(xml(&part.name()), status(cell, part, findings, &verdict));
            case.set_classname(xml(classname));
            if let Some(attempt) = last {
                case.set_time(part.took(attempt, state.now).as_duration());
                let (out, err) = output::of_steps(attempt.steps.iter().filter(|step| part.owns(&step.subject)));
                out.map(|text| case.set_system_out(block(&text)));
                err.map(|text| case.set_system_err(block(&text)));
            }
            case
        })
        .collect();
    let earlier =
        [Outcome::Inconclusive, Outcome::Unhealthy].into_iter().flat_map(|outcome| cell.earlier_with(outcome));
    for attempt in earlier {
        for (reason, kind) in blame(&attempt.came_to()) {
            let mut rerun = TestRerun::new(kind);
            rerun.set_type(xml(reason.id.as_str()));
            rerun.set_message(xml(&format!("attempt {}: {}", attempt.number, reason.message)));
            cases[place(&reason, &parts, Some(attempt))].status.add_rerun(rerun);
        }
    }
    cases.extend(flaky(cell, classname));
    cases
}

/// A case of its own for a cell that was unhealthy and then healthy: where it failed the others say so, as readers of
/// JUnit expect it, and pass; but the gate rejects it, so the suite must not be green.
fn flaky(cell: &CellState, classname: &str) -> Option<TestCase> {
    let first = cell.earlier_with(Outcome::Unhealthy).next().filter(|_| cell.is_flaky())?;
    let verdict = first.came_to();
    let id = verdict.lead().map_or("unhealthy", |lead| lead.id.as_str());
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_type("flaky");
    status.set_message(xml(&format!("{id} in attempt {}, healthy in a later one: not to be relied on", first.number)));
    let mut case = TestCase::new("flaky", status);
    case.set_classname(xml(classname));
    Some(case)
}

fn parts(cell: &CellState) -> Vec<Part<'_>> {
    let before = [Phase::Start, Phase::Settle, Phase::Setup, Phase::Apply, Phase::Restart, Phase::Boot];
    let soak = (1..=cell.planned.soak).map(Phase::Soak);
    let checks = cell.planned.checks.iter().map(|id| Part::Check(id));
    before.into_iter().chain(soak).map(Part::Phase).chain(checks).collect()
}

/// The verdict's reasons, each with whom it blames.
///
/// Whatever the reasons say, an unhealthy cell gets a failure, an inconclusive one only errors.
fn blame(verdict: &Verdict) -> Vec<(Reason, NonSuccessKind)> {
    if verdict.outcome == Outcome::Healthy {
        return Vec::new();
    }
    let blames_update =
        |reason: &Reason| verdict.outcome == Outcome::Unhealthy && reason.id.outcome() == Outcome::Unhealthy;
    let kind = |reason: &Reason| if blames_update(reason) { NonSuccessKind::Failure } else { NonSuccessKind::Error };
    let mut blamed: Vec<_> = verdict.reasons.iter().map(|reason| (reason.clone(), kind(reason))).collect();
    let fallback = match verdict.outcome {
        Outcome::Unhealthy => (crate::model::ReasonId::CheckFailed, NonSuccessKind::Failure),
        _ => (crate::model::ReasonId::HarnessDied, NonSuccessKind::Error),
    };
    if !blamed.iter().any(|(_, kind)| *kind == fallback.1) {
        match blamed.first_mut() {
            Some((_, kind)) => *kind = fallback.1,
            None => {
                let message = format!("{}, and no reason was recorded", verdict.outcome);
                let reason = Reason { id: fallback.0, phase: Phase::Check, at: Millis::ZERO, message, check: None };
                blamed.push((reason, fallback.1));
            }
        }
    }
    blamed
}

/// The case a reason belongs to: its own phase's, else the last one reached (watching, collecting and
/// destroying have no case of their own).
fn place(reason: &Reason, parts: &[Part<'_>], attempt: Option<&Attempt>) -> usize {
    let own = parts.iter().position(|part| match part {
        Part::Phase(phase) => reason.check.is_none() && *phase == reason.phase,
        Part::Check(id) => reason.check.as_deref() == Some(*id),
    });
    let is_boot = |part: &Part<'_>| matches!(part, Part::Phase(_)) || reason.phase != Phase::Watch;
    let last_reached = || {
        let attempt = attempt?;
        parts.iter().rposition(|part| is_boot(part) && part.was_reached(attempt))
    };
    let unanswered_check = || {
        let attempt = attempt.filter(|_| reason.phase == Phase::Check)?;
        parts.iter().position(|part| matches!(part, Part::Check(_)) && !part.was_done(attempt))
    };
    own.or_else(unanswered_check).or_else(last_reached).unwrap_or(0)
}

fn status(cell: &CellState, part: &Part<'_>, findings: &[Finding], verdict: &Verdict) -> TestCaseStatus {
    let lead = findings.iter().find(|finding| matches!(finding.kind, NonSuccessKind::Failure)).or(findings.first());
    if let Some(lead) = lead {
        let mut status = TestCaseStatus::non_success(lead.kind);
        status.set_type(xml(lead.reason.id.as_str()));
        status.set_message(xml(&lead.reason.message));
        let lines: Vec<String> = findings.iter().map(describe).collect();
        status.set_description(block(&lines.join("\n")));
        return status;
    }
    let mut skipped = TestCaseStatus::skipped();
    match cell.attempts.last() {
        None => skipped.set_message("the cell was never started"),
        Some(attempt) if part.was_done(attempt) => return TestCaseStatus::success(),
        Some(_) if cell.known_from().is_some() => skipped.set_message("known from an earlier run"),
        Some(_) if cell.is_control() && matches!(part, Part::Phase(Phase::Apply)) => {
            skipped.set_message("a control gets no update")
        }
        // An empty phase, such as a setup without steps, leaves no trace.
        Some(attempt) if !part.was_reached(attempt) && verdict.outcome == Outcome::Healthy => {
            skipped.set_message("nothing to do")
        }
        Some(attempt) if !part.was_reached(attempt) => skipped.set_message("not reached"),
        Some(_) => skipped.set_message("not finished"),
    };
    skipped
}

fn describe(finding: &Finding) -> String {
    let reason = &finding.reason;
    format!("{} in {} at {}: {}", reason.id, reason.phase, reason.at, reason.message)
}
