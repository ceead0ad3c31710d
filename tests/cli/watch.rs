//! `bootgate watch`: what it refuses, and what it tells of its queue. Runs are in `tests/live`.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{fixtures::msi, harness::Bench};

const MATRIX: &str = "\
version: 1
name: agent
axes: {os: [a, b]}
update: [{copy: {from: '${candidate}', to: /x}}]
health: {checks: [{id: sensor, sh: sensor}]}
";

/// A folder `in` and a matrix for it.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.catalog();
    bench.file("m.yaml", MATRIX);
    fs::create_dir(bench.path("in")).unwrap();
    bench
}

/// The same, whose matrix installs MSI packages on Windows.
fn windows() -> Bench {
    let bench = bench();
    let catalog = fs::read_to_string(bench.path("images/catalog.yaml")).unwrap();
    bench.file("images/catalog.yaml", catalog.replace("family: linux", "family: windows"));
    bench.file(
        "m.yaml",
        MATRIX.replace("copy: {from: '${candidate}', to: /x}", "msi: '${candidate}'").replace("sh:", "cmd:"),
    );
    bench
}

/// A watcher at work.
struct Watcher(Child);

impl Watcher {
    fn start(bench: &Bench, words: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootgate"));
        command.args(["watch", "in", "--matrix", "m.yaml", "--settle", "100ms"]).args(words.split_whitespace());
        command.current_dir(bench.path("")).env("BOOTGATE_STATE", bench.path("state"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Its next line with these words.
    fn line(&mut self, words: &str) -> String {
        // Unbuffered, so that nothing is lost for the next one.
        let mut reader = BufReader::with_capacity(1, self.0.stdout.as_mut().unwrap());
        loop {
            let mut line = String::new();
            assert!(reader.read_line(&mut line).unwrap() > 0, "it ended without a word of {words}");
            if line.contains(words) {
                return line;
            }
        }
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_can_never_work_is_refused_at_the_start() {
    let bench = bench();
    bench.file("file", "x");
    bench.file("unused.yaml", MATRIX.replace("copy: {from: '${candidate}', to: /x}", "sh: 'true'"));
    bench.file("wrong.yaml", MATRIX.replace("axes", "axis"));
    bench.file("rings.yaml", format!("{MATRIX}policy: {{rings: [{{name: canary}}]}}\n"));
    let words = ["genpkey", "-algorithm", "ed25519", "-out", "key.pem"];
    assert!(Command::new("openssl").args(words).current_dir(bench.path("")).status().unwrap().success());
    bench.file("foreign.yaml", MATRIX.replace("[a, b]", "[a, c]"));
    for (words, why) in [
        ("absent --matrix m.yaml", "cannot watch absent: No such file"),
        ("file --matrix m.yaml", "cannot watch file: Not a directory"),
        ("in", "--matrix <FILE>"),
        ("in --matrix absent.yaml", "there is no such file"),
        ("in --matrix wrong.yaml", "did you mean `axes`?"),
        ("in --matrix unused.yaml", "no step of `update` uses the candidate"),
        ("in --matrix foreign.yaml", "the nearest is `img-a`, which lacks os=c"),
        ("in --matrix m.yaml --set x=1", "nothing uses it"),
        ("in --matrix m.yaml --settle 0s", "at least 100 ms"),
        ("in --matrix m.yaml --key absent.pem", "absent.pem"),
        ("in --matrix m.yaml --once --status", "cannot be used with"),
        ("in --matrix m.yaml --ring canary", "give --key FILE"),
        ("in --matrix rings.yaml --key key.pem", "has rings: say with --ring which is meant"),
        ("in --matrix rings.yaml --key key.pem --ring all", "has no ring `all`"),
        ("in --matrix m.yaml --notify nowhere", "--notify"),
    ] {
        let answer = bench.run(&format!("watch {words}")).expect(2);
        assert!(answer.err.contains(why), "{words}: {}", answer.err);
    }
    assert!(!bench.path("runs").exists());
}

#[test]
fn an_empty_folder_is_all_right_and_its_status_too() {
    let bench = bench();
    let status = "watch in --matrix m.yaml --status";
    assert!(bench.run(status).expect(0).out.starts_with("no candidate has come into DIR/in for DIR/m.yaml"));
    bench.file("in/.hidden", "x");
    bench.file("in/agent.msi.crdownload", "x");
    let out = bench.run("watch in --matrix m.yaml --once").expect(0).out;
    assert!(out.ends_with("watching in for m.yaml: 0 waiting\n") && out.lines().count() == 1, "{out}");
    assert!(bench.run(status).expect(0).out.starts_with("no candidate has come"));
}

#[test]
fn a_file_that_no_machine_could_take_is_told_once_and_the_next_one_is_looked_at() {
    let bench = windows();
    bench.file("in/agent.msi", msi("Arm64"));
    let once = "watch in --matrix m.yaml --once --settle 100ms";
    let answer = bench.run(once).expect(2);
    assert!(answer.err.contains("it is an MSI package for arm64"), "{}", answer.err);
    assert!(answer.out.contains("agent.msi: cannot be tested"), "{}", answer.out);
    // It has no other answer the second time, and is not looked at again.
    let again = bench.run(once).expect(2);
    assert!(again.err.is_empty() && !again.out.contains("cannot be tested"), "{}{}", again.out, again.err);
    bench.file("in/text.msi", "text");
    let answer = bench.run(once).expect(2);
    assert!(answer.err.contains("`text.msi` cannot be installed as `msi`"), "{}", answer.err);
    let status = bench.run("watch in --matrix m.yaml --status").expect(0).out;
    assert_eq!(status.matches("cannot be tested").count(), 2, "{status}");
    assert!(!bench.path("runs").exists(), "nothing was started");
    let copies = fs::read_dir(bench.path("state/watch")).unwrap().map(|entry| entry.unwrap().path().join("candidates"));
    assert!(copies.into_iter().all(|copies| fs::read_dir(copies).unwrap().next().is_none()), "no copy is left");
}

#[test]
fn a_matrix_that_becomes_wrong_is_told_and_waited_for() {
    let bench = windows();
    let mut watcher = Watcher::start(&bench, "");
    watcher.line("watching in for m.yaml");
    let good = fs::read_to_string(bench.path("m.yaml")).unwrap();
    bench.file("m.yaml", good.replace("axes", "axis"));
    bench.file("in/agent.msi", msi("Arm64"));
    watcher.line("agent.msi: complete");
    watcher.line("m.yaml cannot be used: what waits goes on waiting");
    bench.file("m.yaml", good);
    watcher.line("agent.msi: cannot be tested");
    watcher.line("m.yaml can be used again");
    watcher.send(Signal::TERM);
    assert_eq!(watcher.0.wait().unwrap().code(), Some(130));
}

#[test]
fn a_second_watcher_of_the_same_folder_and_matrix_is_refused_and_one_of_another_matrix_is_not() {
    let bench = bench();
    bench.file("other.yaml", MATRIX);
    let mut watcher = Watcher::start(&bench, "");
    watcher.line("watching in for m.yaml: 0 waiting");
    let second = bench.run("watch ./in/../in --matrix m.yaml --once").expect(2);
    assert!(second.err.contains("another bootgate watches this folder with this matrix already"), "{}", second.err);
    bench.run("watch in --matrix other.yaml --once").expect(0);
    bench.run("watch in --matrix m.yaml --status").expect(0);
    watcher.send(Signal::KILL);
    watcher.0.wait().unwrap();
    bench.run("watch in --matrix m.yaml --once").expect(0);
}

#[test]
fn a_candidate_over_which_bootgate_keeps_dying_is_given_up_and_no_lab_is_opened_for_it() {
    let bench = bench();
    let once = "watch in --matrix m.yaml --once --settle 100ms";
    bench.run(once).expect(0);
    bench.file("in/agent", "agent");
    let queue = fs::read_dir(bench.path("state/watch")).unwrap().next().unwrap().unwrap().path().join("queue.jsonl");
    let line = |what: &str| format!("{{\"v\":1,\"utc\":\"2026-11-24T08:00:00Z\",\"what\":{what}}}\n");
    let digest = bootgate::model::Sha256::of(b"agent");
    let arrived = format!(
        "\"arrived\",\"entry\":0,\"name\":\"agent\",\"size\":5,\"sha256\":\"{digest}\",\"stamp\":{{\"dev\":1,\"ino\":1,\
         \"size\":5,\"modified\":[0,0],\"changed\":[0,0]}}"
    );
    let started = line(&format!("\"started\",\"entry\":0,\"question\":\"{digest}\",\"run\":\"/absent\""));
    let text = fs::read_to_string(&queue).unwrap() + &line(&arrived) + &started.repeat(5);
    fs::write(&queue, text).unwrap();
    let status = bench.run("watch in --matrix m.yaml --status").expect(0).out;
    assert!(status.contains("running"), "{status}");
    let answer = bench.run(once).expect(3);
    assert!(answer.out.contains("agent: given up, bootgate died 5 times while it was tested"), "{}", answer.out);
}
