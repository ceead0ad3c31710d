//! A statement for tests.

use time::macros::date;

use super::{
    CellFacts, Descriptor, Facts, PolicyFacts, Statement, TestOutcome, TestResult,
    statement::{STATEMENT, TEST_RESULT},
};
use crate::{
    event::Decision,
    model::{Accelerator, AxisValue, Millis, Outcome, Sha256},
};

/// An approval of the files `a` and `b`, by one cell.
pub(super) fn statement() -> Statement {
    let cell = CellFacts {
        id: "os-9.p1".into(),
        image: "os-9".into(),
        control: false,
        outcome: Outcome::Healthy,
        reasons: Vec::new(),
        attempts: 1,
        flaky: false,
        known_from: None,
        start: None,
        seal: None,
        took_ms: Millis(5),
        ended: None,
        axes: vec![AxisValue { axis: "os".into(), value: "9".into() }],
        soak: Some(1),
        unhealthy_before: false,
        image_made: Some(date!(2026 - 01 - 01)),
        restart_ms: Some(Millis(30_000)),
        control_restart_ms: Some(Millis(20_000)),
    };
    let control = CellFacts { id: "control-os-9".into(), control: true, axes: Vec::new(), ..cell.clone() };
    let facts = Facts {
        run: "r1".into(),
        name: "demo".into(),
        bootgate: "0.1.0".into(),
        decision: Decision::Approved,
        reasons: Vec::new(),
        started: "2026-01-02T00:00:00Z".into(),
        ended: "2026-01-02T01:00:00Z".into(),
        journal_sha256: Sha256::of(b"journal"),
        plan_sha256: Sha256::of(b"plan"),
        update_sha256: Sha256::of(b"update"),
        lab: "sim".into(),
        accelerator: Accelerator::Sim,
        cells: vec![control, cell],
        policy: Some(PolicyFacts { name: "usual".into(), ring: None, passed: Vec::new(), rules: Vec::new() }),
        signed: None,
    };
    Statement {
        kind: STATEMENT.into(),
        subject: vec![Descriptor::of("a.bin", &Sha256::of(b"a")), Descriptor::of("b.bin", &Sha256::of(b"b"))],
        predicate_type: TEST_RESULT.into(),
        predicate: TestResult {
            result: TestOutcome::Passed,
            configuration: Vec::new(),
            passed_tests: vec!["os-9.p1".into()],
            failed_tests: Vec::new(),
            bootgate: facts,
        },
    }
}
