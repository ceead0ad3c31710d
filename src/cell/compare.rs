use super::{Emitter, life::Lived};
use crate::{
    event::RunEvent,
    model::{CellId, ControlFacts, Outcome, ReasonId, Signal, SignalKind},
};

/// How a control ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlEnd {
    pub outcome: Outcome,
    /// Its leading reason, if it is not healthy.
    pub reason: Option<ReasonId>,
    pub facts: Option<ControlFacts>,
}

/// Has the judge of a cell that has ended hear of the control that it is compared with.
pub fn compare(emitter: &Emitter, cell: &CellId, lived: &mut Lived, control: ControlEnd) {
    let ControlEnd { outcome, reason, facts } = control;
    let what = SignalKind::ControlEnded { outcome, reason, facts };
    let at = emitter.emit(Some(cell), RunEvent::Signal { signal: what.clone() });
    lived.judge.see(&Signal { at, what });
    lived.verdict = lived.judge.verdict();
}
