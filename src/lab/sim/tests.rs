use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Asked, Boot, Effect, GuestScript, Happening, Outcome, Rule, SimHost, SimLab};
use crate::{
    lab::{AgentError, Lab, LabError, Vm, VmEvent, VmEvents, VmSpec},
    model::{Bugcheck, Bytes, Family, Firmware, GoldenImage, Network, Quirks, Sha256},
};

const S: Duration = Duration::from_secs(1);
const BOOT: Duration = Duration::from_secs(20);

fn spec(cell: &str) -> VmSpec {
    let image = GoldenImage {
        name: "widget".to_owned(),
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
        settled: Some("test -e /run/settled".to_owned()),
        quirks: Quirks::default(),
    };
    VmSpec { run: "run".into(), cell: cell.into(), image, network: Network::None }
}

struct Guest {
    vm: Arc<dyn Vm>,
    events: VmEvents,
    lab: SimLab,
}

impl Guest {
    async fn started(script: GuestScript) -> Self {
        let lab = SimLab::new(SimHost::default(), move |_| script.clone());
        let (vm, events) = lab.create(spec("cell")).await.unwrap();
        vm.start().await.unwrap();
        Guest { vm, events, lab }
    }

    async fn event(&mut self) -> Option<VmEvent> {
        self.events.recv().await
    }

    async fn expect<const N: usize>(&mut self, expected: [VmEvent; N]) {
        for event in expected {
            assert_eq!(self.event().await, Some(event));
        }
    }

    async fn up(&mut self) {
        self.expect([VmEvent::Started, VmEvent::AgentConnected]).await;
    }

    async fn ask(&self, command: &str, arguments: Value) -> Result<Value, AgentError> {
        let request = json!({"execute": command, "arguments": arguments}).to_string();
        self.vm.agent(&request, 5 * S).await.map(|reply| serde_json::from_str(&reply).unwrap())
    }

    async fn begin(&self, words: &[&str]) -> Result<i64, AgentError> {
        let arguments = json!({"path": words[0], "arg": words[1..], "capture-output": true});
        Ok(self.ask("guest-exec", arguments).await?["pid"].as_i64().unwrap())
    }

    async fn run(&self, words: &[&str]) -> Result<Value, AgentError> {
        let pid = self.begin(words).await?;
        loop {
            let status = self.ask("guest-exec-status", json!({"pid": pid})).await?;
            if status["exited"] == true {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn boot_id(&self) -> String {
        let status = self.run(&["/bin/cat", "/proc/sys/kernel/random/boot_id"]).await.unwrap();
        String::from_utf8(BASE64.decode(status["out-data"].as_str().unwrap()).unwrap()).unwrap()
    }

    async fn settled(&self) -> bool {
        self.run(&["/bin/sh", "-c", "test -e /run/settled"]).await.unwrap()["exitcode"] == 0
    }

    async fn read(&self, path: &str) -> Result<Vec<u8>, AgentError> {
        let handle = self.ask("guest-file-open", json!({"path": path, "mode": "r"})).await?;
        let read = self.ask("guest-file-read", json!({"handle": handle, "count": 100})).await?;
        self.ask("guest-file-close", json!({"handle": handle})).await?;
        Ok(BASE64.decode(read["buf-b64"].as_str().unwrap()).unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn a_healthy_guest_boots_restarts_and_is_another_boot_then() {
    let begun = Instant::now();
    let mut guest = Guest::started(GuestScript::healthy(BOOT)).await;
    guest.up().await;
    assert_eq!(begun.elapsed(), 15 * S);
    assert!(!guest.settled().await);
    tokio::time::sleep(5 * S).await;
    assert!(guest.settled().await);

    let first = guest.boot_id().await;
    assert_eq!(first, guest.boot_id().await);
    let asked = guest.ask("guest-shutdown", json!({"mode": "reboot"})).await;
    assert_eq!(asked, Err(AgentError::NotConnected), "success has no reply");
    guest.expect([VmEvent::AgentDisconnected, VmEvent::Reset, VmEvent::AgentConnected]).await;
    assert!(!guest.settled().await);
    assert_ne!(first, guest.boot_id().await);
}

#[tokio::test(start_paused = true)]
async fn the_power_button_restarts_and_the_reset_button_does_at_once() {
    let mut guest = Guest::started(GuestScript::healthy(BOOT)).await;
    guest.up().await;
    let pressed = Instant::now();
    guest.vm.restart_acpi().await.unwrap();
    guest.expect([VmEvent::AgentDisconnected, VmEvent::Reset]).await;
    assert_eq!(pressed.elapsed(), 2 * S);
    guest.vm.reset().await.unwrap();
    guest.expect([VmEvent::Reset]).await;
    assert_eq!(pressed.elapsed(), 2 * S);
}

#[tokio::test(start_paused = true)]
async fn a_command_exits_as_its_rule_says_and_its_output_is_kept() {
    let rule = Rule::on("install").takes(30 * S).exits(3010).prints("done").complains("restart needed");
    let mut guest = Guest::started(GuestScript::healthy(BOOT).rule(rule)).await;
    guest.up().await;
    let begun = Instant::now();
    let status = guest.run(&["/opt/install", "--quiet"]).await.unwrap();
    assert_eq!(status["exitcode"], 3010);
    assert_eq!(status["out-data"], BASE64.encode("done"));
    assert_eq!(status["err-data"], BASE64.encode("restart needed"));
    assert!(begun.elapsed() >= 30 * S && begun.elapsed() < 31 * S);
    assert_eq!(guest.run(&["/bin/true"]).await.unwrap(), json!({"exited": true, "exitcode": 0}));
}

#[tokio::test(start_paused = true)]
async fn output_that_the_engine_sends_to_files_is_found_in_them() {
    let rule = Rule::on("install").prints("done").complains("hm");
    let mut guest = Guest::started(GuestScript::healthy(BOOT).rule(rule)).await;
    guest.up().await;
    let words = ["/bin/sh", "-c", "exec \"$@\" # reinstall", "bootgate", "/run/bootgate-1", "/opt/install"];
    assert_eq!(guest.run(&words).await.unwrap(), json!({"exited": true, "exitcode": 0}));
    assert_eq!(guest.read("/run/bootgate-1.out").await.unwrap(), b"done");
    assert_eq!(guest.read("/run/bootgate-1.err").await.unwrap(), b"hm");

    guest.run(&["/bin/rm", "-f", "/run/bootgate-1.out"]).await.unwrap();
    assert!(matches!(guest.read("/run/bootgate-1.out").await, Err(AgentError::Refused(_))));
}

#[tokio::test(start_paused = true)]
async fn only_the_command_itself_is_matched_not_the_shell_around_it() {
    let mut guest = Guest::started(GuestScript::healthy(BOOT).fails("exec", 9)).await;
    guest.up().await;
    let words = ["/bin/sh", "-c", "exec \"$@\"", "bootgate", "/run/bootgate-1", "/opt/install"];
    assert_eq!(guest.run(&words).await.unwrap()["exitcode"], 0);
}

#[tokio::test(start_paused = true)]
async fn copied_files_survive_a_reset_but_not_in_run() {
    let mut guest = Guest::started(GuestScript::healthy(BOOT)).await;
    guest.up().await;
    for path in ["/opt/sensor.bin", "/run/sensor.bin"] {
        let handle = guest.ask("guest-file-open", json!({"path": path, "mode": "w"})).await.unwrap();
        for part in ["21 ", "fields"] {
            let arguments = json!({"handle": handle, "buf-b64": BASE64.encode(part)});
            assert_eq!(guest.ask("guest-file-write", arguments).await.unwrap()["count"], part.len());
        }
        guest.ask("guest-file-flush", json!({"handle": handle})).await.unwrap();
        guest.ask("guest-file-close", json!({"handle": handle})).await.unwrap();
    }
    guest.vm.reset().await.unwrap();
    guest.expect([VmEvent::AgentDisconnected, VmEvent::Reset, VmEvent::AgentConnected]).await;
    assert_eq!(guest.read("/opt/sensor.bin").await.unwrap(), b"21 fields");
    let gone = guest.read("/run/sensor.bin").await.unwrap_err();
    assert_eq!(
        gone.to_string(),
        "the agent refused: failed to open file '/run/sensor.bin' (mode: 'r'): No such file or directory"
    );
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_in_pieces_and_from_where_one_seeks() {
    let mut guest = Guest::started(GuestScript::healthy(BOOT).file("/etc/release", "abcdef")).await;
    guest.up().await;
    let handle = guest.ask("guest-file-open", json!({"path": "/etc/release"})).await.unwrap();
    let piece = json!({"handle": handle, "count": 4});
    let expected = |text: &str, eof: bool| json!({"count": text.len(), "buf-b64": BASE64.encode(text), "eof": eof});
    assert_eq!(guest.ask("guest-file-read", piece.clone()).await.unwrap(), expected("abcd", false));
    assert_eq!(guest.ask("guest-file-read", piece.clone()).await.unwrap(), expected("ef", true));
    let back = json!({"handle": handle, "offset": -3, "whence": "end"});
    assert_eq!(guest.ask("guest-file-seek", back).await.unwrap(), json!({"position": 3, "eof": false}));
    assert_eq!(guest.ask("guest-file-read", piece).await.unwrap(), expected("def", true));
}

#[tokio::test(start_paused = true)]
async fn the_agent_refuses_what_it_does_not_know() {
    let mut guest =
        Guest::started(GuestScript::healthy(BOOT).rule(Rule::on("gone").ends(Outcome::NoSuchProgram))).await;
    guest.up().await;
    let refused = |text: &str| Err(AgentError::Refused(text.to_owned()));
    assert_eq!(guest.ask("guest-fly", json!({})).await, refused("The command guest-fly has not been found"));
    assert_eq!(guest.ask("guest-exec-status", json!({"pid": 1})).await, refused("Invalid parameter 'pid'"));
    assert_eq!(guest.ask("guest-file-close", json!({"handle": 7})).await, refused("handle '7' has not been found"));
    assert!(matches!(guest.begin(&["/opt/gone"]).await, Err(AgentError::Refused(_))));
    assert!(matches!(guest.vm.agent("{", S).await, Err(AgentError::Refused(_))));
    assert_eq!(guest.ask("guest-sync", json!({"id": 5})).await, Ok(json!(5)));
    assert!(guest.ask("guest-info", json!({})).await.unwrap()["supported_commands"].is_array());
}

#[tokio::test(start_paused = true)]
async fn an_update_breaks_the_boots_that_follow_it_and_not_the_running_one() {
    let bugcheck = Bugcheck { code: 0x50, parameters: [1, 2, 3, 4] };
    let mut guest = Guest::started(GuestScript::healthy(BOOT).stops_after("update", bugcheck)).await;
    guest.up().await;
    guest.run(&["/opt/update"]).await.unwrap();
    tokio::time::sleep(60 * S).await;
    assert!(guest.settled().await);
    guest.vm.reset().await.unwrap();
    guest.expect([VmEvent::AgentDisconnected, VmEvent::Reset]).await;
    for _ in 0..3 {
        guest.expect([VmEvent::Panicked { bugcheck: Some(bugcheck) }, VmEvent::Reset]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_nth_boot_is_played_at_the_nth_start_and_the_last_repeats() {
    let crash = Boot::silent().at(3 * S, Happening::Reset);
    let last = Boot::silent().at(S, Happening::AgentUp);
    let mut guest = Guest::started(GuestScript::with_boots(vec![crash.clone(), crash, last])).await;
    guest.expect([VmEvent::Started, VmEvent::Reset, VmEvent::Reset, VmEvent::AgentConnected]).await;
    guest.vm.reset().await.unwrap();
    guest.expect([VmEvent::AgentDisconnected, VmEvent::Reset, VmEvent::AgentConnected]).await;
}

#[tokio::test(start_paused = true)]
async fn each_way_to_go_wrong_is_seen_from_the_host_as_on_a_real_one() {
    let healthy = || GuestScript::healthy(BOOT);
    let off = healthy().powers_off_after("update");
    let looping = healthy().loops_after("update");
    let panicking = healthy().panics_after("update");
    for (script, event) in
        [(off, VmEvent::PoweredOff), (looping, VmEvent::Reset), (panicking, VmEvent::Panicked { bugcheck: None })]
    {
        let mut guest = Guest::started(script).await;
        guest.up().await;
        guest.run(&["/opt/update"]).await.unwrap();
        guest.vm.reset().await.unwrap();
        guest.expect([VmEvent::AgentDisconnected, VmEvent::Reset, event]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_mute_agent_is_silent_until_the_deadline_and_one_that_goes_away_ends_the_wait() {
    let boot =
        Boot::silent().at(S, Happening::AgentUp).at(2 * S, Happening::AgentMute).at(20 * S, Happening::AgentGone);
    let mut guest = Guest::started(GuestScript::with_boots(vec![boot])).await;
    assert_eq!(guest.ask("guest-ping", json!({})).await, Err(AgentError::NotConnected));
    guest.up().await;
    assert!(guest.ask("guest-ping", json!({})).await.is_ok());
    tokio::time::sleep(2 * S).await;
    let asked = Instant::now();
    assert_eq!(guest.ask("guest-ping", json!({})).await, Err(AgentError::Timeout));
    assert_eq!(asked.elapsed(), 5 * S);
    let request = json!({"execute": "guest-ping"}).to_string();
    assert_eq!(guest.vm.agent(&request, 60 * S).await, Err(AgentError::NotConnected));
    assert!(asked.elapsed() < 20 * S);
    guest.expect([VmEvent::AgentDisconnected]).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_agent_knows_nothing_of_what_an_older_one_started() {
    let effect = Rule::on("update").happens(Happening::AgentGone);
    let mut guest = Guest::started(GuestScript::healthy(BOOT).rule(effect).during("hang", Happening::AgentMute)).await;
    guest.up().await;
    let pid = guest.begin(&["/opt/update"]).await.unwrap();
    guest.expect([VmEvent::AgentDisconnected]).await;
    assert_eq!(guest.ask("guest-exec-status", json!({"pid": pid})).await, Err(AgentError::NotConnected));
    guest.vm.reset().await.unwrap();
    guest.expect([VmEvent::Reset, VmEvent::AgentConnected]).await;
    assert!(matches!(guest.ask("guest-exec-status", json!({"pid": pid})).await, Err(AgentError::Refused(_))));
    assert_eq!(guest.run(&["/opt/hang"]).await, Err(AgentError::Timeout));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_ignores_or_refuses_to_restart_stays_up() {
    let script = GuestScript::healthy(BOOT).refuses_restart_after("update");
    let refuses = Effect::Asked(Asked::Refuses, Asked::Ignores);
    let mut guest = Guest::started(script.after("lock", refuses)).await;
    guest.up().await;
    guest.run(&["/opt/update"]).await.unwrap();
    assert_eq!(guest.ask("guest-shutdown", json!({"mode": "reboot"})).await, Err(AgentError::Timeout));
    guest.run(&["/opt/lock"]).await.unwrap();
    let answer = guest.ask("guest-shutdown", json!({"mode": "reboot"})).await;
    assert!(matches!(answer, Err(AgentError::Refused(_))));
    guest.vm.restart_acpi().await.unwrap();
    tokio::time::sleep(60 * S).await;
    assert!(guest.events.is_empty());
    assert!(guest.ask("guest-ping", json!({})).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn counters_follow_the_virtual_time() {
    let boot = Boot::silent()
        .at(10 * S, Happening::CpuSpin(true))
        .at(20 * S, Happening::DiskRate(3))
        .at(20 * S, Happening::DiskBusy(100));
    let guest = Guest::started(GuestScript::with_boots(vec![boot])).await;
    tokio::time::sleep(10 * S).await;
    assert_eq!(guest.vm.stats().await.unwrap().cpu.0, 100);
    tokio::time::sleep(20 * S).await;
    let stats = guest.vm.stats().await.unwrap();
    assert_eq!((stats.cpu.0, stats.disk_reads, stats.disk_writes), (20_100, 130, 130));
}

#[tokio::test(start_paused = true)]
async fn pictures_and_consoles_show_what_the_script_says() {
    let script = GuestScript::healthy(BOOT).no_boot_device_after("update");
    let mut guest = Guest::started(script).await;
    guest.up().await;
    let booting = guest.vm.screenshot().await.unwrap().unwrap();
    tokio::time::sleep(10 * S).await;
    let settled = guest.vm.screenshot().await.unwrap().unwrap();
    assert_eq!(booting.rgb.len(), (booting.width * booting.height * 3) as usize);
    assert!(booting.rgb.iter().zip(&settled.rgb).all(|(a, b)| a != b));

    let files = guest.vm.files();
    assert!(!files.serial_log.exists(), "no text, no file");
    guest.run(&["/opt/update"]).await.unwrap();
    guest.vm.reset().await.unwrap();
    tokio::time::sleep(10 * S).await;
    assert_eq!(std::fs::read_to_string(&files.serial_log).unwrap(), "No bootable device.\r\n");
    assert!(std::fs::read_to_string(files.firmware_log.unwrap()).unwrap().contains("No bootable option"));
    guest.vm.destroy().await.unwrap();
    assert!(!files.dir.exists());
}

#[tokio::test(start_paused = true)]
async fn a_lost_or_paused_machine_says_so_and_answers_no_more() {
    let script = |what| GuestScript::with_boots(vec![Boot::silent().at(S, Happening::AgentUp).at(2 * S, what)]);
    let mut paused = Guest::started(script(Happening::DiskError { host_is_full: true })).await;
    paused.up().await;
    paused.expect([VmEvent::DiskError { host_is_full: true }]).await;
    assert_eq!(paused.ask("guest-ping", json!({})).await, Err(AgentError::Timeout));

    let mut lost = Guest::started(script(Happening::HostLost)).await;
    lost.up().await;
    lost.expect([VmEvent::AgentDisconnected]).await;
    assert!(matches!(lost.event().await, Some(VmEvent::Lost { .. })));
    assert_eq!(lost.ask("guest-ping", json!({})).await, Err(AgentError::VmGone));
    assert!(lost.vm.stats().await.is_err());
    lost.vm.destroy().await.unwrap();
    assert_eq!(lost.lab.census().live, 0);
}

#[tokio::test(start_paused = true)]
async fn a_destroyed_machine_is_gone_for_good_and_may_be_destroyed_again() {
    let mut guest = Guest::started(GuestScript::healthy(BOOT).resists_destruction(1)).await;
    guest.up().await;
    assert!(guest.vm.destroy().await.is_err());
    assert_eq!(guest.lab.census().live, 1);
    for _ in 0..2 {
        guest.vm.destroy().await.unwrap();
    }
    assert_eq!(guest.event().await, None);
    assert_eq!(guest.ask("guest-ping", json!({})).await, Err(AgentError::VmGone));
    assert!(guest.vm.start().await.is_err());
    assert!(guest.vm.reset().await.is_err());
    assert!(guest.vm.screenshot().await.is_err());
    assert!(guest.vm.definition().await.is_err());
    assert!(!guest.vm.files().dir.exists());
    let census = guest.lab.census();
    assert_eq!((census.created, census.live, census.peak, census.memory), (1, 0, 1, Bytes(0)));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_ends_when_the_machine_is_destroyed() {
    let mut guest = Guest::started(GuestScript::with_boots(vec![Boot::silent().at(S, Happening::AgentMute)])).await;
    guest.up().await;
    let vm = Arc::clone(&guest.vm);
    let waiting = tokio::spawn(async move { vm.agent(r#"{"execute":"guest-ping"}"#, 600 * S).await });
    tokio::time::sleep(10 * S).await;
    guest.vm.destroy().await.unwrap();
    assert_eq!(waiting.await.unwrap(), Err(AgentError::VmGone));
}

#[tokio::test(start_paused = true)]
async fn a_lab_that_cannot_create_or_start_leaves_nothing_behind() {
    let lab = SimLab::new(SimHost::default(), |spec| match spec.cell.0.as_str() {
        "full" => GuestScript::healthy(BOOT).cannot_be_created(|| LabError::OutOfSpace("/clones".into())),
        _ => GuestScript::healthy(BOOT).cannot_be_started(|| LabError::Other("no".to_owned())),
    });
    assert!(matches!(lab.create(spec("full")).await, Err(LabError::OutOfSpace(_))));
    assert_eq!(lab.census().created, 0);
    let (vm, _events) = lab.create(spec("other")).await.unwrap();
    assert!(vm.start().await.is_err());
    vm.destroy().await.unwrap();
    assert_eq!(lab.census().live, 0);
}

#[tokio::test(start_paused = true)]
async fn a_script_plays_the_same_way_every_time() {
    let mut plays = Vec::new();
    for _ in 0..2 {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&seen);
        let script = GuestScript::healthy(BOOT).crashes_late_after("update", 5 * S);
        let mut guest = Guest::started(script.observed(move |line| lines.lock().unwrap().push(line.to_owned()))).await;
        let begun = Instant::now();
        guest.up().await;
        guest.run(&["/opt/update", "now"]).await.unwrap();
        guest.vm.reset().await.unwrap();
        let mut events = Vec::new();
        for _ in 0..6 {
            events.push((guest.event().await.unwrap(), begun.elapsed()));
        }
        let id = guest.boot_id().await;
        let seen = seen.lock().unwrap().clone();
        plays.push((events, id, seen));
    }
    assert_eq!(plays[0], plays[1]);
    assert_eq!(plays[0].2[0], "/opt/update now");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_machines_boot_in_a_moment() {
    let lab = SimLab::new(SimHost::default(), |_| GuestScript::healthy(BOOT));
    let mut machines = Vec::new();
    for n in 0..10_000 {
        let (vm, events) = lab.create(spec(&n.to_string())).await.unwrap();
        vm.start().await.unwrap();
        machines.push((vm, events));
    }
    for (vm, events) in &mut machines {
        assert_eq!(events.recv().await, Some(VmEvent::Started));
        assert_eq!(events.recv().await, Some(VmEvent::AgentConnected));
        vm.destroy().await.unwrap();
    }
    let census = lab.census();
    assert_eq!((census.live, census.peak, census.peak_memory), (0, 10_000, Bytes::mib(256 * 10_000)));
}
