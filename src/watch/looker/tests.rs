use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, channel},
    thread::{JoinHandle, spawn},
    time::Duration,
};

use super::*;
use crate::{event::Decision, watch::Names};

const UTC: &str = "2026-11-24T21:06:29Z";

struct Matrix(Arc<Mutex<u8>>);

impl Ask for Matrix {
    fn question(&mut self) -> Option<Sha256> {
        Some(Sha256::of(&[*self.0.lock().unwrap()]))
    }

    fn utc(&self) -> String {
        UTC.to_owned()
    }
}

struct Bench {
    dir: tempfile::TempDir,
    queue: Arc<Mutex<QueueFile>>,
    matrix: Arc<Mutex<u8>>,
}

/// A looker at work; what it tells, in short.
struct AtWork {
    told: Receiver<String>,
    halt: Arc<Halt>,
    thread: JoinHandle<()>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        let first = Record::Opened { folder: "in".into(), matrix: "m".into() };
        let queue = QueueFile::open(&dir.path().join("queue.jsonl"), UTC, &first).unwrap();
        Self { dir, queue: Arc::new(Mutex::new(queue)), matrix: Arc::default() }
    }

    fn inbox(&self, name: &str) -> PathBuf {
        self.dir.path().join("in").join(name)
    }

    fn store(&self) -> Store {
        Store::open(self.dir.path().join("store")).unwrap()
    }

    fn looker(&self, halt: &Arc<Halt>) -> Looker {
        let folder = Folder::new(self.dir.path().join("in"), Names::default());
        let times = (Millis(150), Millis(400));
        Looker::new(
            folder,
            self.store(),
            self.queue.clone(),
            times,
            halt.clone(),
            Box::new(Matrix(self.matrix.clone())),
        )
    }

    fn once(&self) -> (There, Vec<String>) {
        let mut told = Vec::new();
        let there = self.looker(&Arc::new(Halt::new().unwrap())).run_once(&mut |seen| told.push(short(&seen)));
        (there, told)
    }

    fn start(&self) -> AtWork {
        let halt = Arc::new(Halt::new().unwrap());
        let (looker, (sender, told)) = (self.looker(&halt), channel());
        let thread = spawn(move || looker.run(&mut |seen| drop(sender.send(short(&seen)))));
        AtWork { told, halt, thread }
    }

    /// Gives the entry its answer.
    fn answer(&self, entry: u64, question: u8) {
        let mut queue = self.queue.lock().unwrap();
        let question = Sha256::of(&[question]);
        queue.append(UTC, &Record::Started { entry, question, run: "r".into() }).unwrap();
        let ended = Record::Ended { entry, decision: Decision::Approved, again: false, approval: None };
        queue.append(UTC, &ended).unwrap();
    }

    fn names(&self) -> Vec<String> {
        self.queue.lock().unwrap().queue().entries().iter().map(|entry| entry.name.clone()).collect()
    }
}

impl AtWork {
    fn next(&self) -> String {
        self.told.recv_timeout(Duration::from_secs(60)).expect("the looker says something")
    }

    fn end(self) -> Vec<String> {
        self.halt.set();
        self.thread.join().unwrap();
        self.told.iter().collect()
    }
}

fn short(seen: &Seen<'_>) -> String {
    match seen {
        Seen::New(name) => format!("new {name}"),
        Seen::Arrived(entry) => format!("arrived {}", entry.name),
        Seen::Known { name, entry } => format!("known {name} {}", entry.id),
        Seen::Left(name) => format!("left {name}"),
        Seen::Trouble(text) => format!("trouble {text}"),
    }
}

fn age(path: &Path, seconds: u64) {
    let then = std::time::SystemTime::now() - Duration::from_secs(seconds);
    File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
}

#[test]
fn what_is_there_comes_oldest_first_and_is_known_by_its_looks_afterwards() {
    let bench = Bench::new();
    for (name, text, seconds) in [("a", "1", 10), ("b", "2", 30), ("c", "1", 20)] {
        fs::write(bench.inbox(name), text).unwrap();
        age(&bench.inbox(name), seconds);
    }
    let (there, told) = bench.once();
    assert_eq!((there.complete.len(), there.left), (3, 0));
    assert_eq!(bench.names(), ["b", "c"], "{told:?}");
    assert_eq!(told[3..], ["arrived b", "arrived c", "known a 1"], "the same bytes twice are one candidate: {told:?}");
    let copy = bench.store().path(&Sha256::of(b"2"), "b");
    assert_eq!(fs::read_to_string(copy).unwrap(), "2");

    // Nothing is read again but the file that came with another's bytes.
    let (again, told) = bench.once();
    assert_eq!((again, told), (there, vec!["new a".to_owned(), "known a 1".to_owned()]));
}

#[test]
fn another_matrix_is_another_question_to_what_has_its_answer() {
    let bench = Bench::new();
    fs::write(bench.inbox("a"), "1").unwrap();
    bench.once();
    *bench.matrix.lock().unwrap() = 1;
    assert_eq!(bench.once().1, Vec::<String>::new(), "it still waits");
    bench.answer(0, 1);
    assert_eq!(bench.once().1, Vec::<String>::new());
    *bench.matrix.lock().unwrap() = 2;
    assert_eq!(bench.once().1, ["new a", "arrived a"]);
}

#[test]
fn a_file_that_is_written_slowly_or_renamed_arrives_once_it_is_whole() {
    let bench = Bench::new();
    let at_work = bench.start();
    // Once this one is seen, the kernel is asked for news.
    fs::write(bench.inbox("first"), "first").unwrap();
    assert_eq!((at_work.next(), at_work.next()), ("new first".to_owned(), "arrived first".to_owned()));
    let mut slow = File::create(bench.inbox("slow")).unwrap();
    slow.write_all(b"begin").unwrap();
    assert_eq!(at_work.next(), "new slow");
    fs::write(bench.inbox("quick.part"), "quick").unwrap();
    fs::rename(bench.inbox("quick.part"), bench.inbox("quick")).unwrap();
    assert_eq!((at_work.next(), at_work.next()), ("new quick".to_owned(), "arrived quick".to_owned()));
    // Many settle times have passed for all the looker knows; but nobody has closed it.
    slow.write_all(b" end").unwrap();
    drop(slow);
    assert_eq!(at_work.next(), "arrived slow");
    let slow = bench.queue.lock().unwrap().queue().entries()[2].clone();
    assert_eq!(slow.sha256, Sha256::of(b"begin end"));

    // It is overwritten, and what waits is what it was.
    fs::write(bench.inbox("slow"), "another").unwrap();
    assert_eq!((at_work.next(), at_work.next()), ("new slow".to_owned(), "arrived slow".to_owned()));
    assert_eq!(fs::read_to_string(bench.store().path(&slow.sha256, "slow")).unwrap(), "begin end");
    assert_eq!(at_work.end(), Vec::<String>::new());
    assert_eq!(bench.names(), ["first", "quick", "slow", "slow"]);
}

#[test]
fn bytes_that_have_an_answer_are_not_asked_about_again_when_they_come_back() {
    let bench = Bench::new();
    let at_work = bench.start();
    let come = |text: &str| {
        fs::write(bench.inbox("a.tmp"), text).unwrap();
        fs::rename(bench.inbox("a.tmp"), bench.inbox("a")).unwrap();
        assert_eq!(at_work.next(), "new a");
        at_work.next()
    };
    assert_eq!(come("one"), "arrived a");
    bench.answer(0, 0);
    assert_eq!(come("two"), "arrived a");
    assert_eq!(come("one"), "known a 0");
    assert_eq!(come("two"), "known a 1");
    at_work.end();
}

#[test]
fn a_folder_that_goes_and_comes_back_is_watched_again() {
    let bench = Bench::new();
    let at_work = bench.start();
    let (inbox, away) = (bench.inbox(""), bench.dir.path().join("away"));
    fs::rename(&inbox, &away).unwrap();
    let told = at_work.next();
    assert!(told.starts_with("trouble cannot read"), "{told}");
    fs::write(away.join("a"), "1").unwrap();
    fs::rename(&away, &inbox).unwrap();
    assert_eq!((at_work.next(), at_work.next()), ("new a".to_owned(), "arrived a".to_owned()));
    assert_eq!(at_work.end(), Vec::<String>::new());
}
