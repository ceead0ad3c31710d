use crate::{event::RunState, health::judge, model::Outcome};

/// Holds each recorded healthy end against the signals that led to it. Those that they do not prove become
/// contradictions, which bar approval.
///
/// Only of a state that was read from a journal: a run in progress lets go of signals.
pub fn judge_again(state: &mut RunState) {
    for cell in &state.cells {
        for attempt in &cell.attempts {
            let healthy = attempt.end.as_ref().is_some_and(|end| end.verdict.outcome == Outcome::Healthy);
            if healthy && judge(&attempt.signals).outcome != Outcome::Healthy {
                let id = &cell.planned.id;
                state.contradictions.push(format!("{id} is recorded as healthy, and its signals do not prove that"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Decision, testing::Story},
        gate::decide,
    };

    #[test]
    fn a_healthy_end_that_its_signals_do_not_prove_is_not_believed() {
        let mut state = Story::of(&["a.p1"]).healthy("a.p1", 1).state();
        assert_eq!(decide(&state).decision, Decision::Approved);
        judge_again(&mut state);
        let ruling = decide(&state);
        assert_eq!(ruling.decision, Decision::Inconclusive);
        assert!(ruling.reasons[0].contains("a.p1 is recorded as healthy"), "{:?}", ruling.reasons);
    }
}
