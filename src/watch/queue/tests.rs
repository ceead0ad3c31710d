use super::*;

const UTC: &str = "2026-11-24T21:06:29Z";

fn stamp() -> Stamp {
    Stamp { dev: 1, ino: 2, size: 3, modified: (4, 5), changed: (6, 7) }
}

fn arrived(entry: u64, text: &str) -> Record {
    let (name, sha256) = (format!("{text}.bin"), Sha256::of(text.as_bytes()));
    Record::Arrived { entry, name, size: Bytes(3), sha256, stamp: stamp() }
}

fn question(text: &str) -> Sha256 {
    Sha256::of(text.as_bytes())
}

fn started(entry: u64) -> Record {
    Record::Started { entry, question: question("q"), run: format!("/runs/{entry}").into() }
}

fn ended(entry: u64, decision: Decision, again: bool) -> Record {
    Record::Ended { entry, decision, again, approval: None }
}

fn queue(records: &[Record]) -> Queue {
    let mut queue = Queue::default();
    for record in records {
        queue.apply(UTC, record).unwrap();
    }
    queue
}

fn line(queue: &Queue) -> Vec<u64> {
    queue.line().iter().map(|entry| entry.id).collect()
}

#[test]
fn who_comes_first_is_tested_first_and_what_was_interrupted_before_all() {
    let mut queue = queue(&[arrived(0, "a"), arrived(1, "b"), arrived(2, "c"), started(1)]);
    assert_eq!(line(&queue), [1, 0, 2]);
    queue.apply(UTC, &Record::Stopped { entry: 1 }).unwrap();
    assert_eq!((line(&queue), queue.next().unwrap().run()), (vec![1, 0, 2], Some(Path::new("/runs/1"))));
}

#[test]
fn an_inconclusive_run_goes_on_after_those_that_wait() {
    let first = [arrived(0, "a"), arrived(1, "b"), started(0), ended(0, Decision::Inconclusive, true), arrived(2, "c")];
    let mut queue = queue(&first);
    assert_eq!(line(&queue), [1, 0, 2]);
    assert_eq!((queue.entries()[0].tries, queue.entries()[0].run()), (1, Some(Path::new("/runs/0"))));
    queue.apply(UTC, &started(0)).unwrap();
    queue.apply(UTC, &ended(0, Decision::Approved, false)).unwrap();
    assert_eq!(line(&queue), [1, 2]);
    assert_eq!(queue.entries()[0].tries, 2);
}

#[test]
fn deaths_are_counted_until_something_comes_of_a_start() {
    let mut queue = queue(&[arrived(0, "a"), started(0), started(0), started(0)]);
    assert_eq!(queue.entries()[0].deaths, 3);
    queue.apply(UTC, &Record::Stopped { entry: 0 }).unwrap();
    assert_eq!(queue.entries()[0].deaths, 0);
}

#[test]
fn what_came_out_inconclusive_is_no_answer_and_may_come_again_unless_it_kills() {
    let mut queue = queue(&[arrived(0, "a"), started(0), ended(0, Decision::Inconclusive, false)]);
    let (bytes, asked) = (Sha256::of(b"a"), question("q"));
    assert!(queue.known(&bytes, Some(&asked)).is_some() && queue.entries()[0].may_be_forgotten());
    queue.apply(UTC, &Record::Forgotten { entry: 0 }).unwrap();
    assert!(queue.known(&bytes, Some(&asked)).is_none() && queue.known(&bytes, None).is_none());
    queue.apply(UTC, &arrived(1, "a")).unwrap();
    let again = queue.next().unwrap().clone();
    assert!(queue.answered(&again, &asked).is_none());
    assert!(queue.apply(UTC, &Record::Forgotten { entry: 0 }).is_err(), "once is enough");

    for _ in 0..MOST_DEATHS {
        queue.apply(UTC, &started(1)).unwrap();
    }
    queue.apply(UTC, &ended(1, Decision::Inconclusive, false)).unwrap();
    assert!(!queue.entries()[1].may_be_forgotten());
    assert!(queue.known(&bytes, Some(&asked)).is_some());
}

#[test]
fn the_same_bytes_are_known_by_any_name_for_as_long_as_the_question_is_the_same() {
    let mut queue = queue(&[arrived(0, "a"), started(0)]);
    let bytes = Sha256::of(b"a");
    assert!(queue.known(&bytes, Some(&question("other"))).is_some(), "it waits, and is asked by what holds then");
    queue.apply(UTC, &ended(0, Decision::Rejected, false)).unwrap();
    assert!(queue.known(&bytes, Some(&question("q"))).is_some());
    assert!(queue.known(&bytes, None).is_some());
    assert!(queue.known(&bytes, Some(&question("other"))).is_none());
    assert!(queue.known(&Sha256::of(b"b"), None).is_none());
    assert_eq!(queue.bytes_of("a.bin", &stamp()), Some(&bytes));
    assert_eq!(queue.bytes_of("a.bin", &Stamp { size: 4, ..stamp() }), None);

    queue.apply(UTC, &arrived(1, "a")).unwrap();
    let again = queue.next().unwrap().clone();
    assert_eq!(queue.answered(&again, &question("q")).map(|entry| entry.id), Some(0));
    assert!(queue.answered(&again, &question("other")).is_none());
    queue.apply(UTC, &Record::Answered { entry: 1, question: question("q"), by: 0 }).unwrap();
    assert_eq!(queue.known(&bytes, Some(&question("q"))).map(|entry| entry.id), Some(0));
}

#[test]
fn what_cannot_have_happened_is_refused() {
    let opened = Record::Opened { folder: "/in".into(), matrix: "/m.yaml".into() };
    let mut queue = queue(&[opened.clone(), arrived(0, "a")]);
    let before = queue.clone();
    for (record, why) in [
        (opened, "opened in its middle"),
        (arrived(2, "b"), "out of order"),
        (arrived(1, "a"), "waits already"),
        (started(7), "does not wait"),
        (ended(0, Decision::Approved, false), "does not run"),
        (Record::Stopped { entry: 0 }, "does not run"),
    ] {
        let error = queue.apply(UTC, &record).unwrap_err();
        assert!(error.contains(why), "{error}");
        assert_eq!(queue, before);
    }
    queue.apply(UTC, &Record::Refused { entry: 0, question: question("q"), why: "x".to_owned() }).unwrap();
    assert!(queue.apply(UTC, &started(0)).is_err());
}
