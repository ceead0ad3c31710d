//! What breaks, what the verdict is, and that nothing is left behind.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bootgate::{
    lab::{
        LabError,
        sim::{self, Boot, GuestScript, Happening, Rule},
    },
    model::*,
};

use crate::harness::{BOOT, Stage, UPDATE, healthy};

#[tokio::test(start_paused = true)]
async fn a_healthy_guest_is_found_healthy_however_its_files_come() {
    for length in [0, 3000, 2 << 20] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&seen);
        let script = healthy().observed(move |line| lines.lock().unwrap().push(line.to_owned()));
        let lived = Stage::new(script, 1, length).live().await;
        assert_eq!(lived.verdict, Verdict { outcome: Outcome::Healthy, reasons: Vec::new() });
        let seen = seen.lock().unwrap();
        assert_eq!(seen.iter().filter(|line| *line == UPDATE).count(), 1);
        assert_eq!(seen.iter().any(|line| line.contains("f0000001.bin")), length > 1 << 20);
    }
}

#[tokio::test(start_paused = true)]
async fn each_broken_guest_gets_its_own_reason() {
    let bugcheck = Bugcheck { code: 0x50, parameters: [0; 4] };
    let mute = vec![Boot::silent().at(BOOT, Happening::AgentMute)];
    let full = Happening::DiskError { host_is_full: true };
    let cases = [
        (healthy().panics_after(UPDATE), ReasonId::StopError),
        (healthy().stops_after(UPDATE, bugcheck), ReasonId::StopError),
        (healthy().loops_after(UPDATE), ReasonId::BootLoop),
        (healthy().hangs_after(UPDATE), ReasonId::BootHang),
        (healthy().spins_after(UPDATE), ReasonId::BootHang),
        (healthy().boots_after(UPDATE, mute), ReasonId::BootHang),
        (healthy().never_settles_after(UPDATE), ReasonId::BootTimeout),
        (healthy().powers_off_after(UPDATE), ReasonId::PoweredOff),
        (healthy().loses_agent_after(UPDATE), ReasonId::AgentLost),
        (healthy().no_boot_device_after(UPDATE), ReasonId::NoBootDevice),
        (healthy().crashes_late_after(UPDATE, Duration::from_secs(4)), ReasonId::LateCrash),
        (healthy().freezes_late_after(UPDATE, Duration::from_secs(2)), ReasonId::BootHang),
        (healthy().refuses_restart_after(UPDATE), ReasonId::RestartRefused),
        (healthy().breaks_check_after(UPDATE, "service sensor", 1), ReasonId::CheckFailed),
        (healthy().fails(UPDATE, 3), ReasonId::UpdateFailed),
        (healthy().rule(Rule::on(UPDATE).ends(sim::Outcome::Killed(11))), ReasonId::UpdateFailed),
        (healthy().never_ends(UPDATE), ReasonId::UpdateTimeout),
        (healthy().during(UPDATE, Happening::AgentGone), ReasonId::AgentLost),
        (healthy().during(UPDATE, Happening::AgentMute), ReasonId::AgentLost),
        (healthy().during(UPDATE, Happening::PowerOff), ReasonId::PoweredOff),
        (healthy().during(UPDATE, Happening::Panic { bugcheck: None }), ReasonId::StopError),
        (healthy().during(UPDATE, full), ReasonId::OutOfSpace),
        (healthy().during(UPDATE, Happening::HostLost), ReasonId::HostLost),
        (healthy().cannot_be_created(|| LabError::ImageMissing("/golden".into())), ReasonId::ImageMissing),
        (healthy().cannot_be_started(|| LabError::Other("no".into())), ReasonId::StartFailed),
    ];
    for (number, (script, reason)) in cases.into_iter().enumerate() {
        let verdict = Stage::new(script, 0, 3000).live().await.verdict;
        assert_eq!(verdict.lead().map(|lead| lead.id), Some(reason), "case {number}: {verdict:?}");
        assert_eq!(verdict.outcome, reason.outcome(), "case {number}: {verdict:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_still_busy_is_not_checked_before_it_has_come_to_rest() {
    let works = Duration::from_secs(40);
    let lived = Stage::new(healthy().works_on_after(UPDATE, works), 0, 3000).live().await;
    assert_eq!(lived.verdict.outcome, Outcome::Healthy, "{:?}", lived.verdict);
    let when = |is: fn(&SignalKind) -> bool| lived.signals.iter().rev().find(|signal| is(&signal.what)).unwrap().at;
    let settled = when(|what| matches!(what, SignalKind::Settled));
    let checked = when(|what| matches!(what, SignalKind::PhaseStarted { at: Phase::Check }));
    let took = checked.since(settled).as_duration();
    assert!(took >= works && took < works + Duration::from_secs(10), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_never_comes_to_rest_is_given_as_long_as_a_boot_may_take() {
    let lived = Stage::new(healthy().works_on_after(UPDATE, Duration::MAX), 0, 3000).live().await;
    assert_eq!(lived.verdict.outcome, Outcome::Healthy, "{:?}", lived.verdict);
    assert!(lived.took < Duration::from_secs(400), "{:?}", lived.took);
    assert!(lived.notes.iter().any(|note| note.contains("still busy")), "{:?}", lived.notes);
}

#[tokio::test(start_paused = true)]
async fn a_golden_image_that_is_broken_by_itself_blames_no_update() {
    let boots = [
        Boot::silent(),
        Boot::silent().at(BOOT, Happening::Panic { bugcheck: None }),
        Boot::silent().at(BOOT, Happening::PowerOff),
        Boot::silent().at(BOOT, Happening::Reset),
        Boot::silent().at(BOOT, Happening::AgentMute),
    ];
    for (number, boot) in boots.into_iter().enumerate() {
        let verdict = Stage::new(GuestScript::with_boots(vec![boot]), 0, 3000).live().await.verdict;
        assert_eq!(verdict.outcome, Outcome::Inconclusive, "case {number}: {verdict:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_resists_its_destruction_is_destroyed_in_the_end() {
    let lived = Stage::new(healthy().resists_destruction(1), 0, 3000).live().await;
    assert_eq!(lived.verdict.outcome, Outcome::Healthy);
}

/// Whether the disk was kept, and what was told of that.
async fn keeps(script: GuestScript) -> (Outcome, bool, String) {
    let mut stage = Stage::new(script, 1, 0);
    let folder = stage.job.dir.join("kept");
    stage.job.cell.keep_in = Some(folder.clone());
    let told = stage.live().await;
    let kept = folder.join(bootgate::lab::KEPT_DISK);
    (told.verdict.outcome, kept.exists(), told.notes.join("\n"))
}

#[tokio::test(start_paused = true)]
async fn a_disk_is_kept_of_a_healthy_machine_that_is_off_and_of_no_other() {
    assert_eq!(keeps(healthy()).await, (Outcome::Healthy, true, String::new()));
    let (outcome, kept, _) = keeps(healthy().panics_after(UPDATE)).await;
    assert_eq!((outcome, kept), (Outcome::Unhealthy, false));
    // It takes requests to restart by its power button only, so nothing turns it off.
    let deaf = healthy().asked(sim::Asked::Refuses, sim::Asked::Obeys(Duration::from_secs(1)));
    let (outcome, kept, notes) = keeps(deaf).await;
    assert_eq!((outcome, kept), (Outcome::Healthy, false));
    assert!(notes.contains("its disk could not be kept: the agent refused"), "{notes}");
    let lost = healthy().asked(sim::Asked::Ignores, sim::Asked::Obeys(Duration::from_secs(1)));
    let (outcome, kept, notes) = keeps(lost).await;
    assert_eq!((outcome, kept), (Outcome::Healthy, false));
    assert!(notes.contains("it did not turn itself off in time"), "{notes}");
}
