use super::*;
use crate::{
    event::{
        Decision, StopCause,
        testing::{self, Story},
    },
    model::{Outcome, Phase, Progress, ReasonId, Role},
};

#[test]
fn a_cell_knows_its_phases_steps_and_how_long_they_took() {
    let state = Story::of(&["a.p1"]).healthy("a.p1", 1).state();
    let attempt = &state.cells[0].attempts[0];
    assert!(attempt.phases.iter().all(|span| span.done), "{:?}", attempt.phases);
    assert_eq!(attempt.phases[0].took(state.now), Millis(1050));
    assert_eq!(attempt.phases.iter().map(|span| span.phase).collect::<Vec<_>>()[5..7], [Phase::Boot, Phase::Soak(1)]);
    assert!(attempt.check("sensor").unwrap().result.as_ref().unwrap().ok);
    assert_eq!(state.contradictions, Vec::<String>::new());
}

#[test]
fn of_a_machine_that_was_given_up_only_a_note_is_left() {
    let state = testing::controlled().state();
    let attempt = &state.cell(&"os-8.p2".into()).unwrap().attempts[0];
    assert_eq!(attempt.phases.iter().filter(|span| span.phase == Phase::Start).count(), 1);
    assert_eq!(attempt.steps.len(), 1);
    assert_eq!(attempt.began(), Some((crate::model::Start::Cold, None)));
    let note = "started over from power-on: the clone's memory could not be read";
    assert_eq!(attempt.notes.iter().map(|note| note.text.as_str()).collect::<Vec<_>>(), [note]);
}

#[test]
fn what_the_last_restart_took_is_not_known_of_a_guest_that_got_next_to_nothing() {
    let cost = |took, waited| {
        let (took, waited) = (Millis(took), Millis(waited));
        SignalKind::BootCost { took, waited, probe_us: None, cpu: Millis(1) }
    };
    let mut story = Story::of(&["a.p1"]);
    story.start("a.p1", 1).signal("a.p1", cost(20_000, 0)).signal("a.p1", cost(40_000, 10_000));
    let last = |story: &Story| story.state().cells[0].attempts[0].last_restart();
    assert_eq!(last(&story), Some(Millis(30_000)));
    story.signal("a.p1", cost(80_000, 75_000));
    assert_eq!(last(&story), None);
}

#[test]
fn controls_are_counted_by_themselves() {
    let state = testing::controlled().state();
    assert_eq!(state.counts(), crate::event::Counts { healthy: 1, unhealthy: 1, inconclusive: 2 });
    assert_eq!(state.final_counts(), state.counts());
    assert_eq!(state.control_counts(), crate::event::Counts { healthy: 2, unhealthy: 0, inconclusive: 2 });
    let known: Vec<_> = state.cells.iter().map(|cell| cell.known_from().is_some()).collect();
    assert_eq!(known, [true, false, false, false, false, false, false, false]);
}

#[test]
fn a_phase_that_failed_lasts_until_the_cell_ends() {
    let state = Story::of(&["a.p1"]).failed("a.p1", 1, Phase::Boot, ReasonId::BootHang, "x").state();
    let last = state.cells[0].attempts[0].phases.last().unwrap();
    assert_eq!((last.phase, last.done, last.took(Millis(u64::MAX))), (Phase::Boot, false, Millis(1050)));
}

#[test]
fn a_cell_that_began_and_never_ended_died_with_the_harness() {
    let mut story = Story::of(&["a.p1", "b.p1"]);
    let state = story.start("a.p1", 1).until("a.p1", Phase::Restart).state();
    let verdicts: Vec<_> = state.cells.iter().map(|cell| state.verdict(cell)).collect();
    assert_eq!(verdicts[0].outcome, Outcome::Inconclusive);
    let leads: Vec<_> = verdicts.iter().map(|v| (v.lead().unwrap().id, v.lead().unwrap().phase)).collect();
    assert_eq!(leads, [(ReasonId::HarnessDied, Phase::Restart), (ReasonId::HarnessDied, Phase::Start)]);
    assert_eq!(state.final_counts().total(), 2);
    assert_eq!(state.counts().total(), 0);
}

#[test]
fn a_cell_that_never_began_before_the_run_ended_was_cancelled() {
    let mut story = Story::of(&["a.p1", "b.p1"]);
    story.healthy("a.p1", 1).push(None, RunEvent::RunStopping { why: StopCause::Interrupted });
    let state = story.run_ended(Decision::Cancelled).state();
    assert_eq!(state.verdict(&state.cells[1]).lead().unwrap().id, ReasonId::Cancelled);
}

#[test]
fn a_resumed_run_runs_the_dead_cell_again_and_it_is_not_flaky() {
    let mut story = Story::of(&["a.p1"]);
    story.start("a.p1", 1).until("a.p1", Phase::Boot);
    story.push(None, RunEvent::RunResumed { utc: "2026-01-02T04:00:00Z".into() });
    let state = story.healthy("a.p1", 2).run_ended(Decision::Approved).state();
    assert_eq!(state.final_counts().healthy, 1);
    assert!(!state.cells[0].is_flaky());
    assert_eq!(state.cells[0].earlier_with(Outcome::Inconclusive).count(), 1);
    assert_eq!(state.contradictions, Vec::<String>::new());
}

#[test]
fn a_cell_that_begins_again_before_it_ended_although_nobody_resumed_the_run_is_a_contradiction() {
    let mut story = Story::of(&["a.p1"]);
    story.start("a.p1", 1).until("a.p1", Phase::Boot);
    let found = story.healthy("a.p1", 2).state().contradictions;
    assert!(found.len() == 1 && found[0].ends_with(": `a.p1` began again before it had ended"), "{found:?}");
    assert!(found[0].starts_with("line "), "{found:?}");
}

#[test]
fn what_cannot_be_is_kept_as_a_contradiction() {
    let mut story = Story::of(&["a.p1"]);
    story.start("ghost", 1).signal("a.p1", SignalKind::Reset);
    story.run_ended(Decision::Approved).start("a.p1", 1);
    let found = story.state().contradictions;
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("`ghost`, which nobody planned"), "{found:?}");
    assert!(found[1].contains("`a.p1`, which was not running"), "{found:?}");
    assert!(found[2].contains("after the run had ended"), "{found:?}");
    assert_eq!(Story::of(&["a.p1", "a.p1"]).state().contradictions, ["two cells were planned as `a.p1`"]);
}

/// The signal of a cell that sets out like this.
fn sets_out(soak: u32, checks: &[&str], role: Role) -> SignalKind {
    let checks = checks.iter().map(|&check| check.to_owned()).collect();
    SignalKind::Planned { update_steps: 1, soak, checks, evidence: vec![], implied: vec![], role }
}

#[test]
fn a_cell_that_sets_out_to_do_something_else_than_was_planned_is_a_contradiction() {
    let compared = || Role::Compared { with: "control-os-9-p1".into() };
    let found = |soak, checks: &[&str], role| {
        let mut story = Story::of(&["control-os-9-p1", "os-9.p1"]);
        story.start("os-9.p1", 1).signal("os-9.p1", sets_out(soak, checks, role)).state().contradictions
    };
    assert_eq!(found(1, &["sensor"], compared()), Vec::<String>::new());
    let one = |soak, checks: &[&str], role, told: &str| {
        let found = found(soak, checks, role);
        assert!(found.len() == 1 && found[0] == format!("line 3: `os-9.p1` set out {told}"), "{found:?}");
    };
    one(0, &["sensor"], compared(), "with soak 0, and 1 was planned");
    one(1, &[], compared(), "with the checks [], and [sensor] was planned");
    one(1, &["sensor", "b"], compared(), "with the checks [sensor, b], and [sensor] was planned");
    one(
        1,
        &["sensor"],
        Role::Alone,
        "as a cell that is judged alone, and was planned as a cell that is compared with `control-os-9-p1`",
    );
    assert_eq!(found(3, &[], Role::Control).len(), 3);
}

#[test]
fn a_cell_that_is_compared_with_no_control_of_its_image_is_a_contradiction() {
    let found = |with: &str| {
        let mut story = Story::of(&["control-os-8-p1", "control-os-9-p1", "os-9.p1"]);
        let RunEvent::RunStarted { start } = &mut story.events[0].what else { panic!("no start") };
        start.cells[2].role = Role::Compared { with: with.into() };
        story.state().contradictions.join(", ")
    };
    assert_eq!(found("control-os-9-p1"), "");
    assert_eq!(found("nobody"), "`os-9.p1` was to be compared with `nobody`, which nobody planned");
    assert_eq!(found("os-9.p1"), "`os-9.p1` was to be compared with `os-9.p1`, which is no control");
    assert!(found("control-os-8-p1").ends_with("which is the control of another image"));
}

#[test]
fn attempts_that_are_not_counted_from_one_or_end_as_another_are_contradictions() {
    let found = |story: &mut Story| story.state().contradictions.join(", ");
    assert_eq!(found(&mut testing::three()), "");
    let second = found(Story::of(&["a.p1"]).healthy("a.p1", 2));
    assert_eq!(second, "line 2: `a.p1` began as attempt 2 where attempt 1 belongs");
    let mut again = Story::of(&["a.p1"]);
    again.failed("a.p1", 1, Phase::Boot, ReasonId::HostLost, "x").healthy("a.p1", 1);
    assert!(found(&mut again).ends_with(": `a.p1` began as attempt 1 where attempt 2 belongs"));
    let healthy = crate::model::Verdict { outcome: Outcome::Healthy, reasons: vec![] };
    let mut other = Story::of(&["a.p1"]);
    other.start("a.p1", 1).end("a.p1", 7, healthy);
    assert_eq!(found(&mut other), "line 3: `a.p1` ended its attempt 7, and attempt 1 ran");
}

#[test]
fn the_time_left_follows_from_the_cells_that_ended() {
    let mut story = Story::of(&["a.p1", "b.p1", "c.p1", "d.p1"]);
    assert_eq!(story.state().time_left(Millis(0)), None);
    story.healthy("a.p1", 1);
    let took = story.state().cells[0].ended().unwrap().took;
    story.start("b.p1", 1).start("c.p1", 1);
    let now = story.state().now;
    // Two run side by side and one waits: half of three cells' time, less the 250 ms that b has run.
    let left = story.state().time_left(now).unwrap();
    assert_eq!(left, Millis((3 * took.0 - 250) / 2));
    // The one that waits takes as long as the first, however many places there are.
    assert_eq!(story.state().time_left(Millis::from_secs(3600)).unwrap(), took);
}

#[test]
fn before_the_first_cell_has_ended_the_time_left_follows_from_earlier_runs() {
    let mut story = Story::of(&["a.p1", "b.p1", "c.p1", "d.p1"]);
    let RunEvent::RunStarted { start } = &mut story.events[0].what else { panic!("no start") };
    start.cells[0].expected_ms = Some(Millis(9000));
    start.cells[1].expected_ms = Some(Millis(3000));
    // The others count as the mean of those two: 24 s in all, one after the other.
    assert_eq!(story.state().time_left(Millis(0)), Some(Millis(24_000)));
    story.start("a.p1", 1).start("b.p1", 1).start("c.p1", 1).start("d.p1", 1);
    assert_eq!(story.state().time_left(story.state().now), Some(Millis(9000 - 750)));
}

#[test]
fn a_cell_that_has_ended_keeps_all_that_reports_show_without_its_samples() {
    let mut story = Story::of(&["a.p1", "b.p1"]);
    let sample = SignalKind::Progress { progress: Progress::default() };
    story.healthy("a.p1", 1).start("b.p1", 1).signal("b.p1", sample);
    let whole = story.state();
    let mut lean = whole.clone();
    lean.forget_samples(&"a.p1".into());
    lean.forget_samples(&"b.p1".into());
    let ([a, b], [before, running]) = (&lean.cells[..], &whole.cells[..]) else { panic!("two cells") };
    assert_eq!((&a.attempts[0].phases, &a.attempts[0].steps), (&before.attempts[0].phases, &before.attempts[0].steps));
    assert!(a.attempts[0].signals.len() < before.attempts[0].signals.len());
    assert_eq!(b, running);
}
