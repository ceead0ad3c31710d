use std::fs;

use super::*;
use crate::{
    event::{Decision, Event, JournalWriter, read, testing::Story},
    model::{Phase, ReasonId, StateDir},
    sign::lab_key,
};

/// A run's directory, as the dispatcher leaves it.
struct Signed {
    folder: tempfile::TempDir,
    key: PublicKey,
}

impl Signed {
    fn new(events: &[Event]) -> Self {
        let signed = Self::lab(tempfile::tempdir().unwrap());
        signed.write(events);
        signed
    }

    fn lab(folder: tempfile::TempDir) -> Self {
        let key = lab_key(&StateDir::new(folder.path().join("state"))).unwrap().public();
        Self { folder, key }
    }

    /// Writes the journal, and signs what the dispatcher would.
    fn write(&self, events: &[Event]) {
        let state = StateDir::new(self.folder.path().join("state"));
        let signer = RunSigner::new(lab_key(&state).unwrap(), self.dir(), "r1".into(), Sha256::of(b"plan"));
        let mut writer = JournalWriter::create(&self.journal(), "r1".into()).unwrap();
        for event in events {
            writer.append(event).unwrap();
            if event.what.is_to_last() {
                signer.sign(writer.sha256()).unwrap();
            }
        }
    }

    fn dir(&self) -> &Path {
        self.folder.path()
    }

    fn journal(&self) -> PathBuf {
        self.dir().join("events.jsonl")
    }

    fn check(&self) -> Result<(), String> {
        check_run(self.dir(), &read(&self.journal()).unwrap(), &self.key).map_err(|error| error.to_string())
    }

    fn resumable(&self) -> Result<(), String> {
        check_resumable(self.dir(), &read(&self.journal()).unwrap(), &self.key).map_err(|error| error.to_string())
    }

    /// Edits the journal's lines and makes its chain whole again, as somebody who knows the format would.
    fn forge(&self, edit: impl FnOnce(&mut Vec<String>)) {
        let mut lines: Vec<String> = fs::read_to_string(self.journal()).unwrap().lines().map(str::to_owned).collect();
        edit(&mut lines);
        let mut prev = Sha256::of(b"");
        let mut text = String::new();
        for (seq, line) in lines.iter().enumerate() {
            let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
            (value["seq"], value["prev"]) = (seq.into(), prev.0.into());
            let line = value.to_string();
            prev = Sha256::of(line.as_bytes());
            text += &(line + "\n");
        }
        fs::write(self.journal(), text).unwrap();
    }
}

fn rejected() -> Vec<Event> {
    let mut story = Story::of(&["os-9.p1", "os-9.p2"]);
    story.healthy("os-9.p1", 1).failed("os-9.p2", 1, Phase::Boot, ReasonId::StopError, "kernel panic");
    story.run_ended(Decision::Rejected);
    story.events
}

#[track_caller]
fn refused(result: Result<(), String>, why: &str) {
    let error = result.unwrap_err();
    assert!(error.contains(why), "{error}");
}

#[test]
fn a_run_that_nobody_touched_is_believed() {
    let signed = Signed::new(&rejected());
    signed.check().unwrap();
    signed.resumable().unwrap();
    // What forges below changes nothing by itself.
    signed.forge(|_| {});
    signed.check().unwrap();
}

#[test]
fn an_edited_journal_is_refused_although_its_chain_is_whole() {
    for (from, to) in [("unhealthy", "healthy"), ("\"rejected\"", "\"approved\""), ("kernel panic", "nothing")] {
        let signed = Signed::new(&rejected());
        signed.forge(|lines| lines.iter_mut().for_each(|line| *line = line.replace(from, to)));
        refused(signed.check(), "the journal is not the one that was signed");
        refused(signed.resumable(), "the journal is not the one that was signed");
    }
    let signed = Signed::new(&rejected());
    signed.forge(|lines| lines[0] = lines[0].replace("\"os-9.p2\"", "\"os-9.p3\""));
    refused(signed.check(), "the journal is not the one that was signed");
}

#[test]
fn lines_cut_off_or_added_are_seen() {
    let signed = Signed::new(&rejected());
    let whole = fs::read_to_string(signed.journal()).unwrap();
    fs::write(signed.journal(), format!("{whole}x")).unwrap();
    refused(signed.check(), "bytes were added");
    let last = whole.trim_end().rfind('\n').unwrap() + 1;
    fs::write(signed.journal(), &whole[..last]).unwrap();
    refused(signed.check(), "the run has no end");
    refused(signed.resumable(), "the journal is not the one that was signed");
    // The cell that broke is cut off, and an end is put in its place.
    let signed = Signed::new(&rejected());
    signed.forge(|lines| {
        let end = lines.pop().unwrap();
        let at = lines.iter().position(|line| line.contains("os-9.p2") && line.contains("cell-started")).unwrap();
        lines.truncate(at);
        lines.push(end);
    });
    refused(signed.check(), "the journal is not the one that was signed");
}

#[test]
fn a_signature_that_is_absent_of_another_key_or_of_another_run_proves_nothing() {
    let signed = Signed::new(&rejected());
    let path = signed.dir().join(RUN_SIGNATURE);
    let good = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    refused(signed.check(), "is not there");
    fs::write(&path, "").unwrap();
    refused(signed.check(), "does not prove the run");

    let other = Signed::new(&rejected());
    fs::copy(other.dir().join(RUN_SIGNATURE), &path).unwrap();
    refused(signed.check(), "signed by another key");

    fs::write(&path, &good).unwrap();
    fs::remove_file(signed.journal()).unwrap();
    signed.write(&Story::of(&["os-9.p1"]).healthy("os-9.p1", 1).run_ended(Decision::Approved).events);
    signed.check().unwrap();
    fs::write(&path, &good).unwrap();
    refused(signed.check(), "the journal is not the one that was signed");
    let journal = read(&signed.journal()).unwrap();
    let renamed = Journal { run: "r2".into(), ..journal };
    refused(check_run(signed.dir(), &renamed, &signed.key).map_err(|error| error.to_string()), "the run's id");
}

#[test]
fn a_killed_run_goes_on_from_what_was_signed_and_from_nothing_that_was_added() {
    let events = rejected();
    let ends: Vec<usize> = (0..events.len()).filter(|n| events[*n].what.is_to_last()).collect();
    for length in [1, 5, ends[1], ends[1] + 1, ends[1] + 4, ends[2] + 1] {
        let signed = Signed::new(&events[..length]);
        signed.resumable().unwrap();
        refused(signed.check(), "the run has no end");
    }
    let signed = Signed::new(&events[..ends[1] + 4]);
    let healthy = serde_json::json!({"v": 1, "seq": 0, "prev": "", "run": "r1", "at_ms": 900_000, "cell": "os-9.p2", "kind":
        "cell-ended", "end": {"attempt": 1, "verdict": {"outcome": "healthy", "reasons": []}, "artifacts": [], "took": 5}});
    signed.forge(|lines| lines.push(healthy.to_string()));
    refused(signed.resumable(), "the journal is not the one that was signed");
}

#[test]
fn a_run_does_not_go_on_from_before_what_was_signed_last() {
    // Cut back to its first line, which may be edited: what was found is forgotten.
    let signed = Signed::new(&rejected());
    signed.forge(|lines| lines.truncate(1));
    refused(signed.resumable(), "the journal is not the one that was signed");
    fs::remove_file(signed.dir().join(RUN_SIGNATURE)).unwrap();
    refused(signed.resumable(), "is not there");
}
