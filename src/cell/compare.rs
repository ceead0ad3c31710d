use tokio::sync::watch;

use super::life::{Job, Lived};
use crate::{
    event::RunEvent,
    model::{ControlFacts, Outcome, ReasonId, Role, Signal, SignalKind},
};

/// How a control ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlEnd {
    pub outcome: Outcome,
    /// Its leading reason, if it is not healthy.
    pub reason: Option<ReasonId>,
    pub facts: Option<ControlFacts>,
}

/// Waits for the end of the control that this cell is compared with, and has the judge hear of it. To be called when
/// the cell's machine is gone: a control that is tried again may need its place.
pub async fn compare(job: &Job, lived: &mut Lived, control: Option<watch::Receiver<Option<ControlEnd>>>) {
    let (Role::Compared { .. }, Some(mut control)) = (&job.cell.role, control) else { return };
    let end = match control.wait_for(Option::is_some).await {
        Ok(end) => end.clone(),
        // Nobody will say any more: the judge misses it.
        Err(_) => None,
    };
    let Some(ControlEnd { outcome, reason, facts }) = end else { return };
    let what = SignalKind::ControlEnded { outcome, reason, facts };
    let at = job.emitter.emit(Some(&job.cell.id), RunEvent::Signal { signal: what.clone() });
    lived.judge.see(&Signal { at, what });
    lived.verdict = lived.judge.verdict();
}
