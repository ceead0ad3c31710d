//! What only a control does: being known already, telling what it is like, being kept for later runs.

use std::time::Duration;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::Instant;

use super::{
    begin::{Way, spec},
    life::{Cellmate, Job},
    observe::Observer,
    step,
};
use crate::{
    event::Level,
    guest,
    model::{ControlFacts, Exit, Millis, Outcome, Role, SignalKind, Verdict},
    seal::KnownControl,
};

/// How long the guest may take to say what runs in it.
const INVENTORY: Duration = Duration::from_secs(60);

/// The control is known from an earlier run that started from the same seal.
pub(super) async fn known(job: &Job, way: &Way) -> Option<SignalKind> {
    if job.cell.role != Role::Control {
        return None;
    }
    let known = match (way.seal(), &job.seals) {
        (Some(seal), _) => seal.control(&job.cell),
        (None, Some(seals)) => seals.find(&job.cell, &spec(job, None)).await?.control(&job.cell),
        (None, None) => None,
    };
    known.map(|KnownControl { run, utc, facts, .. }| SignalKind::ControlKnown { run, utc, facts })
}

/// Tells what the machine is like, with all that is its own doing behind it. False: the judge is over.
pub(super) async fn tell(watcher: &mut Observer, mate: &Cellmate<'_>) -> bool {
    if mate.job.cell.role != Role::Control {
        return true;
    }
    let mut facts = ControlFacts { settle: mate.first_boot(), ..watcher.seen.clone() };
    let command = mate.family.inventory(&mate.tag());
    let deadline = Instant::now() + INVENTORY;
    match step::execute(watcher, mate, &command, deadline).await {
        None => return false,
        Some((Exit::Code { code: 0 }, output)) => guest::read_inventory(&output.stdout, &mut facts),
        Some((exit, _)) => watcher.note(Level::Info, format!("what runs in the control is not known: {exit:?}")),
    }
    watcher.seen = facts.clone();
    watcher.emit(SignalKind::ControlFacts { facts });
    !watcher.judge.is_over()
}

/// Keeps a healthy control with the seal that it started from.
pub(super) async fn keep(watcher: &Observer, mate: &Cellmate<'_>, verdict: &Verdict) {
    let job = mate.job;
    let (Role::Control, Outcome::Healthy, Some(seal)) = (&job.cell.role, verdict.outcome, mate.seal()) else { return };
    if watcher.seen.settle == Millis::ZERO {
        return;
    }
    let utc = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
    if let Err(error) = seal.keep_control(&job.cell, &job.run, utc, &watcher.seen) {
        watcher.note(Level::Info, format!("the control will be run again: {error}"));
    }
}
