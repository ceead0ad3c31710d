use crate::{event::RunState, health::judge, model::Outcome};

/// Holds each recorded end that rules may let pass against the signals that led to it: healthy ones, those that were only slow,
/// and those in which the lab is said to have failed. Those that they do not prove become contradictions, which bar approval.
///
/// An attempt that bootgate's death ended before it was recorded what it came to counts as broken, if its signals prove that.
///
/// Only of a state that was read from a journal: a run in progress lets go of signals.
pub fn judge_again(state: &mut RunState) {
    for cell in &mut state.cells {
        for attempt in &mut cell.attempts {
            let Some(recorded) = attempt.end.as_ref().map(|end| &end.verdict) else {
                attempt.proven = Some(judge(&attempt.signals)).filter(|judged| judged.outcome == Outcome::Unhealthy);
                continue;
            };
            let word = match recorded.outcome {
                Outcome::Healthy => "healthy",
                Outcome::Unhealthy if recorded.is_only_slow() => "only slow",
                Outcome::Unhealthy => continue,
                Outcome::Inconclusive => "inconclusive",
            };
            let judged = judge(&attempt.signals);
            let is_so = match judged.outcome {
                Outcome::Healthy => true,
                Outcome::Unhealthy => recorded.is_only_slow() && judged.is_only_slow(),
                Outcome::Inconclusive => recorded.outcome == Outcome::Inconclusive,
            };
            if !is_so {
                let (id, number) = (&cell.planned.id, attempt.number);
                let what =
                    format!("`{id}`, attempt {number}, is recorded as {word}, and its signals do not prove that");
                state.contradictions.push(what);
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
        model::{Phase, ReasonId, Role, SignalKind},
    };

    #[test]
    fn a_healthy_end_that_its_signals_do_not_prove_is_not_believed() {
        let mut state = Story::of(&["a.p1"]).healthy("a.p1", 1).state();
        assert_eq!(decide(&state).decision, Decision::Approved);
        judge_again(&mut state);
        let ruling = decide(&state);
        assert_eq!(ruling.decision, Decision::Inconclusive);
        assert!(ruling.reasons[0].contains("`a.p1`, attempt 1, is recorded as healthy"), "{:?}", ruling.reasons);
    }

    #[test]
    fn a_broken_attempt_that_is_recorded_as_a_fault_of_the_labs_is_not_believed() {
        let mut story = Story::of(&["a.p1"]);
        story.start("a.p1", 1).until("a.p1", Phase::Boot).signal("a.p1", SignalKind::Panicked { bugcheck: None });
        let lost = crate::model::Reason {
            id: ReasonId::HostLost,
            phase: Phase::Boot,
            at: crate::model::Millis::ZERO,
            message: "the VM is gone".to_owned(),
            check: None,
        };
        story.end("a.p1", 1, crate::model::Verdict { outcome: Outcome::Inconclusive, reasons: vec![lost] });
        let mut state = story.state();
        judge_again(&mut state);
        assert_eq!(
            state.contradictions,
            ["`a.p1`, attempt 1, is recorded as inconclusive, and its signals do not prove that"]
        );
    }

    #[test]
    fn a_cell_that_broke_before_bootgate_died_and_is_healthy_when_it_is_resumed_is_flaky() {
        let mut story = Story::of(&["a.p1"]);
        story.start("a.p1", 1).until("a.p1", Phase::Boot).signal("a.p1", SignalKind::Panicked { bugcheck: None });
        let mut killed = story.state();
        judge_again(&mut killed);
        assert_eq!(killed.verdict(&killed.cells[0]).outcome, Outcome::Inconclusive, "it is to be run again");
        story.push(None, crate::event::RunEvent::RunResumed { utc: "2026-01-02T04:00:00Z".into() });
        let mut state = story.healthy("a.p1", 2).run_ended(Decision::Approved).state();
        judge_again(&mut state);
        assert!(state.cells[0].is_flaky());
        assert_eq!(state.cells[0].attempts[0].came_to().lead().map(|lead| lead.id), Some(ReasonId::StopError));
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
        let told = "the journal contradicts itself: line 3: `a.p1` set out with soak 0, and 1 was planned";
        assert_eq!(ruling.reasons, [told]);
        assert_eq!(second(1, &[]).decision, Decision::Inconclusive);
    }
}
