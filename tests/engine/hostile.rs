//! Guests that say too much, too little, or what nobody may read.

use std::{collections::BTreeMap, fs, time::Duration};

use bootgate::{
    lab::sim::{Boot, Effect, GuestScript, Happening, Outcome as Ends, Rule},
    model::*,
};

use crate::harness::{BOOT, CHECK, Stage, Told, UPDATE, healthy, step};

const S: Duration = Duration::from_secs(1);
const SECRET: &str = "correct horse battery staple";

/// A boot of [`BOOT`] that ends well, before whatever is added to it.
fn good_boot() -> Boot {
    let busy = Happening::DiskBusy(100);
    Boot::silent().at(BOOT / 2, busy).at(BOOT / 2, Happening::AgentUp).at(BOOT, Happening::Ready)
}

fn with_secret(mut stage: Stage) -> Stage {
    stage.job.secrets = Secrets::new(BTreeMap::from([("TOKEN".to_owned(), SECRET.to_owned())]));
    stage
}

/// Everything that a cell leaves: what it told and its files.
fn left(told: &Told) -> String {
    let files = told.artifacts.iter().map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned());
    files.chain([told.text()]).collect::<Vec<_>>().join("\n")
}

#[tokio::test(start_paused = true)]
async fn a_secret_reaches_the_guest_and_nothing_else() {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let lines = seen.clone();
    let said = format!("the token is {SECRET}\n");
    let panic = format!("Kernel panic - not syncing: {SECRET}\n");
    let boot = good_boot().at(S, Happening::Serial(said.clone())).at(S * 2, Happening::Serial(panic));
    let script = healthy()
        .rule(Rule::on("install --token").prints(said.clone()).complains(said.clone()))
        .rule(Rule::on(CHECK).prints(said.clone()).exits(1))
        .boots_after("date.bin", vec![boot])
        .file("/etc/os-release", said.clone())
        .observed(move |line| *lines.lock().unwrap() += line);
    let mut stage = with_secret(Stage::new(script, 0, 3000));
    let script = StepKind::Sh { script: "install --token ${env:TOKEN}".into() };
    stage.job.cell.update.push(step("install", script));
    let told = stage.live().await;
    assert_eq!(told.lead(), Some(ReasonId::CheckFailed), "{:?}", told.verdict);
    assert!(seen.lock().unwrap().contains(&format!("install --token {SECRET}")));
    assert_eq!(told.result("install").unwrap().output.stdout, "the token is ***\n");
    assert!(told.artifacts.iter().any(|path| path.ends_with("guest/etc_os-release")), "{:?}", told.artifacts);
    let left = left(&told);
    assert!(!left.contains(SECRET) && !left.contains("battery staple"), "{left}");
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_the_end_of_kept_output_cuts_in_two_is_masked_all_the_same() {
    for before in 65_500..65_540 {
        let output = "x".repeat(before) + SECRET;
        let stage = with_secret(Stage::new(healthy().rule(Rule::on(UPDATE).prints(output)), 0, 3000));
        let told = stage.live().await;
        let kept = &told.result("update").unwrap().output.stdout;
        assert!(!kept.contains("co"), "after {before} bytes: {}", &kept[kept.len() - 40..]);
    }
}

#[tokio::test(start_paused = true)]
async fn endless_output_is_cut_and_says_so() {
    let noise: Vec<u8> = (0..3_000_000).map(|n: u32| (n * 7 % 256) as u8).collect();
    let told =
        Stage::new(healthy().rule(Rule::on(UPDATE).prints(noise.clone()).complains(noise)), 0, 3000).live().await;
    assert_eq!(told.verdict.outcome, Outcome::Healthy);
    let output = &told.result("update").unwrap().output;
    assert!(output.truncated);
    assert!(output.stdout.chars().count() <= 64 * 1024 && output.stderr.chars().count() <= 64 * 1024);
}

#[tokio::test(start_paused = true)]
async fn a_flood_on_the_console_is_no_flood_in_the_journal() {
    let flood = |from: u32| (from..from + 40_000).map(|n| format!("Kernel panic - not syncing: {n}\r\n")).collect();
    let boot = good_boot().at(S, Happening::Serial(flood(0))).at(BOOT + S * 3, Happening::Serial(flood(40_000)));
    let told = Stage::new(healthy().boots_after(UPDATE, vec![boot]), 0, 3000).live().await;
    assert_eq!(told.verdict.outcome, Outcome::Healthy);
    let lines = told.signals.iter().filter(|signal| matches!(signal.what, SignalKind::Console { .. })).count();
    assert!((1..=10).contains(&lines), "{lines} lines");
}

#[tokio::test(start_paused = true)]
async fn a_panic_after_a_flood_on_the_console_belongs_to_the_boot_that_it_ended() {
    let noise = "boot message\n".repeat(100_000) + "Kernel panic - not syncing: sensor\n";
    let boot = Boot::silent().at(S * 5, Happening::Serial(noise)).at(S * 5 + S / 100, Happening::Reset);
    let told = Stage::new(healthy().boots_after(UPDATE, vec![boot, good_boot()]), 0, 3000).live().await;
    assert_eq!(told.lead(), Some(ReasonId::StopError), "{:?}", told.verdict);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_pauses_or_reconnects_for_a_moment_is_not_lost() {
    let pauses = good_boot().at(BOOT + S * 3, Happening::AgentMute).at(BOOT + S * 14, Happening::AgentUp);
    let reconnects = good_boot().at(BOOT + S * 3, Happening::AgentGone).at(BOOT + S * 14, Happening::AgentUp);
    for boot in [pauses, reconnects] {
        let told = Stage::new(healthy().boots_after(UPDATE, vec![boot]), 0, 3000).live().await;
        assert_eq!(told.verdict.outcome, Outcome::Healthy, "{:?}", told.verdict);
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_restarts_under_a_step_leaves_its_end_unknown() {
    let restarts = Rule::on(UPDATE).takes(S).ends(Ends::NeverEnds);
    let restarts = restarts.happens(Happening::AgentGone).happens(Happening::AgentUp);
    let told = Stage::new(healthy().rule(restarts), 0, 3000).live().await;
    assert_eq!(told.lead(), Some(ReasonId::AgentLost));
    assert!(told.verdict.reasons[0].message.contains("update"), "{:?}", told.verdict);
}

#[tokio::test(start_paused = true)]
async fn the_missing_program_of_a_step_is_the_updates_fault_and_of_a_check_too() {
    let missing = |line| healthy().rule(Rule::on(line).ends(Ends::NoSuchProgram));
    assert_eq!(Stage::new(missing(UPDATE), 0, 3000).live().await.lead(), Some(ReasonId::UpdateFailed));
    assert_eq!(Stage::new(missing(CHECK), 0, 3000).live().await.lead(), Some(ReasonId::CheckFailed));
}

#[tokio::test(start_paused = true)]
async fn every_check_is_asked_though_one_has_failed() {
    let mut stage = Stage::new(healthy().rule(Rule::on("first").exits(7)).rule(Rule::on("third").exits(1)), 0, 3000);
    let check = |id: &str| Check {
        id: id.into(),
        kind: StepKind::Sh { script: id.into() },
        timeout: Millis::from_secs(5),
        success: vec![0],
        evidence: false,
        implied: false,
    };
    stage.job.cell.health.checks = ["first", "second", "third"].map(check).into();
    let told = stage.live().await;
    let failed: Vec<_> = told.verdict.reasons.iter().filter_map(|reason| reason.check.as_deref()).collect();
    assert_eq!(failed, ["first", "third"]);
    assert!(told.result("second").unwrap().ok);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_swears_at_everything_gets_a_verdict() {
    let swears = |line: &str| Rule::on(line).ends(Ends::NoSuchProgram);
    for line in ["is-system-running", "mkdir", "rm", "date.bin", ""] {
        let script = GuestScript::healthy(BOOT).after(UPDATE, Effect::Rules(vec![swears(line)]));
        let told = Stage::new(script, 0, 3000).live().await;
        assert_ne!(told.verdict.outcome, Outcome::Inconclusive, "{line}: {:?}", told.verdict);
        let told = Stage::new(GuestScript::healthy(BOOT).rule(swears(line)), 0, 3000).live().await;
        assert!(told.verdict.outcome != Outcome::Healthy || line == "rm", "{line}: {:?}", told.verdict);
    }
}
