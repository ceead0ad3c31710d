//! A run tells its decision, and waits for nobody who is told to stop. No machine is needed for that.

use std::{
    io::Read as _,
    net::{TcpListener, TcpStream},
    process::Child,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::harness::Bench;

/// A run whose golden disk is absent, which tells whoever listens here.
fn start(bench: &Bench, listener: &TcpListener) -> Child {
    let image = format!(
        "version: 1\nimages:\n  - {{name: a, labels: {{os: a}}, disk: absent.qcow2, sha256: {}, memory: 64MiB, family: linux}}\n",
        "a".repeat(64)
    );
    let catalog = bench.file("catalog.yaml", image);
    let body = "version: 1\nname: test\naxes: {os: [a]}\nupdate:\n  - sh: \"true\"\n";
    let matrix = bench.file("matrix.yaml", body);
    let url = format!("http://{}/${{env:HOOK}}", listener.local_addr().unwrap());
    let words = ["run", matrix.to_str().unwrap(), "--catalog", catalog.to_str().unwrap(), "--notify", &url];
    let mut command = bench.command(&[&words[..], &["--notify-timeout", "10m"]].concat());
    command.env("HOOK", "s3cret").env("NO_PROXY", "127.0.0.1").spawn().unwrap()
}

/// What arrives first.
fn read(mut stream: &TcpStream) -> String {
    let mut bytes = vec![0; 64 * 1024];
    let mut read = 0;
    while !bytes[..read].ends_with(b"}") {
        let more = stream.read(&mut bytes[read..]).unwrap();
        assert!(more > 0, "the request ended early");
        read += more;
    }
    String::from_utf8(bytes[..read].to_vec()).unwrap()
}

#[test]
fn a_run_tells_its_decision_and_a_receiver_that_hangs_up_changes_nothing() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let child = start(&bench, &listener);
    for _ in 0..3 {
        let (stream, _) = listener.accept().unwrap();
        let told = read(&stream);
        assert!(told.starts_with("POST /s3cret HTTP/1.1\r\n"), "{told}");
        assert!(told.contains(r#""decision":"inconclusive","exit_code":3"#), "{told}");
    }
    let ran = bench.finish(child).expect(3);
    assert!(ran.err.contains("was not told the decision") && !ran.err.contains("s3cret"), "{}", ran.err);
    assert!(!ran.out.contains("s3cret"), "{}", ran.out);
}

#[test]
fn an_interrupt_ends_the_telling_at_once_and_the_exit_code_stays() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let child = start(&bench, &listener);
    let (silent, _) = listener.accept().unwrap();
    let begun = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = bench.finish(child).expect(3);
    drop(silent);
    assert!(begun.elapsed() < Duration::from_secs(60), "it waited {:?}", begun.elapsed());
    assert!(ran.err.contains("warning: stopped while the decision was being told"), "{}", ran.err);
}
