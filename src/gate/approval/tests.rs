use time::macros::datetime;

use super::*;
use crate::{
    event::{RunEvent, Tail, testing::Story},
    model::{
        Candidate, Cell, Collect, GoldenImage, GuestFile, Health, Millis, Network, PLAN_VERSION, Phase, Policy,
        ReasonId, Role, Start, Step, StepKind, Tolerances,
    },
};

const CONTROL: &str = "control-os-9-p1";
const CELL: &str = "os-9.p1";

fn copy(path: &str, content: &[u8]) -> Step {
    let from = HostFile { path: path.into(), size: Default::default(), sha256: Sha256::of(content) };
    let file = GuestFile { from, to: "/x".into(), mode: None };
    Step { name: "copy".into(), kind: StepKind::Copy { file }, timeout: Millis::ZERO, restarts: 0, success: vec![0] }
}

fn plan(update: Vec<Step>) -> Plan {
    let health = Health {
        checks: Vec::new(),
        soak: 1,
        watch: Millis::ZERO,
        boot_timeout: None,
        restart_timeout: None,
        tolerances: Tolerances::default(),
    };
    let cell = Cell {
        id: CELL.into(),
        axes: Vec::new(),
        image: "os-9-p1".into(),
        setup: vec![copy("/lab/tools", b"tools")],
        update,
        health,
        network: Network::None,
        role: Role::Compared { with: CONTROL.into() },
        start: Start::Live,
        sealed_setup: 0,
        keep_in: None,
    };
    let image = GoldenImage { sha256: Sha256::of(b"disk"), ..GoldenImage::plain("os-9-p1", "/disk") };
    let candidate = Candidate {
        path: "/b/content.bin".into(),
        size: Default::default(),
        sha256: Sha256::of(b"candidate"),
        about: None,
    };
    Plan {
        version: PLAN_VERSION,
        name: "demo".into(),
        matrix: "/m.yaml".into(),
        catalog: "/c.yaml".into(),
        matrix_sha256: Some(Sha256::of(b"matrix")),
        catalog_sha256: Some(Sha256::of(b"catalogue")),
        candidate: Some(candidate),
        files: BTreeMap::new(),
        update_sha256: Sha256::of(b"update"),
        images: BTreeMap::from([("os-9-p1".to_owned(), image)]),
        cells: vec![cell],
        policy: Policy { retry_inconclusive: 0, retries: 0, control: true },
        approval: ApprovalPolicy::default(),
        collect: Collect::default(),
    }
}

fn approved(story: &Story) -> Result<Statement, Unsignable> {
    approved_of(&plan(vec![copy("/b/content.bin", b"candidate")]), story)
}

fn approved_of(plan: &Plan, story: &Story) -> Result<Statement, Unsignable> {
    let journal = Journal {
        run: "r1".into(),
        events: story.events.clone(),
        tail: Tail::Whole,
        sha256: Sha256::of(b"journal"),
        signed: Sha256::of(b"journal"),
    };
    let policy = ApprovalPolicy::default();
    let now = datetime!(2026-01-02 05:00 UTC);
    let ledger = Ledger::default();
    let approver = Approver { policy: &policy, policy_sha256: None, opening: None, ledger: &ledger, now };
    approve(plan, &journal, &story.state(), &approver)
}

fn healthy() -> Story {
    let mut story = Story::of(&[CONTROL, CELL]);
    story.known(CONTROL).healthy(CELL, 1).run_ended(Decision::Approved);
    story
}

#[test]
fn an_approval_names_what_was_tested_with_what_and_how_it_ended() {
    let statement = serde_json::to_value(approved(&healthy()).unwrap()).unwrap();
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://in-toto.io/attestation/test-result/v0.1");
    let digest = |content: &[u8]| serde_json::json!({ "sha256": Sha256::of(content) });
    assert_eq!(statement["subject"], serde_json::json!([{"name": "content.bin", "digest": digest(b"candidate")}]));
    let result = &statement["predicate"];
    assert_eq!((&result["result"], &result["passedTests"]), (&"PASSED".into(), &serde_json::json!([CELL])));
    assert_eq!(result["failedTests"], serde_json::json!([]));
    let configuration = result["configuration"].as_array().unwrap();
    for (name, content) in
        [("matrix", &b"matrix"[..]), ("catalogue", b"catalogue"), ("plan", b"plan"), ("golden image os-9-p1", b"disk")]
    {
        assert!(configuration.contains(&serde_json::json!({"name": name, "digest": digest(content)})), "{name}");
    }
    let facts = &result["https://bootgate.dev/approval/v1"];
    assert_eq!((&facts["decision"], &facts["started"]), (&"approved".into(), &"2026-01-02T03:04:05Z".into()));
    assert!(facts["ended"].as_str().unwrap().starts_with("2026-01-02T03:04:"), "{facts}");
    assert_eq!((&facts["cells"][0]["control"], &facts["cells"][1]["outcome"]), (&true.into(), &"healthy".into()));
    assert_eq!(facts["cells"][0]["known_from"], "20260101T000000Z-demo");
    assert_eq!(
        (&facts["policy"]["name"], &facts["signed"]),
        (&"every cell healthy".into(), &"2026-01-02T05:00:00Z".into())
    );
    let rules = facts["policy"]["rules"].as_array().unwrap();
    assert!(rules.iter().all(|rule| rule["holds"] == true) && rules.iter().any(|rule| rule["rule"] == "coverage"));
}

#[test]
fn every_file_that_an_update_step_brings_in_is_a_subject_under_a_name_of_its_own() {
    let plan = plan(vec![
        copy("/b/content.bin", b"candidate"),
        copy("/one/driver.sys", b"1"),
        copy("/two/driver.sys", b"2"),
        copy("/one/driver.sys", b"1"),
        copy("/a.inf", b"inf"),
    ]);
    let subject = approved_of(&plan, &healthy()).unwrap().subject;
    let mut names: Vec<&str> = subject.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names[0], "content.bin");
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 4);
    for content in [&b"candidate"[..], b"1", b"2", b"inf"] {
        assert_eq!(subject.iter().filter(|file| file.is(&Sha256::of(content))).count(), 1);
    }
    assert!(!subject.iter().any(|file| file.is(&Sha256::of(b"tools"))), "what setup brings in is not under test");
}

#[test]
fn a_rejection_is_a_result_too_and_a_cell_that_broke_once_has_failed() {
    let mut story = Story::of(&[CONTROL, CELL]);
    story.known(CONTROL).failed(CELL, 1, Phase::Boot, ReasonId::StopError, "kernel panic").healthy(CELL, 2);
    story.run_ended(Decision::Rejected);
    let TestResult { result, passed_tests, failed_tests, bootgate, .. } = approved(&story).unwrap().predicate;
    assert_eq!((result, passed_tests.len(), failed_tests.as_slice()), (TestOutcome::Failed, 0, &[CELL.to_owned()][..]));
    assert!(bootgate.cells[1].flaky);
}

#[test]
fn what_was_not_decided_is_never_signed() {
    let mut lost = Story::of(&[CONTROL, CELL]);
    lost.known(CONTROL).failed(CELL, 1, Phase::Start, ReasonId::HostLost, "gone").run_ended(Decision::Inconclusive);
    let mut killed = Story::of(&[CONTROL, CELL]);
    killed.known(CONTROL).healthy(CELL, 1);
    let mut cancelled = Story::of(&[CONTROL, CELL]);
    cancelled.known(CONTROL).healthy(CELL, 1).run_ended(Decision::Cancelled);
    let mut claimed = Story::of(&[CONTROL, CELL]);
    claimed.known(CONTROL).run_ended(Decision::Approved);
    let mut alone = Story::of(&[CELL]);
    alone.healthy(CELL, 1).run_ended(Decision::Approved);
    for story in [lost, killed, cancelled, claimed, alone] {
        assert!(matches!(approved(&story).unwrap_err(), Unsignable::Undecided(_)));
    }
    let mut contradicted = Story::of(&[CONTROL, CELL]);
    contradicted.known(CONTROL).failed(CELL, 1, Phase::Boot, ReasonId::StopError, "panic").healthy("nobody", 1);
    contradicted.run_ended(Decision::Rejected);
    assert!(matches!(approved(&contradicted).unwrap_err(), Unsignable::Contradiction(_)));
}

#[test]
fn a_run_without_controls_or_without_files_is_never_signed() {
    let mut alone = Story::of(&[CELL]);
    alone.failed(CELL, 1, Phase::Boot, ReasonId::StopError, "panic").run_ended(Decision::Rejected);
    assert!(matches!(approved(&alone).unwrap_err(), Unsignable::NotCompared(_)));
    let nothing = plan(Vec::new());
    assert!(matches!(approved_of(&nothing, &healthy()).unwrap_err(), Unsignable::NoFiles));
}

#[test]
fn the_time_between_a_run_and_its_resumption_counts() {
    let mut story = Story::of(&[CONTROL, CELL]);
    story.known(CONTROL);
    story.push(None, RunEvent::RunResumed { utc: "2026-01-09T00:00:00Z".into() });
    story.healthy(CELL, 1).run_ended(Decision::Approved);
    let facts = approved(&story).unwrap().predicate.bootgate;
    assert!(facts.ended.starts_with("2026-01-09T00:00:") && facts.started.starts_with("2026-01-02"), "{facts:?}");
}
