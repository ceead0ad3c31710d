//! Controls, and the cells that are compared with them.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bootgate::{
    event::{Decision, RunEvent, RunState, read},
    lab::{
        VmSpec,
        sim::{Boot, Effect, GuestScript, Happening, Rule},
    },
    model::*,
    run,
};
use tokio::time::{Instant, timeout};

use crate::{
    harness::{BOOT, CHECK, UPDATE, healthy},
    yard::{CONTROL, Silent, Yard},
};

fn is_control(spec: &VmSpec) -> bool {
    spec.cell.0 == CONTROL
}

/// Settles, and panics in the boot after: without any candidate.
fn panics_when_it_restarts() -> GuestScript {
    let [good, panics] = [Happening::Ready, Happening::Panic { bugcheck: None }];
    let good = Boot::silent().at(BOOT, Happening::AgentUp).at(BOOT, good);
    // A restored machine's first reset is its second boot.
    GuestScript::with_boots(vec![good, Boot::silent().at(BOOT / 2, panics)])
}

/// The first so many of the control's machines lose their process in their setup.
fn lost_control(times: u32) -> impl Fn(&VmSpec) -> GuestScript + Send + Sync + 'static {
    let tries = AtomicU32::new(0);
    move |spec| {
        let lost = is_control(spec) && spec.seal.is_none() && tries.fetch_add(1, Ordering::Relaxed) < times;
        if lost { healthy().during(crate::yard::COMMON, Happening::HostLost) } else { healthy() }
    }
}

#[tokio::test(start_paused = true)]
async fn a_control_that_is_not_well_leaves_its_cells_without_an_answer() {
    for live in [false, true] {
        let mut yard = Yard::compared(3, |spec| match spec.cell.0.as_str() {
            CONTROL => panics_when_it_restarts(),
            "c1" => healthy().panics_after(UPDATE),
            _ => healthy(),
        });
        yard.seals = live;
        let ran = yard.run().await;
        assert_eq!(ran.leads(), [Some(ReasonId::ControlUnhealthy); 4]);
        assert_eq!(ran.decision, Decision::Inconclusive);
        // What it showed itself comes second.
        let verdict = ran.state.verdict(&ran.state.cells[2]);
        assert_eq!(verdict.reasons[1].id, ReasonId::StopError);
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_try_cannot_change_is_not_tried_again() {
    let mut yard = Yard::compared(3, |spec| if is_control(spec) { panics_when_it_restarts() } else { healthy() });
    yard.plan.policy.retry_inconclusive = 2;
    let ran = yard.run().await;
    assert_eq!(ran.leads(), [Some(ReasonId::ControlUnhealthy); 4]);
    // The control may have been unlucky; its cells have shown all that they can.
    assert_eq!(ran.attempts(), [3, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_bug_that_ends_a_control_blames_no_update() {
    let yard = Yard::compared(2, |spec| {
        assert!(!is_control(spec), "a bug in the lab");
        if spec.cell.0 == "c1" { healthy().panics_after(UPDATE) } else { healthy() }
    });
    let ran = yard.run().await;
    let (died, stopped) = (Some(ReasonId::HarnessDied), Some(ReasonId::StopError));
    assert_eq!(ran.leads(), [died, died, stopped]);
    assert_eq!(ran.decision, Decision::Rejected);
}

#[tokio::test(start_paused = true)]
async fn a_bug_that_ends_a_cell_is_judged_with_all_that_the_cell_had_told() {
    let yard = Yard::compared(2, |spec| {
        assert_ne!(spec.cell.0, "c1", "a bug in the lab");
        if is_control(spec) { panics_when_it_restarts() } else { healthy() }
    });
    let ran = yard.run().await;
    assert_eq!(ran.leads(), [Some(ReasonId::ControlUnhealthy); 3]);
    let verdict = ran.state.verdict(&ran.state.cells[2]);
    assert_eq!(verdict.reasons[1].id, ReasonId::HarnessDied);
}

#[tokio::test(start_paused = true)]
async fn a_control_that_was_lost_is_tried_again_and_its_cells_wait_for_that() {
    for (jobs, retries) in [(4, 1), (1, 1), (2, 1), (1, 2)] {
        let mut yard = Yard::compared(3, lost_control(1));
        (yard.jobs, yard.plan.policy.retry_inconclusive) = (jobs, retries);
        let ran = timeout(Duration::from_secs(7200), yard.run()).await.expect("an end");
        assert_eq!((ran.decision, ran.leads()), (Decision::Approved, vec![None; 4]));
        assert_eq!(ran.attempts(), [2, 1, 1, 1]);
        assert!(ran.census.peak <= jobs as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn a_control_that_is_lost_for_good_approves_nothing_and_excuses_nothing() {
    let lost = lost_control(9);
    let mut yard =
        Yard::compared(2, move |spec| if spec.cell.0 == "c1" { healthy().panics_after(UPDATE) } else { lost(spec) });
    yard.plan.policy.retry_inconclusive = 1;
    let ran = yard.run().await;
    assert_eq!(ran.leads(), [Some(ReasonId::HostLost), Some(ReasonId::HostLost), Some(ReasonId::StopError)]);
    assert_eq!(ran.decision, Decision::Rejected);
}

#[tokio::test(start_paused = true)]
async fn a_cell_that_was_lost_itself_is_tried_again_and_compared() {
    let tries = Arc::new(AtomicU32::new(0));
    let mut yard = Yard::compared(2, move |spec| match spec.cell.0.as_str() {
        "c0" if tries.fetch_add(1, Ordering::Relaxed) == 0 => healthy().during(UPDATE, Happening::HostLost),
        "c1" => healthy().breaks_check_after(UPDATE, CHECK, 1),
        _ => healthy(),
    });
    yard.plan.policy.retry_inconclusive = 1;
    let ran = yard.run().await;
    assert_eq!(ran.leads(), [None, None, Some(ReasonId::CheckFailed)]);
    assert_eq!(ran.attempts(), [1, 2, 1]);
    assert!(ran.signals("c0").any(|what| matches!(what, SignalKind::ControlEnded { facts: Some(_), .. })));
}

#[tokio::test(start_paused = true)]
async fn the_first_broken_cell_stops_the_others_once_its_control_has_ended() {
    for jobs in [1, 2, 7] {
        let mut yard = Yard::compared(6, |spec| match spec.cell.0.as_str() {
            "c0" => healthy().fails(UPDATE, 1),
            // Six boots long.
            "c3" | "c4" => GuestScript::healthy(BOOT * 6),
            _ => healthy(),
        });
        (yard.jobs, yard.fail_fast) = (jobs, true);
        let ran = yard.run().await;
        assert_eq!(ran.decision, Decision::Rejected, "{jobs}");
        assert_eq!(ran.leads()[..2], [None, Some(ReasonId::UpdateFailed)], "{jobs}");
        assert!(ran.leads().contains(&Some(ReasonId::Cancelled)), "{jobs}: {:?}", ran.leads());
    }
}

#[tokio::test(start_paused = true)]
async fn when_a_run_stops_cells_wait_for_no_control_that_will_not_come() {
    // The control is lost once its cells are through, and waits for another try behind a place that is taken.
    let mut yard = Yard::compared(2, |spec| match spec.cell.0.as_str() {
        CONTROL => healthy().during(CHECK, Happening::HostLost),
        "c0" => healthy().fails(UPDATE, 1),
        _ => GuestScript::healthy(BOOT * 10),
    });
    (yard.jobs, yard.plan.policy.retry_inconclusive) = (2, 5);
    yard.interrupt_at(Duration::from_secs(150));
    let began = Instant::now();
    let ran = yard.run().await;
    assert!(began.elapsed() < Duration::from_secs(160), "{:?}", began.elapsed());
    assert_eq!(ran.decision, Decision::Cancelled);
    assert!(ran.state.cells.iter().all(|cell| cell.attempts.iter().all(|attempt| attempt.end.is_some())));
}

#[tokio::test(start_paused = true)]
async fn a_run_of_controls_and_cells_that_was_killed_at_any_moment_is_finished_by_a_resume() {
    for live in [false, true] {
        let mut yard =
            Yard::compared(3, |spec| if spec.cell.0 == "c1" { healthy().panics_after(UPDATE) } else { healthy() });
        yard.seals = live;
        let begun = yard.begin();
        let folder = begun.0.clone();
        run::run(yard.order(begun), &mut Silent).await.unwrap();
        let whole = fs::read_to_string(folder.journal()).unwrap();
        let lines: Vec<&str> = whole.lines().collect();
        let mut after_control = 0;
        for kept in (1..=lines.len()).step_by(11).chain([lines.len()]) {
            fs::write(folder.journal(), lines[..kept].join("\n") + "\n").unwrap();
            let before = read(&folder.journal()).unwrap();
            let before = RunState::of(before.run.clone(), &before.events);
            let known = before.cells[0].ended().is_some();
            let ran = yard.resume(&folder).await;
            assert_eq!(ran.leads(), [None, None, Some(ReasonId::StopError), None], "after {kept} lines");
            assert_eq!(ran.decision, Decision::Rejected, "after {kept} lines");
            let open = before.cells[1..].iter().filter(|cell| cell.ended().is_none()).count();
            if known && open > 0 {
                after_control += 1;
                assert_eq!(ran.state.cells[0].attempts.len(), before.cells[0].attempts.len(), "after {kept} lines");
            }
            for (cell, before) in ran.state.cells.iter().zip(&before.cells).skip(1) {
                let again = cell.attempts.len() > before.attempts.len();
                let last = cell.attempts.last().unwrap();
                let compared = last.signals.iter().any(|signal| {
                    matches!(&signal.what, SignalKind::ControlEnded { outcome: Outcome::Healthy, facts: Some(_), .. })
                });
                assert!(compared || !again, "{} after {kept} lines", cell.planned.id);
            }
        }
        assert!(after_control > 0, "no resume found its control ended");
        let events = read(&folder.journal()).unwrap().events;
        assert!(events.iter().any(|event| matches!(event.what, RunEvent::RunResumed { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn memory_for_one_machine_alone_is_enough_for_a_control_and_its_cells() {
    let mut yard = Yard::compared(3, lost_control(1));
    yard.plan.policy.retry_inconclusive = 1;
    yard.memory = Bytes::mib(256 + 96 + 50);
    let ran = timeout(Duration::from_secs(7200), yard.run()).await.expect("an end");
    assert_eq!((ran.decision, ran.leads()), (Decision::Approved, vec![None; 4]));
    assert_eq!(ran.census.peak, 1);
}

/// A guest whose clock reads like this, in seconds since 1970, from one look to the next; the last one stays.
fn clock(reads: &[u64]) -> GuestScript {
    let rule = |read: &u64| Rule::on("systemctl show").prints(format!("program 1 init\ntime {read}\n"));
    let mut rules = reads.iter().rev().map(rule);
    let last = rules.next().expect("a clock reads something");
    let first = rules.fold(last, |next, rule| rule.then(Effect::Rules(vec![next])));
    healthy().rule(first)
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_while_it_is_watched_is_compared_and_one_that_runs_wild_is_the_labs() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for (reads, expected) in [
        (vec![now], None),
        (vec![now - 3600, now], None),
        (vec![now, now - 3600], Some(ReasonId::ClockWrong)),
        (vec![now, now + 3600, now + 7200], Some(ReasonId::HostLost)),
    ] {
        let told = reads.clone();
        let yard = Yard::compared(1, move |spec| if is_control(spec) { clock(&[now]) } else { clock(&reads) });
        assert_eq!(yard.run().await.leads(), [None, expected], "{told:?}");
    }
}
