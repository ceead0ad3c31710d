//! What only a control does: being known already, telling what it is like, being kept for later runs.

use super::{
    begin::{Way, spec},
    life::{Cellmate, Job},
    observe::Observer,
};
use crate::{
    clock::utc_now,
    event::Level,
    model::{ControlFacts, Outcome, ReasonId, Role, SignalKind, Verdict},
    seal::KnownControl,
};

/// The control is known from an earlier run that started from the same seal.
pub(super) async fn known(job: &Job, way: &Way) -> Option<SignalKind> {
    if job.cell.role != Role::Control {
        return None;
    }
    let KnownControl { run, utc, facts, .. } = kept(job, way).await?;
    Some(SignalKind::ControlKnown { run, utc, facts })
}

/// What is known of the control that a cell is compared with, when the cell begins: from this run or from an earlier one.
pub(super) async fn facts(job: &Job, way: &Way) -> Option<ControlFacts> {
    match (&job.cell.role, &job.control) {
        (Role::Compared { .. }, Some(facts)) => Some(facts.clone()),
        (Role::Compared { .. }, None) => kept(job, way).await.map(|known| known.facts),
        _ => None,
    }
}

async fn kept(job: &Job, way: &Way) -> Option<KnownControl> {
    let known = match (way.seal(), &job.seals) {
        (Some(seal), _) => seal.control(&job.cell),
        (None, Some(seals)) => seals.find(&job.cell, &spec(job, None)).await?.control(&job.cell),
        (None, None) => return None,
    };
    known.unwrap_or_else(|error| {
        job.note(Level::Info, format!("what is known of the control is not used: {error}"));
        None
    })
}

/// Tells what the machine is like. False: the judge is over.
pub(super) fn tell(watcher: &mut Observer, mate: &Cellmate<'_>) -> bool {
    if mate.job.cell.role != Role::Control {
        return true;
    }
    let activity = watcher.judge.activity();
    let facts = ControlFacts { settle: mate.first_boot(), activity, ..watcher.seen.clone() };
    watcher.seen = facts.clone();
    // What is worse on its cells nobody could see, and it would not be tried again.
    let untold = match &facts {
        facts if facts.guest.is_none() => Some("the guest did not say what it is like"),
        facts if facts.restart.is_zero() => Some("nobody knows how long its restart took"),
        _ => None,
    };
    watcher.emit(SignalKind::ControlFacts { facts });
    if let Some(what) = untold {
        let message = format!("nothing can be compared with it: {what}");
        watcher.emit(SignalKind::LabFault { reason: ReasonId::HarnessDied, message });
    }
    !watcher.judge.is_over()
}

/// Keeps a healthy control with the seal that it started from.
pub(super) async fn keep(watcher: &Observer, mate: &Cellmate<'_>, verdict: &Verdict) {
    let job = mate.job;
    let (Role::Control, Outcome::Healthy, Some(seal)) = (&job.cell.role, verdict.outcome, mate.seal()) else { return };
    let facts = &watcher.seen;
    if facts.settle.is_zero() || facts.restart.is_zero() || facts.activity.is_none() {
        return;
    }
    if let Err(error) = seal.keep_control(&job.cell, &job.run, utc_now(), facts) {
        watcher.note(Level::Info, format!("the control will be run again: {error}"));
    }
}
