//! What the judge says of stories with one thing changed. Properties over any signals at all are in `properties`, whole stories
//! in `tests/traces`.

mod properties;

use super::{Judge, judge};
use crate::model::*;

const SOAKED: &str = include_str!("../../tests/traces/boots-with-the-update-through-two-soak-restarts.jsonl");
const COMPARED: &str = include_str!("../../tests/traces/is-as-well-as-its-control.jsonl");
const STORIES: [&str; 4] = [
    SOAKED,
    include_str!("../../tests/traces/panics-in-the-first-boot-with-the-update.jsonl"),
    include_str!("../../tests/traces/refuses-to-restart-and-panics-when-forced.jsonl"),
    include_str!("../../tests/traces/crashes-once-while-it-is-watched-and-comes-back.jsonl"),
];

fn signals(story: &str) -> Vec<Signal> {
    story.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn planned(role: Role) -> Signal {
    Signal {
        at: Millis(0),
        what: SignalKind::Planned { update_steps: 0, soak: 0, checks: vec![], evidence: vec![], implied: vec![], role },
    }
}

/// What proves that a machine is well.
fn is_proof(what: &SignalKind) -> bool {
    match what {
        SignalKind::StepEnded { .. } | SignalKind::BootId { .. } | SignalKind::Settled | SignalKind::Reset => true,
        SignalKind::PhaseEnded { at } => *at == Phase::Watch,
        SignalKind::Planned { .. } | SignalKind::RestartAsked { .. } | SignalKind::ControlEnded { .. } => true,
        _ => false,
    }
}

#[test]
fn without_any_one_of_its_proofs_a_healthy_machine_is_not_healthy() {
    for (story, least) in [(SOAKED, 15), (COMPARED, 8)] {
        let whole = signals(story);
        assert_eq!(judge(&whole).outcome, Outcome::Healthy);
        let proofs: Vec<usize> = (0..whole.len()).filter(|n| is_proof(&whole[*n].what)).collect();
        assert!(proofs.len() > least, "the story has its proofs: {}", proofs.len());
        for proof in proofs {
            let mut cut = whole.clone();
            let lacks = cut.remove(proof);
            assert_ne!(judge(&cut).outcome, Outcome::Healthy, "without {lacks:?}");
        }
    }
}

#[test]
fn a_control_that_did_not_say_what_it_is_like_proves_nothing_of_a_cell_that_did() {
    let mut signals = signals(include_str!("../../tests/traces/lacks-a-service-that-its-control-has.jsonl"));
    assert_eq!(judge(&signals).reasons[0].id, ReasonId::ServiceDown);
    for signal in &mut signals {
        if let SignalKind::ControlEnded { facts, .. } = &mut signal.what {
            *facts = Some(ControlFacts::default());
        }
    }
    let verdict = judge(&signals);
    assert_eq!(verdict.outcome, Outcome::Inconclusive, "{verdict:?}");
}

#[test]
fn a_boot_that_the_host_did_not_see_is_a_crash() {
    let whole = signals(SOAKED);
    let watched = |signal: &Signal| matches!(signal.what, SignalKind::PhaseEnded { at: Phase::Watch });
    for (place, _) in whole.iter().enumerate().filter(|(_, signal)| watched(signal)) {
        let mut more = whole.clone();
        let what = SignalKind::BootId { id: "another".into() };
        more.insert(place, Signal { at: more[place].at, what });
        assert_eq!(judge(&more).reasons[0].id, ReasonId::LateCrash);
    }
}

#[test]
fn a_panic_on_the_console_of_a_settled_machine_counts_if_it_is_the_last_that_the_guest_did() {
    let whole = signals(STORIES[3]);
    let reset = whole.iter().rposition(|signal| signal.what == SignalKind::Reset).unwrap();
    let text = "Kernel panic - not syncing: Attempted to kill init!".to_owned();
    let panic = || SignalKind::Console { mark: ConsoleMark::KernelPanic, text: text.clone() };
    let lead = |between: Vec<SignalKind>| {
        let mut story = whole.clone();
        let at = story[reset].at;
        story.splice(reset..reset, between.into_iter().map(|what| Signal { at, what }));
        judge(&story).reasons[0].id
    };
    assert_eq!(lead(vec![]), ReasonId::LateCrash);
    assert_eq!(lead(vec![panic()]), ReasonId::StopError);
    assert_eq!(lead(vec![panic(), SignalKind::AgentAnswered]), ReasonId::LateCrash, "a program printed it");
}

#[test]
fn a_panic_on_the_way_down_that_only_the_console_tells_counts() {
    let whole = signals(STORIES[0]);
    let asked = whole.iter().rposition(|signal| matches!(signal.what, SignalKind::RestartAsked { .. })).unwrap();
    let text = "Kernel panic - not syncing: Fatal exception".to_owned();
    let panics = SignalKind::Console { mark: ConsoleMark::KernelPanic, text };
    let lead = |place: usize| {
        let mut story = whole.clone();
        story.insert(place, Signal { at: story[asked].at, what: panics.clone() });
        judge(&story).lead().map(|lead| lead.id)
    };
    assert_eq!(lead(asked + 1), Some(ReasonId::StopError));
    assert_eq!(lead(asked), None, "a program printed it, and the machine was asked to restart afterwards");
}

#[test]
fn what_a_boot_loader_or_a_panic_seems_to_say_before_a_login_is_only_words() {
    let whole = signals(include_str!("../../tests/traces/asks-for-a-login-without-an-agent.jsonl"));
    let login = |signal: &Signal| matches!(signal.what, SignalKind::Console { mark: ConsoleMark::Login, .. });
    let login = whole.iter().position(login).unwrap();
    for mark in [ConsoleMark::BootLoaderStopped, ConsoleMark::KernelPanic] {
        let lead = |place: usize| {
            let mut story = whole.clone();
            let what = SignalKind::Console { mark, text: "error: file not found".into() };
            story.insert(place, Signal { at: whole[login].at, what });
            judge(&story).reasons[0].id
        };
        assert_eq!(lead(login), ReasonId::AgentLost, "{mark:?}");
        // What writes so much to its disk has not stopped in its boot loader.
        assert_eq!(lead(login + 1) == ReasonId::AgentLost, mark == ConsoleMark::BootLoaderStopped, "{mark:?}");
    }
}

#[test]
fn a_boot_that_ends_in_a_shell_on_the_console_waits_for_somebody() {
    let whole = signals(include_str!("../../tests/traces/hangs-with-an-idle-cpu.jsonl"));
    let boot = whole.iter().rposition(|signal| signal.what == SignalKind::Reset).unwrap();
    let mut story = whole.clone();
    let what = SignalKind::Console { mark: ConsoleMark::Recovery, text: "(initramfs)".into() };
    story.insert(boot + 1, Signal { at: whole[boot].at, what });
    assert_eq!(judge(&whole).reasons[0].id, ReasonId::BootHang);
    assert_eq!(judge(&story).reasons[0].id, ReasonId::RecoveryScreen);
}

#[test]
fn a_record_that_contradicts_itself_proves_nothing() {
    let whole = signals(STORIES[0]);
    let ends_well = |what: SignalKind| {
        let mut story = whole.clone();
        story.insert(1, Signal { at: whole[0].at, what });
        judge(&story).outcome
    };
    let (outcome, reason, facts) = (Outcome::Healthy, None, None);
    assert_eq!(ends_well(SignalKind::ControlEnded { outcome, reason, facts }), Outcome::Inconclusive);
    assert_eq!(ends_well(planned(Role::Control).what), Outcome::Inconclusive, "another plan");
    assert_eq!(
        ends_well(SignalKind::Tolerances { tolerances: Tolerances::default() }),
        Outcome::Healthy,
        "the only ones"
    );
    let compared = signals(COMPARED);
    let more = |what: SignalKind| {
        let mut story = compared.clone();
        story.push(Signal { at: compared[0].at, what });
        judge(&story).outcome
    };
    let mut lax = compared.clone();
    for boot in [2.0, 99.0] {
        let tolerances = Tolerances { boot, ..Tolerances::default() };
        lax.insert(1, Signal { at: compared[0].at, what: SignalKind::Tolerances { tolerances } });
    }
    assert_eq!(judge(&lax).outcome, Outcome::Inconclusive, "two tolerances");
    assert_eq!(more(compared.last().unwrap().what.clone()), Outcome::Healthy, "the same end of the control twice");
    let (outcome, reason, facts) = (Outcome::Unhealthy, None, None);
    assert_eq!(more(SignalKind::ControlEnded { outcome, reason, facts }), Outcome::Inconclusive);
    let mut story = whole.clone();
    for signal in &mut story {
        if let SignalKind::StepEnded { result, .. } = &mut signal.what {
            result.exit = Exit::Timeout;
        }
    }
    assert_ne!(judge(&story).outcome, Outcome::Healthy, "it says ok, and that it never ended");
}

#[test]
fn a_control_that_says_less_than_its_cell_proves_nothing_of_that() {
    let whole = signals(include_str!("../../tests/traces/lacks-a-service-that-its-control-has.jsonl"));
    let lead = |forget: fn(&mut GuestState)| {
        let mut story = whole.clone();
        for signal in &mut story {
            if let SignalKind::ControlEnded { facts: Some(facts), .. } = &mut signal.what {
                forget(facts.guest.as_mut().unwrap());
            }
        }
        judge(&story).reasons[0].id
    };
    assert_eq!(lead(|_| {}), ReasonId::ServiceDown);
    assert_eq!(lead(|guest| guest.services.clear()), ReasonId::HarnessDied);
}

#[test]
fn what_was_wrong_after_an_earlier_restart_counts_where_it_is_nothing_that_an_update_does_once() {
    let whole = signals(include_str!("../../tests/traces/lacks-a-service-that-its-control-has.jsonl"));
    let is_state = |signal: &Signal| matches!(signal.what, SignalKind::GuestState { .. });
    let told = whole.iter().rposition(is_state).unwrap();
    let SignalKind::GuestState { state } = &whole[told].what else { panic!("no state") };
    let control = whole.iter().find_map(|signal| match &signal.what {
        SignalKind::ControlEnded { facts: Some(facts), .. } => facts.guest.clone(),
        _ => None,
    });
    let well = control.unwrap();
    let restart = whole.iter().position(|signal| matches!(signal.what, SignalKind::RestartAsked { .. })).unwrap();
    let boot = whole.iter().rposition(|signal| signal.what == SignalKind::Settled).unwrap();
    // A soak restart, before which the guest was like `before`.
    let lead = |before: GuestState| {
        let at = whole[told].at;
        let mut story = whole.clone();
        story[told].what = SignalKind::GuestState { state: Box::new(before) };
        let id = "a-second-one".to_owned();
        let ends = story.iter().position(|s| s.what == SignalKind::PhaseStarted { at: Phase::Check }).unwrap();
        let soak = [
            SignalKind::PhaseStarted { at: Phase::Soak(1) },
            whole[restart].what.clone(),
            SignalKind::Reset,
            SignalKind::AgentAnswered,
            SignalKind::BootId { id },
            whole[boot].what.clone(),
            SignalKind::PhaseEnded { at: Phase::Soak(1) },
            SignalKind::PhaseStarted { at: Phase::Watch },
            SignalKind::PhaseEnded { at: Phase::Watch },
            SignalKind::GuestState { state: well.clone() },
        ];
        let cost = whole.iter().filter(|s| matches!(s.what, SignalKind::BootCost { .. })).map(|s| s.what.clone());
        let place = ends.max(told + 1);
        story.splice(place..place, soak.into_iter().chain(cost).map(|what| Signal { at, what }));
        for signal in &mut story {
            if let SignalKind::Planned { soak, .. } = &mut signal.what {
                *soak += 1;
            }
        }
        judge(&story)
    };
    let verdict = lead((**state).clone());
    assert_eq!(verdict.reasons[0].id, ReasonId::ServiceDown, "{verdict:?}");
    assert!(verdict.reasons[0].message.ends_with("after an earlier restart, and not after the last"), "{verdict:?}");
    let errors = GuestState { errors: vec!["one that comes once".into()], ..(*well).clone() };
    let verdict = lead(errors);
    assert!(verdict.reasons.iter().all(|reason| reason.id != ReasonId::EventLog), "{verdict:?}");
}

#[test]
fn an_early_end_names_what_is_missing() {
    let whole = signals(SOAKED);
    let lacks = |ends: &dyn Fn(&SignalKind) -> bool| {
        let end = whole.iter().position(|signal| ends(&signal.what)).unwrap();
        judge(&whole[..end]).reasons[0].message.clone()
    };
    let told = lacks(&|what| *what == SignalKind::PhaseStarted { at: Phase::Soak(2) });
    assert!(told.ends_with("it lacks new boots after the update (2 of 3)"), "{told}");
    let told = lacks(&|what| *what == SignalKind::PhaseEnded { at: Phase::Check });
    assert!(told.ends_with("it lacks the end of the checks"), "{told}");
}

#[test]
fn a_check_that_fails_without_the_candidate_too_says_so() {
    let signals = signals(include_str!("../../tests/traces/fails-a-check-as-its-control-does.jsonl"));
    let message = &judge(&signals).reasons[0].message;
    assert!(message.ends_with(": sensor: not running; it fails without the candidate too"), "{message}");
}

#[test]
fn an_installation_that_was_kept_waiting_names_the_code_of_its_last_try() {
    let signals =
        signals(include_str!("../../tests/traces/finds-another-installation-at-work-until-its-deadline.jsonl"));
    let message = &judge(&signals).reasons[0].message;
    assert!(message.ends_with("its last try exited with 1618 (ERROR_INSTALL_ALREADY_RUNNING)"), "{message}");
}

#[test]
fn a_fault_of_a_control_names_what_it_would_be_with_the_candidate() {
    let signals = signals(include_str!("../../tests/traces/panics-without-the-candidate.jsonl"));
    let reason = &judge(&signals).reasons[0];
    assert_eq!(reason.message, "without the candidate: the kernel panicked (stop-error)");
    assert_eq!(reason.phase, Phase::Boot);
}

#[test]
fn a_hang_after_a_fault_of_the_kernel_names_it() {
    let signals = signals(include_str!("../../tests/traces/hangs-after-its-kernel-reported-a-fault.jsonl"));
    let message = &judge(&signals).reasons[0].message;
    let hint = "; its kernel had reported: BUG: kernel NULL pointer dereference, address: 0000000000000010";
    assert!(message.ends_with(hint), "{message}");
}

/// What a judge says of an update whose first step may restart the machine so often and announces a restart or not, where a
/// reset ends the second, that may do so, too.
fn reset_under_the_second(restarts: [u32; 2], says: Option<Says>) -> Option<ReasonId> {
    let mut judge = Judge::new();
    let mut see = |what| judge.see(&Signal { at: Millis(60_000), what });
    let begins = |step: usize| SignalKind::StepStarted {
        subject: Subject::Update { step },
        name: "step".into(),
        restarts: restarts[step],
    };
    let ends = |step, exit, ok, says| SignalKind::StepEnded {
        subject: Subject::Update { step },
        name: "step".into(),
        result: StepResult { exit, ok, says, took: Millis(1), output: Output::default() },
    };
    for what in [SignalKind::Started, SignalKind::AgentConnected, SignalKind::AgentAnswered, SignalKind::Settled] {
        see(what);
    }
    see(SignalKind::PhaseStarted { at: Phase::Apply });
    see(begins(0));
    see(ends(0, Exit::Code { code: 0 }, true, says));
    see(begins(1));
    see(SignalKind::Reset);
    see(ends(1, Exit::AgentGone, false, None));
    judge.is_over().then(|| judge.own_verdict().reasons[0].id)
}

#[test]
fn a_restart_that_a_step_before_may_have_begun_does_not_stand_for_the_step_that_it_ends() {
    let nobody_knows = Some(ReasonId::HarnessDied);
    assert_eq!(reset_under_the_second([0, 0], Some(Says::Restarting)), nobody_knows);
    assert_eq!(reset_under_the_second([0, 1], Some(Says::Restarting)), nobody_knows);
    assert_eq!(reset_under_the_second([1, 0], None), nobody_knows);
    // Its own, and the step before it did not use what it might have.
    assert_eq!(reset_under_the_second([0, 1], None), None);
    assert_eq!(reset_under_the_second([1, 1], None), None);
}

#[test]
fn a_proof_that_comes_twice_counts_once() {
    let mut whole = signals(SOAKED);
    let soak_2 = whole.iter().position(|s| s.what == SignalKind::PhaseStarted { at: Phase::Soak(2) }).unwrap();
    let check = whole.iter().position(|s| s.what == SignalKind::PhaseStarted { at: Phase::Check }).unwrap();
    whole.drain(soak_2..check);
    let twice: Vec<Signal> = whole.iter().flat_map(|signal| [signal.clone(), signal.clone()]).collect();
    assert_ne!(judge(&twice).outcome, Outcome::Healthy);
}
