//! Admission, fail-fast, cancel and retry.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bootgate::{
    event::Decision,
    lab::{
        LabError,
        sim::{GuestScript, Happening},
    },
    model::*,
    run,
};
use tokio::time::Instant;

use crate::{
    harness::{BOOT, UPDATE, healthy},
    yard::{Silent, Yard},
};

#[tokio::test(start_paused = true)]
async fn a_run_of_healthy_cells_is_approved_and_one_broken_cell_rejects_it() {
    let ran = Yard::new(3, |_| healthy()).run().await;
    assert_eq!((ran.decision, ran.leads()), (Decision::Approved, vec![None; 3]));
    let ran = Yard::new(3, |spec| if spec.cell.0 == "c1" { healthy().panics_after(UPDATE) } else { healthy() });
    let ran = ran.run().await;
    assert_eq!(ran.decision, Decision::Rejected);
    assert_eq!(ran.leads(), [None, Some(ReasonId::StopError), None]);
}

#[tokio::test(start_paused = true)]
async fn a_run_records_what_its_candidate_is() {
    let mut yard = Yard::new(1, |_| healthy());
    let about = About::of(Content::Msi(Msi { version: Some("7.2.0".into()), ..Msi::default() }));
    let (path, sha256) = ("/build/agent".into(), Sha256::of(b"agent"));
    yard.plan.candidate = Some(Candidate { path, size: Bytes(5), sha256, about: Some(about.clone()) });
    let ran = yard.run().await;
    assert_eq!(ran.state.start.unwrap().candidate_about, Some(about));
}

#[tokio::test(start_paused = true)]
async fn five_hundred_cells_on_fifty_places_get_exactly_the_planned_answers() {
    let broken = |n: usize| n % 7 == 3;
    let mut yard = Yard::new(500, move |spec| {
        let n: usize = spec.cell.0[1..].parse().unwrap();
        let guest = GuestScript::healthy(BOOT / 10 * (1 + n as u32 % 5));
        if broken(n) { guest.panics_after(UPDATE) } else { guest }
    });
    yard.jobs = 50;
    let ran = yard.run().await;
    let expected: Vec<_> = (0..500).map(|n| broken(n).then_some(ReasonId::StopError)).collect();
    assert_eq!(ran.leads(), expected);
    assert_eq!((ran.census.created, ran.census.peak), (500, 50));
    assert!(ran.attempts().iter().all(|attempts| *attempts == 1));
}

#[tokio::test(start_paused = true)]
async fn no_more_machines_run_than_the_memory_holds() {
    let mut yard = Yard::new(10, |_| healthy());
    // 256 MiB of the guest and 96 MiB of QEMU each.
    yard.memory = Bytes::mib(3 * (256 + 96) + 100);
    let ran = yard.run().await;
    assert_eq!((ran.decision, ran.census.peak, ran.census.created), (Decision::Approved, 3, 10));
    yard.memory = Bytes::mib(300);
    let ran = yard.run().await;
    assert_eq!(ran.leads(), [Some(ReasonId::StartFailed); 10]);
    assert_eq!((ran.decision, ran.census.created), (Decision::Inconclusive, 10));
}

#[tokio::test(start_paused = true)]
async fn two_runs_share_the_places() {
    let mut yard = Yard::new(6, |_| healthy());
    yard.jobs = 2;
    let orders = [yard.order(yard.begin()), yard.order(yard.begin())];
    let [a, b] = orders.map(|order| async move { run::run(order, &mut Silent).await.unwrap().ruling.decision });
    assert_eq!(tokio::join!(a, b), (Decision::Approved, Decision::Approved));
    assert_eq!((yard.census().created, yard.census().peak), (12, 2));
}

#[tokio::test(start_paused = true)]
async fn the_first_broken_cell_stops_the_others_if_asked_to() {
    let mut yard = Yard::new(6, |spec| if spec.cell.0 == "c0" { healthy().fails(UPDATE, 1) } else { healthy() });
    (yard.jobs, yard.fail_fast) = (3, true);
    let began = Instant::now();
    let ran = yard.run().await;
    assert!(began.elapsed() < BOOT * 2, "{:?}", began.elapsed());
    assert_eq!(ran.decision, Decision::Rejected);
    assert_eq!(ran.leads()[0], Some(ReasonId::UpdateFailed));
    assert_eq!(ran.leads()[1..], [Some(ReasonId::Cancelled); 5]);
    assert_eq!(ran.attempts(), [1, 1, 1, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_run_ends_soon_as_cancelled_and_keeps_what_it_knew() {
    for seconds in [0, 3, 21, 30, 50, 100] {
        let mut yard = Yard::new(6, |spec| if spec.cell.0 == "c0" { healthy().fails(UPDATE, 1) } else { healthy() });
        yard.jobs = 3;
        yard.interrupt_at(Duration::from_secs(seconds));
        let began = Instant::now();
        let ran = yard.run().await;
        assert!(began.elapsed() < Duration::from_secs(seconds + 6), "{seconds} s: {:?}", began.elapsed());
        assert_eq!((ran.decision, ran.decision.exit_code()), (Decision::Cancelled, 130), "{seconds} s");
        let known = if seconds > 20 { ReasonId::UpdateFailed } else { ReasonId::Cancelled };
        assert_eq!(ran.leads()[0], Some(known), "{seconds} s");
        assert_eq!(ran.leads()[5], Some(ReasonId::Cancelled), "{seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn an_interruption_after_fail_fast_outranks_it() {
    let mut yard = Yard::new(2, |spec| {
        let mute = healthy().during(UPDATE, Happening::AgentMute).resists_destruction(2);
        if spec.cell.0 == "c0" { healthy().fails(UPDATE, 1) } else { mute }
    });
    yard.fail_fast = true;
    yard.interrupt_at(BOOT + Duration::from_secs(1));
    assert_eq!(yard.run().await.decision, Decision::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn what_the_lab_could_not_answer_is_tried_again_and_a_broken_update_never() {
    for retries in [0, 1, 2] {
        let tries = Arc::new(AtomicU32::new(0));
        let mut yard = Yard::new(2, move |spec| match spec.cell.0.as_str() {
            "c0" if tries.fetch_add(1, Ordering::Relaxed) < 2 => {
                healthy().cannot_be_started(|| LabError::Other("out of luck".into()))
            }
            "c0" => healthy(),
            _ => healthy().fails(UPDATE, 1),
        });
        yard.plan.policy.retry_inconclusive = retries;
        let ran = yard.run().await;
        let expected = if retries == 2 { None } else { Some(ReasonId::StartFailed) };
        assert_eq!(ran.leads(), [expected, Some(ReasonId::UpdateFailed)]);
        assert_eq!(ran.attempts(), [retries as usize + 1, 1]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cell_that_breaks_and_then_passes_is_flaky_and_no_second_try_undoes_a_break() {
    for second in ["passes", "is lost", "breaks"] {
        let tries = Arc::new(AtomicU32::new(0));
        let mut yard = Yard::new(1, move |_| match (tries.fetch_add(1, Ordering::Relaxed), second) {
            (0, _) | (_, "breaks") => healthy().panics_after(UPDATE),
            (_, "is lost") => healthy().cannot_be_started(|| LabError::Other("out of luck".into())),
            _ => healthy(),
        });
        yard.plan.policy.retries = 1;
        let ran = yard.run().await;
        let lead = match second {
            "passes" => None,
            "is lost" => Some(ReasonId::StartFailed),
            _ => Some(ReasonId::StopError),
        };
        assert_eq!((ran.leads(), ran.attempts()), (vec![lead], vec![2]), "{second}");
        assert_eq!(ran.state.cells[0].is_flaky(), second == "passes");
        assert_eq!(ran.decision, Decision::Rejected, "{second}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_golden_image_that_is_gone_or_changed_makes_no_machine() {
    let yard = Yard::new(2, |_| healthy());
    let disk = yard.plan.images["widget"].disk.clone();
    let mut content = fs::read(&disk).unwrap();
    content.push(1);
    fs::write(&disk, content).unwrap();
    let ran = yard.run().await;
    assert_eq!((ran.leads(), ran.census.created), (vec![Some(ReasonId::ImageChanged); 2], 0));
    fs::remove_file(&disk).unwrap();
    let ran = yard.run().await;
    assert_eq!((ran.leads(), ran.decision), (vec![Some(ReasonId::ImageMissing); 2], Decision::Inconclusive));
}
