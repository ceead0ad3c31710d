use super::*;
use crate::{
    event::{
        Decision, RunEvent,
        testing::{Story, controlled, nine},
    },
    model::{AxisValue, Phase, ReasonId, Rules},
};

fn rendered(story: &Story) -> String {
    String::from_utf8(render(&story.state()).unwrap()).unwrap()
}

#[test]
fn a_rejected_run_says_why_and_where_before_anything_else() {
    insta::assert_snapshot!(rendered(&nine()));
}

#[test]
fn controls_that_are_not_well_have_their_own_part() {
    let text = rendered(&controlled());
    for told in ["### `control-unhealthy`: 1 control", "2 of 4 controls healthy", "- also: 2 of 4 cells inconclusive"] {
        assert!(text.contains(told), "{told} is missing in {text}");
    }
}

#[test]
fn an_approved_run_is_short() {
    let mut story = Story::of(&["a.p1", "a.p2"]);
    story.healthy("a.p1", 1).healthy("a.p2", 1).run_ended(Decision::Approved);
    let text = rendered(&story);
    assert!(text.starts_with("## ✓ APPROVED: all 2 permutations came up healthy\n"), "{text}");
    assert!(text.contains("✓ 2 healthy") && !text.contains("###"), "{text}");
}

#[test]
fn flaky_cells_are_named() {
    let mut story = Story::of(&["a.p1"]);
    story.failed("a.p1", 1, Phase::Boot, ReasonId::BootHang, "m").healthy("a.p1", 2).run_ended(Decision::Rejected);
    let text = rendered(&story);
    assert!(text.contains("### flaky: 1 cell") && text.contains("- `a.p1`") && text.contains("~ 1 flaky"), "{text}");
}

#[test]
fn rules_of_the_matrix_are_told_one_by_one() {
    let mut story = Story::of(&["a.p1", "a.p2"]);
    assert!(!rendered(&story).contains("`coverage`"));
    let RunEvent::RunStarted { start } = &mut story.events[0].what else { panic!("no start") };
    start.policy.rules = Rules { coverage: 50.0, ..Rules::default() };
    story.healthy("a.p1", 1).failed("a.p2", 1, Phase::Start, ReasonId::HostLost, "gone");
    let text = rendered(story.run_ended(Decision::Approved));
    assert!(text.starts_with("## ✓ APPROVED: 1 of 2 permutations came up healthy, and the policy lets"), "{text}");
    assert!(text.contains("\n- ✓ `coverage`: "), "{text}");
}

#[test]
fn what_a_guest_or_a_matrix_says_is_no_markup() {
    let hostile = "x` | <img src=//e> [a](http://e) @all #1\n## APPROVED\n| a |";
    let mut story = Story::of(&["a.p1", "a.p2"]);
    let RunEvent::RunStarted { start } = &mut story.events[0].what else { panic!("no start") };
    start.name = hostile.to_owned();
    start.candidate_name = Some(hostile.to_owned());
    start.cells[0].axes[0].value = hostile.to_owned();
    story.failed("a.p1", 1, Phase::Boot, ReasonId::StopError, hostile).healthy("a.p2", 1);
    let text = rendered(story.run_ended(Decision::Rejected));
    for line in text.lines() {
        let outside: String = line.split('`').step_by(2).collect();
        assert!(!outside.contains("<img") && !outside.contains('@') && !outside.contains("]("), "{line}");
        assert_eq!(line.matches('`').count() % 2, 0, "{line}");
    }
    assert_eq!(text.lines().filter(|line| line.starts_with("## ")).count(), 1, "{text}");
    let columns = |line: &str| line.matches('|').count();
    let tables: Vec<usize> = text.lines().filter(|line| line.starts_with('|')).map(columns).collect();
    assert!(tables.iter().all(|columns| *columns == 3 || *columns == 4), "{text}");
}

#[test]
fn a_run_of_thousands_of_cells_stays_below_every_limit() {
    let ids: Vec<String> = (0..3000).map(|n| format!("os-{n}.p{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let mut story = Story::of(&ids);
    let RunEvent::RunStarted { start } = &mut story.events[0].what else { panic!("no start") };
    for (n, cell) in start.cells.iter_mut().enumerate() {
        cell.axes.push(AxisValue { axis: "x".into(), value: "v".repeat(n % 200) });
    }
    let message = "m".repeat(5000);
    for (n, id) in ids.iter().enumerate() {
        let id_of = ReasonId::ALL[n % ReasonId::ALL.len()];
        story.failed(id, 1, Phase::Boot, id_of, &message);
    }
    let text = rendered(story.run_ended(Decision::Rejected));
    assert!(text.len() <= MOST, "{}", text.len());
    assert!(text.contains("Left out for its length") && text.contains("more, all in `result.json`"), "{text}");
}
