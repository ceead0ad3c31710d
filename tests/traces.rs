//! The judge on traces: what was seen of a machine, and what there is to say of it.
//!
//! A trace's name is its story. Its first line is the expected outcome with the ids of all reasons, the others
//! are the signals as the journal holds them. Those named `real-vm-` were recorded on real machines.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use bootgate::{
    health::{Judge, agree, deciding, judge},
    model::{
        ConsoleMark, ControlFacts, Millis, Outcome, Phase, Progress, ReasonId, Signal, SignalKind, Start, Verdict,
    },
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    outcome: Outcome,
    reasons: Vec<ReasonId>,
}

struct Trace {
    name: String,
    expected: Expected,
    signals: Vec<Signal>,
}

fn traces() -> Vec<Trace> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/traces");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort();
    paths.into_iter().map(read).collect()
}

fn read(path: PathBuf) -> Trace {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let text = fs::read_to_string(&path).unwrap();
    let mut lines = text.lines();
    let expected = serde_json::from_str(lines.next().expect("a first line")).expect(&name);
    let signals = lines.map(|line| serde_json::from_str(line).expect(&name)).collect();
    Trace { name, expected, signals }
}

fn ids(verdict: &Verdict) -> Vec<ReasonId> {
    verdict.reasons.iter().map(|reason| reason.id).collect()
}

#[test]
fn every_trace_is_judged_as_its_story_says() {
    let mut wrong = Vec::new();
    for Trace { name, expected, signals } in traces() {
        let verdict = judge(&signals);
        if verdict.outcome != expected.outcome || ids(&verdict) != expected.reasons {
            wrong.push(format!("{name}: {verdict:?}, expected {} {:?}", expected.outcome, expected.reasons));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_reason_leads_in_some_trace() {
    let told: BTreeSet<ReasonId> =
        traces().iter().filter_map(|trace| trace.expected.reasons.first().copied()).collect();
    let untold: Vec<_> = ReasonId::ALL.iter().filter(|id| !told.contains(id)).collect();
    assert!(untold.is_empty(), "no trace leads with {untold:?}");
}

#[test]
fn every_reason_leads_in_a_trace_of_a_real_machine_where_one_can_be_had() {
    let real = traces().into_iter().filter(|trace| trace.name.starts_with("real-vm-"));
    let told: BTreeSet<ReasonId> = real.filter_map(|trace| trace.expected.reasons.first().copied()).collect();
    // Of the first three there is no machine, or no end of bootgate; for the last the host's disk has to be full.
    let without = [ReasonId::ImageMissing, ReasonId::ImageChanged, ReasonId::HarnessDied, ReasonId::OutOfSpace];
    let untold: Vec<_> = ReasonId::ALL.iter().filter(|id| !told.contains(id) && !without.contains(id)).collect();
    assert!(untold.is_empty(), "no real trace leads with {untold:?}");
}

#[test]
fn no_record_that_breaks_off_is_healthy() {
    for Trace { name, signals, .. } in traces() {
        let complete = signals.iter().rposition(is_answer).map_or(signals.len(), |last| last + 1);
        for length in 0..complete {
            let verdict = judge(&signals[..length]);
            assert_ne!(verdict.outcome, Outcome::Healthy, "{name}, after {length} of {} signals", signals.len());
        }
    }
}

#[test]
fn what_says_nothing_of_health_changes_no_answer_wherever_it_stands() {
    let says = |mark| SignalKind::Console { mark, text: "words".into() };
    let irrelevant = [
        SignalKind::Facts { facts: BTreeMap::from([("os".into(), "lab".into())]) },
        SignalKind::Sealed { seal: "5ea1".into(), took: Millis(1) },
        SignalKind::StartedFrom { start: Start::Cold, seal: None },
        SignalKind::ControlFacts { facts: ControlFacts::default() },
        says(ConsoleMark::Firmware),
        says(ConsoleMark::KernelOops),
    ];
    for Trace { name, signals, .. } in traces() {
        let verdict = judge(&signals);
        for what in &irrelevant {
            let with = signals.iter().flat_map(|signal| {
                let also = Signal { at: signal.at, what: what.clone() };
                [Some(signal.clone()), still(signal), Some(also)].into_iter().flatten()
            });
            let with = judge(&with.collect::<Vec<_>>());
            assert_eq!((with.outcome, ids(&with)), (verdict.outcome, ids(&verdict)), "{name}, with {what:?}");
        }
    }
}

/// One more look in the same moment, in which nothing has changed.
fn still(signal: &Signal) -> Option<Signal> {
    let SignalKind::Progress { progress } = signal.what else { return None };
    let progress = Progress { agent: false, screen_changed_ppm: None, ..progress };
    Some(Signal { at: signal.at, what: SignalKind::Progress { progress } })
}

/// The last thing that a cell waits for.
fn is_answer(signal: &Signal) -> bool {
    matches!(
        signal.what,
        SignalKind::PhaseEnded { at: Phase::Check } | SignalKind::ControlKnown { .. } | SignalKind::ControlEnded { .. }
    )
}

#[test]
fn a_crash_in_a_healthy_record_is_seen_whatever_line_of_it_is_lost() {
    let crash = |at| {
        let id = "another".to_owned();
        [SignalKind::Reset, SignalKind::AgentAnswered, SignalKind::BootId { id }, SignalKind::Settled]
            .map(|what| Signal { at, what })
    };
    let may_restart = |signal: &Signal| match &signal.what {
        SignalKind::Limits { limits, .. } => limits.extra_restarts > 0,
        SignalKind::StepStarted { restarts, .. } => *restarts > 0,
        SignalKind::StepEnded { result, .. } => result.says.is_some(),
        _ => false,
    };
    for Trace { name, expected, signals } in traces() {
        let at = |phase| {
            let begins = SignalKind::PhaseStarted { at: phase };
            signals.iter().position(|signal| signal.what == begins)
        };
        let (Outcome::Healthy, Some(watch)) = (expected.outcome, at(Phase::Watch)) else { continue };
        let end = signals.iter().rposition(|signal| signal.what == SignalKind::PhaseEnded { at: Phase::Check });
        let Some(end) = end.filter(|_| !signals.iter().any(may_restart)) else { continue };
        for place in watch + 1..=end {
            // Where a restart was asked for, the reset is that one.
            if signals[..place].iter().rev().find_map(|signal| match signal.what {
                SignalKind::RestartAsked { .. } => Some(true),
                SignalKind::Settled => Some(false),
                _ => None,
            }) != Some(false)
            {
                continue;
            }
            let mut with = signals.clone();
            with.splice(place..place, crash(signals[place].at + Millis(1)));
            assert_ne!(judge(&with).outcome, Outcome::Healthy, "{name}, with a crash before signal {place}");
            for lost in place..place + 4 {
                let mut less = with.clone();
                let signal = less.remove(lost);
                // Without the reset, and another name, nothing tells of another boot.
                assert_ne!(judge(&less).outcome, Outcome::Healthy, "{name}, signal {place}, without {signal:?}");
            }
        }
    }
}

#[test]
fn a_machine_that_is_started_twice_is_not_healthy() {
    for Trace { name, expected, signals } in traces() {
        let begin = signals.iter().position(|signal| signal.what == SignalKind::PhaseStarted { at: Phase::Apply });
        let end = signals.iter().rposition(|signal| signal.what == SignalKind::PhaseEnded { at: Phase::Check });
        let (Outcome::Healthy, Some(begin), Some(end)) = (expected.outcome, begin, end) else { continue };
        for place in begin + 1..=end {
            let mut with = signals.clone();
            with.insert(place, Signal { at: signals[place].at, what: SignalKind::Started });
            assert_ne!(judge(&with).outcome, Outcome::Healthy, "{name}, before signal {place}");
        }
    }
}

#[test]
fn what_was_said_at_the_end_was_said_as_soon_as_it_was_certain() {
    for Trace { name, signals, .. } in traces() {
        let mut judge = Judge::new();
        let mut certain: Option<Verdict> = None;
        for signal in &signals {
            judge.see(signal);
            if matches!(signal.what, SignalKind::StartedOver { .. }) && !judge.is_over() {
                certain = None;
            }
            // What the control came to is another matter.
            let verdict = judge.own_verdict();
            if let Some(certain) = &certain {
                assert_eq!(certain.lead(), verdict.lead(), "{name}: the lead changed at {}", signal.at);
                assert!(judge.is_over(), "{name}: no longer over at {}", signal.at);
            } else if judge.is_over() {
                certain = Some(verdict);
            }
        }
    }
}

#[test]
fn what_decides_is_enough_and_nothing_of_it_is_too_much() {
    for Trace { name, signals, .. } in traces() {
        let verdict = judge(&signals);
        let deciding = deciding(&signals);
        assert!(agree(&judge(&deciding), &verdict), "{name}");
        for left_out in 0..deciding.len() {
            let mut rest = deciding.clone();
            let signal = rest.remove(left_out);
            let other = judge(&rest);
            let same =
                agree(&other, &verdict) && other.lead().map(|lead| lead.at) == verdict.lead().map(|lead| lead.at);
            assert!(!same || verdict.reasons.len() > 1, "{name}: {signal:?} decides nothing");
        }
    }
}
