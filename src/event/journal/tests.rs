use std::{fs, path::PathBuf};

use super::*;
use crate::{
    event::{Decision, Level, RunEvent, RunState, Tail, read, testing::Story},
    model::{Phase, ReasonId},
};

struct Scratch {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn scratch() -> Scratch {
    let dir = tempfile::tempdir().unwrap();
    Scratch { path: dir.path().join("events.jsonl"), _dir: dir }
}

fn story() -> Story {
    let mut story = Story::of(&["os-9.p1", "os-9.p2"]);
    story.healthy("os-9.p1", 1).failed("os-9.p2", 1, Phase::Boot, ReasonId::StopError, "kernel panic: 21 != 20");
    story.run_ended(Decision::Rejected);
    story
}

fn written(events: &[Event]) -> Scratch {
    let scratch = scratch();
    let mut writer = JournalWriter::create(&scratch.path, RunId::from("r1")).unwrap();
    events.iter().for_each(|event| writer.append(event).unwrap());
    scratch
}

/// Reads what is left of a good journal after an edit.
fn edited(edit: impl FnOnce(&mut Vec<String>)) -> String {
    let scratch = written(&story().events);
    let mut lines: Vec<String> = fs::read_to_string(&scratch.path).unwrap().lines().map(str::to_owned).collect();
    edit(&mut lines);
    fs::write(&scratch.path, lines.join("\n") + "\n").unwrap();
    read(&scratch.path).unwrap_err().to_string().replace(&scratch.path.display().to_string(), "FILE")
}

#[test]
fn what_is_written_is_read_back() {
    let events = story().events;
    let journal = read(&written(&events).path).unwrap();
    assert_eq!((journal.run, journal.tail), (RunId::from("r1"), Tail::Whole));
    assert_eq!(journal.events, events);
}

#[test]
fn an_edited_journal_is_refused_and_the_line_named() {
    let swap = |from: &'static str, to: &'static str| {
        move |lines: &mut Vec<String>| {
            let line = lines.iter_mut().find(|line| line.contains(from)).unwrap();
            *line = line.replacen(from, to, 1);
        }
    };
    let panic = story()
        .events
        .iter()
        .position(|e| matches!(&e.what, RunEvent::CellEnded { end } if end.verdict.lead().is_some()));
    let after = panic.unwrap() + 2;
    assert!(edited(swap("unhealthy", "healthy")).starts_with(&format!("FILE, line {after}: the chain is broken")));
    assert!(
        edited(|lines| {
            lines.remove(3);
        })
        .starts_with("FILE, line 4: sequence number 4 where 3 belongs")
    );
    assert!(
        edited(|lines| {
            lines.remove(0);
        })
        .starts_with("FILE, line 1: sequence number 1 where 0 belongs")
    );
    assert!(edited(|lines| lines[5].truncate(30)).starts_with("FILE, line 6: not an event"));
    assert!(edited(swap("{\"v\":1", "{\"v\":2")).starts_with("FILE, line 1: format version 2, but"));
    assert!(
        edited(swap("\"kind\":\"signal\"", "\"kind\":\"omen\""))
            .contains(": `omen` is unknown to this bootgate (journal version 1)")
    );
    assert!(edited(swap("\"signal\":\"phase-ended\"", "\"signal\":\"dream\"")).contains(": `dream` is unknown"));
    let before = edited(|lines| {
        let last = lines.len() - 1;
        let at = lines[last].split("\"at_ms\":").nth(1).unwrap().split(',').next().unwrap().to_owned();
        lines[last] = lines[last].replace(&format!("\"at_ms\":{at}"), "\"at_ms\":0");
    });
    assert!(before.contains("which is before the line above"), "{before}");
    let other_run = edited(|lines| *lines.last_mut().unwrap() = lines.last().unwrap().replace("\"r1\"", "\"r2\""));
    assert!(other_run.contains("belongs to the run `r2`, not to `r1`"), "{other_run}");
}

#[test]
fn fields_of_tomorrow_are_skipped() {
    let scratch = written(&story().events[..1]);
    let line = fs::read_to_string(&scratch.path).unwrap();
    fs::write(&scratch.path, line.replacen("{\"v\":1", "{\"mood\":{\"x\":[1]},\"v\":1", 1)).unwrap();
    assert_eq!(read(&scratch.path).unwrap().events, story().events[..1]);
}

#[test]
fn a_line_without_end_is_refused_before_it_fills_the_memory() {
    let scratch = scratch();
    fs::write(&scratch.path, vec![b'x'; MAX_LINE as usize + 2]).unwrap();
    assert!(matches!(read(&scratch.path), Err(JournalError::LineTooLong { line: 1, .. })));
    let mut writer = written(&story().events).into_writer();
    let event = Event {
        at: Millis(1),
        cell: None,
        what: RunEvent::Note { level: Level::Info, text: "x".repeat(MAX_LINE as usize) },
    };
    assert!(matches!(writer.1.append(&event), Err(JournalError::EventTooLong { .. })));
}

#[test]
fn a_journal_cut_anywhere_keeps_every_whole_line_and_can_go_on() {
    let events = story().events;
    let scratch = written(&events);
    let whole = fs::read(&scratch.path).unwrap();
    let first = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
    for cut in (first..whole.len()).step_by(97).chain([first, whole.len() - 1]) {
        fs::write(&scratch.path, &whole[..cut]).unwrap();
        let lines = whole[..cut].iter().filter(|b| **b == b'\n').count();
        let (mut writer, journal) = JournalWriter::resume(&scratch.path).unwrap();
        assert_eq!(journal.events, events[..lines], "cut at {cut}");
        assert_eq!(journal.tail == Tail::Whole, whole[cut - 1] == b'\n');
        assert_eq!(writer.last_at(), journal.events.last().unwrap().at);
        events[lines..].iter().for_each(|event| writer.append(event).unwrap());
        drop(writer);
        assert_eq!(fs::read(&scratch.path).unwrap(), whole, "cut at {cut}");
    }
}

#[test]
fn a_journal_that_never_began_cannot_go_on() {
    let scratch = scratch();
    fs::write(&scratch.path, b"{\"v\":1,\"se").unwrap();
    assert!(matches!(JournalWriter::resume(&scratch.path), Err(JournalError::Empty { .. })));
    assert_eq!(fs::read(&scratch.path).unwrap().len(), 10, "a refused journal is left as it was");
}

#[test]
fn a_run_has_one_writer_and_is_never_written_over() {
    let (scratch, _writer) = written(&story().events).into_writer();
    assert!(matches!(JournalWriter::resume(&scratch.path), Err(JournalError::Busy { .. })));
    assert!(matches!(JournalWriter::create(&scratch.path, RunId::from("r2")), Err(JournalError::Io { .. })));
}

#[test]
fn a_full_disk_is_an_error_and_leaves_no_half_line() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (_scratch, mut writer) = written(&story().events).into_writer();
    writer.log = AppendLog::new(full, 0);
    let event = story().events[1].clone();
    let error = writer.append(&event).unwrap_err();
    let JournalError::Io { source, .. } = error else { panic!("{error}") };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
    // A device can't be cut, so the writer must not trust its end any more.
    assert!(matches!(writer.append(&event), Err(JournalError::Unusable { .. })));
}

/// The committed file was written by the first version that had this format.
#[test]
fn yesterdays_journal_is_still_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal-v1/events.jsonl");
    if std::env::var_os("BOOTGATE_WRITE_FIXTURES").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut writer = JournalWriter::create(&path, RunId::from(crate::event::testing::RUN)).unwrap();
        crate::event::testing::nine().events.iter().for_each(|event| writer.append(event).unwrap());
    }
    let journal = read(&path).unwrap();
    let state = RunState::of(journal.run, &journal.events);
    assert_eq!(state.decision, Some(Decision::Rejected));
    assert_eq!(state.contradictions, Vec::<String>::new());
    let counts = state.final_counts();
    assert_eq!((counts.healthy, counts.unhealthy, counts.inconclusive), (5, 3, 1));
}

impl Scratch {
    fn into_writer(self) -> (Self, JournalWriter) {
        let writer = JournalWriter::resume(&self.path).unwrap().0;
        (self, writer)
    }
}
