use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    event::Decision,
    model::{Bytes, Sha256},
    watch::{Stamp, State},
};

const UTC: &str = "2026-11-24T21:06:29Z";

fn first() -> Record {
    Record::Opened { folder: "/in".into(), matrix: "/m.yaml".into() }
}

fn open(path: &Path) -> QueueFile {
    QueueFile::open(path, UTC, &first()).unwrap()
}

fn stamp() -> Stamp {
    Stamp { dev: 1, ino: 2, size: 3, modified: (4, -5), changed: (6, 7) }
}

fn arrived(entry: u64, text: &str) -> Record {
    let (name, sha256) = (text.to_owned(), Sha256::of(text.as_bytes()));
    Record::Arrived { entry, name, size: Bytes(3), sha256, stamp: stamp() }
}

#[test]
fn a_queue_has_one_owner_and_can_be_looked_at_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("watch/x/queue.jsonl");
    let mut queue = open(&path);
    queue.append(UTC, &arrived(0, "a")).unwrap();
    assert!(matches!(QueueFile::open(&path, UTC, &first()), Err(QueueError::Busy(_))));
    assert_eq!(QueueFile::read(&path).unwrap(), *queue.queue());
    drop(queue);
    assert_eq!(open(&path).queue().entries().len(), 1);
}

#[test]
fn a_queue_of_today_is_read_tomorrow() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("queue.jsonl");
    fs::write(&path, include_str!("version-1.jsonl")).unwrap();
    let queue = QueueFile::read(&path).unwrap();
    let states: Vec<&str> = queue
        .entries()
        .iter()
        .map(|entry| match &entry.state {
            State::Waiting { .. } => "waiting",
            State::Running { .. } => "running",
            State::Ended { decision, .. } => decision.as_str(),
            State::Refused { .. } => "refused",
            State::Answered { .. } => "answered",
        })
        .collect();
    assert_eq!(states, ["rejected", "running", "inconclusive", "refused", "answered", "waiting"]);
    assert_eq!(queue.entries()[0].stamp, stamp());
}

#[test]
fn a_line_that_is_damaged_or_of_another_version_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("queue.jsonl");
    let good = include_str!("version-1.jsonl").lines().next().unwrap();
    for (second, why) in [
        ("{", "EOF"),
        ("{\"v\":2}", "its version is 2"),
        ("{\"v\":1,\"utc\":\"x\",\"what\":\"danced\"}", "unknown variant"),
        ("{\"v\":1,\"utc\":\"x\",\"what\":\"stopped\",\"entry\":0}", "does not wait"),
    ] {
        fs::write(&path, format!("{good}\n{second}\n")).unwrap();
        let error = QueueFile::open(&path, UTC, &first()).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains(why), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2, "nothing is thrown away");
    }
}

#[test]
fn a_record_that_cannot_be_written_is_not_in_the_queue() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("queue.jsonl");
    let mut queue = open(&path);
    queue.log = AppendLog::new(File::open(&path).unwrap(), 0);
    assert!(queue.append(UTC, &arrived(0, "a")).is_err());
    assert!(queue.queue().entries().is_empty());
    assert!(matches!(queue.append(UTC, &arrived(0, "a")), Err(QueueError::Unusable(_))));
    drop(queue);
    assert!(open(&path).queue().entries().is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    /// A complete file with these bytes.
    Comes(u8),
    Starts,
    Ends(Decision),
    Stops,
    /// The process dies, so many bytes into its next line.
    Dies(usize),
    /// The matrix becomes this one.
    Matrix(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let decision = prop_oneof![Just(Decision::Approved), Just(Decision::Rejected), Just(Decision::Inconclusive)];
    let step = prop_oneof![
        3 => (0u8..4).prop_map(Step::Comes),
        3 => Just(Step::Starts),
        3 => decision.prop_map(Step::Ends),
        1 => Just(Step::Stops),
        2 => (0usize..400).prop_map(Step::Dies),
        1 => (0u8..2).prop_map(Step::Matrix),
    ];
    proptest::collection::vec(step, 0..40)
}

/// A process that owns the queue, and a world around it.
struct World {
    path: PathBuf,
    queue: QueueFile,
    matrix: u8,
    /// The entry that this process tests.
    at_work: Option<u64>,
    came: BTreeSet<u8>,
}

impl World {
    fn question(&self) -> Sha256 {
        Sha256::of(&[self.matrix])
    }

    fn append(&mut self, record: Record) {
        self.queue.append(UTC, &record).unwrap();
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Comes(bytes) => {
                self.came.insert(*bytes);
                let sha256 = Sha256::of(&[*bytes]);
                if self.queue.queue().known(&sha256, Some(&self.question())).is_none() {
                    let entry = self.queue.queue().next_id();
                    let (name, size) = (format!("file-{bytes}"), Bytes(1));
                    self.append(Record::Arrived { entry, name, size, sha256, stamp: stamp() });
                }
            }
            Step::Starts if self.at_work.is_none() => {
                let Some(next) = self.queue.queue().next().cloned() else { return };
                let question = self.question();
                if let Some(by) = self.queue.queue().answered(&next, &question).map(|entry| entry.id) {
                    return self.append(Record::Answered { entry: next.id, question, by });
                }
                let run = next.run().map_or_else(|| PathBuf::from(format!("/runs/{}", next.id)), Path::to_owned);
                self.append(Record::Started { entry: next.id, question, run });
                self.at_work = Some(next.id);
            }
            Step::Ends(decision) => {
                let Some(entry) = self.at_work.take() else { return };
                let tries = self.queue.queue().entries()[entry as usize].tries;
                let again = *decision == Decision::Inconclusive && tries == 0;
                self.append(Record::Ended { entry, decision: *decision, again, approval: None });
            }
            Step::Stops => {
                if let Some(entry) = self.at_work.take() {
                    self.append(Record::Stopped { entry });
                }
            }
            Step::Dies(bytes) => self.die(*bytes),
            Step::Matrix(matrix) => self.matrix = *matrix,
            Step::Starts => {}
        }
    }

    fn die(&mut self, bytes: usize) {
        let before = self.queue.queue().clone();
        let line = serde_json::to_vec(&Line { v: VERSION, utc: UTC.to_owned(), record: arrived(99, "torn") }).unwrap();
        self.queue.log.append(&line[..bytes.min(line.len())], false).unwrap();
        // The lock goes with the process.
        let other = self.path.with_extension("none");
        self.queue = open(&other);
        fs::remove_file(other).unwrap();
        self.queue = open(&self.path);
        self.at_work = None;
        assert_eq!(*self.queue.queue(), before);
    }

    fn check(&self) {
        let mut open = BTreeMap::new();
        let mut answers = BTreeMap::new();
        for entry in self.queue.queue().entries() {
            *open.entry(&entry.sha256).or_insert(0) += u32::from(entry.is_open());
            if matches!(entry.state, State::Ended { .. }) {
                *answers.entry((&entry.sha256, &entry.question)).or_insert(0) += 1;
            }
        }
        assert!(open.values().all(|count| *count <= 1), "twice in the queue: {open:?}");
        assert!(answers.values().all(|count| *count == 1), "tested twice: {answers:?}");
        assert!(self.came.iter().all(|bytes| open.contains_key(&Sha256::of(&[*bytes]))), "lost");
    }
}

proptest! {
    // Each step is saved on the disk.
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn however_often_it_dies_no_candidate_is_lost_and_none_is_tested_twice(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queue.jsonl");
        let queue = open(&path);
        let mut world = World { path, queue, matrix: 0, at_work: None, came: BTreeSet::new() };
        for step in &steps {
            world.step(step);
            world.check();
        }
        // In the end everything gets its answer.
        while world.queue.queue().next().is_some() {
            world.step(&Step::Starts);
            world.step(&Step::Ends(Decision::Approved));
            world.check();
        }
        let came = world.came.iter().map(|bytes| Sha256::of(&[*bytes]));
        let queue = world.queue.queue();
        prop_assert!(came.into_iter().all(|sha256| queue.known(&sha256, None).is_some_and(|entry| !entry.is_open())));
    }
}
