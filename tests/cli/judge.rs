//! `bootgate judge` and `bootgate explain`, on the committed traces and on the committed run.

use std::{fs, path::Path};

use super::harness::Bench;

fn repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn bench() -> Bench {
    let bench = Bench::new();
    bench.file("run/events.jsonl", fs::read(repository("tests/fixtures/journal-v1/events.jsonl")).unwrap());
    let trace = repository("tests/traces/panics-in-the-first-boot-with-the-update.jsonl");
    bench.file("panics.jsonl", fs::read(trace).unwrap());
    bench
}

#[test]
fn a_trace_is_judged_and_only_what_decides_is_shown() {
    let bench = bench();
    let out = bench.run("judge panics.jsonl").expect(0).out;
    assert!(out.starts_with("the trace: unhealthy, as recorded\n  stop-error in phase boot at 8.1 s: "), "{out}");
    assert!(out.contains("the kernel tells the host that it panicked"), "{out}");
    assert!(!out.contains("sample:"), "{out}");
}

#[test]
fn a_trace_that_says_something_else_than_its_first_line_is_told_by_the_exit_code() {
    let bench = bench();
    let text = fs::read_to_string(bench.path("panics.jsonl")).unwrap();
    let (_, signals) = text.split_once('\n').unwrap();
    bench.file("wrong.jsonl", format!("{{\"outcome\":\"healthy\",\"reasons\":[]}}\n{signals}"));
    let answer = bench.run("judge wrong.jsonl").expect(1);
    assert!(answer.out.contains("unhealthy, and recorded as healthy (no reason)"), "{}", answer.out);
    bench.file("broken.jsonl", format!("{text}{{\"at\":1}}\n"));
    let answer = bench.run("judge broken.jsonl").expect(2);
    assert!(answer.err.contains("this is no signal"), "{}", answer.err);
    bench.run("judge nowhere").expect(2);
    for (command, told) in [
        ("judge panics.jsonl --cell a", "is a trace, which has no cell `a`"),
        ("judge run/events.jsonl", "give the directory, not the file"),
        ("judge run --trace one.jsonl", "--cell ID says of which"),
    ] {
        let answer = bench.run(command).expect(2);
        assert!(answer.err.contains(told), "{command}: {}", answer.err);
    }
    bench.file("unknown.jsonl", format!("{{\"outcome\":\"healthy\",\"reasons\":[\"stop-eror\"]}}\n{signals}"));
    let answer = bench.run("judge unknown.jsonl").expect(2);
    assert!(answer.err.contains("line 1: ") && answer.err.contains("stop-eror"), "{}", answer.err);
}

#[test]
fn a_trace_is_made_as_short_as_it_can_be() {
    let bench = bench();
    let long = bench.run("judge panics.jsonl --trace short.jsonl --format json").expect(0).out;
    let short = bench.run("judge short.jsonl --format json").expect(0).out;
    assert_eq!(long, short);
    let lines = |name: &str| fs::read_to_string(bench.path(name)).unwrap().lines().count();
    assert!(lines("short.jsonl") < lines("panics.jsonl"));
}

#[test]
fn a_run_is_judged_again_and_one_cell_becomes_a_trace_that_says_the_same() {
    let bench = bench();
    let all: serde_json::Value = serde_json::from_str(&bench.run("judge run --format json").out).unwrap();
    let cells = all.as_array().unwrap();
    assert!(cells.len() > 1);
    for cell in cells {
        let id = cell["cell"].as_str().unwrap();
        bench.run(&format!("judge run --cell {id} --trace {id}.jsonl"));
        bench.run(&format!("judge run --cell {id} --trace {id}.jsonl")).expect(2);
        let again = bench.run(&format!("judge {id}.jsonl --format json")).expect(0).out;
        let again: serde_json::Value = serde_json::from_str(&again).unwrap();
        assert_eq!(again[0]["verdict"]["outcome"], cell["verdict"]["outcome"], "{id}");
        assert_eq!(again[0]["deciding"], cell["deciding"], "{id}: what decides is all there is");
    }
}

#[test]
fn a_cell_is_explained_and_one_that_is_not_there_names_the_nearest() {
    let bench = bench();
    let all: serde_json::Value = serde_json::from_str(&bench.run("judge run --format json").out).unwrap();
    let id = all[0]["cell"].as_str().unwrap().to_owned();
    let out = bench.run(&format!("explain run {id}")).expect(0).out;
    assert!(out.starts_with(&format!("{id}: ")) && out.contains("attempt 1") && out.contains("phase start"), "{out}");
    assert!(!out.contains("sample:"), "{out}");
    // The record is of a bootgate that asked for less: what it called healthy is not proven now.
    assert!(out.starts_with(&format!("{id}: inconclusive, and recorded as healthy (no reason)\n")), "{out}");
    assert!(out.contains("ended: healthy, and its signals say inconclusive\n"), "{out}");
    assert_eq!(out.lines().next(), bench.run(&format!("judge run --cell {id}")).expect(1).out.lines().next());
    let err = bench.run(&format!("explain run {id}x")).expect(2).err;
    assert!(err.contains(&format!("did you mean `{id}`?")), "{err}");
}

#[test]
fn a_run_without_a_cell_was_not_judged_and_says_so() {
    let bench = bench();
    let journal = fs::read_to_string(bench.path("run/events.jsonl")).unwrap();
    let mut first: serde_json::Value = serde_json::from_str(journal.lines().next().unwrap()).unwrap();
    first["start"]["cells"] = serde_json::json!([]);
    bench.file("none/events.jsonl", format!("{first}\n"));
    let answer = bench.run("judge none").expect(1);
    assert!(answer.err.contains("none: the run planned no cell, so nothing was judged"), "{}", answer.err);
}
