use super::*;
use crate::model::{Health, Network, Phase, Reason, Role, Start, Verdict};

const KVM: Accelerator = Accelerator::Kvm;

fn cell(id: &str) -> Cell {
    let (watch, boot_timeout, restart_timeout) = (Millis::ZERO, None, None);
    Cell {
        id: id.into(),
        axes: Vec::new(),
        image: "widget".into(),
        setup: Vec::new(),
        update: Vec::new(),
        health: Health {
            checks: Vec::new(),
            soak: 0,
            watch,
            boot_timeout,
            restart_timeout,
            tolerances: Default::default(),
        },
        network: Network::None,
        role: Role::Alone,
        start: Start::Live,
        sealed_setup: 0,
        keep_in: None,
    }
}

fn end(took: u64, reason: Option<ReasonId>) -> CellEnd {
    let (phase, at) = (Phase::Boot, Millis::ZERO);
    let because = |id| Reason { id, phase, at, message: String::new(), check: None };
    let reasons = reason.map(because).into_iter().collect();
    let outcome = reason.map_or(Outcome::Healthy, ReasonId::outcome);
    CellEnd { attempt: 1, verdict: Verdict { outcome, reasons }, artifacts: Vec::new(), took: Millis(took) }
}

fn keep(history: &mut History, id: &str, took: u64, reason: Option<ReasonId>) {
    history.record("nightly", KVM, &cell(id), &end(took, reason), "2026-01-02T03:04:05Z".into()).unwrap();
}

fn known(history: &History, id: &str) -> Option<(Option<u64>, bool)> {
    let known = history.known("nightly", KVM).of(&cell(id))?;
    Some((known.took.map(|took| took.0), known.failed))
}

#[test]
fn what_is_expected_of_a_cell_is_the_mean_of_its_last_three_answers_and_how_it_ended_last() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.sqlite");
    let (mut history, warning) = History::open(&path);
    assert!(warning.is_none(), "{warning:?}");
    for took in [9000, 100, 200] {
        keep(&mut history, "a", took, None);
    }
    keep(&mut history, "a", 600, Some(ReasonId::BootHang));
    keep(&mut history, "b", 5, Some(ReasonId::StartFailed));
    keep(&mut history, "c", 5, Some(ReasonId::Cancelled));
    // Another process reads the same.
    let (other, _) = History::open(&path);
    for history in [&history, &other] {
        assert_eq!(known(history, "a"), Some((Some(300), true)));
        assert_eq!(known(history, "b"), Some((None, true)));
        assert_eq!(known(history, "c"), None);
    }
    let cold = Cell { start: Start::Cold, ..cell("a") };
    assert!(history.known("nightly", KVM).of(&cold).is_none());
    assert!(history.known("nightly", Accelerator::Tcg).of(&cell("a")).is_none());
    assert!(history.known("weekly", KVM).of(&cell("a")).is_none());
}

#[test]
fn of_each_cell_the_last_twenty_results_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (mut history, _) = History::open(&dir.path().join("history.sqlite"));
    for took in 0..30 {
        keep(&mut history, "a", took, None);
        keep(&mut history, "b", took, None);
    }
    let database = history.database.unwrap();
    let query = "SELECT COUNT(*), MIN(took_ms) FROM results WHERE cell = 'a'";
    let found: (i64, i64) = database.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(found, (20, 10));
}

#[test]
fn a_history_that_is_damaged_is_moved_aside_and_one_that_cannot_be_used_is_done_without() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.sqlite");
    fs::write(&path, "no database ".repeat(1000)).unwrap();
    let (mut history, warning) = History::open(&path);
    assert!(matches!(warning, Some(HistoryError::Damaged { .. })), "{warning:?}");
    assert!(dir.path().join("history.sqlite.corrupt").exists());
    keep(&mut history, "a", 7, None);
    assert_eq!(known(&history, "a"), Some((Some(7), false)));

    let (mut history, warning) = History::open(&dir.path().join("no-folder/history.sqlite"));
    assert!(matches!(warning, Some(HistoryError::Unusable { .. })), "{warning:?}");
    keep(&mut history, "a", 7, None);
    assert_eq!(known(&history, "a"), None);
}

/// The tables of version 1, as that version made them.
#[test]
fn a_history_of_this_version_is_read_and_one_of_a_newer_version_is_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.sqlite");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(include_str!("version-1.sql")).unwrap();
    let (history, warning) = History::open(&path);
    assert!(warning.is_none(), "{warning:?}");
    assert_eq!(known(&history, "os-9.p1"), Some((Some(61_500), false)));
    assert_eq!(history.share("widget", KVM), Some(0.375));
    drop(history);

    old.pragma_update(None, "user_version", VERSION + 1).unwrap();
    drop(old);
    let before = fs::read(&path).unwrap();
    let (history, warning) = History::open(&path);
    assert!(warning.unwrap().to_string().contains("written by a newer bootgate (version 2, this one knows 1)"));
    assert_eq!(known(&history, "os-9.p1"), None);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn what_waits_for_another_process_is_written_with_the_next_result() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.sqlite");
    let (mut history, _) = History::open(&path);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    keep(&mut history, "a", 7, None);
    assert_eq!(known(&history, "a"), None);
    other.execute_batch("COMMIT").unwrap();
    keep(&mut history, "b", 8, None);
    assert_eq!(known(&history, "a"), Some((Some(7), false)));
}

#[test]
fn what_a_boot_costs_moves_towards_the_last_one() {
    let dir = tempfile::tempdir().unwrap();
    let (history, _) = History::open(&dir.path().join("history.sqlite"));
    assert_eq!(history.share("widget", KVM), None);
    history.learn("widget", KVM, 1.0);
    let learned = history.learn("widget", KVM, 2.0);
    assert!((learned - 1.3).abs() < 1e-9, "{learned}");
    assert_eq!(history.share("widget", KVM), Some(learned));
    assert_eq!(history.share("widget", Accelerator::Tcg), None);
}
