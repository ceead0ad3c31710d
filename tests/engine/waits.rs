//! Every wait ends on what it waits for, on its deadline, or on the machine's death; and no later.

use std::time::Duration;

use bootgate::{
    lab::sim::{Asked, Boot, Effect, GuestScript, Happening, Outcome as Ends, Rule, SimHost},
    model::*,
};

use crate::harness::{BOOT, CHECK, Stage, Told, UPDATE, healthy, step};

const S: Duration = Duration::from_secs(1);

async fn told(script: GuestScript, soak: u32) -> Told {
    Stage::new(script, soak, 3000).live().await
}

#[tokio::test(start_paused = true)]
async fn phases_come_in_order_and_those_that_were_passed_say_so() {
    use Phase::{Apply, Boot, Check, Collect, Destroy, Restart, Settle, Setup, Soak, Start, Watch};
    let whole = [Start, Settle, Setup, Apply, Restart, Boot, Watch, Soak(1), Watch, Soak(2), Watch, Check];
    let passed = |phases: &[Phase]| phases.iter().map(|phase| (*phase, true)).collect::<Vec<_>>();
    let end = passed(&[Collect, Destroy]);
    let healthy_phases = [passed(&whole), end.clone()].concat();
    assert_eq!(told(healthy(), 2).await.phases(), healthy_phases);
    let broken = told(healthy().panics_after(UPDATE), 2).await;
    assert_eq!(broken.phases(), [passed(&whole[..5]), vec![(Boot, false)], end.clone()].concat());
    let failed = told(healthy().fails(UPDATE, 1), 2).await;
    assert_eq!(failed.phases(), [passed(&whole[..3]), vec![(Apply, false)], end].concat());
}

#[tokio::test(start_paused = true)]
async fn a_cells_setup_runs_before_its_update_and_is_nobodys_fault() {
    for (code, expected) in [(0, None), (1, Some(ReasonId::StartFailed))] {
        let mut stage = Stage::new(healthy().rule(Rule::on("prepare").exits(code)), 0, 3000);
        stage.job.cell.setup = vec![step("prepare", StepKind::Sh { script: "prepare".into() })];
        let told = stage.live().await;
        assert_eq!(told.lead(), expected);
        let (setup, apply) = (told.entered(Phase::Setup).expect("a setup"), told.entered(Phase::Apply));
        assert_eq!(
            apply.is_some_and(|apply| setup < apply),
            code == 0,
            "the update begins after a setup that succeeded"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_machines_death_ends_any_wait_within_a_second() {
    type Like = fn(&SignalKind) -> bool;
    let panicked: Like = |what| matches!(what, SignalKind::Panicked { .. });
    let off: Like = |what| *what == SignalKind::PoweredOff;
    let lost: Like = |what| matches!(what, SignalKind::VmLost { .. });
    let panic = Happening::Panic { bugcheck: None };
    let in_watch = |what| Boot::silent().at(S, Happening::AgentUp).at(S * 2, Happening::Ready).at(S * 6, what);
    let cases: [(GuestScript, Like); 7] = [
        (healthy().panics_after(UPDATE), panicked),
        (healthy().powers_off_after(UPDATE), off),
        (healthy().during(UPDATE, panic.clone()), panicked),
        (healthy().during(CHECK, panic.clone()), panicked),
        (healthy().during(CHECK, Happening::HostLost), lost),
        (healthy().boots_after(UPDATE, vec![in_watch(panic)]), panicked),
        (healthy().boots_after(UPDATE, vec![in_watch(Happening::PowerOff)]), off),
    ];
    for (number, (script, death)) in cases.into_iter().enumerate() {
        let told = told(script, 0).await;
        let (died, collects) = (told.first(death).expect("a death"), told.entered(Phase::Collect).unwrap());
        assert!(collects.since(died) <= Millis(1000), "case {number}: {died} until {collects}");
        assert!(told.took < collects.as_duration() + S * 5, "case {number}: the evidence took until {:?}", told.took);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hang_is_called_one_after_three_times_as_long_as_a_boot_takes() {
    for (boot, least, most) in [(4, 20, 25), (20, 58, 68), (100, 295, 320)] {
        let told = told(GuestScript::healthy(S * boot).hangs_after(UPDATE), 0).await;
        assert_eq!(told.lead(), Some(ReasonId::BootHang));
        let waited = told.verdict.reasons[0].at.since(told.entered(Phase::Boot).unwrap()).as_duration();
        assert!((S * least..=S * most).contains(&waited), "a boot of {boot} s: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn limits_that_the_matrix_gives_are_kept() {
    let mut stage = Stage::new(healthy().never_settles_after(UPDATE), 0, 3000);
    stage.job.cell.health.boot_timeout = Some(Millis::from_secs(40));
    let told = stage.live().await;
    assert_eq!(told.lead(), Some(ReasonId::BootTimeout));
    let waited = told.verdict.reasons[0].at.since(told.entered(Phase::Boot).unwrap());
    assert!((40..44).contains(&(waited.0 / 1000)), "{waited}");

    let mut stage = Stage::new(healthy().refuses_restart_after(UPDATE), 0, 3000);
    stage.job.cell.health.restart_timeout = Some(Millis::from_secs(7));
    let told = stage.live().await;
    assert_eq!(told.lead(), Some(ReasonId::RestartRefused));
    let asked = told.first(|what| *what == SignalKind::RestartAsked { via: RestartVia::Agent }).unwrap();
    assert_eq!(told.verdict.reasons[0].at.since(asked).0 / 1000, 14);
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_only_the_power_button_brings_about_is_healthy() {
    for by_agent in [Asked::Ignores, Asked::Refuses] {
        let told = told(healthy().asked(by_agent, Asked::Obeys(S * 2)), 1).await;
        assert_eq!(told.verdict.outcome, Outcome::Healthy, "{by_agent:?}: {:?}", told.verdict);
        // The wait for an agent that refused is no time that the machine took. Of one that took the request nobody knows whether
        // it came to nothing: the machine may be slow to shut down.
        let via = if by_agent == Asked::Refuses { RestartVia::Acpi } else { RestartVia::Agent };
        let asked = told.first(|what| *what == SignalKind::RestartAsked { via }).unwrap();
        let settled = told.signals.iter().find_map(|signal| match signal.what {
            SignalKind::BootCost { took, .. } => Some((signal.at, took)),
            _ => None,
        });
        let (at, took) = settled.unwrap();
        assert!(took.0.abs_diff(at.since(asked).0) < 1000, "{by_agent:?}: {took}, asked {asked}, settled {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_on_which_the_guest_turns_itself_off_or_panics_is_neither_refused_nor_healthy() {
    for (asked, expected) in [(Asked::PowersOff(S), ReasonId::PoweredOff), (Asked::Panics(S), ReasonId::StopError)] {
        assert_eq!(told(healthy().asked(asked, Asked::Ignores), 0).await.lead(), Some(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_forced_restart_shows_is_evidence_and_no_lead() {
    let panics = Boot::silent().at(S * 5, Happening::Panic { bugcheck: None });
    let told = told(healthy().refuses_restart_after(UPDATE).boots_after("date.bin", vec![panics]), 0).await;
    let ids: Vec<ReasonId> = told.verdict.reasons.iter().map(|reason| reason.id).collect();
    assert_eq!(ids, [ReasonId::RestartRefused, ReasonId::StopError]);
}

#[tokio::test(start_paused = true)]
async fn a_step_ends_at_its_deadline_with_what_it_said_so_far() {
    let talks = Rule::on(UPDATE).takes(S * 5).prints("half-way\n").ends(Ends::NeverEnds);
    let told = told(healthy().rule(talks), 0).await;
    assert_eq!(told.lead(), Some(ReasonId::UpdateTimeout));
    let result = told.result("update").unwrap();
    assert_eq!((result.output.stdout.as_str(), result.took.0 / 1000), ("half-way\n", 60));
}

#[tokio::test(start_paused = true)]
async fn a_slow_step_and_a_slow_check_are_waited_for() {
    let script = healthy().rule(Rule::on(UPDATE).takes(S * 59)).rule(Rule::on(CHECK).takes(S * 9));
    let told = told(script, 0).await;
    assert_eq!(told.verdict.outcome, Outcome::Healthy);
    assert_eq!(told.result("update").unwrap().took.0 / 1000, 59);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_busy_with_a_long_answer_is_not_silent() {
    let login = Happening::Serial("widget login: ".into());
    let boot = Boot::silent().at(S, Happening::AgentUp).at(S, login).at(S, Happening::DiskRate(3));
    let never = Rule::on("is-system-running").takes(S * 9).exits(1);
    let update = Rule::on(UPDATE).then(Effect::NextBoots(vec![boot])).then(Effect::Rules(vec![never]));
    let told = told(GuestScript::healthy(S * 4).rule(update), 0).await;
    assert_eq!(told.lead(), Some(ReasonId::BootTimeout), "{:?}", told.verdict);
}

#[tokio::test(start_paused = true)]
async fn one_early_reset_is_nothing_and_one_late_is_a_crash() {
    let good = GuestScript::healthy(BOOT);
    let early = Boot::silent().at(BOOT / 2, Happening::Reset);
    let last = || {
        Boot::silent().at(BOOT / 2, Happening::DiskBusy(9)).at(BOOT / 2, Happening::AgentUp).at(BOOT, Happening::Ready)
    };
    assert_eq!(told(good.clone().boots_after(UPDATE, vec![early, last()]), 0).await.lead(), None);
    let late = last().at(BOOT + S * 3, Happening::Reset);
    assert_eq!(told(good.boots_after(UPDATE, vec![late, last()]), 0).await.lead(), Some(ReasonId::LateCrash));
}

#[tokio::test(start_paused = true)]
async fn a_hang_on_a_lab_that_is_slow_is_called_one_later() {
    // From the restart on, the lab does half of what it did, and two thirds are usual.
    let host = SimHost { slow: Some((S * 25, S * 3600, 2)), ..SimHost::default() };
    let told = Stage::on(host, healthy().hangs_after(UPDATE), 0, 3000).live().await;
    assert_eq!(told.lead(), Some(ReasonId::BootHang));
    let waited = told.verdict.reasons[0].at.since(told.entered(Phase::Boot).unwrap()).as_duration();
    assert!((S * 76..=S * 90).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_refuses_on_a_lab_that_is_slow_is_asked_for_longer() {
    // It is asked some seconds before the lab becomes slow.
    let host = SimHost { slow: Some((S * 25, S * 3600, 4)), ..SimHost::default() };
    let told = Stage::on(host, healthy().refuses_restart_after(UPDATE), 0, 3000).live().await;
    let asked = |via| told.first(|what| *what == SignalKind::RestartAsked { via }).unwrap();
    let waited = asked(RestartVia::Acpi).since(asked(RestartVia::Agent)).as_duration();
    assert!((S * 145..=S * 175).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_the_control_makes_deadlines_longer_and_says_so() {
    let limits = |told: &Told| {
        let limits = |what: &SignalKind| match what {
            SignalKind::Limits { limits, from: Some(from), base } => Some((limits.quiet, *from, *base)),
            _ => None,
        };
        told.signals.iter().find_map(|signal| limits(&signal.what)).unwrap()
    };
    let mut stage = Stage::new(healthy(), 0, 3000);
    stage.job.cell.role = Role::Compared { with: "control-widget".into() };
    let (settle, restart) = (Millis::from_secs(40), Millis::from_secs(50));
    stage.job.control = Some(ControlFacts { settle, restart, ..ControlFacts::default() });
    assert_eq!(limits(&stage.live().await), (Millis::from_secs(150), LimitsFrom::ControlRestart, restart));
    let (_, from, base) = limits(&told(healthy(), 0).await);
    assert_eq!((from, base.0 / 1000), (LimitsFrom::OwnBoot, BOOT.as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_asked_of_an_agent_that_its_update_took_away_once_it_is_back() {
    // The agent goes when the update has ended, and comes back later.
    let away = |back: u64| {
        let boot = Boot::silent().at(BOOT, Happening::AgentUp).at(BOOT, Happening::Ready);
        let left = BOOT + Duration::from_secs(23);
        let first =
            boot.clone().at(left, Happening::AgentGone).at(left + Duration::from_secs(back), Happening::AgentUp);
        let update = Rule::on(UPDATE).takes(Duration::from_secs(22));
        GuestScript::with_boots(vec![first, boot]).rule(update)
    };
    let told = Stage::new(away(12), 0, 0).live().await;
    assert_eq!(told.verdict.outcome, Outcome::Healthy, "{:?}", told.verdict);
    let asked = told.signals.iter().filter_map(|signal| match signal.what {
        SignalKind::RestartAsked { via } => Some(via),
        _ => None,
    });
    assert_eq!(asked.collect::<Vec<_>>(), [RestartVia::Agent]);
    let took = told.signals.iter().find_map(|signal| match signal.what {
        SignalKind::BootCost { took, .. } => Some(took),
        _ => None,
    });
    assert!(took.unwrap() < Millis::from_secs(30), "{took:?}: the wait for the agent is not the restart's");
    // One that its update turned off for good, until the restart brings it back.
    let told = Stage::new(away(300), 0, 0).live().await;
    assert_eq!(told.verdict.outcome, Outcome::Healthy, "{:?}", told.verdict);
    let asked = |what: &SignalKind| *what == SignalKind::RestartAsked { via: RestartVia::Acpi };
    assert!(told.first(asked).is_some() && told.entered(Phase::Restart) == told.first(asked));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_comes_back_from_a_crash_in_its_boot_has_to_stay_up_or_it_loops() {
    let up = Boot::silent().at(S, Happening::AgentUp);
    let crashes = up.clone().at(S * 3, Happening::Reset);
    let settles = up.at(S * 2, Happening::Ready);
    let again = settles.clone().at(S * 6, Happening::Reset);
    let told = told(healthy().boots_after(UPDATE, vec![crashes.clone(), again.clone(), again.clone(), again]), 0).await;
    assert_eq!(told.lead(), Some(ReasonId::BootLoop), "{:?}", told.verdict);
    let told = self::told(healthy().boots_after(UPDATE, vec![crashes, settles]), 0).await;
    assert_eq!(told.lead(), Some(ReasonId::LateCrash), "{:?}", told.verdict);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_paused_or_whose_process_is_stopped_is_the_labs_fault_wherever_it_stops() {
    for stops in [Happening::ProcessStops, Happening::Paused] {
        is_the_labs_fault(&stops).await;
    }
}

async fn is_the_labs_fault(stops: &Happening) {
    let stops = || stops.clone();
    let settled = Boot::silent().at(S, Happening::AgentUp).at(S * 2, Happening::Ready);
    // Between the request to restart and the reset.
    let asked = Boot::silent().at(BOOT, Happening::AgentUp).at(BOOT, Happening::Ready);
    let update = Rule::on(UPDATE).takes(S * 25);
    let scripts = [
        healthy().during(UPDATE, stops()),
        healthy().boots_after(UPDATE, vec![Boot::silent().at(S * 5, stops())]),
        healthy().boots_after(UPDATE, vec![settled.at(S * 6, stops())]),
        healthy().during(CHECK, stops()),
        GuestScript::with_boots(vec![asked.at(BOOT + S * 33, stops())])
            .rule(update)
            .asked(Asked::Obeys(S * 20), Asked::Ignores),
        GuestScript::with_boots(vec![Boot::silent().at(S * 5, stops())]),
    ];
    for (number, script) in scripts.into_iter().enumerate() {
        let told = told(script, 0).await;
        assert_eq!(told.lead(), Some(ReasonId::HostLost), "{:?}, case {number}: {:?}", stops(), told.verdict);
        assert!(told.took < S * 400, "{:?}, case {number}: {:?}", stops(), told.took);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_shutdown_is_part_of_the_restart_though_the_power_button_was_pressed_meanwhile() {
    let boot = Boot::silent().at(BOOT, Happening::AgentUp).at(BOOT, Happening::Ready);
    // The agent is among the first that a shutdown ends.
    let first = boot.clone().at(BOOT + S * 33, Happening::AgentGone);
    let update = Rule::on(UPDATE).takes(S * 25);
    let slow = GuestScript::with_boots(vec![first, boot]).rule(update).asked(Asked::Obeys(S * 70), Asked::Ignores);
    let told = told(slow, 0).await;
    assert!(told.first(|what| *what == SignalKind::RestartAsked { via: RestartVia::Acpi }).is_some());
    let took = told.signals.iter().find_map(|signal| match signal.what {
        SignalKind::BootCost { took, .. } => Some(took.0 / 1000),
        _ => None,
    });
    assert_eq!(took, Some(70 + BOOT.as_secs()), "{:?}", told.verdict);
}
