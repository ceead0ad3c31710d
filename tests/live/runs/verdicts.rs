use std::path::Path;

use super::harness::{Bench, catalog, golden};

/// What each real fault of `faults.yaml` must be found to be.
const EXPECTED: [(&str, &str); 22] = [
    ("none", "healthy"),
    ("restarts-its-agent", "healthy"),
    ("restarts-its-agent-and-goes-on", "healthy"),
    ("says-panic-and-is-well", "healthy"),
    ("pauses-in-its-boot", "healthy"),
    ("exits-with-5", "update-failed"),
    ("never-ends", "update-timeout"),
    ("dies-in-the-step", "stop-error"),
    ("ignores-restarts", "restart-refused"),
    ("panics-at-boot", "stop-error"),
    ("panics-before-pvpanic", "stop-error"),
    ("resets-at-boot", "boot-loop"),
    ("hangs-at-boot", "boot-hang"),
    ("spins-at-boot", "boot-hang"),
    ("turns-off-at-boot", "powered-off"),
    ("turns-off-at-restart", "powered-off"),
    ("has-no-agent", "agent-lost"),
    ("loses-its-agent-later", "agent-lost"),
    ("wipes-the-boot-record", "no-boot-device"),
    ("removes-the-kernel", "no-boot-device"),
    ("stops-the-sensor", "check-failed"),
    ("resets-once-later", "late-crash"),
];

#[test]
fn every_real_fault_gets_its_name_and_what_only_looks_like_one_stays_healthy() {
    let bench = Bench::new();
    let before = golden();
    let matrix = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/runs/faults.yaml");
    let ran = bench.run(&[matrix.to_str().unwrap(), "--catalog", &catalog()]).expect(1);
    let expected: Vec<(String, String)> = EXPECTED.map(|(fault, found)| (fault.into(), found.into())).into();
    assert_eq!(ran.verdicts(), expected, "{}", ran.out);
    assert_eq!(golden(), before, "a golden image was touched");
    bench.assert_nothing_left();
}
