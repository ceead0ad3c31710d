//! Candidates that come into a folder.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread::sleep,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::harness::{Bench, catalog, golden, wait_until};

/// A vendor's folder, and a machine whose sensor panics on bad content.
struct Vendor {
    bench: Bench,
    inbox: PathBuf,
}

impl Vendor {
    fn new() -> Self {
        let bench = Bench::new();
        let matrix = format!(
            "version: 1\nname: sensor\ncatalog: {}\naxes: {{os: [lab-os-10], patch: [p2]}}\n\
             update: [{{copy: {{from: '${{candidate}}', to: /var/lib/sensor/content}}}}]\n\
             health: {{watch: 1s, checks: [{{id: sensor, sh: sensorctl status}}]}}\n",
            catalog()
        );
        bench.file("sensor.yaml", matrix);
        let inbox = bench.path("in");
        fs::create_dir(&inbox).unwrap();
        for words in ["genpkey -algorithm ed25519 -out key.pem", "pkey -in key.pem -pubout -out key.pub"] {
            let openssl = Command::new("openssl").args(words.split(' ')).current_dir(bench.path("")).output().unwrap();
            assert!(openssl.status.success());
        }
        Self { bench, inbox }
    }

    fn command(&self, more: &[&str]) -> Command {
        let words = ["watch", "in", "--matrix", "sensor.yaml"];
        self.bench.command(&[&words[..], more].concat())
    }

    fn start(&self) -> Child {
        self.command(&["--settle", "1s", "--key", "key.pem"]).spawn().unwrap()
    }

    fn status(&self) -> String {
        let output = self.command(&["--status"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether the signed answer of a run lets this file pass.
    fn verify(&self, run: &Path, file: &str) -> Option<i32> {
        let approval = run.join("approval.json");
        let words = ["verify", approval.to_str().unwrap(), "--key", "key.pub", "--update", file];
        let output = self.bench.command(&words).output().unwrap();
        output.status.code()
    }

    fn runs(&self) -> Vec<PathBuf> {
        let mut runs: Vec<PathBuf> =
            fs::read_dir(self.bench.path("runs")).unwrap().map(|entry| entry.unwrap().path()).collect();
        runs.sort();
        runs
    }

    fn copies(&self) -> usize {
        let kept = fs::read_dir(self.bench.path("s/watch")).unwrap().map(|entry| entry.unwrap().path());
        kept.map(|kept| fs::read_dir(kept.join("candidates")).unwrap().count()).sum()
    }
}

fn content(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("matrices/demo");
    fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn two_releases_of_a_vendor_get_their_answers_although_the_watcher_is_killed() {
    let vendor = Vendor::new();
    let (bench, inbox) = (&vendor.bench, &vendor.inbox);
    let before = golden();
    let mut killed = vendor.start();
    bench.file("upload", content("content-fixed.txt"));
    fs::rename(bench.path("upload"), inbox.join("content-2")).unwrap();
    bench.wait_for_machines(1);

    // The next release trickles in while the first one is tested, and the watcher dies.
    let bad = content("content-bad.txt");
    let (begin, end) = bad.split_at(bad.len() / 2);
    let mut slow = File::create(inbox.join("content-3")).unwrap();
    slow.write_all(begin.as_bytes()).unwrap();
    sleep(Duration::from_secs(4));
    let status = vendor.status();
    assert!(status.contains("running") && !status.contains("content-3"), "half a file is no candidate: {status}");
    kill_process(Pid::from_child(&killed), Signal::KILL).unwrap();
    killed.wait().unwrap();
    assert!(!bench.machines().is_empty(), "the test is void: the machines went with bootgate");

    let watcher = vendor.start();
    slow.write_all(end.as_bytes()).unwrap();
    drop(slow);
    wait_until("both have their answers", || {
        let status = vendor.status();
        status.contains("approved, signed") && status.contains("rejected, signed")
    });
    // What was tested is the copy: nothing that happens to the files now makes a difference.
    fs::remove_file(inbox.join("content-2")).unwrap();
    kill_process(Pid::from_child(&watcher), Signal::TERM).unwrap();
    let told = bench.finish(watcher).expect(130).out;
    assert!(told.contains("content-2: testing goes on"), "{told}");
    assert!(told.contains("content-2: APPROVED, signed") && told.contains("content-3: REJECTED, signed"), "{told}");

    let runs = vendor.runs();
    assert_eq!(runs.len(), 2, "each has one run, the interrupted one too: {runs:?}");
    for run in &runs {
        for file in ["junit.xml", "result.json", "report.html", "events.jsonl", "approval.json"] {
            assert!(run.join(file).exists(), "{} has no {file}", run.display());
        }
    }
    bench.file("good", content("content-fixed.txt"));
    bench.file("bad", &bad);
    assert_eq!(vendor.verify(&runs[0], "good"), Some(0));
    assert_eq!(vendor.verify(&runs[0], "bad"), Some(1), "another file than the approval's");
    assert_eq!(vendor.verify(&runs[1], "bad"), Some(1), "a statement that it failed");

    // The good one comes back, and both have their answer: the worse one stands.
    fs::rename(bench.path("good"), inbox.join("content-4")).unwrap();
    let once = vendor.command(&["--once", "--settle", "1s"]).spawn().unwrap();
    let once = bench.finish(once).expect(1);
    assert!(once.out.contains("content-4: not tested again, it was approved as content-2"), "{}", once.out);
    assert_eq!(vendor.runs(), runs);
    assert_eq!(vendor.copies(), 0, "a copy is left");
    assert_eq!(golden(), before, "a golden image was touched");
    bench.assert_nothing_left();
}

#[test]
fn a_run_that_is_stopped_goes_on_at_the_next_start() {
    let vendor = Vendor::new();
    let bench = &vendor.bench;
    fs::write(vendor.inbox.join("content"), content("content-fixed.txt")).unwrap();
    let once = || vendor.command(&["--once", "--settle", "1s"]).spawn().unwrap();
    let stopped = once();
    bench.wait_for_machines(1);
    kill_process(Pid::from_child(&stopped), Signal::TERM).unwrap();
    let stopped = bench.finish(stopped).expect(130);
    assert!(stopped.out.contains("content: stopped, goes on at the next start"), "{}", stopped.out);
    bench.assert_nothing_left();
    assert!(vendor.status().contains("stopped, goes on next"), "{}", vendor.status());
    let ended = bench.finish(once()).expect(0);
    assert!(ended.out.contains("content: testing goes on"), "{}", ended.out);
    assert_eq!(vendor.runs(), [stopped.dir]);
    assert_eq!(vendor.copies(), 0);
    bench.assert_nothing_left();
}
