use super::*;
use crate::{
    event::{RunEvent, StopCause, testing::Story},
    model::{Phase, ReasonId},
};

/// Two cells, whose controls are well.
fn two() -> Story {
    let mut story = Story::of(&["control-a-p1", "control-b-p1", "a.p1", "b.p1"]);
    story.known("control-a-p1").known("control-b-p1");
    story
}

fn unhealthy<'a>(story: &'a mut Story, cell: &str, attempt: u32) -> &'a mut Story {
    story.failed(cell, attempt, Phase::Boot, ReasonId::StopError, "kernel panic")
}

fn inconclusive<'a>(story: &'a mut Story, cell: &str, attempt: u32) -> &'a mut Story {
    story.failed(cell, attempt, Phase::Start, ReasonId::StartFailed, "no agent")
}

fn decided(story: &Story) -> (Decision, Vec<String>) {
    let Ruling { decision, reasons } = decide(&story.state());
    (decision, reasons)
}

#[test]
fn every_cell_healthy_is_approved_and_nothing_else_is() {
    let mut story = two();
    story.healthy("a.p1", 1);
    assert_eq!(decided(&story).0, Decision::Inconclusive, "a cell without an answer");
    story.healthy("b.p1", 1);
    assert_eq!(decided(&story), (Decision::Approved, vec![]));
}

#[test]
fn one_unhealthy_cell_rejects_even_among_inconclusive_ones() {
    let mut story = two();
    inconclusive(unhealthy(&mut story, "a.p1", 1), "b.p1", 1);
    assert_eq!(
        decided(&story),
        (Decision::Rejected, vec!["1 of 2 cells unhealthy".to_owned(), "1 of 2 cells inconclusive".to_owned()])
    );
}

#[test]
fn a_flaky_cell_rejects_but_a_lab_fault_before_a_healthy_try_does_not() {
    let mut story = two();
    inconclusive(&mut story, "a.p1", 1).healthy("a.p1", 2).healthy("b.p1", 1);
    assert_eq!(decided(&story).0, Decision::Approved);
    assert_eq!(retried_after_lab_fault(&story.state()), 1);

    let mut story = two();
    unhealthy(&mut story, "a.p1", 1).healthy("a.p1", 2).healthy("b.p1", 1);
    assert_eq!(decided(&story).0, Decision::Rejected);
    assert_eq!(decided(&story).1, ["1 of 2 cells flaky: unhealthy first, healthy on another try"]);
}

#[test]
fn a_last_try_counts_even_if_an_earlier_one_was_better() {
    let mut story = two();
    unhealthy(story.healthy("a.p1", 1).healthy("b.p1", 1), "a.p1", 2);
    assert_eq!(decided(&story).0, Decision::Rejected);
}

#[test]
fn an_interruption_outranks_a_rejection_but_fail_fast_does_not_hide_one() {
    for (why, decision) in [(StopCause::Interrupted, Decision::Cancelled), (StopCause::FailFast, Decision::Rejected)] {
        let mut story = two();
        unhealthy(&mut story, "a.p1", 1).push(None, RunEvent::RunStopping { why });
        assert_eq!(decided(&story).0, decision, "{why:?}");
    }
    let mut story = two();
    story.push(None, RunEvent::RunStopping { why: StopCause::Interrupted });
    story.push(None, RunEvent::RunStopping { why: StopCause::FailFast });
    assert_eq!(decided(&story).0, Decision::Cancelled, "whichever came last");
}

#[test]
fn a_control_that_is_not_healthy_bars_approval_and_is_no_cell_of_the_update() {
    let mut story = Story::of(&["control-a-p1", "control-b-p1", "a.p1", "b.p1"]);
    story.known("control-a-p1").healthy("a.p1", 1).healthy("b.p1", 1);
    assert_eq!(decided(&story), (Decision::Inconclusive, vec!["1 of 2 controls inconclusive".to_owned()]));
    // Nor is one that cannot be.
    unhealthy(&mut story, "control-b-p1", 1);
    assert_eq!(decided(&story), (Decision::Inconclusive, vec!["1 of 2 controls inconclusive".to_owned()]));
    story.healthy("control-b-p1", 2);
    assert_ne!(decided(&story).0, Decision::Approved, "flaky");

    let mut story = Story::of(&["control-a-p1", "a.p1"]);
    story.healthy("control-a-p1", 1).healthy("a.p1", 1);
    assert_eq!(decided(&story), (Decision::Approved, vec![]));
    let mut story = Story::of(&["control-a-p1"]);
    assert_eq!(decided(story.healthy("control-a-p1", 1)).0, Decision::Inconclusive, "controls alone prove nothing");
}

#[test]
fn without_controls_nothing_is_approved() {
    let mut story = two();
    story.healthy("a.p1", 1).healthy("b.p1", 1);
    if let RunEvent::RunStarted { start } = &mut story.events[0].what {
        start.uncontrolled = true;
    }
    let mut alone = Story::of(&["a.p1"]);
    alone.healthy("a.p1", 1).run_ended(Decision::Approved);
    let asked = assess_run(&alone.state(), &Rules::default(), time::macros::datetime!(2026-01-03 0:00 UTC));
    assert_eq!(asked.ruling.decision, Decision::Inconclusive, "it has no control");
    let reason = "control: off: nothing was compared with a control";
    assert_eq!(decided(&story), (Decision::Inconclusive, vec![reason.to_owned()]));
    unhealthy(&mut story, "a.p1", 2);
    assert_eq!(decided(&story).0, Decision::Rejected);
}

#[test]
fn a_run_without_cells_proves_nothing() {
    assert_eq!(decided(&Story::of(&[])).0, Decision::Inconclusive);
    assert_eq!(decide(&RunState::new("r1".into())).decision, Decision::Inconclusive);
}

#[test]
fn a_journal_that_contradicts_itself_is_not_approved() {
    let mut story = two();
    story.healthy("a.p1", 1).healthy("b.p1", 1).start("ghost", 1);
    assert_eq!(decided(&story).0, Decision::Inconclusive);
}

#[test]
fn a_killed_run_is_never_approved_and_a_recorded_decision_never_improved() {
    let mut story = two();
    story.healthy("a.p1", 1).healthy("b.p1", 1);
    let killed = ruling(&story.state());
    assert_eq!((killed.decision, killed.reasons.len()), (Decision::Inconclusive, 1));
    story.run_ended(Decision::Rejected);
    assert_eq!(ruling(&story.state()).decision, Decision::Rejected);

    let mut story = two();
    story.healthy("a.p1", 1).run_ended(Decision::Approved);
    assert_eq!(ruling(&story.state()).decision, Decision::Inconclusive, "a forged end approves nothing");

    let mut story = two();
    story.healthy("a.p1", 1).healthy("b.p1", 1).run_ended(Decision::Approved);
    assert_eq!(ruling(&story.state()), Ruling { decision: Decision::Approved, reasons: vec![] });
}
