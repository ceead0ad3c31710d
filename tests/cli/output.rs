//! What is printed of what others wrote, and what happens where nothing can be printed.

use std::{
    fs::File,
    process::{Command, Stdio},
};

use crate::harness::Bench;

/// A direction mark, which makes `b.exe` of `exe.b`.
const MARK: char = '\u{202e}';

#[test]
fn a_completion_script_that_cannot_be_written_is_an_error_and_no_panic() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bootgate"));
    let command = command.args(["completions", "bash", "--state", "/nowhere"]).stdout(full).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), err.as_str()),
        (Some(2), "error: cannot write to standard output: No space left on device (os error 28)\n")
    );
    assert!(Bench::new().run("completions zsh").expect(0).out.starts_with("#compdef bootgate"));
}

#[test]
fn no_direction_mark_of_a_path_or_an_argument_reaches_the_terminal() {
    let bench = Bench::new();
    bench.catalog();
    let text = std::fs::read_to_string(bench.path("images/catalog.yaml")).unwrap();
    bench.file("images/catalog.yaml", text.replace("built/a", &format!("built/a{MARK}b")));
    let out = bench.run("images verify img-a").expect(1).out;
    assert!(out.contains("built/a\u{fffd}b.qcow2` is missing") && !out.contains(MARK), "{out}");
    let err = bench.run(&format!("plan --nope{MARK}x")).expect(2).err;
    assert!(err.contains("unexpected argument '--nope\u{fffd}x'") && !err.contains(MARK), "{err}");
}

#[test]
fn of_a_very_long_path_only_begin_and_end_are_told() {
    let long = "x".repeat(5000);
    for words in [format!("plan {long}"), format!("images list --catalog {long}"), format!("report {long}")] {
        let err = Bench::new().run(&words).expect(2).err;
        assert!(err.contains("more characters]x") && err.len() < 1500, "{err}");
    }
}

#[test]
fn a_matrix_and_a_run_to_resume_exclude_each_other_in_the_usage_too() {
    let err = Bench::new().run("run m.yaml --resume x").expect(2).err;
    assert!(err.contains("bootgate run [OPTIONS] <MATRIX>\n       bootgate run [OPTIONS] --resume <RUN>\n"), "{err}");
    let err = Bench::new().run("run --resume x --only os=a").expect(2).err;
    assert!(err.contains("cannot be used with"), "{err}");
}
