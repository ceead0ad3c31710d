use proptest::prelude::*;
use roxmltree::{Document, Node};

use super::*;
use crate::{
    event::{
        RunEvent,
        testing::{Story, controlled, nine, three},
    },
    model::{About, Content, Exit, Millis, Output, Phase, ReasonId, SignalKind, StepResult, Subject},
};

fn rendered(story: &Story) -> String {
    String::from_utf8(render(&story.state()).unwrap()).unwrap()
}

fn suites<'a>(document: &'a Document<'_>) -> impl Iterator<Item = Node<'a, 'a>> {
    document.descendants().filter(|node| node.has_tag_name("testsuite"))
}

fn named<'a>(suite: Node<'a, 'a>, case: &str) -> Node<'a, 'a> {
    suite.children().find(|node| node.attribute("name") == Some(case) && node.has_tag_name("testcase")).unwrap()
}

/// The child that says how a case ended: `failure`, `error`, `skipped`, or nothing.
fn verdict_of(case: Node<'_, '_>) -> (String, String) {
    let child = case.children().find(|node| node.is_element() && !node.tag_name().name().starts_with("system-"));
    child.map_or_else(Default::default, |node| {
        let detail = node.attribute("type").or(node.attribute("message")).unwrap_or_default();
        (node.tag_name().name().to_owned(), detail.to_owned())
    })
}

#[test]
fn a_run_is_a_suite_per_cell_and_a_case_per_phase() {
    let xml = rendered(&three());
    assert_eq!(xml, rendered(&three()), "same events, same bytes");
    insta::assert_snapshot!(xml);
}

#[test]
fn the_root_has_no_attribute_that_jenkins_does_not_know() {
    let mut story = nine();
    let RunEvent::RunStarted { start } = &mut story.events[0].what else { panic!("no start") };
    start.name = "a\" skipped=\"7\" > b".into();
    let xml = rendered(&story);
    let document = Document::parse(&xml).unwrap();
    let names: Vec<&str> = document.root_element().attributes().map(|attribute| attribute.name()).collect();
    assert_eq!(names, ["name", "tests", "failures", "errors", "time"]);
    assert_eq!(document.root_element().attribute("name"), Some("a\" skipped=\"7\" > b"));
    assert!(suites(&document).all(|suite| suite.has_attribute("skipped")));
}

#[test]
fn each_suite_says_what_the_verdict_says() {
    let state = nine().state();
    let xml = rendered(&nine());
    let document = Document::parse(&xml).unwrap();
    for (suite, cell) in suites(&document).zip(&state.cells) {
        let count = |name: &str| suite.attribute(name).unwrap().parse::<usize>().unwrap();
        let outcome = state.verdict(cell).outcome;
        assert_eq!(count("failures") > 0, outcome == crate::model::Outcome::Unhealthy, "{}", cell.planned.id);
        assert_eq!(count("errors") > 0, outcome == crate::model::Outcome::Inconclusive, "{}", cell.planned.id);
    }
}

#[test]
fn what_the_candidate_is_is_a_property_where_it_was_read() {
    let mut story = three();
    assert!(!rendered(&story).contains("candidate.about"));
    let RunEvent::RunStarted { start } = &mut story.events[0].what else { panic!("no start") };
    start.candidate_about = Some(About::of(Content::Zip));
    assert!(rendered(&story).contains(r#"<property name="candidate.about" value="ZIP archive"/>"#));
}

#[test]
fn a_control_is_a_suite_that_says_so() {
    let xml = rendered(&controlled());
    let document = Document::parse(&xml).unwrap();
    let all: Vec<_> = suites(&document).collect();
    let property = |suite: Node<'_, '_>, name: &str| {
        let found =
            suite.descendants().find(|node| node.attribute("name") == Some(name) && node.has_tag_name("property"));
        found.and_then(|node| node.attribute("value").map(str::to_owned))
    };
    assert_eq!(all.iter().filter(|suite| property(**suite, "control").as_deref() == Some("true")).count(), 4);
    assert_eq!(property(all[0], "known-from").as_deref(), Some("20260101T000000Z-demo"));
    assert_eq!(verdict_of(named(all[0], "boot")), ("skipped".into(), "known from an earlier run".into()));
    assert_eq!(verdict_of(named(all[1], "apply")), ("skipped".into(), "a control gets no update".into()));
    assert_eq!(verdict_of(named(all[1], "boot")), (String::new(), String::new()));
    assert_eq!(verdict_of(named(all[2], "boot")), ("error".into(), "control-unhealthy".into()));
    assert_eq!(property(all[5], "start").as_deref(), Some("cold"));
    // What its control came to leads, and what it showed itself stands behind it: no failure.
    assert_eq!(verdict_of(named(all[6], "boot")), ("error".into(), "control-unhealthy".into()));
    assert_eq!(all[6].attribute("failures"), Some("0"));
}

#[test]
fn what_a_phase_without_a_case_found_lies_in_the_last_case_reached() {
    for (phase, case) in [(Phase::Watch, "soak-1"), (Phase::Collect, "check:sensor"), (Phase::Check, "check:sensor")] {
        let mut story = Story::of(&["a.p1"]);
        story.start("a.p1", 1).until("a.p1", Phase::Check);
        if phase == Phase::Collect {
            story.step("a.p1", Subject::Check { id: "sensor".into() }, true, "");
        }
        let reason =
            crate::model::Reason { id: ReasonId::AgentLost, phase, at: Millis(5), message: "m".into(), check: None };
        let verdict = crate::model::Verdict { outcome: crate::model::Outcome::Unhealthy, reasons: vec![reason] };
        let xml = rendered(story.end("a.p1", 1, verdict));
        let document = Document::parse(&xml).unwrap();
        let case = named(suites(&document).next().unwrap(), case);
        assert_eq!(verdict_of(case), ("failure".into(), "agent-lost".into()), "{phase}");
    }
}

#[test]
fn a_flaky_cell_is_not_green_and_a_lab_fault_before_a_healthy_try_is() {
    let mut story = Story::of(&["a.p1", "b.p1"]);
    story.failed("a.p1", 1, Phase::Boot, ReasonId::BootHang, "m").healthy("a.p1", 2);
    story.failed("b.p1", 1, Phase::Boot, ReasonId::HostLost, "m").healthy("b.p1", 2);
    let xml = rendered(&story);
    let document = Document::parse(&xml).unwrap();
    let cases: Vec<_> = suites(&document).map(|suite| verdict_of(named(suite, "boot"))).collect();
    assert_eq!(cases, [("flakyFailure".into(), "boot-hang".into()), ("flakyError".into(), "host-lost".into())]);
    let flaky: Vec<_> = suites(&document)
        .filter_map(|suite| suite.children().find(|case| case.attribute("name") == Some("flaky")))
        .map(verdict_of)
        .collect();
    assert_eq!(flaky, [("failure".into(), "flaky".into())]);
}

#[test]
fn an_unhealthy_cell_without_a_reason_is_a_failure_all_the_same() {
    for outcome in [crate::model::Outcome::Unhealthy, crate::model::Outcome::Inconclusive] {
        let mut story = Story::of(&["a.p1"]);
        story.start("a.p1", 1).end("a.p1", 1, crate::model::Verdict { outcome, reasons: vec![] });
        let xml = rendered(&story);
        let document = Document::parse(&xml).unwrap();
        let root = document.root_element();
        let count = ["failures", "errors"].map(|name| root.attribute(name).unwrap().to_owned());
        let wanted = if outcome == crate::model::Outcome::Unhealthy { ["1", "0"] } else { ["0", "1"] };
        assert_eq!(count, wanted);
    }
}

#[test]
fn a_cell_never_started_is_an_error_with_every_other_case_skipped() {
    let xml = rendered(&Story::of(&["a.p1"]));
    let document = Document::parse(&xml).unwrap();
    let suite = suites(&document).next().unwrap();
    assert_eq!(verdict_of(named(suite, "start")), ("error".into(), "harness-died".into()));
    assert_eq!(verdict_of(named(suite, "check:sensor")), ("skipped".into(), "the cell was never started".into()));
}

#[test]
fn a_suite_says_when_its_cell_began_and_after_a_resume_counts_from_there() {
    let mut story = Story::of(&["a.p1", "b.p1"]);
    story.healthy("a.p1", 1).start("b.p1", 1);
    story.push(None, RunEvent::RunResumed { utc: "2026-03-01T10:00:00.9Z".into() });
    story.wait(61_000).healthy("b.p1", 2);
    let times = |story: &Story| -> Vec<Option<String>> {
        let xml = rendered(story);
        let document = Document::parse(&xml).unwrap();
        suites(&document).map(|suite| suite.attribute("timestamp").map(str::to_owned)).collect()
    };
    assert_eq!(times(&story), [Some("2026-01-02T03:04:05Z".into()), Some("2026-03-01T10:01:02Z".into())]);
    let RunEvent::RunStarted { start } = &mut story.events[0].what else { panic!("no start") };
    start.utc = "yesterday".into();
    assert_eq!(times(&story), [None, Some("2026-03-01T10:01:02Z".into())]);
}

/// Text as a hostile guest would write it.
fn hostile() -> impl Strategy<Value = String> {
    let nasty = prop::sample::select(vec![
        "]]>",
        "<![CDATA[",
        "&#xD800;",
        "\u{fffe}",
        "\u{ffff}",
        "\u{1b}[31m",
        "\u{1b}]0;x",
        "\0",
        "\u{85}",
        "\u{9b}",
        "\r",
        "</system-out>",
        "\"'",
        "&",
        "--",
        "\u{7f}",
        "\u{10ffff}",
        "\t",
        "&amp;",
    ]);
    prop::collection::vec(prop_oneof![nasty.prop_map(str::to_owned), any::<String>()], 0..6)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn whatever_a_guest_says_the_xml_is_valid(text in hostile(), other in hostile()) {
        let mut story = Story::of(&["a.p1"]);
        story.start("a.p1", 1).until("a.p1", Phase::Apply);
        let subject = Subject::Update { step: 1 };
        let output = Output { stdout: text.clone(), stderr: other.clone(), truncated: true };
        let result = StepResult { exit: Exit::Refused { message: other.clone() }, ok: false, says: None, took: Millis(1), output };
        story.signal("a.p1", SignalKind::StepEnded { subject, name: text.clone(), result });
        story.push(Some("a.p1"), RunEvent::Note { level: crate::event::Level::Warning, text: other.clone() });
        let reason = crate::model::Reason {
            id: ReasonId::UpdateFailed, phase: Phase::Apply, at: Millis(1), message: text.clone(), check: None,
        };
        let verdict = crate::model::Verdict { outcome: crate::model::Outcome::Unhealthy, reasons: vec![reason] };
        story.end("a.p1", 1, verdict);
        if let RunEvent::RunStarted { start } = &mut story.events[0].what {
            start.name = other.clone();
            start.cells[0].axes[0].axis = text.clone();
            start.candidate_name = Some(other.clone());
            start.candidate_about = Some(About::of(Content::Script { interpreter: text.clone() }));
        }
        let xml = rendered(&story);
        let document = Document::parse(&xml).unwrap_or_else(|error| panic!("{error}\n{xml:?}"));
        let suite = suites(&document).next().unwrap();
        prop_assert_eq!(verdict_of(named(suite, "apply")), ("failure".to_owned(), "update-failed".to_owned()));
        let legal = |c: char| matches!(c, '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
        prop_assert!(xml.chars().all(legal), "{xml:?}");
    }
}
