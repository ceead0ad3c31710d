//! Properties of the judge, over any signals at all.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{COMPARED, SOAKED, STORIES, planned, signals};
use crate::{
    health::{Judge, judge},
    model::*,
};

const SLOW: &str = include_str!("../../../tests/traces/is-slow-on-a-slow-lab-and-is-healthy.jsonl");
const QUIET: &str =
    include_str!("../../../tests/traces/is-looked-at-by-a-harness-that-stood-still-and-is-healthy.jsonl");
const HANGS: &str = include_str!("../../../tests/traces/hangs-with-an-idle-cpu.jsonl");

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

/// A guest with an error more than one of which nothing is known.
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
