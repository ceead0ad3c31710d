//! `--notify`: webhooks are told the decision, and whatever they do, it stays what it is.

use std::{
    fs,
    io::{BufReader, Write as _},
    net::TcpListener,
    path::Path,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::harness::{Answer, Bench};

const SECRET: &str = "s3cret-path";

/// Someone who is told, and answers each request as he was given; then he is gone.
struct Listener {
    port: u16,
    requests: Receiver<Request>,
}

struct Request {
    /// Request line and header, in lower case.
    head: String,
    body: Value,
}

impl Listener {
    /// `answers` are status lines with header lines behind them.
    fn answering(answers: &'static [&'static str]) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let (sender, requests) = mpsc::channel();
        thread::spawn(move || {
            for answer in answers {
                let (stream, _) = socket.accept().unwrap();
                sender.send(read(&mut BufReader::new(&stream))).unwrap();
                let head = answer.replace('\n', "\r\n");
                write!(&stream, "HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            }
        });
        Self { port, requests }
    }

    fn told(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }
}

fn read(stream: &mut impl std::io::BufRead) -> Request {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "the request ended in its head");
    }
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    Request { head, body: serde_json::from_slice(&body).unwrap() }
}

/// A recorded run that was approved, in `run/`, and its lab's key.
fn bench() -> Bench {
    let bench = Bench::new().env("HOOK", SECRET);
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/approval-v1");
    for name in ["run/events.jsonl", "run/plan.json", "run/run.sig.json", "lab.pub"] {
        bench.file(name, fs::read(fixture.join(name)).unwrap());
    }
    bench
}

/// The gate's answer, which has to be the same whoever is told; no secret is in it.
fn gate(bench: &Bench, words: &str) -> Answer {
    let answer = bench.run(&format!("gate run --lab-key lab.pub {words}")).expect(0);
    assert!(answer.out.contains("APPROVED"), "{}", answer.out);
    assert!(!format!("{answer:?}").contains("s3cret"), "{answer:?}");
    answer
}

#[test]
fn a_decision_is_posted_with_the_token_from_the_environment() {
    let listener = Listener::answering(&["204 No Content"]);
    let bench = bench().env("BOOTGATE_NOTIFY_TOKEN", "s3cret-token");
    // The library's own log is silent even then.
    let answer = gate(&bench, &format!("-vvvv --notify http://127.0.0.1:{}/${{env:HOOK}}?x=y", listener.port));
    assert!(!answer.err.contains("was not told"), "{}", answer.err);
    let told = listener.told();
    assert!(told[0].head.starts_with(&format!("post /{SECRET}?x=y http/1.1\r\n")), "{}", told[0].head);
    for line in ["authorization: bearer s3cret-token", "content-type: application/json", "user-agent: bootgate/"] {
        assert!(told[0].head.contains(&format!("\r\n{line}")), "{line} is missing in {}", told[0].head);
    }
    let body = &told[0].body;
    assert_eq!((&body["event"], &body["decision"]), (&"decision".into(), &"approved".into()), "{body}");
    assert_eq!((&body["version"], &body["exit_code"]), (&1.into(), &0.into()), "{body}");
    assert_eq!(body["candidate"]["name"], "content.txt");
}

#[test]
fn each_receiver_gets_its_own_form_and_no_token_but_the_generic_one() {
    let (slack, teams) = (Listener::answering(&["200 OK"]), Listener::answering(&["202 Accepted"]));
    let bench = bench().env("BOOTGATE_NOTIFY_TOKEN", "s3cret-token");
    let words =
        format!("--notify slack=http://127.0.0.1:{}/ --notify teams=http://127.0.0.1:{}/", slack.port, teams.port);
    assert_eq!(gate(&bench, &words).err, "");
    let (slack, teams) = (slack.told(), teams.told());
    assert_eq!(slack[0].body["text"], "APPROVED: content.txt");
    assert_eq!(teams[0].body["attachments"][0]["content"]["type"], "AdaptiveCard");
    assert!(!slack[0].head.contains("authorization") && !teams[0].head.contains("authorization"));
}

#[test]
fn a_receiver_that_is_not_well_for_a_moment_is_told_again() {
    let listener = Listener::answering(&["503 Busy\nRetry-After: 0", "429 Slow\nRetry-After: 0", "200 OK"]);
    let answer = gate(&bench(), &format!("--notify http://127.0.0.1:{}/${{env:HOOK}}", listener.port));
    assert_eq!(answer.err, "");
    assert_eq!(listener.told().len(), 3);
}

#[test]
fn what_cannot_be_told_is_a_warning() {
    const AGAIN: &str = "500 Broken\nRetry-After: 0";
    let cases: [(&'static [&'static str], usize, &str); 4] = [
        (&[AGAIN; 4], 3, "it answered 500"),
        (&["404 Gone"], 1, "it answered 404"),
        // Whoever stands there would get the token.
        (&["307 Elsewhere\nLocation: http://127.0.0.1:1/"], 1, "it answered 307: redirects are not followed"),
        (&["429 Slow\nRetry-After: 3600"], 1, "it answered 429"),
    ];
    for (answers, tries, why) in cases {
        let listener = Listener::answering(answers);
        let words = format!("--notify-timeout 5s --notify http://127.0.0.1:{}/${{env:HOOK}}", listener.port);
        let err = gate(&bench(), &words).err;
        assert_eq!(err, format!("warning: http://127.0.0.1:{} was not told the decision: {why}\n", listener.port));
        assert_eq!(listener.told().len(), tries, "{why}");
    }
}

#[test]
fn a_receiver_that_never_answers_holds_nobody_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let listener = Listener::answering(&["200 OK"]);
    let words = format!(
        "--notify-timeout 1s --notify http://127.0.0.1:{port}/${{env:HOOK}} --notify http://127.0.0.1:{}/",
        listener.port
    );
    let begun = Instant::now();
    let err = gate(&bench(), &words).err;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(err, format!("warning: http://127.0.0.1:{port} was not told the decision: no answer in time\n"));
    assert_eq!(listener.told().len(), 1, "the other one is told");
}

#[test]
fn a_receiver_that_is_not_there_is_a_warning_too() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let err = gate(&bench(), &format!("--notify-timeout 500ms --notify http://127.0.0.1:{port}/${{env:HOOK}}")).err;
    assert!(err.contains("Connection refused") && !err.contains(SECRET), "{err}");
}

#[test]
fn secrets_on_the_command_line_are_refused_before_anything_is_read() {
    for (url, told) in [
        ("https://user:s3cret@ci.example/x", "the URL of ci.example has a user or a password in it"),
        ("https://hooks.slack.com/services/s3cret", "the URL of a webhook at hooks.slack.com is a secret"),
        ("https://ci.example/${env:NOPE}", "the environment variable NOPE is not set"),
        ("ci.example/s3cret", "this is no URL"),
    ] {
        for verb in ["gate nowhere", "run nowhere.yaml"] {
            let answer = bench().run(&format!("{verb} --notify {url}")).expect(2);
            assert!(answer.err.contains(&format!("--notify: {told}")), "{}", answer.err);
            assert!(!answer.err.contains("s3cret") && !answer.err.contains("nowhere"), "{}", answer.err);
        }
    }
    let bench = bench().env("BOOTGATE_NOTIFY_TOKEN", "s3cret-token");
    let err = bench.run("gate run --notify https://a.example/ --notify http://b.example/").expect(2).err;
    assert!(err.contains("--notify, number 2: BOOTGATE_NOTIFY_TOKEN would go to b.example unencrypted"), "{err}");
}
