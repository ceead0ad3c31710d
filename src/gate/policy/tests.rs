use std::collections::BTreeMap;

use time::macros::{date, datetime};

use super::*;
use crate::{
    event::{RunEvent, testing::Story},
    model::{Collect, GoldenImage, Millis, PLAN_VERSION, Phase, Policy, Quarantine, Sha256},
};

/// An hour after the stories' begin.
const NOW: OffsetDateTime = datetime!(2026-01-02 04:04:05 UTC);

fn story() -> Story {
    let mut story = Story::of(&["control-a-p1", "a.p1", "a.p2", "b.p1", "b.p2"]);
    for cell in ["control-a-p1", "a.p1", "a.p2", "b.p1", "b.p2"] {
        story.healthy(cell, 1);
    }
    story
}

fn ended(mut story: Story) -> RunState {
    story.push(None, RunEvent::RunEnded { decision: Decision::Approved });
    story.state()
}

fn plan() -> Plan {
    let image = GoldenImage { made: Some(date!(2025 - 12 - 20)), ..GoldenImage::plain("a-p1", "/a") };
    Plan {
        version: PLAN_VERSION,
        name: "demo".into(),
        matrix: "/m".into(),
        catalog: "/c".into(),
        matrix_sha256: None,
        catalog_sha256: None,
        candidate: None,
        files: BTreeMap::new(),
        update_sha256: Sha256::of(b""),
        images: BTreeMap::from([(image.name.clone(), image)]),
        cells: Vec::new(),
        policy: Policy { retry_inconclusive: 0, retries: 0, control: true },
        collect: Collect::default(),
    }
}

fn decided(state: &RunState, rules: &Rules) -> Decision {
    assess(state, &plan(), rules, NOW).ruling.decision
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels(pairs.iter().map(|(axis, value)| ((*axis).to_owned(), vec![(*value).to_owned()])).collect())
}

fn quarantine(until: time::Date) -> Rules {
    let entry = Quarantine { cells: labels(&[("os", "b"), ("patch", "p2")]), reason: "a known fault".into(), until };
    Rules { quarantine: vec![entry], ..Rules::default() }
}

fn broken(cell: &str, reason: ReasonId) -> Story {
    let mut story = Story::of(&["control-a-p1", "a.p1", "a.p2", "b.p1", "b.p2"]);
    for other in ["control-a-p1", "a.p1", "a.p2", "b.p1", "b.p2"].into_iter().filter(|other| *other != cell) {
        story.healthy(other, 1);
    }
    story.failed(cell, 1, Phase::Boot, reason, "it broke");
    story
}

#[test]
fn without_rules_every_cell_must_be_healthy_and_every_rule_is_told() {
    let state = ended(story());
    let assessment = assess(&state, &plan(), &Rules::default(), NOW);
    assert_eq!(assessment.ruling, Ruling { decision: Decision::Approved, reasons: Vec::new() });
    let told: Vec<&str> = assessment.rules.iter().map(|rule| rule.rule).collect();
    assert_eq!(told, ["ended", "record", "control", "cells", "flaky", "coverage"]);
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
fn as_many_flaky_cells_pass_as_are_allowed() {
    let mut story = Story::of(&["control-a-p1", "a.p1"]);
    story.healthy("control-a-p1", 1).failed("a.p1", 1, Phase::Boot, ReasonId::StopError, "once").healthy("a.p1", 2);
    let state = ended(story);
    assert_eq!(decided(&state, &Rules::default()), Decision::Rejected);
    assert_eq!(decided(&state, &Rules { flaky: 1, ..Rules::default() }), Decision::Approved);
}

#[test]
fn a_run_that_is_too_old_or_was_planned_with_too_few_restarts_or_on_old_images_is_rejected() {
    let state = ended(story());
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
    let mut undated = plan();
    undated.images.values_mut().for_each(|image| image.made = None);
    let rules = Rules { image_age: Some(10_000), ..Rules::default() };
    assert_eq!(assess(&state, &undated, &rules, NOW).ruling.decision, Decision::Rejected);
    let early = datetime!(2026-01-01 00:00:00 UTC);
    let rules = Rules { max_age: Some(Millis::from_secs(3600)), ..Rules::default() };
    assert_eq!(assess(&state, &plan(), &rules, early).ruling.decision, Decision::Rejected, "from the future");
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
