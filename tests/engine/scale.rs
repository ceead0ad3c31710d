//! Many cells: the schedule stays near the best one, and nothing grows with the square of their number.

use std::time::Duration;

use bootgate::{
    event::{CellEnd, Decision, RunState},
    lab::sim::GuestScript,
    model::*,
    report::{ReportFile, write_all},
    run::{self, History},
};

use crate::{
    harness::BOOT,
    yard::{Ran, Silent, Yard},
};

/// A yard of cells that take from 24 to 64 s, and every hundredth three minutes.
fn yard(cells: usize, places: u32) -> Yard {
    let mut yard = Yard::new(cells, |spec| {
        let n: u32 = spec.cell.0[1..].parse().unwrap();
        GuestScript::healthy(if n % 100 == 99 { BOOT * 4 } else { BOOT / 10 * (1 + n % 10) })
    });
    yard.jobs = places;
    yard
}

/// How much longer the run took than any order of its cells must take.
fn beyond_the_bound(state: &RunState, places: u64) -> f64 {
    let took = || state.cells.iter().map(|cell| cell.ended().expect("an end").took.0);
    let bound = (took().sum::<u64>() / places).max(took().max().unwrap_or(0));
    state.now.0 as f64 / bound as f64
}

/// Ten thousand where the compiler was told to hurry up the program, else fewer: a minute is long for one test.
const CELLS: usize = if cfg!(debug_assertions) { 500 } else { 10_000 };

#[tokio::test(start_paused = true)]
async fn very_many_cells_take_hardly_longer_than_they_must() {
    let places = u32::try_from(CELLS / 25).unwrap();
    let yard = yard(CELLS, places);
    let began = std::time::Instant::now();
    let begun = yard.begin();
    let dir = begun.0.dir.clone();
    let mut order = yard.order(begun);
    for (n, cell) in yard.plan.cells.iter().enumerate() {
        let took = Millis::from_secs(if n % 100 == 99 { 172 } else { 16 + 4 * (1 + n as u64 % 10) });
        let verdict = Verdict { outcome: Outcome::Healthy, reasons: Vec::new() };
        let end = CellEnd { attempt: 1, verdict, artifacts: Vec::new(), took };
        order.history.record(&yard.plan.name, Accelerator::Sim, cell, &end, String::new()).unwrap();
    }
    let known = began.elapsed();
    let finished = run::run(order, &mut Silent).await.expect("a run");
    let engine = began.elapsed() - known;
    let state = &finished.state;
    assert_eq!(finished.ruling.decision, Decision::Approved);
    assert_eq!((yard.census().created, yard.census().peak), (CELLS, places as usize));
    let beyond = beyond_the_bound(state, places.into());
    let began = std::time::Instant::now();
    assert!(write_all(&dir, state, &ReportFile::ALL).iter().all(|written| written.result.is_ok()));
    let reports = began.elapsed();
    // `cargo test --release --test engine scale -- --nocapture`
    println!("history {known:?}, run {engine:?}, reports {reports:?}, {beyond:.4}, {} KiB", peak_memory_kib());
    assert!(beyond <= 1.05, "{beyond}");
}

fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    peak.unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn the_second_run_starts_with_the_longest_cells_and_ends_sooner() {
    // Those that take long are the last of the plan, where they would hold up the end.
    let mut yard = Yard::new(12, |spec| {
        let n: u32 = spec.cell.0[1..].parse().unwrap();
        GuestScript::healthy(if n >= 10 { BOOT * 4 } else { BOOT })
    });
    yard.jobs = 4;
    let first = yard.run().await;
    assert!(first.state.cells.iter().all(|cell| cell.planned.expected_ms.is_none()));
    let second = yard.run().await;
    let expected = |ran: &Ran| ran.state.cells.iter().map(|cell| cell.planned.expected_ms).collect::<Vec<_>>();
    let took = |ran: &Ran| ran.state.cells.iter().map(|cell| Some(cell.ended().unwrap().took)).collect::<Vec<_>>();
    assert_eq!(expected(&second), took(&first));
    let started = |n: usize| second.state.cells[n].attempts[0].started;
    assert!(started(10) == started(0) && started(11) == started(0), "the longest did not start first");
    assert!(second.state.now < first.state.now, "{} after {}", second.state.now, first.state.now);
    assert!(beyond_the_bound(&second.state, 4) < beyond_the_bound(&first.state, 4));
}

#[tokio::test(start_paused = true)]
async fn what_failed_last_time_starts_first() {
    let mut yard = Yard::new(4, |spec| {
        let guest = GuestScript::healthy(BOOT);
        if spec.cell.0 == "c2" { guest.panics_after(crate::harness::UPDATE) } else { guest }
    });
    yard.jobs = 1;
    let first_to_start = |ran: &Ran| ran.state.cells.iter().position(|cell| cell.attempts[0].started == Millis::ZERO);
    assert_eq!(first_to_start(&yard.run().await), Some(0));
    assert_eq!(first_to_start(&yard.run().await), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_history_that_cannot_be_used_changes_nothing_but_the_order() {
    let yard = Yard::new(2, |_| GuestScript::healthy(BOOT));
    let begun = yard.begin();
    let mut order = yard.order(begun);
    order.history = History::none();
    let finished = run::run(order, &mut Silent).await.expect("a run");
    assert_eq!(finished.ruling.decision, Decision::Approved);
}

#[tokio::test(start_paused = true)]
async fn no_more_machines_boot_at_once_than_there_are_places_and_waiting_counts_into_no_deadline() {
    let mut yard = Yard::new(40, |_| GuestScript::healthy(BOOT));
    let places = 3;
    yard.boots = bootgate::lab::Boots::open(&yard.folder.path().join("boots"), Some(places)).unwrap();
    let ran = yard.run().await;
    assert_eq!(ran.decision, Decision::Approved);
    let mut edges: Vec<(Millis, i32)> = Vec::new();
    for attempt in ran.state.cells.iter().flat_map(|cell| &cell.attempts) {
        let settled =
            attempt.signals.iter().filter(|signal| signal.what == SignalKind::Settled).map(|signal| signal.at);
        let asked = |what: &SignalKind| matches!(what, SignalKind::RestartAsked { .. } | SignalKind::Started);
        let began = attempt.signals.iter().filter(|signal| asked(&signal.what)).map(|signal| signal.at);
        edges.extend(began.zip(settled).flat_map(|(began, settled)| [(began, 1), (settled, -1)]));
    }
    // At one moment the end of one boot comes before the begin of the next.
    edges.sort_unstable();
    let mut booting = 0;
    let most = edges.iter().map(|(_, step)| {
        booting += step;
        booting
    });
    assert_eq!(most.max(), Some(i32::try_from(places).unwrap()));
    // 80 boots of 20 s on three places, and the rest of a cell's life.
    let least = BOOT * 80 / places;
    let took = ran.state.now.as_duration();
    assert!((least..least + Duration::from_secs(60)).contains(&took), "{took:?}");
    assert!(ran.census.peak < 20, "{} machines hold memory while they wait", ran.census.peak);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_hangs_holds_up_the_others_no_longer_than_two_boots() {
    let mut yard = Yard::new(3, |spec| {
        let guest = GuestScript::healthy(BOOT);
        if spec.cell.0 == "c0" { guest.hangs_after(crate::harness::UPDATE) } else { guest }
    });
    yard.boots = bootgate::lab::Boots::open(&yard.folder.path().join("boots"), Some(1)).unwrap();
    let ran = yard.run().await;
    assert_eq!(ran.leads(), [Some(ReasonId::BootHang), None, None]);
    // Three first boots, two of which go before the hanging restart, which gives up its place after two; two restarts.
    let boots = Duration::from_secs(20) * (3 + 2 + 2);
    let last = ran.state.cells[1..].iter().map(|cell| cell.attempts[0].signals.iter().rev());
    let settled = last.filter_map(|mut signals| signals.find(|signal| signal.what == SignalKind::Settled));
    let settled = settled.map(|signal| signal.at).max().unwrap();
    assert!(settled.as_duration() < boots + Duration::from_secs(15), "{settled}");
}
