//! `bootgate report`, as a user calls it, on a committed run.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

struct Run(tempfile::TempDir);

impl Run {
    /// A copy of the committed run: nine cells, rejected.
    fn committed() -> Self {
        let run = Self(tempfile::tempdir().unwrap());
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal-v1/events.jsonl");
        fs::copy(fixture, run.journal()).unwrap();
        run
    }

    fn journal(&self) -> std::path::PathBuf {
        self.0.path().join("events.jsonl")
    }

    fn has(&self, name: &str) -> bool {
        self.0.path().join(name).exists()
    }

    fn report(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_bootgate"))
            .arg("report")
            .arg(self.0.path())
            .args(args)
            .env("BOOTGATE_STATE", self.0.path().join("state"))
            .output()
            .unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn reports_are_rebuilt_and_the_decision_is_told() {
    let run = Run::committed();
    let output = run.report(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(run.has("junit.xml") && run.has("result.json") && run.has("report.html"));
    assert!(String::from_utf8(output.stdout).unwrap().contains("REJECTED  3 of 9 permutations break"));

    let before = ["junit.xml", "result.json", "report.html"].map(|name| fs::read(run.0.path().join(name)).unwrap());
    run.report(&[]);
    assert_eq!(
        before,
        ["junit.xml", "result.json", "report.html"].map(|name| fs::read(run.0.path().join(name)).unwrap())
    );
}

#[test]
fn one_report_can_be_chosen_and_the_gates_code_be_asked_for() {
    let run = Run::committed();
    assert_eq!(run.report(&["--only", "junit", "--exit-code"]).status.code(), Some(1));
    assert!(run.has("junit.xml") && !run.has("result.json") && !run.has("report.html"));
}

#[test]
fn any_report_is_written_elsewhere_and_nothing_is_rebuilt_then() {
    let run = Run::committed();
    for (format, begins) in [
        ("html", "<!DOCTYPE html>"),
        ("client", "<!DOCTYPE html>"),
        ("junit", "<?xml"),
        ("json", "{"),
        ("markdown", "## ✗ REJECTED: 3 of 9 permutations break\n"),
        ("github", "::error title=bootgate%3A rejected::3 of 9 permutations break\n"),
        ("azure", "##vso[task.logissue type=error;]bootgate: rejected: 3 of 9 permutations break\n"),
        ("metrics", "# TYPE bootgate_approved gauge\n"),
    ] {
        let printed = run.report(&["--format", format]);
        assert_eq!(printed.status.code(), Some(0), "{}", stderr(&printed));
        assert!(String::from_utf8_lossy(&printed.stdout).starts_with(begins), "{format}");
        let path = run.0.path().join("elsewhere");
        let written = run.report(&["--format", format, "--out", path.to_str().unwrap(), "--exit-code"]);
        assert_eq!((written.status.code(), written.stdout.len()), (Some(1), 0), "{}", stderr(&written));
        assert_eq!(fs::read(&path).unwrap(), printed.stdout, "{format}");
    }
    assert!(!run.has("junit.xml") && !run.has("report.html"));
}

#[test]
fn a_page_that_cannot_be_written_is_told() {
    let run = Run::committed();
    let output = run.report(&["--format", "client", "--out", "/nowhere/at/all.html"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("cannot write /nowhere/at/all.html"), "{}", stderr(&output));
}

#[test]
fn a_killed_runs_reports_are_built_and_it_is_inconclusive_or_worse() {
    let run = Run::committed();
    let journal = fs::read(run.journal()).unwrap();
    fs::write(run.journal(), &journal[..9000]).unwrap();
    let output = run.report(&["--exit-code"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("was killed while it wrote line"));
    assert!(fs::read_to_string(run.0.path().join("junit.xml")).unwrap().contains("harness-died"));
}

#[test]
fn an_edited_journal_is_refused_with_its_place_and_nothing_is_written() {
    let run = Run::committed();
    let journal = fs::read_to_string(run.journal()).unwrap();
    fs::write(run.journal(), journal.replace("unhealthy", "healthy")).unwrap();
    let output = run.report(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("the chain is broken"), "{}", stderr(&output));
    assert!(!run.has("junit.xml"));
}

#[test]
fn what_is_no_run_directory_gets_a_hint() {
    let run = Run(tempfile::tempdir().unwrap());
    let output = run.report(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("is no run directory: give the directory"), "{}", stderr(&output));
}
