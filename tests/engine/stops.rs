//! Cancels, second Ctrl-C, panics of bootgate's own code: the cell ends, and nothing is left.

use std::time::Duration;

use bootgate::{
    lab::sim::{Happening, SimHost},
    model::*,
};
use proptest::prelude::*;

use crate::harness::{BOOT, Stage, UPDATE, healthy};

const MS: Duration = Duration::from_millis(1);

/// A cancelled cell's evidence may take this long to fetch, and its machine to remove.
const EVIDENCE: Duration = Duration::from_secs(5);

fn in_virtual_time(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(work);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_cancel_at_any_moment_of_any_guest_ends_the_cell_soon(ms in 0..180_000u32, guest in 0..5usize, medium in 0..8u8) {
        let (script, reason) = [
            (healthy(), None),
            (healthy().hangs_after(UPDATE), Some(ReasonId::BootHang)),
            (healthy().refuses_restart_after(UPDATE), Some(ReasonId::RestartRefused)),
            (healthy().loops_after(UPDATE), Some(ReasonId::BootLoop)),
            (healthy().during(UPDATE, Happening::AgentMute), Some(ReasonId::AgentLost)),
        ][guest].clone();
        in_virtual_time(async {
            let length = if medium == 0 { 2 << 20 } else { 3000 };
            let stage = Stage::new(script, 1, length);
            let moment = MS * ms;
            stage.cancel_at(moment);
            let told = stage.live().await;
            match told.lead() {
                Some(ReasonId::Cancelled) => {}
                // A verdict that stood before the cancel stays.
                lead => assert_eq!(lead, reason, "{:?}", told.verdict),
            }
            if told.verdict.outcome == Outcome::Healthy {
                assert!(told.took < moment, "approved after a cancel");
            }
            assert!(told.took < moment + EVIDENCE, "a cancel at {moment:?} took until {:?}", told.took);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_just_before_the_agent_goes_mute_does_not_wait_for_its_files() {
    let stage = Stage::new(healthy().during(UPDATE, Happening::AgentMute), 1, 3000);
    stage.cancel_at(MS * 21_186);
    let told = stage.live().await;
    assert_eq!(told.lead(), Some(ReasonId::Cancelled));
    assert!(told.took < MS * 21_186 + EVIDENCE, "{:?}", told.took);
}

#[tokio::test(start_paused = true)]
async fn a_second_cancel_ends_even_the_collecting_of_evidence() {
    let stage = Stage::new(healthy().during(UPDATE, Happening::AgentMute), 0, 3000);
    let began = tokio::time::Instant::now();
    let hurry = stage.job.hurry.clone();
    stage.cancel_at(BOOT * 2);
    tokio::spawn(async move {
        tokio::time::sleep(BOOT * 2 + MS * 10).await;
        hurry.cancel();
    });
    let told = stage.live().await;
    assert_eq!(told.lead(), Some(ReasonId::Cancelled));
    assert!(told.artifacts.is_empty());
    assert!(began.elapsed() < BOOT * 2 + MS * 100, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_cancel_while_the_machine_is_created_removes_it_again() {
    let host = SimHost { create_takes: Duration::from_secs(5), ..SimHost::default() };
    let stage = Stage::on(host, healthy(), 0, 3000);
    stage.cancel_at(MS * 500);
    let told = stage.live().await;
    assert_eq!(told.lead(), Some(ReasonId::Cancelled));
    assert!(told.took < Duration::from_secs(6), "{:?}", told.took);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_bootgate_itself_blames_no_update_and_leaves_no_machine() {
    let script = healthy().observed(|line| assert!(!line.contains(UPDATE), "a bug in bootgate"));
    let told = Stage::new(script, 0, 3000).live().await;
    assert_eq!(told.lead(), Some(ReasonId::HarnessDied));
    assert!(told.verdict.reasons[0].message.contains("a bug in bootgate"), "{:?}", told.verdict);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_cannot_be_removed_is_told_of_and_changes_no_verdict() {
    let stage = Stage::new(healthy().resists_destruction(100), 0, 3000);
    let lived = bootgate::cell::live(&stage.job).await;
    assert_eq!(lived.verdict.outcome, Outcome::Healthy);
    assert_eq!(stage.lab.census().live, 1);
}
