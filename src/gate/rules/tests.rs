use time::macros::{date, datetime};

use super::*;
use crate::{
    event::{RunEvent, RunState, testing::Story},
    gate::assess_run,
    model::{Millis, Phase, Quarantine},
};

/// An hour after the stories' begin.
const NOW: OffsetDateTime = datetime!(2026-01-02 04:04:05 UTC);

const ALL: [&str; 8] = ["control-a-p1", "control-a-p2", "control-b-p1", "control-b-p2", "a.p1", "a.p2", "b.p1", "b.p2"];

fn story() -> Story {
    let mut story = Story::of(&ALL);
    for cell in ALL {
        story.healthy(cell, 1);
    }
    story
}

fn ended(mut story: Story) -> RunState {
    story.push(None, RunEvent::RunEnded { decision: Decision::Approved });
    story.state()
}

fn decided(state: &RunState, rules: &Rules) -> Decision {
    assess_run(state, rules, NOW).ruling.decision
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels(pairs.iter().map(|(axis, value)| ((*axis).to_owned(), vec![(*value).to_owned()])).collect())
}

fn quarantine(until: time::Date) -> Rules {
    let entry = Quarantine { cells: labels(&[("os", "b"), ("patch", "p2")]), reason: "a known fault".into(), until };
    Rules { quarantine: vec![entry], ..Rules::default() }
}

fn broken(cell: &str, reason: ReasonId) -> Story {
    let mut story = Story::of(&ALL);
    for other in ALL.into_iter().filter(|other| *other != cell) {
        story.healthy(other, 1);
    }
    story.failed(cell, 1, Phase::Boot, reason, "it broke");
    story
}

#[test]
fn without_rules_every_cell_must_be_healthy_and_every_rule_is_told() {
    let state = ended(story());
    let assessment = assess_run(&state, &Rules::default(), NOW);
    assert_eq!(assessment.ruling, Ruling { decision: Decision::Approved, reasons: Vec::new() });
    let told: Vec<&str> = assessment.rules.iter().map(|rule| rule.rule).collect();
    assert_eq!(told, ["ended", "cells", "flaky", "coverage", "control", "record"]);
    assert_eq!(decided(&story().state(), &Rules::default()), Decision::Inconclusive, "it has no end");
    assert_eq!(decided(&ended(broken("b.p2", ReasonId::StopError)), &Rules::default()), Decision::Rejected);
    assert_eq!(decided(&ended(broken("b.p2", ReasonId::HostLost)), &Rules::default()), Decision::Inconclusive);
    assert_eq!(decided(&ended(broken("control-a-p1", ReasonId::HostLost)), &Rules::default()), Decision::Inconclusive);
}

#[test]
fn a_quarantined_cell_does_not_count_until_its_day_is_over() {
    let state = ended(broken("b.p2", ReasonId::StopError));
    assert_eq!(decided(&state, &quarantine(date!(2026 - 01 - 02))), Decision::Approved);
    assert_eq!(decided(&state, &quarantine(date!(2026 - 01 - 01))), Decision::Rejected);
    let other = ended(broken("b.p1", ReasonId::StopError));
    assert_eq!(decided(&other, &quarantine(date!(2027 - 01 - 01))), Decision::Rejected);
    let all = Quarantine { cells: Labels(Vec::new()), ..quarantine(date!(2027 - 01 - 01)).quarantine.remove(0) };
    let rules = Rules { quarantine: vec![all], ..Rules::default() };
    assert_eq!(decided(&ended(story()), &rules), Decision::Inconclusive, "nothing is left that proves anything");
}

#[test]
fn what_is_required_must_have_been_planned_and_be_healthy_whatever_else_is_let_pass() {
    let required = |pairs| Rules { required: vec![labels(pairs)], coverage: 50.0, ..Rules::default() };
    let unknown = ended(broken("b.p2", ReasonId::HostLost));
    assert_eq!(decided(&unknown, &required(&[("os", "a")])), Decision::Approved);
    assert_eq!(decided(&unknown, &required(&[("os", "b")])), Decision::Inconclusive);
    assert_eq!(decided(&ended(story()), &required(&[("os", "c")])), Decision::Rejected);
    assert_eq!(decided(&ended(story()), &required(&[("edition", "pro")])), Decision::Rejected);
    let both = |other: &str| {
        let values = ["a", other].map(str::to_owned).to_vec();
        Rules { required: vec![Labels(vec![("os".to_owned(), values)])], ..Rules::default() }
    };
    assert_eq!(decided(&ended(story()), &both("b")), Decision::Approved);
    assert_eq!(decided(&ended(story()), &both("c")), Decision::Rejected, "each value is required");
    let mut quarantined = quarantine(date!(2027 - 01 - 01));
    quarantined.required = vec![labels(&[("os", "b")])];
    let broken = ended(broken("b.p2", ReasonId::StopError));
    assert_eq!(decided(&broken, &quarantined), Decision::Rejected, "a quarantine is no proof");
}

#[test]
fn coverage_lets_cells_pass_about_which_nothing_is_known_and_no_broken_one() {
    let rules = |coverage| Rules { coverage, ..Rules::default() };
    let unknown = ended(broken("b.p2", ReasonId::HostLost));
    assert_eq!(decided(&unknown, &rules(75.0)), Decision::Approved);
    assert_eq!(decided(&unknown, &rules(75.1)), Decision::Inconclusive);
    assert_eq!(decided(&ended(broken("b.p2", ReasonId::StopError)), &rules(0.0)), Decision::Rejected);
}

#[test]
fn cells_that_are_only_slow_pass_as_far_as_they_were_measured_and_are_not_too_slow() {
    let slow_boot = ended(broken("b.p2", ReasonId::SlowBoot));
    let rules = |times| Rules { slow_down: Some(times), ..Rules::default() };
    assert_eq!(decided(&slow_boot, &rules(3.0)), Decision::Rejected, "nobody measured it");
    let mut evidence = crate::gate::Evidence::of(&slow_boot);
    for cell in &mut evidence.cells {
        (cell.restart_ms, cell.control_restart_ms) = (Some(Millis(50_000)), Some(Millis(20_000)));
    }
    let decided = |evidence: &crate::gate::Evidence, rules| assess(evidence, &rules, NOW).ruling.decision;
    assert_eq!(decided(&evidence, rules(2.5)), Decision::Approved);
    assert_eq!(decided(&evidence, rules(2.4)), Decision::Rejected);
    assert_eq!(decided(&evidence, Rules::default()), Decision::Rejected);
    let healthy = crate::gate::Evidence {
        cells: evidence.cells.iter().filter(|cell| cell.id.as_ref() != "b.p2").cloned().collect(),
        ..evidence.clone()
    };
    assert_eq!(decided(&healthy, rules(2.4)), Decision::Rejected, "healthy, and slower than is allowed");
    assert_eq!(decided(&healthy, rules(2.5)), Decision::Approved);
}

#[test]
fn a_cell_that_broke_before_it_was_only_slow_is_not_steady() {
    let mut cell_facts = crate::gate::Evidence::of(&ended(broken("b.p2", ReasonId::SlowBoot)));
    for cell in &mut cell_facts.cells {
        (cell.restart_ms, cell.control_restart_ms) = (Some(Millis(50_000)), Some(Millis(20_000)));
        cell.unhealthy_before = cell.id.as_ref() == "b.p2";
    }
    let decided = |rules| assess(&cell_facts, &rules, NOW).ruling.decision;
    let rules = Rules { slow_down: Some(3.0), ..Rules::default() };
    assert_eq!(decided(rules.clone()), Decision::Rejected);
    assert_eq!(decided(Rules { flaky: 1, ..rules }), Decision::Approved);
}

#[test]
fn what_is_required_counts_though_it_is_in_quarantine() {
    let mut story = Story::of(&ALL);
    for cell in ALL.into_iter().filter(|cell| *cell != "b.p2") {
        story.healthy(cell, 1);
    }
    story.failed("b.p2", 1, Phase::Boot, ReasonId::StopError, "once").healthy("b.p2", 2);
    let state = ended(story);
    let mut rules = quarantine(date!(2027 - 01 - 01));
    assert_eq!(decided(&state, &rules), Decision::Approved);
    rules.required = vec![labels(&[("os", "b")])];
    assert_eq!(decided(&state, &rules), Decision::Rejected, "flaky");
}

#[test]
fn coverage_does_not_excuse_what_was_never_looked_at() {
    let rules = Rules { coverage: 50.0, ..Rules::default() };
    for (id, decision) in [
        (ReasonId::HostLost, Decision::Approved),
        (ReasonId::ImageChanged, Decision::Inconclusive),
        (ReasonId::ImageMissing, Decision::Inconclusive),
        (ReasonId::Cancelled, Decision::Inconclusive),
    ] {
        assert_eq!(decided(&ended(broken("b.p2", id)), &rules), decision, "{id}");
    }
    let mut untried = Story::of(&ALL);
    for cell in ALL.into_iter().filter(|cell| *cell != "b.p2") {
        untried.healthy(cell, 1);
    }
    assert_eq!(decided(&ended(untried), &rules), Decision::Inconclusive);
}

#[test]
fn what_was_found_before_a_run_was_resumed_is_as_old_as_it_is() {
    let mut resumed = story();
    resumed.push(None, RunEvent::RunResumed { utc: "2026-03-01T00:00:00Z".into() });
    let rules = Rules { max_age: Some(Millis::from_secs(24 * 3600)), ..Rules::default() };
    let later = datetime!(2026-03-01 01:00 UTC);
    assert_eq!(assess_run(&ended(resumed), &rules, later).ruling.decision, Decision::Rejected);
}

#[test]
fn as_many_flaky_cells_pass_as_are_allowed() {
    let mut story = Story::of(&["control-a-p1", "a.p1"]);
    story.healthy("control-a-p1", 1).failed("a.p1", 1, Phase::Boot, ReasonId::StopError, "once").healthy("a.p1", 2);
    let state = ended(story);
    assert_eq!(decided(&state, &Rules::default()), Decision::Rejected);
    assert_eq!(decided(&state, &Rules { flaky: 1, ..Rules::default() }), Decision::Approved);
}

#[test]
fn a_run_that_is_too_old_or_was_planned_with_too_few_restarts_or_on_old_images_is_rejected() {
    let mut dated = story();
    if let RunEvent::RunStarted { start } = &mut dated.events[0].what {
        start.cells.iter_mut().for_each(|cell| cell.image_made = Some(date!(2025 - 12 - 20)));
    }
    let state = ended(dated);
    for (rules, decision) in [
        (Rules { max_age: Some(Millis::from_secs(2 * 3600)), ..Rules::default() }, Decision::Approved),
        (Rules { max_age: Some(Millis::from_secs(60)), ..Rules::default() }, Decision::Rejected),
        (Rules { soak: 1, ..Rules::default() }, Decision::Approved),
        (Rules { soak: 2, ..Rules::default() }, Decision::Rejected),
        (Rules { image_age: Some(14), ..Rules::default() }, Decision::Approved),
        (Rules { image_age: Some(13), ..Rules::default() }, Decision::Rejected),
    ] {
        assert_eq!(decided(&state, &rules), decision, "{rules:?}");
    }
    let undated = Rules { image_age: Some(14), ..Rules::default() };
    assert_eq!(decided(&ended(story()), &undated), Decision::Rejected, "nobody says when the images were made");
    let early = datetime!(2026-01-01 00:00:00 UTC);
    let rules = Rules { max_age: Some(Millis::from_secs(3600)), ..Rules::default() };
    assert_eq!(assess_run(&state, &rules, early).ruling.decision, Decision::Rejected, "from the future");
}

proptest::proptest! {
    /// Whatever the rules, an approval needs an end, healthy controls, and something that is healthy and counts.
    #[test]
    fn no_rules_approve_a_run_that_proves_nothing(coverage in 0.0..100.0, flaky in 0u32..9, soak in 0u32..3, slow in proptest::option::of(1.0..9.0)) {
        let rules = Rules { coverage, flaky, soak, slow_down: slow, ..Rules::default() };
        proptest::prop_assert_ne!(decided(&story().state(), &rules), Decision::Approved);
        let all = ["control-a-p1", "a.p1"];
        for unhealthy in all {
            let mut story = Story::of(&all);
            for cell in all.into_iter().filter(|cell| *cell != unhealthy) {
                story.healthy(cell, 1);
            }
            story.failed(unhealthy, 1, Phase::Boot, ReasonId::HostLost, "gone");
            proptest::prop_assert_ne!(decided(&ended(story), &rules), Decision::Approved);
        }
    }
}
