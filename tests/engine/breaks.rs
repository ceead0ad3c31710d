//! Runs that break: killed, resumed, without a journal, with a bug.

use std::{collections::BTreeSet, fs, time::Duration};

use bootgate::{
    event::{Decision, Event, JournalError, RunEvent, RunState, read},
    gate::{RUN_SIGNATURE, check_resumable},
    lab::LabError,
    model::*,
    run::{self, RunError, RunFolder, Sink},
    sign::PublicKey,
};
use tokio::time::Instant;

use crate::{
    harness::{UPDATE, healthy},
    yard::{Silent, Yard},
};

#[tokio::test(start_paused = true)]
async fn a_run_that_was_killed_at_any_moment_is_finished_by_a_resume() {
    let yard = Yard::new(4, |spec| if spec.cell.0 == "c2" { healthy().panics_after(UPDATE) } else { healthy() });
    let begun = yard.begin();
    let folder = begun.0.clone();
    run::run(yard.order(begun), &mut Silent).await.unwrap();
    let whole = fs::read_to_string(folder.journal()).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    for kept in (1..=lines.len()).step_by(9).chain([lines.len()]) {
        // Killed in the middle of a line, but for the last time.
        let torn = lines.get(kept).map_or("", |line| &line[..line.len() / 2]);
        fs::write(folder.journal(), format!("{}\n{torn}", lines[..kept].join("\n"))).unwrap();
        let before = read(&folder.journal()).unwrap();
        let answered: BTreeSet<_> = RunState::of(before.run.clone(), &before.events)
            .cells
            .iter()
            .filter(|cell| cell.ended().is_some())
            .map(|cell| cell.planned.id.clone())
            .collect();
        let started = |state: &RunState| state.cells.iter().map(|cell| cell.attempts.len()).sum::<usize>();
        let began = started(&RunState::of(before.run.clone(), &before.events));
        let ran = yard.resume(&folder).await;
        assert_eq!(ran.decision, Decision::Rejected, "after {kept} lines");
        assert_eq!(ran.leads(), [None, None, Some(ReasonId::StopError), None], "after {kept} lines");
        assert_eq!(started(&ran.state) - began, 4 - answered.len(), "after {kept} lines");
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_written_stops_the_run_and_every_machine_goes() {
    let mut yard = Yard::new(4, |spec| match spec.cell.0.as_str() {
        // An event that is too long for the journal stands for any failed write.
        "c3" => healthy().cannot_be_started(|| LabError::Other("x".repeat(17 << 20))),
        _ => healthy(),
    });
    yard.jobs = 4;
    let begun = yard.begin();
    let path = begun.0.journal();
    let began = Instant::now();
    let error = run::run(yard.order(begun), &mut Silent).await.unwrap_err();
    assert!(matches!(error, RunError::Journal(JournalError::EventTooLong { .. })), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(yard.census().created, 4);
    let events = read(&path).unwrap().events;
    assert!(!events.iter().any(|event| matches!(event.what, RunEvent::RunEnded { .. } | RunEvent::CellEnded { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_cannot_be_signed_is_stopped_and_every_machine_goes() {
    let yard = Yard::new(4, |_| healthy());
    let begun = yard.begin();
    let (path, folder) = (begun.0.journal(), begun.0.dir.clone());
    // A folder is in the way of the file.
    fs::create_dir(folder.join(RUN_SIGNATURE)).unwrap();
    let error = run::run(yard.order(begun), &mut Silent).await.unwrap_err();
    assert!(matches!(error, RunError::Signature(_)), "{error}");
    yard.census();
    let events = read(&path).unwrap().events;
    assert!(!events.iter().any(|event| matches!(event.what, RunEvent::RunEnded { .. })));
}

/// Looks at every moment whether the run could go on if it was killed now.
struct Resumable {
    folder: RunFolder,
    key: PublicKey,
}

impl Sink for Resumable {
    fn event(&mut self, _event: &Event, _state: &RunState) {
        check_resumable(&self.folder.dir, &read(&self.folder.journal()).unwrap(), &self.key).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn whenever_a_run_is_killed_all_that_has_ended_by_then_is_signed() {
    let yard = Yard::new(2, |_| healthy());
    let begun = yard.begin();
    let folder = begun.0.clone();
    let order = yard.order(begun);
    run::run(order, &mut Resumable { folder, key: yard.lab_key() }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_one_cell_leaves_the_others_alone() {
    let yard = Yard::new(3, |spec| {
        assert_ne!(spec.cell.0, "c1", "a bug in the lab");
        healthy()
    });
    let ran = yard.run().await;
    assert_eq!(ran.leads(), [None, Some(ReasonId::HarnessDied), None]);
    assert_eq!(ran.decision, Decision::Inconclusive);
}
