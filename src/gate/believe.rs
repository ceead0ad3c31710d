use crate::{event::RunState, health::judge, model::Outcome};

/// Holds each recorded end that rules may let pass against the signals that led to it: healthy ones, and those that were only
/// slow. Those that they do not prove become contradictions, which bar approval.
///
/// Only of a state that was read from a journal: a run in progress lets go of signals.
pub fn judge_again(state: &mut RunState) {
    for cell in &state.cells {
        for attempt in &cell.attempts {
            let Some(recorded) = attempt.end.as_ref().map(|end| &end.verdict) else { continue };
            let word = match recorded.outcome {
                Outcome::Healthy => "healthy",
                Outcome::Unhealthy if recorded.is_only_slow() => "only slow",
                _ => continue,
            };
            let judged = judge(&attempt.signals);
            if judged.outcome != Outcome::Healthy && !(recorded.is_only_slow() && judged.is_only_slow()) {
                let id = &cell.planned.id;
                state.contradictions.push(format!("{id} is recorded as {word}, and its signals do not prove that"));
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
        model::{Role, SignalKind},
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

    #[test]
    fn a_cell_that_did_less_than_its_run_planned_is_not_approved() {
        let mut story = Story::of(&["a.p1"]);
        let planned = |soak, checks: &[String]| SignalKind::Planned {
            update_steps: 1,
            soak,
            checks: checks.to_vec(),
            evidence: vec![],
            implied: vec![],
            role: Role::Alone,
        };
        story.healthy("a.p1", 1);
        let sensor = ["sensor".to_owned()];
        let second = |soak, checks: &[String]| {
            let mut events = story.events.clone();
            let what = crate::event::RunEvent::Signal { signal: planned(soak, checks) };
            events.insert(2, crate::event::Event { what, ..events[1].clone() });
            decide(&RunState::of("r".into(), &events))
        };
        assert_eq!(second(1, &sensor).decision, Decision::Approved);
        let ruling = second(0, &sensor);
        assert_eq!(ruling.decision, Decision::Inconclusive);
        let told = "the journal contradicts itself: `a.p1` set out with soak 0, and 1 was planned";
        assert_eq!(ruling.reasons, [told]);
        assert_eq!(second(1, &[]).decision, Decision::Inconclusive);
    }
}
