//! Whether Windows' servicing did what a step of the update asked of it: the packages that it knows are listed before the
//! step, after it, and after the restart.

use std::time::Duration;

use super::{life::Cellmate, observe::Observer, patience::Deadline, settle, step};
use crate::{
    guest::{Installation, Packages},
    model::{Exit, Output, ReasonId, SignalKind, StepKind, Subject},
};

/// How long the guest may take to list thousands of packages.
const PATIENCE: Duration = Duration::from_secs(120);

/// Most that is read of such a list, in bytes: about 230 for each package, of which an old server has ten thousand.
const LIST: usize = 16 << 20;

/// The packages around one step of the update, as far as the guest told them.
#[derive(Clone, Debug, Default)]
pub(super) struct Around {
    before: Option<Packages>,
    after: Option<Packages>,
}

/// Before a step that is to be proven. None: the judge is over.
pub(super) async fn before(watcher: &mut Observer, mate: &Cellmate<'_>, subject: &Subject) -> Option<()> {
    if let Some(step) = proven(mate, subject) {
        let before = loop {
            if let Some(before) = list(watcher, mate).await? {
                break before;
            }
            // Not the candidate's doing, unless a step before has reset the machine.
            if watcher.judge.is_settled() {
                let message =
                    "the guest does not list the packages of Windows: nothing would prove the update".to_owned();
                watcher.emit(SignalKind::LabFault { reason: ReasonId::StartFailed, message });
                return None;
            }
            if !settle::settle(watcher, mate).await {
                return None;
            }
        };
        mate.set_serviced(step, Around { before: Some(before), after: None });
    }
    Some(())
}

/// After it has ended. None: the judge is over.
pub(super) async fn after(watcher: &mut Observer, mate: &Cellmate<'_>, subject: &Subject, exit: &Exit) -> Option<()> {
    if let (Some(step), Exit::Code { .. }) = (proven(mate, subject), exit) {
        let Around { before, .. } = mate.serviced(step);
        let after = list(watcher, mate).await?;
        mate.set_serviced(step, Around { before, after });
    }
    Some(())
}

/// What came of the `step`-th step of the update: 0 if it installed what it was to install. None: the judge is over.
pub(super) async fn ask(watcher: &mut Observer, mate: &Cellmate<'_>, step: usize) -> Option<(Exit, Output)> {
    // A control has no such step.
    let Some(before) = mate.serviced(step).before else {
        return Some(step::refused("which packages Windows had before the step is not known"));
    };
    let after = mate.serviced(step).after;
    let now = list(watcher, mate).await?;
    // What the reset is, the judge says.
    if !watcher.judge.is_settled() {
        return Some((Exit::AgentGone, Output::default()));
    }
    let came = now.map(|now| before.installed(after.as_ref(), &now));
    match came {
        Some(Installation::Done(stdout)) => Some((Exit::Code { code: 0 }, Output { stdout, ..Output::default() })),
        Some(Installation::NotDone(stderr)) => Some((Exit::Code { code: 1 }, Output { stderr, ..Output::default() })),
        Some(Installation::Unknown(why)) => unanswered(watcher, why),
        None => unanswered(watcher, "the guest does not list the packages of Windows".to_owned()),
    }
}

/// The machine is up and nobody knows whether the update is in place: no fault of the update's.
fn unanswered<T>(watcher: &mut Observer, why: String) -> Option<T> {
    let message = format!("{why}: nothing proves the update");
    watcher.emit(SignalKind::LabFault { reason: ReasonId::HarnessDied, message });
    None
}

/// The step's number, if a check will ask what came of it.
fn proven(mate: &Cellmate<'_>, subject: &Subject) -> Option<usize> {
    let Subject::Update { step } = *subject else { return None };
    let checks = &mate.job.cell.health.checks;
    checks.iter().any(|check| check.kind == StepKind::Serviced { step }).then_some(step)
}

/// None: the judge is over. Some(None): the guest did not tell all of it.
async fn list(watcher: &mut Observer, mate: &Cellmate<'_>) -> Option<Option<Packages>> {
    let Some(command) = mate.family.packages(&mate.tag()) else { return Some(None) };
    let deadline = Deadline::new(&mate.job.lab, PATIENCE);
    let (exit, output) = step::execute_up_to(watcher, mate, &command, &deadline, LIST).await?;
    watcher.drain();
    // Of a list that was cut each package that is missing would have changed.
    let is_whole = exit == (Exit::Code { code: 0 }) && !output.truncated;
    Some(if is_whole { mate.family.read_packages(&output.stdout) } else { None })
}
