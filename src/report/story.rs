//! What happened to a cell, in sentences.

use std::fmt::Write as _;

use crate::{
    event::{Attempt, Level},
    model::{
        Bytes, ConsoleMark, ControlFacts, GuestState, LimitsFrom, Millis, Outcome, Phase, RestartVia, Role, Signal,
        SignalKind, Start, StepResult, Subject, count, one_line,
    },
};

/// How much of a cell is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Without samples.
    Story,
    All,
}

/// An attempt's story, a line each, with the time since it began.
pub fn story(attempt: &Attempt, detail: Detail) -> Vec<(Millis, String)> {
    let wanted = |signal: &&Signal| detail == Detail::All || !is_detail(&signal.what);
    let signals = attempt.signals.iter().filter(wanted).map(|signal| (signal.at, told(&signal.what)));
    let note = |level: Level, text: &str| match level {
        Level::Info => format!("note: {}", one_line(text)),
        Level::Warning => format!("warning: {}", one_line(text)),
    };
    let notes = attempt.notes.iter().map(|said| (said.at, note(said.level, &said.text)));
    let mut lines: Vec<(Millis, String)> = signals.chain(notes).collect();
    lines.sort_by_key(|(at, _)| *at);
    lines.into_iter().map(|(at, text)| (at.since(attempt.started), text)).collect()
}

fn is_detail(what: &SignalKind) -> bool {
    matches!(
        what,
        SignalKind::Progress { .. }
            | SignalKind::Limits { from: None, .. }
            | SignalKind::Tolerances { .. }
            | SignalKind::PhaseEnded { .. }
            | SignalKind::StepStarted { .. }
            | SignalKind::Facts { .. }
    )
}

/// A signal as a sentence, on one line.
pub fn told(what: &SignalKind) -> String {
    one_line(&sentence(what))
}

fn sentence(what: &SignalKind) -> String {
    match what {
        SignalKind::Planned { update_steps, soak, checks, role, .. } => {
            let role = match role {
                Role::Alone => String::new(),
                Role::Compared { with } => format!(", compared with {with}"),
                Role::Control => ", as the control".to_owned(),
            };
            let checks = if checks.is_empty() { "none".to_owned() } else { checks.join(", ") };
            let steps = count(*update_steps, "update step");
            format!(
                "planned: {steps}, {}, checks: {checks}{role}",
                count((*soak as usize).saturating_add(1), "restart")
            )
        }
        SignalKind::StartedFrom { start: Start::Cold, .. } => "starts from power-on".to_owned(),
        SignalKind::StartedFrom { start: Start::Live, seal } => match seal {
            Some(seal) => format!("starts as a live clone of the seal {seal}"),
            None => "starts as a live clone".to_owned(),
        },
        SignalKind::StartedOver { why } => format!("starts over, because {why}"),
        SignalKind::Sealed { seal, took } => format!("saved as the seal {seal}, in {took}"),
        SignalKind::Tolerances { tolerances } => {
            let ignored =
                if tolerances.ignore.is_empty() { "nothing".to_owned() } else { tolerances.ignore.join(", ") };
            format!(
                "tolerated: a restart of {} times the control's, memory {} times, clock {}; disk free from {} %; ignored: \
                 {ignored}",
                tolerances.boot, tolerances.memory, tolerances.clock, tolerances.disk_free
            )
        }
        SignalKind::GuestState { state } => format!("the guest: {}", guest(state)),
        SignalKind::BootCost { took, waited, cpu, probe_us } => {
            let waited = if waited.is_zero() { String::new() } else { format!(", {waited} of it the lab's") };
            let probe = probe_us.map(|us| format!("; the lab's probe takes {us} µs")).unwrap_or_default();
            format!("the restart took {took}{waited}; {cpu} of CPU time{probe}")
        }
        SignalKind::ControlFacts { facts } => format!("as a control: {}", control(facts)),
        SignalKind::ControlKnown { run, utc, facts } => {
            format!("known to be well from run {run} of {utc}: {}", control(facts))
        }
        SignalKind::ControlEnded { outcome: Outcome::Healthy, facts, .. } => {
            let facts = facts.as_ref().map(|facts| format!(": {}", control(facts))).unwrap_or_default();
            format!("the control is healthy{facts}")
        }
        SignalKind::ControlEnded { outcome, reason, .. } => {
            let reason = reason.map(|id| format!(", {id}")).unwrap_or_default();
            format!("the control ended {outcome}{reason}")
        }
        SignalKind::Limits { limits, from, base } => {
            let from = from.map(|from| format!(", from {base} for {}", source(from))).unwrap_or_default();
            format!(
                "deadlines: {} without a change, {} for a boot, {} for a reset{from}; {} resets are a loop, {} are allowed",
                limits.quiet, limits.boot, limits.restart, limits.resets, limits.extra_restarts
            )
        }
        SignalKind::PhaseStarted { at } => format!("phase {at}{}", about(*at)),
        SignalKind::PhaseEnded { at } => format!("phase {at} is done"),
        SignalKind::Started => "the machine runs".to_owned(),
        SignalKind::AgentConnected => "the agent opened its channel".to_owned(),
        SignalKind::AgentDisconnected => "the agent closed its channel".to_owned(),
        SignalKind::AgentAnswered => "the agent answers".to_owned(),
        SignalKind::KeyPressed => "we pressed a key, to see whether the machine is alive".to_owned(),
        SignalKind::AgentSilent { waited } => format!("the agent has been silent for {waited}"),
        SignalKind::BootId { id } => format!("this boot is {id}"),
        SignalKind::Settled => "settled: the boot has finished".to_owned(),
        SignalKind::Facts { facts } => {
            let facts: Vec<String> = facts.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("the guest is {}", facts.join(", "))
        }
        SignalKind::StepStarted { subject, name, restarts } => {
            let may =
                if *restarts == 0 { String::new() } else { format!(", and may restart the machine {restarts} times") };
            format!("{} `{name}` begins{may}", subject_word(subject))
        }
        SignalKind::StepEnded { subject, name, result } => {
            format!("{} `{name}` {}", subject_word(subject), ended(result))
        }
        SignalKind::RestartAsked { via } => match via {
            RestartVia::Agent => "asked to restart, by the agent".to_owned(),
            RestartVia::Acpi => "asked to restart, by the power button".to_owned(),
            RestartVia::Forced => "reset by force, to see what it boots into".to_owned(),
        },
        SignalKind::Reset => "the host sees a reset".to_owned(),
        SignalKind::Panicked { bugcheck: None } => "the kernel tells the host that it panicked".to_owned(),
        SignalKind::Panicked { bugcheck: Some(bugcheck) } => bugcheck.to_string(),
        SignalKind::PoweredOff => "the guest turns itself off".to_owned(),
        SignalKind::VmLost { detail } => format!("the machine is gone: {detail}"),
        SignalKind::DiskError { host_is_full: true } => "paused: the host's disk is full".to_owned(),
        SignalKind::DiskError { host_is_full: false } => "paused: the host cannot read or write its disk".to_owned(),
        SignalKind::Progress { progress } => {
            let mut text = format!(
                "sample: CPU {}, waited {}, {} reads, {} writes, console {} bytes",
                progress.cpu, progress.lab.cpu_wait, progress.disk_reads, progress.disk_writes, progress.serial_bytes
            );
            let lab = [("timers late", progress.lab.timer_late), ("the lab lost", progress.lab.probe_lost)];
            for (what, time) in lab.into_iter().filter(|(_, time)| !time.is_zero()) {
                let _ = write!(text, ", {what} {time}");
            }
            if (progress.net_rx, progress.net_tx) != (0, 0) {
                let _ = write!(text, ", network {} in, {} out", Bytes(progress.net_rx), Bytes(progress.net_tx));
            }
            if let Some(ppm) = progress.screen_changed_ppm {
                let _ = write!(text, ", screen changed by {ppm} ppm");
            }
            if progress.agent {
                text.push_str(", the agent answers");
            }
            text
        }
        SignalKind::Screen { sha256, file, shows } => {
            let picture = file.clone().unwrap_or_else(|| sha256.short().to_owned());
            let shows = shows.as_ref().map(|known| format!(", and shows {known}")).unwrap_or_default();
            format!("the screen changes{shows}: {picture}")
        }
        SignalKind::Console { mark: ConsoleMark::Firmware, text } => format!("the firmware: {text}"),
        SignalKind::Console { text, .. } => format!("console: {text}"),
        SignalKind::LabFault { reason, message } => format!("the lab failed: {message} ({reason})"),
        SignalKind::Cancelled => "the run is being stopped".to_owned(),
    }
}

fn source(from: LimitsFrom) -> &'static str {
    match from {
        LimitsFrom::OwnBoot => "its own first boot",
        LimitsFrom::SealedBoot => "the first boot of the sealed machine",
        LimitsFrom::ControlBoot => "its control's first boot",
        LimitsFrom::ControlRestart => "its control's restart",
    }
}

fn about(phase: Phase) -> &'static str {
    match phase {
        Phase::Start => ": until the machine runs",
        Phase::Settle => ": until the boot has finished",
        Phase::Setup => ": preparing it",
        Phase::Apply => ": the update",
        Phase::Restart => ": until the host sees a reset",
        Phase::Boot => ": the first boot with the update",
        Phase::Soak(_) => ": once more",
        Phase::Watch => ": looking at the settled machine",
        Phase::Check => ": the health checks",
        Phase::Collect => ": fetching evidence",
        Phase::Destroy => ": removing the machine",
    }
}

fn subject_word(subject: &Subject) -> &'static str {
    match subject {
        Subject::Setup { .. } => "setup step",
        Subject::Update { .. } => "update step",
        Subject::Check { .. } => "check",
    }
}

/// How a step or check went.
pub(super) fn ended(result: &StepResult) -> String {
    let ok = if result.ok { "" } else { ", which is no success" };
    format!("{}{ok}, after {}", result.exit, result.took)
}

fn control(facts: &ControlFacts) -> String {
    let mut text = format!("settled in {}, a restart takes {}", facts.settle, facts.restart);
    if !facts.failing_checks.is_empty() {
        let _ = write!(text, "; failing checks: {}", facts.failing_checks.join(", "));
    }
    if let Some(state) = &facts.guest {
        let _ = write!(text, "; {}", guest(state));
    }
    text
}

fn guest(state: &GuestState) -> String {
    let mut text = format!("{} services, {} of memory used", state.services.len(), state.memory_used);
    for disk in &state.disks {
        let read_only = if disk.read_only { ", read-only" } else { "" };
        let _ = write!(text, ", {} of {} free on {}{read_only}", disk.free, disk.size, disk.mount);
    }
    for (what, list) in [("began anew", &state.restarted), ("errors", &state.errors), ("dumps", &state.dumps)] {
        if !list.is_empty() {
            let _ = write!(text, "; {what}: {}", list.join(", "));
        }
    }
    if state.errors_cut {
        text.push_str("; more errors than were read");
    }
    if let Some(ahead) = state.clock_ahead_ms {
        let _ = write!(text, "; clock {ahead:+} ms");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Bugcheck;

    #[test]
    fn a_bugcheck_is_told_as_in_the_verdict() {
        let bugcheck = Bugcheck { code: 0xd1, parameters: [0x10, 0xff, 0, 0] };
        let line = told(&SignalKind::Panicked { bugcheck: Some(bugcheck) });
        assert_eq!(line, "bugcheck 0x000000d1 DRIVER_IRQL_NOT_LESS_OR_EQUAL (0x10, 0xff, 0x0, 0x0)");
    }
}
