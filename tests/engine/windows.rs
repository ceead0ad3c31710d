//! Windows guests: what their installers say, and what they leave behind.

use std::{fs, path::Path, time::Duration};

use bootgate::{
    lab::{
        Boots, VmSpec,
        sim::{self, Asked, Boot, Effect, GuestScript, Happening, LogEntry, Rule, event_log},
    },
    model::*,
};

use crate::{
    harness::{self, BOOT, Stage, Told},
    yard::{CONTROL, Ran, Yard},
};

const MSI: &str = "msiexec.exe";
const DUMP: &str = r"C:\Windows\Minidump\071924-1.dmp";

fn windows() -> GuestScript {
    GuestScript::windows(BOOT)
}

/// A step that installs a package of this kind, of the file that cells bring in.
fn install(folder: &Path, kind: PackageKind) -> Step {
    let cell = harness::cell(folder, 0, 3000);
    let [GuestFile { from, .. }] = cell.update[0].kind.files() else { panic!("one file") };
    let to = format!(r"C:\Windows\Temp\bootgate-0\update.{}", kind.as_str());
    let files = vec![GuestFile { from: from.clone(), to, mode: None }];
    let package = Package { kind, files, args: Vec::new() };
    Step { success: kind.success().to_vec(), ..harness::step("install", StepKind::Package { package }) }
}

fn of_windows(cell: &mut Cell, folder: &Path, kind: PackageKind) {
    let is_control = cell.role == Role::Control;
    cell.setup.clear();
    cell.sealed_setup = 0;
    cell.update = if is_control { Vec::new() } else { vec![install(folder, kind)] };
    cell.health.checks[0].kind = StepKind::Cmd { script: "sc query Sensor".into() };
}

/// Where servicing keeps its packages' states.
const CBS: &str = r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing";
const ROLLUP: &str = "Package_for_RollupFix~31bf3856ad364e35~amd64~~19041.4412.1.7";
const STACK: &str = "Package_for_ServicingStack_4411~31bf3856ad364e35~amd64~~19041.4411.1.0";

fn package(name: &str, state: u32) -> (String, Vec<u8>) {
    (format!(r"{CBS}\Packages\{name} /v CurrentState"), format!("REG_DWORD    {state:#x}").into_bytes())
}

/// A boot in which servicing leaves the update in this state.
fn boot_to(state: u32) -> Boot {
    let (path, content) = package(ROLLUP, state);
    let good = Boot::silent().at(BOOT / 2, Happening::Writes(path, content));
    good.at(BOOT / 4 * 3, Happening::AgentUp).at(BOOT, Happening::Ready)
}

/// What comes of an update for Windows of this kind whose installer, that tells this code, has these effects.
async fn serviced(kind: PackageKind, code: i32, effects: Vec<Effect>) -> (Option<ReasonId>, String) {
    let installer = if kind == PackageKind::Msu { "wusa.exe" } else { "dism.exe" };
    let rule = effects.into_iter().fold(Rule::on(installer).exits(code), Rule::then);
    let (old, content) = package("Microsoft-Windows-Foundation-Package~31bf3856ad364e35~amd64~~10.0.19041.1", 0x70);
    lead(kind, windows().file(&old, content).rule(rule)).await
}

async fn lead(kind: PackageKind, script: GuestScript) -> (Option<ReasonId>, String) {
    let mut stage = stage(script);
    let folder = stage.folder().to_owned();
    of_windows(&mut stage.job.cell, &folder, kind);
    let check = stage.job.cell.health.checks[0].clone();
    let (id, asks) = ("installed-1".to_owned(), StepKind::Serviced { step: 0 });
    stage.job.cell.health.checks.push(Check { id, kind: asks, implied: true, ..check });
    let told = stage.live().await;
    (told.lead(), told.verdict.lead().map(|lead| lead.message.clone()).unwrap_or_default())
}

fn writes((path, content): (String, Vec<u8>)) -> Effect {
    Effect::Happens(Happening::Writes(path, content))
}

/// A cell of its own that installs an MSI.
fn stage(script: GuestScript) -> Stage {
    let mut stage = Stage::new(script, 0, 3000);
    let folder = stage.folder().to_owned();
    stage.job.image.family = Family::Windows;
    of_windows(&mut stage.job.cell, &folder, PackageKind::Msi);
    stage
}

/// A control, and one cell that installs a package.
async fn compared(kind: PackageKind, script: impl Fn(&VmSpec) -> GuestScript + Send + Sync + 'static) -> Ran {
    let mut yard = Yard::compared(1, script);
    let folder = yard.folder.path().to_owned();
    yard.plan.images.get_mut("widget").unwrap().family = Family::Windows;
    yard.plan.cells.iter_mut().for_each(|cell| of_windows(cell, &folder, kind));
    yard.seals = false;
    yard.run().await
}

/// The verdict's leading words, where the installer of an MSI has this effect, and the reason.
async fn blamed(effect: Effect) -> (ReasonId, String) {
    let ran = compared(PackageKind::Msi, move |_| windows().after(MSI, effect.clone())).await;
    assert_eq!(ran.leads()[0], None, "{CONTROL}");
    let verdict = ran.state.verdict(&ran.state.cells[1]);
    let lead = verdict.lead().expect("a reason");
    (lead.id, lead.message.clone())
}

fn healthy(told: &Told) {
    assert_eq!(told.verdict, Verdict { outcome: Outcome::Healthy, reasons: Vec::new() }, "{:?}", told.notes);
}

/// A full dump of a 64-bit Windows, as far as it is read: `DUMP_HEADER64`.
fn dump(code: u32) -> Vec<u8> {
    let mut dump = b"PAGE".repeat(0x800);
    dump[4..8].copy_from_slice(b"DU64");
    dump[0x38..0x3c].copy_from_slice(&code.to_le_bytes());
    dump[0x40..0x60].fill(0);
    dump[0xf98..0xf9c].copy_from_slice(&1_u32.to_le_bytes());
    dump
}

/// The next boot stops with an error, writes its dump, and starts again; that boot is good.
fn stops_once(dump: Vec<u8>) -> GuestScript {
    let second = Duration::from_secs(1);
    let stop = Boot::silent()
        .at(BOOT / 2, Happening::Panic { bugcheck: None })
        .at(BOOT / 2 + 8 * second, Happening::Writes(DUMP.into(), dump))
        .at(BOOT / 2 + 9 * second, Happening::Reset);
    let good = Boot::silent().at(BOOT / 4 * 3, Happening::AgentUp).at(BOOT, Happening::Ready);
    windows().boots_after(MSI, vec![stop, good])
}

#[tokio::test(start_paused = true)]
async fn a_windows_guest_is_found_healthy_and_tells_what_it_is() {
    let told = stage(windows()).live().await;
    healthy(&told);
    let facts = told.signals.iter().find_map(|signal| match &signal.what {
        SignalKind::Facts { facts } => Some(facts),
        _ => None,
    });
    let fact = |name: &str| facts.and_then(|facts| facts.get(name)).map(String::as_str);
    assert_eq!((fact("product"), fact("build")), (Some("Windows 10 Pro"), Some("19045.4349")));
    let ids: Vec<_> = told.signals.iter().filter(|signal| matches!(signal.what, SignalKind::BootId { .. })).collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
}

#[tokio::test(start_paused = true)]
async fn a_windows_guest_has_not_settled_while_its_services_start_or_it_is_being_set_up() {
    let setup = r"HKLM\SYSTEM\Setup /v OOBEInProgress";
    let is = |value: &str| Happening::Writes(setup.into(), format!("REG_DWORD    {value}").into_bytes());
    let boot = Boot::silent()
        .at(Duration::ZERO, is("0x1"))
        .at(BOOT / 2, Happening::AgentUp)
        .at(BOOT, Happening::Ready)
        .at(BOOT * 2, is("0x0"));
    let told = stage(windows().boots_after(MSI, vec![boot])).live().await;
    healthy(&told);
    let (boot, settled) = (told.entered(Phase::Boot).unwrap(), told.entered(Phase::Watch).unwrap());
    assert!(settled.since(boot).as_duration() > BOOT * 2 - Duration::from_secs(5), "{}", settled.since(boot));
}

#[tokio::test(start_paused = true)]
async fn a_windows_guest_whose_servicing_is_at_work_has_not_settled_and_one_whose_is_idle_has() {
    let at_work = format!(r"{CBS}\Interface /v ServicingInProgress");
    let writes = |path: &str, text: &str| Happening::Writes(path.to_owned(), text.into());
    let boot = Boot::silent()
        .at(Duration::ZERO, writes(&at_work, "REG_DWORD    0x2"))
        .at(BOOT / 4, writes("sc TrustedInstaller", "10 4 800"))
        .at(BOOT / 4 * 3, Happening::AgentUp)
        .at(BOOT, Happening::Ready);
    let told = stage(windows().boots_after(MSI, vec![boot.clone().at(BOOT * 2, writes(&at_work, "REG_DWORD    0x0"))]));
    let told = told.live().await;
    healthy(&told);
    let took = told.entered(Phase::Watch).unwrap().since(told.entered(Phase::Boot).unwrap()).as_duration();
    assert!(took > BOOT * 2 - Duration::from_secs(5) && took < BOOT * 3, "{took:?}");
    // It never ends: no longer than a boot may take.
    let told = stage(windows().boots_after(MSI, vec![boot])).live().await;
    assert_eq!(told.lead().map(ReasonId::outcome), Some(Outcome::Unhealthy), "{:?}", told.verdict);
}

#[tokio::test(start_paused = true)]
async fn a_windows_guest_that_stops_once_is_found_with_its_bugcheck_from_the_dump() {
    let told = stage(stops_once(dump(0xd1))).live().await;
    assert_eq!(told.lead(), Some(ReasonId::StopError));
    let found = format!("{DUMP}: bugcheck 0x000000d1 DRIVER_IRQL_NOT_LESS_OR_EQUAL");
    assert!(told.notes.iter().any(|note| note.starts_with(&found)), "{:?}", told.notes);
    assert!(told.artifacts.iter().any(|path| path.ends_with("guest/C__Windows_Minidump_071924-1.dmp")));
}

#[tokio::test(start_paused = true)]
async fn a_real_dump_that_a_guest_wrote_names_the_driver_at_fault() {
    let Some(samples) = std::env::var_os("BOOTGATE_SAMPLES") else {
        eprintln!("SKIPPED: BOOTGATE_SAMPLES is not set");
        return;
    };
    let sample = fs::read(Path::new(&samples).join("windows/triage_x64.dmp")).unwrap();
    let told = stage(stops_once(sample)).live().await;
    assert_eq!(told.lead(), Some(ReasonId::StopError));
    assert!(told.notes.iter().any(|note| note.ends_with("in amdppm.sys")), "{:?}", told.notes);
}

#[tokio::test(start_paused = true)]
async fn a_windows_guest_whose_boot_id_did_not_change_is_not_a_new_boot() {
    let told = stage(windows().counts_boots(None)).live().await;
    assert_eq!(told.lead(), Some(ReasonId::RestartRefused), "{:?}", told.verdict);
    assert!(told.verdict.reasons[0].message.contains("nothing proves that this is a new boot"));
}

#[tokio::test(start_paused = true)]
async fn a_windows_guest_that_counts_its_boot_late_is_asked_again() {
    healthy(&stage(windows().counts_boots(Some(BOOT + Duration::from_secs(2)))).live().await);
}

#[tokio::test(start_paused = true)]
async fn an_installer_that_wants_a_restart_or_begins_one_gets_it_and_is_healthy() {
    for (code, says) in [(3010, Says::RestartNeeded), (1641, Says::Restarting)] {
        let told = stage(windows().fails(MSI, code)).live().await;
        healthy(&told);
        assert_eq!(told.result("install").unwrap().says, Some(says));
    }
    let told = stage(windows().fails(MSI, 1603)).live().await;
    assert_eq!(told.lead(), Some(ReasonId::UpdateFailed));
}

#[tokio::test(start_paused = true)]
async fn an_installer_that_finds_another_one_at_work_is_tried_again_until_it_goes() {
    let busy = |next: Rule| Rule::on(MSI).exits(1618).then(Effect::Rules(vec![next]));
    let told = stage(windows().rule(busy(busy(Rule::on(MSI))))).live().await;
    healthy(&told);
    assert_eq!(told.notes.iter().filter(|note| note.contains("tried again")).count(), 2, "{:?}", told.notes);
    let told = stage(windows().fails(MSI, 1618)).live().await;
    assert_eq!(told.lead(), Some(ReasonId::UpdateTimeout));
}

#[tokio::test(start_paused = true)]
async fn what_an_installer_prints_is_read_in_the_guests_code_page() {
    let told = stage(windows().rule(Rule::on(MSI).exits(1603).complains(b"gel\x94scht".to_vec()))).live().await;
    assert_eq!(told.result("install").unwrap().output.stderr, "gelöscht");
}

#[tokio::test(start_paused = true)]
async fn an_error_in_the_system_log_since_the_update_is_the_updates() {
    let crash = LogEntry { provider: "Service Control Manager", id: 7034, level: 2, data: &[("param1", "Sensor")] };
    let (id, message) = blamed(writes(("wevtutil System".into(), event_log(&[crash], 1)))).await;
    assert_eq!(id, ReasonId::EventLog);
    assert!(message.ends_with("service-7034 Sensor"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_windows_guest_whose_system_log_is_gone_is_not_known_to_be_well() {
    let (id, _) = blamed(Effect::Happens(Happening::Removes("wevtutil System".into()))).await;
    assert_eq!(id.outcome(), Outcome::Inconclusive, "{id}");
}

#[tokio::test(start_paused = true)]
async fn a_windows_guest_with_a_log_that_cannot_be_read_is_not_known_to_be_well_and_one_without_it_is() {
    // Neither it nor its control has more than the first of the logs.
    let ran = compared(PackageKind::Msi, |_| windows()).await;
    assert_eq!(ran.leads(), [None, None]);
    let (id, message) = blamed(writes(("wevtutil Application".into(), b"no log".to_vec()))).await;
    assert_eq!(id.outcome(), Outcome::Inconclusive, "{id}");
    assert!(message.contains("the guest's log has more different errors than are read"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_windows_guest_whose_logs_are_not_exported_in_time_is_not_known_to_be_well() {
    // What there is comes of an export that has not ended.
    let half = |tag| (format!(r"C:\Windows\Temp\bootgate-{tag}-System.evtx"), event_log(&[], 0));
    let hangs = Rule::on("wevtutil epl").ends(sim::Outcome::NeverEnds);
    let hangs = (0..300).map(half).map(writes).fold(hangs, Rule::then);
    let (id, message) = blamed(Effect::Rules(vec![hangs])).await;
    assert_eq!(id.outcome(), Outcome::Inconclusive, "{id}");
    assert!(message.contains("the guest's log has more different errors than are read"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_service_set_to_auto_that_stays_stopped_is_service_down() {
    let (id, message) = blamed(writes(("sc Sensor".into(), b"10 1 0".to_vec()))).await;
    assert_eq!(id, ReasonId::ServiceDown);
    assert!(message.contains("Sensor"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_dump_that_the_control_does_not_have_is_told_with_its_cause() {
    let (id, message) = blamed(writes((DUMP.into(), dump(0x50)))).await;
    assert_eq!(id, ReasonId::CrashDump);
    assert!(message.contains("PAGE_FAULT_IN_NONPAGED_AREA"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn an_update_for_windows_whose_packages_are_installed_after_the_restart_is_healthy() {
    for (kind, code) in [(PackageKind::Msu, 3010), (PackageKind::Cab, 3010), (PackageKind::Cab, 0)] {
        let pending = vec![writes(package(STACK, 0x70)), writes(package(ROLLUP, 0x60))];
        let effects = [pending, vec![Effect::NextBoots(vec![boot_to(0x70)])]].concat();
        assert_eq!(serviced(kind, code, effects).await, (None, String::new()), "{kind:?}");
    }
    // Needs no restart.
    assert_eq!(serviced(PackageKind::Cab, 0, vec![writes(package(ROLLUP, 0x70))]).await.0, None);
}

#[tokio::test(start_paused = true)]
async fn an_update_for_windows_that_succeeds_and_changes_nothing_is_not_applied() {
    for kind in [PackageKind::Msu, PackageKind::Cab] {
        let (lead, message) = serviced(kind, 0, Vec::new()).await;
        assert_eq!(lead, Some(ReasonId::UpdateNotApplied));
        assert!(message.contains("its installer changed no package of Windows"), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_for_windows_that_is_taken_back_in_the_restart_is_not_applied() {
    let pending = vec![writes(package(STACK, 0x70)), writes(package(ROLLUP, 0x60))];
    let effects = [pending, vec![Effect::NextBoots(vec![boot_to(0x40)])]].concat();
    let (lead, message) = serviced(PackageKind::Msu, 3010, effects).await;
    assert_eq!(lead, Some(ReasonId::UpdateNotApplied));
    assert!(message.contains(&format!("{ROLLUP} is staged after the restart")), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_windows_guest_that_lists_no_packages_blames_no_update() {
    let (lead, message) = lead(PackageKind::Msu, windows()).await;
    assert_eq!(lead, Some(ReasonId::StartFailed));
    assert!(message.contains("does not list the packages"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_list_of_packages_that_was_cut_is_no_list() {
    let (name, state) = package(ROLLUP, 0x70);
    let listed = format!(
        "[bootgate] packages\r\n\r\n{}\r\n    CurrentState    {}\r\n",
        name.replace("HKLM", "HKEY_LOCAL_MACHINE").trim_end_matches(" /v CurrentState"),
        String::from_utf8(state).unwrap()
    );
    let whole = format!("{listed}[bootgate] end\r\n");
    let asks = || Rule::on(r"Component Based Servicing\Packages");
    for rule in [
        asks().prints(whole.clone()).ends(sim::Outcome::NeverEnds),
        asks().prints(whole.clone()).exits(1),
        asks().prints(listed),
    ] {
        let (lead, message) = lead(PackageKind::Msu, windows().rule(rule.clone())).await;
        assert_eq!(lead, Some(ReasonId::StartFailed), "{rule:?}");
        assert!(message.contains("does not list the packages"), "{message}");
    }
    // It is one as long as it is whole.
    let (lead, message) = lead(PackageKind::Msu, windows().rule(asks().prints(whole))).await;
    assert_eq!(lead, Some(ReasonId::UpdateNotApplied), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_list_of_packages_that_cannot_be_read_after_the_restart_blames_no_update() {
    let (kind, hangs) =
        (PackageKind::Msu, Rule::on(r"Component Based Servicing\Packages").ends(sim::Outcome::NeverEnds));
    let effects = vec![writes(package(ROLLUP, 0x60)), Effect::Rules(vec![hangs])];
    let (lead, message) = serviced(kind, 3010, effects).await;
    assert_eq!(lead, Some(ReasonId::HarnessDied), "{message}");
    assert!(message.contains("does not list the packages"), "{message}");
}

/// An installer that takes 30 s and says that it restarts the machine, which the machine does 2 s later.
fn restarts_by_itself() -> GuestScript {
    let good = Boot::silent().at(BOOT / 4 * 3, Happening::AgentUp).at(BOOT, Happening::Ready);
    let first = good.clone().at(BOOT + Duration::from_secs(32), Happening::Reset);
    windows().boots(vec![first, good]).rule(Rule::on(MSI).takes(Duration::from_secs(30)).exits(1641))
}

#[tokio::test(start_paused = true)]
async fn the_restart_that_a_step_of_the_update_has_begun_is_over_before_the_next_step() {
    let mut stage = stage(restarts_by_itself());
    let second = harness::step("second", StepKind::Cmd { script: "ver".into() });
    stage.job.cell.update.push(second);
    let told = stage.live().await;
    healthy(&told);
    let all = told.signals.iter().map(|signal| &signal.what);
    assert_eq!(steps_and_resets(all)[..3], ["install", "reset", "second"]);
    // One that never comes is not waited for for ever.
    let mut stage = self::stage(windows().fails(MSI, 1641));
    stage.job.cell.update.push(harness::step("second", StepKind::Cmd { script: "ver".into() }));
    healthy(&stage.live().await);
}

/// What a cell's machine did in its setup.
fn in_setup<'a>(signals: impl Iterator<Item = &'a SignalKind>) -> Vec<&'a str> {
    steps_and_resets(signals.take_while(|what| **what != SignalKind::PhaseStarted { at: Phase::Apply }))
}

/// Steps' ends, and resets.
fn steps_and_resets<'a>(signals: impl Iterator<Item = &'a SignalKind>) -> Vec<&'a str> {
    let told = signals.filter_map(|what| match what {
        SignalKind::StepEnded { name, .. } => Some(name.as_str()),
        SignalKind::Reset => Some("reset"),
        SignalKind::Sealed { .. } => Some("sealed"),
        _ => None,
    });
    told.collect()
}

/// A cell that installs an MSI before the update, and then looks.
fn prepared(script: GuestScript) -> Stage {
    let mut stage = stage(script);
    let folder = stage.folder().to_owned();
    let second = harness::step("second", StepKind::Cmd { script: "ver".into() });
    let kind = PackageKind::Msi;
    stage.job.cell.setup = vec![Step { name: "first".into(), ..install(&folder, kind) }, second];
    stage.job.cell.update = vec![harness::step("update", StepKind::Cmd { script: "call update".into() })];
    stage
}

#[tokio::test(start_paused = true)]
async fn a_setup_step_that_wants_a_restart_gets_it_before_the_next_one() {
    let told = prepared(windows().fails(MSI, 3010)).live().await;
    healthy(&told);
    assert_eq!(in_setup(told.signals.iter().map(|signal| &signal.what)), ["first", "reset", "second"]);
    let told = prepared(windows()).live().await;
    healthy(&told);
    assert_eq!(in_setup(told.signals.iter().map(|signal| &signal.what)), ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn a_setup_step_that_restarts_the_machine_by_itself_needs_no_second_restart() {
    let told = prepared(restarts_by_itself()).live().await;
    healthy(&told);
    assert_eq!(in_setup(told.signals.iter().map(|signal| &signal.what)), ["first", "reset", "second"]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_setup_was_allowed_excuses_none_of_the_update() {
    let told = prepared(windows().fails(MSI, 1641).during("call update", Happening::Reset)).live().await;
    assert_eq!(in_setup(told.signals.iter().map(|signal| &signal.what)), ["first", "reset", "second"]);
    assert_eq!(told.lead(), Some(ReasonId::LateCrash), "{:?}", told.verdict);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_refuses_a_restart_in_its_setup_blames_no_update() {
    let ignores = Effect::Asked(Asked::Ignores, Asked::Ignores);
    let told = prepared(windows().rule(Rule::on(MSI).exits(3010).then(ignores))).live().await;
    assert_eq!(told.lead(), Some(ReasonId::StartFailed), "{:?}", told.verdict);
    assert!(told.verdict.reasons[0].message.contains("without the candidate"), "{:?}", told.verdict);
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_sealed_after_the_restart_that_its_setup_wanted_also_where_one_place_to_boot_is_all() {
    let mut yard = Yard::compared(2, |_| windows().fails(MSI, 3010));
    let folder = yard.folder.path().to_owned();
    yard.plan.images.get_mut("widget").unwrap().family = Family::Windows;
    for cell in &mut yard.plan.cells {
        of_windows(cell, &folder, PackageKind::Msi);
        cell.setup = vec![Step { name: "first".into(), ..install(&folder, PackageKind::Msi) }];
        cell.sealed_setup = 1;
    }
    yard.boots = Boots::open(&folder.join("boots"), Some(1)).unwrap();
    let began = tokio::time::Instant::now();
    let ran = yard.run().await;
    assert_eq!(ran.leads(), [None, None, None]);
    let sealers = ran.sealers();
    assert_eq!(sealers.len(), 1, "{sealers:?}");
    for cell in [CONTROL, "c0", "c1"] {
        let wanted: &[&str] = if sealers[0] == cell { &["first", "reset", "sealed"] } else { &[] };
        assert_eq!(in_setup(ran.signals(cell)), wanted, "{cell}");
    }
    // Nobody waited for a place that it held itself.
    assert!(began.elapsed() < Duration::from_secs(300), "{:?}", began.elapsed());
}
