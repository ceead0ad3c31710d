//! A cell's whole life on scripted guests: what breaks, what the verdict is, and that nothing is left behind.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use bootgate::{
    cell::{Emitter, Job, Lived, live},
    event::Event,
    lab::{
        Lab, LabError,
        sim::{self, Boot, GuestScript, Happening, Rule, SimHost, SimLab},
    },
    model::*,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

const BOOT: Duration = Duration::from_secs(20);
const UPDATE: &str = "/opt/update";

/// A cell that copies a file of this length and runs it, and the run around it.
struct Stage {
    lab: Arc<SimLab>,
    job: Job,
    folder: tempfile::TempDir,
    _events: mpsc::UnboundedReceiver<Event>,
}

impl Stage {
    fn new(script: GuestScript, soak: u32, length: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("cell");
        std::fs::create_dir(&dir).unwrap();
        let lab = Arc::new(SimLab::new(SimHost::default(), move |_| script.clone()));
        let (sender, _events) = mpsc::unbounded_channel();
        let job = Job {
            run: "run".into(),
            cell: cell(folder.path(), soak, length),
            image: image(),
            collect: Collect::default(),
            secrets: Secrets::default(),
            lab: lab.clone(),
            emitter: Emitter::new(Millis::ZERO, sender),
            cancel: CancellationToken::new(),
            hurry: CancellationToken::new(),
            dir,
        };
        Self { lab, job, folder, _events }
    }

    /// Lives, in at most two hours.
    async fn live(&self) -> Lived {
        let lived = tokio::time::timeout(Duration::from_secs(7200), live(&self.job)).await.expect("an end");
        assert_eq!(self.lab.census().live, 0, "a machine is left");
        assert_eq!(std::fs::read_dir(&self.lab.info().clones).unwrap().count(), 0, "files of a machine are left");
        assert!(self.folder.path().join("update.bin").exists());
        lived
    }
}

fn image() -> GoldenImage {
    GoldenImage {
        name: "widget".into(),
        labels: BTreeMap::new(),
        disk: "/golden/widget.qcow2".into(),
        sha256: Sha256::of(b""),
        backing: Vec::new(),
        firmware: Firmware::Bios,
        tpm: false,
        memory: Bytes::mib(256),
        vcpus: 1,
        family: Family::Linux,
        boot: None,
        settled: None,
        quirks: Quirks::default(),
    }
}

fn cell(folder: &Path, soak: u32, length: usize) -> Cell {
    let content = vec![7; length];
    let path = folder.join("update.bin");
    std::fs::write(&path, &content).unwrap();
    let from = HostFile { path, size: Bytes(length as u64), sha256: Sha256::of(&content) };
    let step = |name: &str, kind| Step { name: name.into(), kind, timeout: Millis::from_secs(60), success: vec![0] };
    let check = StepKind::Sh { script: "service sensor status".into() };
    Cell {
        id: "widget.p1".into(),
        axes: Vec::new(),
        image: "widget".into(),
        setup: Vec::new(),
        update: vec![
            step("copy", StepKind::Copy { file: GuestFile { from, to: "/opt/up/date.bin".into(), mode: None } }),
            step("update", StepKind::Run { argv: vec![UPDATE.into()] }),
        ],
        health: Health {
            checks: vec![Check { id: "sensor".into(), kind: check, timeout: Millis::from_secs(10), success: vec![0] }],
            soak,
            watch: Millis::from_secs(10),
            boot_timeout: None,
            restart_timeout: None,
        },
        network: Network::None,
    }
}

fn healthy() -> GuestScript {
    GuestScript::healthy(BOOT)
}

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
async fn a_cancel_at_any_moment_ends_the_cell_soon_and_never_approves() {
    for second in (0..75).step_by(3) {
        for hurry in [false, true] {
            let stage = Stage::new(healthy(), 1, 2 << 20);
            let (cancel, hurried) = (stage.job.cancel.clone(), stage.job.hurry.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(second * 1000 + 137)).await;
                cancel.cancel();
                if hurry {
                    hurried.cancel();
                }
            });
            let began = Instant::now();
            let verdict = stage.live().await.verdict;
            let took = began.elapsed();
            if verdict.outcome == Outcome::Healthy {
                assert!(took < Duration::from_millis(second * 1000 + 137), "approved after a cancel at {second} s");
                continue;
            }
            assert_eq!(verdict.lead().map(|lead| lead.id), Some(ReasonId::Cancelled), "at {second} s");
            assert!(took < Duration::from_secs(second + 60), "a cancel at {second} s took until {took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_resists_its_destruction_is_destroyed_in_the_end() {
    let lived = Stage::new(healthy().resists_destruction(1), 0, 3000).live().await;
    assert_eq!(lived.verdict.outcome, Outcome::Healthy);
}
