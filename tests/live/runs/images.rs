//! Golden images, looked at by themselves.

use std::{fs, process::Command};

use super::harness::{Bench, catalog, golden};

#[test]
fn a_golden_image_is_booted_restarted_and_found_fit_and_the_trace_of_it_proves_health() {
    let bench = Bench::new();
    let before = golden();
    let (catalog, trace) = (catalog(), bench.path("seen.jsonl"));
    let words = ["images", "check", "lab-server-p3", "--catalog", &catalog, "--record", trace.to_str().unwrap()];
    let child = bench.command(&words).spawn().unwrap();
    let ran = bench.finish(child).expect(0);
    for line in ["✓ boot identity", "✓ restarts", "✓ panics", "✓ agent", "✓ free disk", "FIT"] {
        assert!(ran.out.contains(line), "{line}: {}", ran.out);
    }
    let judged = Command::new(env!("CARGO_BIN_EXE_bootgate")).arg("judge").arg(&trace).output().unwrap();
    let judged = String::from_utf8_lossy(&judged.stdout).into_owned();
    assert!(judged.starts_with("the trace: healthy"), "{judged}");
    assert!(fs::metadata(ran.dir.join("junit.xml")).is_err(), "no gate reads this");
    assert_eq!(golden(), before);
    bench.assert_nothing_left();
}
