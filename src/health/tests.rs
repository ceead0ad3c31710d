//! Properties of the judge, over any signals at all. Stories with a plot are in `tests/traces`.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{Judge, judge};
use crate::model::*;

const SOAKED: &str = include_str!("../../tests/traces/boots-with-the-update-through-two-soak-restarts.jsonl");
const SLOW: &str = include_str!("../../tests/traces/is-slow-on-a-slow-lab-and-is-healthy.jsonl");
const QUIET: &str = include_str!("../../tests/traces/is-looked-at-by-a-harness-that-stood-still-and-is-healthy.jsonl");
const HANGS: &str = include_str!("../../tests/traces/hangs-with-an-idle-cpu.jsonl");
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

fn phase() -> impl Strategy<Value = Phase> {
    use Phase::*;
    prop::sample::select(vec![
        Start,
        Settle,
        Setup,
        Apply,
        Restart,
        Boot,
        Soak(1),
        Soak(2),
        Watch,
        Check,
        Collect,
        Destroy,
    ])
}

fn exit() -> impl Strategy<Value = Exit> {
    prop_oneof![
        any::<i32>().prop_map(|code| Exit::Code { code }),
        Just(Exit::Timeout),
        Just(Exit::AgentGone),
        Just(Exit::Signal { signal: 9 }),
        Just(Exit::Refused { message: "no".into() }),
    ]
}

fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![
        (0..3usize).prop_map(|step| Subject::Setup { step }),
        (0..3usize).prop_map(|step| Subject::Update { step }),
        Just(Subject::Check { id: "sensor".into() }),
    ]
}

fn progress() -> impl Strategy<Value = Progress> {
    let counters = (0..5000u64, 0..5000u64, 0..3u64, 0..3u64);
    (counters, any::<bool>(), any::<Option<u32>>(), any::<Option<u32>>()).prop_map(
        |((cpu, wait, disk, serial), agent, screen_changed_ppm, screen_unlike_settled_ppm)| Progress {
            cpu: Millis(cpu),
            lab: LabTime { cpu_wait: Millis(wait), timer_late: Millis(wait / 2), probe_lost: Millis(wait / 3) },
            agent,
            disk_reads: disk,
            disk_writes: disk,
            net_rx: serial,
            net_tx: 0,
            serial_bytes: serial,
            screen_changed_ppm,
            screen_unlike_settled_ppm,
        },
    )
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop::sample::select(vec![Outcome::Healthy, Outcome::Unhealthy, Outcome::Inconclusive])
}

fn role() -> impl Strategy<Value = Role> {
    prop::sample::select(vec![Role::Alone, Role::Control, Role::Compared { with: "control-a".into() }])
}

/// A guest with a service less and an error more than one of which nothing is known.
fn worse() -> GuestState {
    GuestState { errors: vec!["odd".into()], ..GuestState::default() }
}

fn shows() -> impl Strategy<Value = Option<KnownScreen>> {
    use ScreenKind::{NothingToBoot, Recovery, SignIn, Stop};
    let kind = prop::sample::select(vec![Stop, NothingToBoot, Recovery, SignIn]);
    prop::option::of(kind.prop_map(|kind| KnownScreen { kind, name: "a screen".into() }))
}

fn what() -> impl Strategy<Value = SignalKind> {
    use SignalKind::{
        AgentAnswered, AgentConnected, AgentDisconnected, AgentSilent, BootCost, BootId, Cancelled, Console,
        ControlEnded, ControlKnown, DiskError, GuestState, KeyPressed, LabFault, Limits, Panicked, PhaseEnded,
        PhaseStarted, Planned, PoweredOff, Progress, Reset, RestartAsked, Screen, Sealed, Settled, Started,
        StartedFrom, StartedOver, StepEnded, StepStarted, Tolerances, VmLost,
    };
    let limits = (any::<u16>(), any::<u16>(), 0..4u32, 0..3u32).prop_map(|(quiet, boot, resets, extra_restarts)| {
        let [quiet, boot] = [quiet, boot].map(|ms| Millis(ms.into()));
        Limits {
            limits: crate::model::Limits {
                quiet,
                boot,
                restart: quiet,
                resets,
                extra_restarts,
                usual: Activity { cpu_percent: u64::from(resets) * 30, disk_per_second: 0 },
            },
            from: None,
            base: Millis(0),
        }
    });
    use ConsoleMark::{BootLoaderStopped, Firmware, Kernel, KernelOops, KernelPanic, Login, NoBootDevice, Recovery};
    let marks = [NoBootDevice, BootLoaderStopped, Kernel, KernelPanic, Login, Recovery, KernelOops, Firmware];
    let begins =
        (subject(), 0..3u32).prop_map(|(subject, restarts)| StepStarted { subject, name: "step".into(), restarts });
    let says = prop::option::of(prop::sample::select(vec![
        Says::Busy,
        Says::NotApplied,
        Says::RestartNeeded,
        Says::Restarting,
    ]));
    let step = (subject(), exit(), any::<bool>(), says).prop_map(|(subject, exit, ok, says)| {
        let result = StepResult { exit, ok, says, took: Millis(1), output: Output::default() };
        StepEnded { subject, name: "step".into(), result }
    });
    let checks = || prop::sample::select(vec![vec![], vec!["sensor".to_owned()]]);
    let plain = prop::sample::select(vec![
        Started,
        AgentConnected,
        AgentDisconnected,
        AgentAnswered,
        Settled,
        Reset,
        PoweredOff,
        Cancelled,
        Panicked { bugcheck: None },
        AgentSilent { waited: Millis(9) },
        KeyPressed,
        VmLost { detail: String::new() },
        DiskError { host_is_full: true },
        DiskError { host_is_full: false },
        StartedFrom { start: Start::Live, seal: None },
        StartedOver { why: String::new() },
        Sealed { seal: String::new(), took: Millis(1) },
        BootCost { took: Millis(99_000), waited: Millis(1), cpu: Millis(1), probe_us: None },
        Tolerances { tolerances: Default::default() },
        GuestState { state: Default::default() },
        GuestState { state: Box::new(worse()) },
        ControlKnown { run: "run".into(), utc: String::new(), facts: ControlFacts::default() },
    ]);
    let facts = prop::option::of(Just(ControlFacts {
        failing_checks: vec!["sensor".into()],
        guest: Some(Default::default()),
        restart: Millis(5),
        activity: Some(Activity::default()),
        ..Default::default()
    }));
    let reason = prop::option::of(prop::sample::select(ReasonId::ALL));
    let control_ended = (outcome(), reason, facts);
    prop_oneof![
        6 => plain,
        4 => phase().prop_map(|at| PhaseStarted { at }),
        2 => phase().prop_map(|at| PhaseEnded { at }),
        2 => progress().prop_map(|progress| Progress { progress }),
        2 => step,
        1 => begins,
        1 => irrelevant(),
        1 => limits,
        1 => control_ended.prop_map(|(outcome, reason, facts)| ControlEnded { outcome, reason, facts }),
        1 => (0..3usize, 0..3u32, role(), [checks(), checks(), checks()]).prop_map(
            |(update_steps, soak, role, [checks, evidence, implied])| {
                Planned { update_steps, soak, checks, evidence, implied, role }
            }
        ),
        1 => shows().prop_map(|shows| Screen { sha256: Sha256::of(b""), file: None, shows }),
        1 => "[ab]".prop_map(|id| BootId { id }),
        1 => prop::sample::select(vec![RestartVia::Agent, RestartVia::Acpi, RestartVia::Forced])
            .prop_map(|via| RestartAsked { via }),
        1 => prop::sample::select(marks.to_vec()).prop_map(|mark| Console { mark, text: "line".into() }),
        1 => prop::sample::select(ReasonId::ALL).prop_map(|reason| LabFault { reason, message: String::new() }),
    ]
}

/// What says nothing of health.
fn irrelevant() -> impl Strategy<Value = SignalKind> {
    let says = |mark| SignalKind::Console { mark, text: "words".into() };
    prop::sample::select(vec![
        SignalKind::Facts { facts: Default::default() },
        SignalKind::StartedFrom { start: Start::Cold, seal: None },
        SignalKind::Sealed { seal: "5ea1".into(), took: Millis(1) },
        SignalKind::ControlFacts { facts: ControlFacts::default() },
        says(ConsoleMark::Firmware),
        says(ConsoleMark::KernelOops),
    ])
}

/// Any signals, their moments not even in order.
fn anything() -> impl Strategy<Value = Vec<Signal>> {
    vec((any::<u32>(), what()), 0..60)
        .prop_map(|all| all.into_iter().map(|(at, what)| Signal { at: Millis(at.into()), what }).collect())
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

/// The story, as it is seen by a lab that loses so much between the signal at `place` and the one before.
fn with_lab_time(story: &[Signal], place: usize, lost: Millis, loses: impl Fn(&mut LabTime, Millis)) -> Vec<Signal> {
    let mut slow = story.to_vec();
    for signal in &mut slow[place..] {
        signal.at = signal.at + lost;
        if let SignalKind::Progress { progress } = &mut signal.what {
            loses(&mut progress.lab, lost);
        }
    }
    slow
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_signals_get_a_verdict_that_fits_its_reasons(signals in anything()) {
        let Verdict { outcome, reasons } = judge(&signals);
        match reasons.first() {
            None => prop_assert_eq!(outcome, Outcome::Healthy),
            Some(lead) => prop_assert_eq!(outcome, lead.id.outcome()),
        }
    }

    #[test]
    fn signals_at_random_prove_nothing_without_all_that_was_planned(signals in anything()) {
        let is_known = signals.iter().any(|signal| matches!(signal.what, SignalKind::ControlKnown { .. }));
        if judge(&signals).outcome == Outcome::Healthy && !is_known {
            let (watched, checked) = (Phase::Watch, Phase::Check);
            for proof in [SignalKind::Settled, SignalKind::Reset, SignalKind::PhaseEnded { at: watched }, SignalKind::PhaseEnded { at: checked }] {
                prop_assert!(signals.iter().any(|signal| signal.what == proof), "without {:?}", proof);
            }
            let boots = signals.iter().filter(|signal| matches!(signal.what, SignalKind::BootId { .. }));
            prop_assert!(boots.count() >= 2, "without a boot that is another one");
        }
    }

    #[test]
    fn what_says_nothing_of_health_changes_nothing(
        signals in anything(), more in vec((any::<Index>(), irrelevant()), 1..9),
    ) {
        let says = |verdict: Verdict| {
            (verdict.outcome, verdict.reasons.into_iter().map(|reason| (reason.id, reason.at)).collect::<Vec<_>>())
        };
        let mut with = signals.clone();
        for (place, what) in more {
            let place = place.index(with.len() + 1);
            let at = with.get(place).map_or(Millis::ZERO, |signal| signal.at);
            with.insert(place, Signal { at, what });
        }
        prop_assert_eq!(says(judge(&with)), says(judge(&signals)));
    }

    #[test]
    fn a_healthy_record_that_ends_early_proves_nothing(
        story in prop::sample::select(vec![SOAKED, COMPARED, SLOW, QUIET]), end in any::<Index>(),
    ) {
        let mut signals = signals(story);
        let is_last = |signal: &Signal| matches!(
            signal.what, SignalKind::PhaseEnded { at: Phase::Check } | SignalKind::ControlEnded { .. }
        );
        let last = signals.iter().rposition(is_last).unwrap();
        signals.truncate(end.index(last + 1));
        let verdict = judge(&signals);
        prop_assert_eq!(verdict.outcome, Outcome::Inconclusive, "{:?}", verdict);
    }

    #[test]
    fn what_decides_a_story_that_ends_early_is_no_other_thing(
        story in prop::sample::select(&STORIES[1..]), end in any::<Index>(),
    ) {
        let whole = signals(story);
        let verdict = judge(&whole[..end.index(whole.len())]);
        prop_assert_ne!(verdict.outcome, Outcome::Healthy);
        if verdict.outcome == Outcome::Unhealthy {
            prop_assert_eq!(verdict.lead().map(|lead| lead.id), judge(&whole).lead().map(|lead| lead.id));
        }
    }

    #[test]
    fn once_it_is_over_the_lead_never_changes(signals in anything()) {
        let mut judge = Judge::new();
        let mut lead: Option<Reason> = None;
        for signal in &signals {
            judge.see(signal);
            let verdict = judge.own_verdict();
            if matches!(signal.what, SignalKind::StartedOver { .. }) && !judge.is_over() {
                lead = None;
            } else if let Some(lead) = &lead {
                prop_assert!(judge.is_over());
                prop_assert_eq!(Some(lead), verdict.lead());
            } else if judge.is_over() {
                lead = verdict.lead().cloned();
            }
        }
        prop_assert_eq!(super::judge(&signals), judge.verdict());
    }

    #[test]
    fn a_cell_is_never_healthy_without_a_healthy_control(mut signals in anything(), ended in outcome()) {
        let with = Role::Compared { with: "control-a".into() };
        signals.insert(0, planned(with));
        signals.retain(|signal| !matches!(signal.what, SignalKind::ControlEnded { .. }));
        prop_assert_ne!(judge(&signals).outcome, Outcome::Healthy);

        let mut whole = self::signals(COMPARED);
        whole.pop();
        prop_assert_ne!(judge(&whole).outcome, Outcome::Healthy);
        let facts = Some(ControlFacts { restart: Millis::from_secs(5), ..ControlFacts::default() });
        whole.push(Signal { at: Millis(0), what: SignalKind::ControlEnded { outcome: ended, reason: None, facts } });
        prop_assert_eq!(judge(&whole).outcome == Outcome::Healthy, ended == Outcome::Healthy);
    }

    #[test]
    fn a_control_is_never_unhealthy(mut signals in anything()) {
        signals.insert(0, planned(Role::Control));
        prop_assert_ne!(judge(&signals).outcome, Outcome::Unhealthy);
    }

    #[test]
    fn of_a_machine_that_was_given_up_before_the_update_nothing_counts(
        mut before in anything(), after in anything(), role in role(),
    ) {
        before.insert(0, planned(role));
        before.retain(|signal| match &signal.what {
            SignalKind::PhaseStarted { at } => {
                !at.is_after_update_began() || matches!(at, Phase::Collect | Phase::Destroy)
            }
            _ => true,
        });
        let over = Signal { at: Millis(0), what: SignalKind::StartedOver { why: "x".into() } };
        let whole: Vec<Signal> = before.iter().chain([&over]).chain(&after).cloned().collect();
        let new: Vec<Signal> = before[..1].iter().chain(&after).cloned().collect();
        prop_assert_eq!(judge(&whole), judge(&new));
    }

    #[test]
    fn what_the_update_did_is_never_forgotten(
        story in prop::sample::select(&STORIES[1..]), place in any::<Index>(),
    ) {
        let mut signals = signals(story);
        let lead = judge(&signals).lead().unwrap().id;
        let began = signals.iter().position(|s| s.what == SignalKind::PhaseStarted { at: Phase::Apply }).unwrap() + 1;
        let place = began + place.index(signals.len() - began);
        let over = SignalKind::StartedOver { why: "x".into() };
        signals.insert(place, Signal { at: signals[place].at, what: over });
        let id = judge(&signals).lead().unwrap().id;
        prop_assert!(id == lead || id == ReasonId::HarnessDied, "{}", id);
    }

    #[test]
    fn before_the_update_nothing_is_its_fault(mut signals in anything()) {
        signals.retain(|signal| match &signal.what {
            SignalKind::PhaseStarted { at } => !at.is_after_update_began(),
            // A control that is known needs no machine.
            what => !matches!(what, SignalKind::ControlKnown { .. }),
        });
        prop_assert_eq!(judge(&signals).outcome, Outcome::Inconclusive);
    }

    #[test]
    fn a_fault_of_the_lab_changes_no_verdict_that_stands(
        story in prop::sample::select(&STORIES[1..]),
        reason in prop::sample::select(ReasonId::ALL),
        place in any::<Index>(),
    ) {
        let mut signals = signals(story);
        let before = judge(&signals);
        let mut judge_live = Judge::new();
        let certain = signals.iter().position(|signal| { judge_live.see(signal); judge_live.is_over() }).unwrap() + 1;
        let place = certain + place.index(signals.len() - certain);
        let what = SignalKind::LabFault { reason, message: "late".into() };
        signals.insert(place, Signal { at: signals[place].at, what });
        prop_assert_eq!(judge(&signals), before);
    }

    #[test]
    fn whatever_a_screen_shows_a_healthy_machine_is_healthy(
        screens in vec((any::<Index>(), shows()), 1..9), story in prop::sample::select(vec![SOAKED, COMPARED]),
    ) {
        let mut signals = signals(story);
        for (place, shows) in screens {
            let place = place.index(signals.len());
            let what = SignalKind::Screen { sha256: Sha256::of(b""), file: None, shows };
            signals.insert(place, Signal { at: signals[place].at, what });
        }
        prop_assert_eq!(judge(&signals).outcome, Outcome::Healthy);
    }

    #[test]
    fn however_long_the_harness_stands_still_a_healthy_machine_is_healthy(
        story in prop::sample::select(&[SOAKED, COMPARED, SLOW, QUIET]), place in any::<Index>(), lost in 0..7_200_000u64,
    ) {
        let signals = signals(story);
        let place = place.index(signals.len());
        let still = with_lab_time(&signals, place, Millis(lost), |lab, lost| lab.timer_late = lab.timer_late + lost);
        prop_assert_eq!(judge(&still).outcome, Outcome::Healthy);
    }

    #[test]
    fn a_hang_is_found_as_much_later_as_the_lab_was_slow(
        place in any::<Index>(), lost in 0..60_000u64, late in any::<bool>(),
    ) {
        let signals = signals(HANGS);
        let due = judge(&signals).reasons[0].at;
        let began = signals.iter().position(|s| s.what == SignalKind::PhaseStarted { at: Phase::Boot }).unwrap();
        let samples: Vec<usize> = (began + 3..signals.len())
            .filter(|n| signals[*n].at <= due && matches!(signals[*n].what, SignalKind::Progress { .. })).collect();
        let place = samples[place.index(samples.len())];
        let slow = with_lab_time(&signals, place, Millis(lost), |lab, lost| {
            // Of what is no stand-still an eighth counts all the same.
            let measure = if late { &mut lab.timer_late } else { &mut lab.probe_lost };
            *measure = *measure + lost;
        });
        let reason = judge(&slow).reasons[0].clone();
        prop_assert_eq!(reason.id, ReasonId::BootHang);
        let early = if late { Millis::ZERO } else { Millis(lost / 7) };
        prop_assert!(reason.at + early >= due + Millis(lost), "{} {}", reason.at, due);
        prop_assert!(reason.at <= due + Millis(lost));
    }

    #[test]
    fn a_healthy_story_with_anything_strange_in_it_is_never_better_than_it_was(
        mut strange in vec((any::<Index>(), what()), 1..4),
    ) {
        // What that forgets has a test of its own.
        strange.retain(|(_, what)| !matches!(what, SignalKind::StartedOver { .. }));
        let mut signals = signals(SOAKED);
        let collect = signals.iter().position(|s| s.what == SignalKind::PhaseStarted { at: Phase::Collect }).unwrap();
        let mut bad = false;
        for (place, what) in strange {
            let place = 1 + place.index(collect - 1);
            bad |= matches!(
                what,
                SignalKind::Panicked { .. } | SignalKind::PoweredOff | SignalKind::VmLost { .. }
                    | SignalKind::Cancelled | SignalKind::LabFault { .. } | SignalKind::DiskError { .. }
            ) && !signals[..place].iter().any(|s| matches!(
                s.what, SignalKind::PhaseStarted { at: Phase::Collect | Phase::Destroy }
            ));
            signals.insert(place, Signal { at: signals[place].at, what });
        }
        if bad {
            prop_assert_ne!(judge(&signals).outcome, Outcome::Healthy);
        }
    }
}
