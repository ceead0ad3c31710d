use super::*;
use crate::{
    model::{Accelerator, Health, Network, Outcome, Reason, ReasonId, Verdict},
    run::History,
};

const SIM: Accelerator = Accelerator::Sim;

fn cell(id: &str, image: &str, role: Role) -> Cell {
    let (watch, boot_timeout, restart_timeout) = (Millis::ZERO, None, None);
    Cell {
        id: id.into(),
        axes: Vec::new(),
        image: image.into(),
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
        role,
        start: Start::Live,
        sealed_setup: 0,
        keep_in: None,
    }
}

/// What is known after a run in which these cells took so long and were healthy or not.
fn known(results: &[(&Cell, u64, bool)]) -> KnownCells {
    let dir = tempfile::tempdir().unwrap();
    let (mut history, _) = History::open(&dir.path().join("history.sqlite"));
    for (cell, took, healthy) in results {
        let (id, phase, at) = (ReasonId::BootHang, crate::model::Phase::Boot, Millis::ZERO);
        let reason = Reason { id, phase, at, message: String::new(), check: None };
        let verdict = if *healthy {
            Verdict { outcome: Outcome::Healthy, reasons: Vec::new() }
        } else {
            Verdict { outcome: Outcome::Unhealthy, reasons: vec![reason] }
        };
        let end = crate::event::CellEnd { attempt: 1, verdict, artifacts: Vec::new(), took: Millis(*took) };
        history.record("m", SIM, cell, &end, String::new()).unwrap();
    }
    history.known("m", SIM)
}

/// The cells in the order of their turns, when one after the other starts.
fn turns(cells: &[Cell], known: &KnownCells, may_start: impl Fn(&Cell) -> bool) -> Vec<String> {
    let expectations = Expectations::new(cells, known);
    let mut queue = Queue::default();
    for (index, cell) in cells.iter().enumerate() {
        queue.add(index, cell, 1, &expectations);
    }
    let next = |queue: &mut Queue| {
        let (index, _) = queue.next(|index| may_start(&cells[index]))?;
        queue.remove(index, &cells[index]);
        Some(cells[index].id.0.clone())
    };
    std::iter::from_fn(|| next(&mut queue)).collect()
}

#[test]
fn without_a_history_controls_go_first_and_the_rest_in_the_plans_order() {
    let cells = [("b", "x"), ("a", "y"), ("c", "x"), ("d", "z")].map(|(id, image)| cell(id, image, Role::Alone));
    let cells = [&cells[..], &[cell("control-x", "x", Role::Control)]].concat();
    assert_eq!(turns(&cells, &KnownCells::default(), |_| true), ["control-x", "b", "a", "c", "d"]);
}

#[test]
fn what_failed_goes_first_then_the_longest_and_the_unknown_is_taken_for_the_mean() {
    let cells = ["short", "new", "failed", "long", "control"]
        .map(|id| cell(id, "x", if id == "control" { Role::Control } else { Role::Alone }));
    let known = known(&[(&cells[0], 1000, true), (&cells[2], 2000, false), (&cells[3], 6000, true)]);
    assert_eq!(turns(&cells, &known, |_| true), ["control", "failed", "long", "new", "short"]);
}

#[test]
fn a_cell_that_may_not_start_is_passed_over_and_holds_up_no_other() {
    let cells = [("a1", "x"), ("a2", "x"), ("b1", "y"), ("b2", "y")].map(|(id, image)| cell(id, image, Role::Alone));
    assert_eq!(turns(&cells, &KnownCells::default(), |cell| cell.image == "y"), ["b1", "b2"]);
    assert_eq!(turns(&cells, &KnownCells::default(), |_| false), Vec::<String>::new());
}

#[test]
fn another_try_comes_after_all_first_ones() {
    let cells = ["a", "b"].map(|id| cell(id, "x", Role::Alone));
    let expectations = Expectations::new(&cells, &KnownCells::default());
    let mut queue = Queue::default();
    queue.add(0, &cells[0], 2, &expectations);
    queue.add(1, &cells[1], 1, &expectations);
    assert_eq!(queue.next(|_| true), Some((1, 1)));
    queue.remove(1, &cells[1]);
    assert_eq!(queue.next(|_| true), Some((0, 2)));
    queue.remove(0, &cells[0]);
    assert!(queue.is_empty());
}
