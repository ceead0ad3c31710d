//! Live starts: who makes a seal, who starts from it, and what happens when it is no good.

use std::{fs, time::Duration};

use bootgate::{
    event::Decision,
    lab::{
        LabError, VmSpec,
        sim::{Boot, GuestScript, Happening},
    },
    model::*,
    run,
};

use crate::{
    harness::{BOOT, UPDATE, healthy},
    yard::{COMMON, CONTROL, OWN, Ran, Silent, Yard},
};

const CELLS: [&str; 3] = ["c0", "c1", "c2"];

fn restored(spec: &VmSpec) -> bool {
    spec.seal.is_some()
}

/// What a healthy yard must come to, however its machines began.
fn assert_approved(ran: &Ran) {
    assert_eq!(ran.leads().iter().flatten().collect::<Vec<_>>(), Vec::<&ReasonId>::new());
    assert_eq!(ran.decision, Decision::Approved);
}

#[tokio::test(start_paused = true)]
async fn the_first_cell_of_an_image_is_sealed_and_the_others_start_from_it() {
    let yard = Yard::compared(3, |_| healthy());
    let ran = yard.run().await;
    assert_approved(&ran);
    assert_eq!(ran.sealers(), [CONTROL]);
    assert_eq!(ran.starts(CONTROL), [Start::Cold]);
    // The one that was sealed goes on as a clone of itself.
    assert_eq!(ran.census.created, 1 + 1 + 3);
    for cell in CELLS {
        assert_eq!(ran.starts(cell), [Start::Live]);
        assert_eq!((ran.ran(cell, COMMON), ran.ran(cell, OWN)), (0, 1), "{cell}");
    }
    assert_eq!((ran.ran(CONTROL, COMMON), ran.ran(CONTROL, OWN)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_second_run_finds_the_seal_and_its_control_and_starts_no_machine_for_that() {
    let yard = Yard::compared(3, |_| healthy());
    let first = yard.run().await;
    let second = yard.run().await;
    assert_approved(&second);
    assert_eq!(second.census.created - first.census.created, 3);
    assert!(second.signals(CONTROL).any(|what| matches!(what, SignalKind::ControlKnown { .. })));
    assert!(second.sealers().is_empty());
    assert!(CELLS.iter().all(|cell| second.starts(cell) == [Start::Live]));
    assert!(second.state.now.as_duration() + BOOT < first.state.now.as_duration());
}

#[tokio::test(start_paused = true)]
async fn a_seal_that_was_damaged_between_two_runs_is_made_anew() {
    let yard = Yard::compared(3, |_| healthy());
    yard.run().await;
    fs::write(yard.seal().join("memory"), "garbage").unwrap();
    let ran = yard.run().await;
    assert_approved(&ran);
    assert_eq!(ran.sealers(), [CONTROL]);
    assert!(!ran.signals(CONTROL).any(|what| matches!(what, SignalKind::ControlKnown { .. })));
    assert!(CELLS.iter().all(|cell| ran.starts(cell) == [Start::Live]));
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_of_a_control_counts_only_as_it_was_written() {
    let yard = Yard::compared(2, |_| healthy());
    yard.run().await;
    let kept = fs::read_dir(yard.seal()).unwrap().map(|entry| entry.unwrap().path());
    let kept = kept.into_iter().find(|path| path.to_string_lossy().contains("/control-")).unwrap();
    let whole = fs::read_to_string(&kept).unwrap();
    for damaged in [whole.replace("\"guest\"", "\"guesu\""), whole[..whole.len() / 2].to_owned(), String::new()] {
        fs::write(&kept, damaged).unwrap();
        let ran = yard.run().await;
        assert_approved(&ran);
        assert!(!ran.signals(CONTROL).any(|what| matches!(what, SignalKind::ControlKnown { .. })));
        assert_eq!(ran.starts(CONTROL), [Start::Live], "it was run");
    }
    assert!(yard.run().await.signals(CONTROL).any(|what| matches!(what, SignalKind::ControlKnown { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_restored_machine_that_resets_itself_starts_over_from_power_on() {
    // It is restored without its agent, and boots anew.
    let boot = Boot::silent().at(BOOT, Happening::AgentUp).at(BOOT, Happening::Ready);
    let resets = move || {
        let restored = Boot::silent().at(Duration::from_secs(1), Happening::Reset);
        GuestScript::with_boots(vec![restored, boot.clone()])
    };
    let yard = Yard::compared(2, move |spec| if spec.cell.0 == "c1" && restored(spec) { resets() } else { healthy() });
    let ran = yard.run().await;
    assert_approved(&ran);
    assert_eq!(ran.starts("c1"), [Start::Live, Start::Cold]);
    assert_eq!((ran.ran("c1", COMMON), ran.ran("c1", OWN)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_does_not_start_from_its_seal_starts_over_from_power_on() {
    let cannot = || healthy().cannot_be_started(|| LabError::Other("another CPU".into()));
    let yard = Yard::compared(3, move |spec| if spec.cell.0 == "c1" && restored(spec) { cannot() } else { healthy() });
    let ran = yard.run().await;
    assert_approved(&ran);
    assert_eq!(ran.starts("c1"), [Start::Live, Start::Cold]);
    assert!(ran.started_over("c1").unwrap().contains("another CPU"), "{:?}", ran.started_over("c1"));
    assert_eq!((ran.ran("c1", COMMON), ran.ran("c1", OWN)), (1, 1));
    assert_eq!(ran.starts("c2"), [Start::Live]);
    // Nobody trusts that seal again.
    let next = yard.run().await;
    assert_eq!(next.sealers(), [CONTROL]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_cannot_even_be_made_of_its_seal_is_made_without() {
    let yard = Yard::compared(2, |spec| {
        let fault = || LabError::Other("no such memory".into());
        if spec.cell.0 == "c1" && restored(spec) { healthy().cannot_be_created(fault) } else { healthy() }
    });
    let ran = yard.run().await;
    assert_approved(&ran);
    assert_eq!((ran.starts("c0"), ran.starts("c1")), (vec![Start::Live], vec![Start::Cold]));
    assert_eq!((ran.ran("c1", COMMON), ran.ran("c1", OWN)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_restored_machine_that_does_not_go_on_starts_over_after_a_minute() {
    let mute = Boot::silent().at(Duration::ZERO, Happening::AgentUp);
    let unready = GuestScript::with_boots(vec![mute]);
    for stuck in [GuestScript::with_boots(vec![Boot::silent()]), unready] {
        let yard = Yard::compared(
            3,
            move |spec| {
                if spec.cell.0 == "c1" && restored(spec) { stuck.clone() } else { healthy() }
            },
        );
        let ran = yard.run().await;
        assert_approved(&ran);
        assert_eq!(ran.starts("c1"), [Start::Live, Start::Cold]);
        assert!(ran.started_over("c1").unwrap().contains("did not go on"), "{:?}", ran.started_over("c1"));
        let took = |cell: &str| ran.state.cell(&cell.into()).unwrap().ended().unwrap().took.as_duration();
        let longer = took("c1") - took("c0");
        assert!((BOOT * 3..BOOT * 5).contains(&longer), "{longer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restored_machine_whose_process_dies_at_once_starts_over() {
    let yard = Yard::compared(2, |spec| {
        let dies = healthy().during("is-system-running", Happening::HostLost);
        if spec.cell.0 == "c1" && restored(spec) { dies } else { healthy() }
    });
    let ran = yard.run().await;
    assert_approved(&ran);
    assert_eq!(ran.starts("c1"), [Start::Live, Start::Cold]);
    assert!(ran.started_over("c1").unwrap().contains("gone"), "{:?}", ran.started_over("c1"));
}

#[tokio::test(start_paused = true)]
async fn when_no_machine_starts_from_the_seal_all_are_well_from_power_on_and_only_some_try() {
    let yard = Yard::compared(6, |spec| {
        let fault = || LabError::Other("another CPU".into());
        if restored(spec) { healthy().cannot_be_started(fault) } else { healthy() }
    });
    let ran = yard.run().await;
    assert_approved(&ran);
    // The one that was sealed has failed to go on itself.
    assert_eq!(ran.starts(CONTROL), [Start::Cold, Start::Cold]);
    assert_eq!(ran.ran(CONTROL, COMMON), 2);
    let cells = ["c0", "c1", "c2", "c3", "c4", "c5"];
    assert!(cells.iter().all(|cell| ran.starts(cell).last() == Some(&Start::Cold)));
    assert!(cells.iter().all(|cell| (ran.ran(cell, COMMON), ran.ran(cell, OWN)) == (1, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_cannot_be_sealed_starts_over_and_the_others_start_from_power_on() {
    for takes in [Duration::ZERO, BOOT] {
        let yard = Yard::compared(2, move |_| {
            healthy().sealed_within(takes).cannot_be_sealed(|| LabError::Other("no room".into()))
        });
        let ran = yard.run().await;
        assert_approved(&ran);
        assert_eq!(ran.starts(CONTROL), [Start::Cold, Start::Cold]);
        assert!(ran.started_over(CONTROL).unwrap().contains("no room"));
        assert_eq!((ran.starts("c0"), ran.starts("c1")), (vec![Start::Cold], vec![Start::Cold]));
        assert!(ran.sealers().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_lost_while_it_is_sealed_starts_over() {
    let dies = Boot::silent().at(BOOT, Happening::AgentUp).at(BOOT, Happening::Ready);
    let dies = dies.at(BOOT + Duration::from_secs(5), Happening::HostLost);
    let yard = Yard::compared(2, move |spec| {
        let first = spec.cell.0 == CONTROL && !restored(spec);
        let script = if first { GuestScript::with_boots(vec![dies.clone()]) } else { healthy() };
        script.sealed_within(BOOT)
    });
    let ran = yard.run().await;
    // It dies again when it starts over.
    assert_eq!(ran.leads(), [Some(ReasonId::HostLost); 3]);
    assert_eq!(ran.decision, Decision::Inconclusive);
    assert!(ran.started_over(CONTROL).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_cancel_at_any_moment_of_sealing_and_restoring_leaves_nothing() {
    for moment in (10..70).map(Duration::from_secs) {
        let yard = Yard::compared(3, |_| healthy().sealed_within(Duration::from_secs(20)));
        yard.interrupt_at(moment);
        let ran = yard.run().await;
        assert_eq!(ran.decision, Decision::Cancelled, "{moment:?}");
        assert_eq!(ran.leads(), [Some(ReasonId::Cancelled); 4], "{moment:?}");
        let sealed = yard.seal_entries().iter().any(|path| path.is_dir());
        // A seal that is there is whole.
        assert_eq!(sealed, yard.seal_entries().iter().any(|path| path.join("seal.json").exists()), "{moment:?}");
        assert_eq!(sealed, moment > BOOT * 2, "{moment:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_runs_at_once_one_makes_the_seal_and_the_other_waits_and_uses_it() {
    let yard = Yard::compared(2, |_| healthy().sealed_within(Duration::from_secs(10)));
    let begun = [yard.begin(), yard.begin()];
    let dirs = begun.each_ref().map(|begun| begun.0.clone());
    let [a, b] = begun.map(|begun| yard.order(begun));
    let [mut first, mut second] = [Silent, Silent];
    let (a, b) = tokio::join!(run::run(a, &mut first), run::run(b, &mut second));
    let [a, b] = [yard.check(&dirs[0], a.unwrap()), yard.check(&dirs[1], b.unwrap())];
    for ran in [&a, &b] {
        assert_approved(ran);
        assert!(["c0", "c1"].iter().all(|cell| ran.starts(cell) == [Start::Live]));
    }
    assert_eq!(a.sealers().len() + b.sealers().len(), 1);
    let waiting = if a.sealers().is_empty() { &a } else { &b };
    assert_eq!(waiting.starts(CONTROL), [Start::Live]);
}

#[tokio::test(start_paused = true)]
async fn a_cell_that_is_to_start_cold_never_starts_live_and_waits_for_no_seal() {
    let mut yard = Yard::compared(3, |_| healthy().sealed_within(BOOT * 10));
    yard.plan.cells[2].start = Start::Cold;
    let ran = yard.run().await;
    assert_approved(&ran);
    assert_eq!(ran.starts("c1"), [Start::Cold]);
    assert_eq!((ran.ran("c1", COMMON), ran.ran("c1", OWN)), (1, 1));
    assert_eq!(ran.state.cell(&"c1".into()).unwrap().attempts[0].started, Millis::ZERO);
    for cell in &mut yard.plan.cells {
        cell.start = Start::Cold;
    }
    let ran = yard.run().await;
    assert_approved(&ran);
    assert!(CELLS.iter().all(|cell| ran.starts(cell) == [Start::Cold]));
}

#[tokio::test(start_paused = true)]
async fn the_verdicts_are_the_same_from_a_seal_and_from_power_on() {
    let script = |spec: &VmSpec| match spec.cell.0.as_str() {
        "c0" => healthy().panics_after(UPDATE),
        "c1" => healthy().hangs_after(UPDATE),
        "c2" => healthy().refuses_restart_after(UPDATE),
        "c3" => healthy().fails(OWN, 1),
        _ => healthy(),
    };
    let live = Yard::compared(5, script).run().await;
    let mut yard = Yard::compared(5, script);
    yard.seals = false;
    let cold = yard.run().await;
    let leads = [ReasonId::StopError, ReasonId::BootHang, ReasonId::RestartRefused, ReasonId::StartFailed];
    assert_eq!(live.leads()[1..5], leads.map(Some));
    assert_eq!((live.leads(), live.decision), (cold.leads(), cold.decision));
    assert!(cold.state.cells.iter().all(|cell| cold.starts(&cell.planned.id.0) == [Start::Cold]));
}
