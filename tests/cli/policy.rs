//! `bootgate gate`: rules, and what they make of a run.

use std::fs;

use crate::harness::Bench;

/// A recorded run in `run/`: `os-8.p1` is healthy in the end, others are not.
fn bench() -> Bench {
    let bench = Bench::new();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal-v1");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        bench.file(&format!("run/{}", path.file_name().unwrap().to_str().unwrap()), fs::read(&path).unwrap());
    }
    bench
}

#[test]
fn rules_that_make_no_sense_are_refused_where_they_stand() {
    let bench = bench();
    for (rules, told) in [
        ("{coverag: 90}", "did you mean `coverage`?"),
        ("{max_age: }", "max_age"),
        ("{coverage: 101}", "it is a share in percent"),
        ("{slow_down: 0.5}", "1 is as long as the control's restart"),
        ("{max_age: 0s}", "a deadline of zero is always missed"),
        ("{required: [{}]}", "this names no axis"),
        ("{required: [{os: []}]}", "no value is given for `os`"),
        ("{quarantine: }", "quarantine"),
        ("{quarantine: [{cells: {os: a}, reason: x, until: 2026-W50-1}]}", "`2026-W50-1` is no day"),
        ("{quarantine: [{cells: {os: a}, reason: x, until: soon}]}", "`soon` is no day"),
        ("{quarantine: [{cells: {os: a}, reason: '', until: 2026-12-31}]}", "this is no reason"),
        ("{quarantine: [{cells: {os: a}, until: 2026-12-31}]}", "the key `reason` is missing here"),
    ] {
        bench.file("policy.yaml", format!("version: 1\nname: p\nrules: {rules}\n"));
        let err = bench.run("gate run --policy policy.yaml").expect(2).err;
        assert!(err.contains(told) && err.contains("policy.yaml:3:"), "{rules}: {err}");
    }
}

#[test]
fn rings_and_a_matrixs_own_rules_are_checked_too() {
    let bench = bench();
    for (rings, told) in [
        ("[{name: Canary}]", "`Canary` is no name for a ring"),
        ("[{name: a}, {name: a}]", "two rings are called `a`"),
        ("[{name: a, soak_time: soon}]", "policy.yaml:3:"),
        ("[{name: a, rules: {soke: 1}}]", "did you mean `soak`?"),
        ("[{rules: {soak: 1}}]", "the key `name` is missing here"),
    ] {
        bench.file("policy.yaml", format!("version: 1\nname: p\nrings: {rings}\n"));
        let err = bench.run("gate run --policy policy.yaml").expect(2).err;
        assert!(err.contains(told) && err.contains("policy.yaml:3:"), "{rings}: {err}");
    }
    bench.catalog();
    let matrix =
        "version: 1\nname: m\naxes: {os: [a]}\nupdate: [{run: [x]}]\npolicy: {rules: {required: [{edition: pro}]}}\n";
    bench.file("m.yaml", matrix);
    let err = bench.run("plan m.yaml").expect(2).err;
    assert!(err.contains("there is no axis `edition`") && err.contains("m.yaml:5:"), "{err}");
}

#[test]
fn a_run_that_no_lab_signed_is_not_decided() {
    let bench = bench();
    let err = bench.run("gate run").expect(2).err;
    assert!(err.contains("lab"), "nobody signed it: {err}");
    assert!(bench.run("gate nowhere").expect(2).err.contains("no run directory"));
}
