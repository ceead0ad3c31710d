mod boots;
mod steps;

use std::collections::BTreeSet;

use super::{
    boot::Boot,
    compare::{ControlEnd, Own, compare},
    differ::Restarted,
    proof::{Done, Planned},
    resets::Resets,
    stuck, words,
};
use crate::model::{
    Activity, ConsoleMark, Exit, GuestState, Limits, Millis, Outcome, Phase, Reason, ReasonId, RestartVia, Role,
    Signal, SignalKind, Subject, Tolerances, Verdict,
};

/// The verdict on a cell, from all of its signals.
pub fn judge(signals: &[Signal]) -> Verdict {
    let mut judge = Judge::new();
    for signal in signals {
        judge.see(signal);
    }
    judge.verdict()
}

/// The judge in the middle of its work: a fold over signals.
#[derive(Clone, Debug)]
pub struct Judge {
    limits: Limits,
    phase: Phase,
    /// The machine runs: what was sampled before says nothing about a boot.
    started: bool,
    boot: Boot,
    reasons: Vec<Reason>,
    /// Nothing that follows can change the verdict.
    over: bool,
    /// The candidate's first step has begun: from here on it can be to blame.
    update_began: bool,
    /// A restart was asked for and the host has not seen its reset yet.
    asked: Option<RestartVia>,
    /// What the console said meanwhile that only the next boot can have said: on a busy host the console is read before the
    /// host tells of the reset.
    early: Option<(ConsoleMark, String)>,
    last_reset: Option<Millis>,
    /// The boots before this one, as the guest named them.
    boots_before: BTreeSet<String>,
    /// The running boot came of a restart that we asked for gently.
    requested_boot: bool,
    /// It settled, and was counted.
    boot_counted: bool,
    resets: Resets,
    done: Done,
    planned: Option<Planned>,
    /// A control that is known from an earlier run.
    known: bool,
    /// The end of the control that this cell is compared with.
    control: Option<(Millis, ControlEnd)>,
    /// None: a record from before guests were asked what they are like.
    tolerances: Option<Tolerances>,
    /// What the guest said it is like, and when, since its last restart.
    state: Option<(Millis, Box<GuestState>)>,
    /// The same of the boots with the update before that.
    states_before: Vec<(Millis, Box<GuestState>)>,
    /// How long that restart took.
    restart: Option<Restarted>,
    /// After the reset that was asked for, the machine restarted by itself, as it may.
    restarts_itself: bool,
    /// What the machine did at the end of the last watch since then.
    activity: Option<(Millis, Activity)>,
    /// The run has turned to collecting: what happens now is our own doing.
    collecting: bool,
    /// A step or check is running: an agent that goes away may be part of it, and who runs it waits for it.
    in_step: bool,
}

impl Default for Judge {
    fn default() -> Self {
        Self::new()
    }
}

impl Judge {
    pub fn new() -> Self {
        let never = Millis(u64::MAX);
        Judge {
            limits: Limits {
                quiet: never,
                boot: never,
                restart: never,
                resets: 3,
                extra_restarts: 0,
                usual: Activity::default(),
            },
            phase: Phase::Start,
            started: false,
            boot: Boot::default(),
            reasons: Vec::new(),
            over: false,
            update_began: false,
            asked: None,
            early: None,
            last_reset: None,
            boots_before: BTreeSet::new(),
            requested_boot: false,
            boot_counted: false,
            resets: Resets::default(),
            done: Done::default(),
            planned: None,
            known: false,
            control: None,
            tolerances: None,
            state: None,
            states_before: Vec::new(),
            restart: None,
            restarts_itself: false,
            activity: None,
            collecting: false,
            in_step: false,
        }
    }

    /// Whether the verdict stands and waiting longer is pointless.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Where in its life the cell is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the running boot has finished.
    pub fn is_settled(&self) -> bool {
        self.boot.is_settled()
    }

    /// When the running boot finished.
    pub fn settled_at(&self) -> Option<Millis> {
        self.boot.settled_at
    }

    /// Whether the agent has answered in the running boot.
    pub fn agent_answered(&self) -> bool {
        self.boot.answered
    }

    /// Whether a restart was asked for and has not led to a reset yet.
    pub fn awaits_reset(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether a reset that nobody asked for happened and the machine has not settled since.
    pub fn is_recovering(&self) -> bool {
        self.resets.unexplained > 0 && !self.boot.is_settled()
    }

    /// Whether the machine reset itself after it had come up, and has settled again: a crash, or a loop's beginning.
    pub fn came_back(&self) -> bool {
        self.crash().is_some()
    }

    /// Whether the agent has closed its channel and not answered since.
    pub fn is_agent_away(&self) -> bool {
        self.boot.channel_closed
    }

    /// How long the agent's channel has been closed, not counting time that the lab took from the guest.
    pub fn agent_away(&self) -> Millis {
        self.boot.closed_for()
    }

    /// Whether anything has changed lately, seen from outside.
    pub fn is_moving(&self) -> bool {
        self.boot.quiet() < self.limits.quiet
    }

    /// Whether the settled machine does nothing any more but wait for work, seen from outside.
    pub fn is_at_rest(&self) -> bool {
        self.boot.is_at_rest(self.limits.usual)
    }

    /// What the settled machine has been doing lately.
    pub fn doing(&self) -> Option<Activity> {
        self.boot.activity()
    }

    /// What it did at the end of its last watch.
    pub fn activity(&self) -> Option<Activity> {
        self.activity.map(|(_, activity)| activity)
    }

    /// How long the running boot has taken so far, not counting time that the lab took from it.
    pub fn boot_age(&self) -> Millis {
        self.boot.age()
    }

    /// Of a machine that restarted by itself, as it may, after the restart that was asked for: how long its last boot has taken
    /// until now.
    pub fn last_boot_of_several(&self, now: Millis) -> Option<Millis> {
        self.restarts_itself.then(|| now.since(self.boot.since))
    }

    pub fn see(&mut self, signal: &Signal) {
        let at = signal.at;
        // Whoever goes on with the machine has seen that it stays.
        if matches!(
            signal.what,
            SignalKind::PhaseStarted { .. }
                | SignalKind::PhaseEnded { .. }
                | SignalKind::StepStarted { .. }
                | SignalKind::RestartAsked { .. }
        ) && let Some(crash) = self.crash()
        {
            self.conclude(crash);
        }
        if shows_life(&signal.what) {
            self.boot.last_panic = None;
        }
        match &signal.what {
            SignalKind::ControlEnded { outcome, reason, facts } => {
                let end = ControlEnd { outcome: *outcome, reason: *reason, facts: facts.clone() };
                let (_, known) = self.control.get_or_insert_with(|| (at, end.clone()));
                if *known != end {
                    self.fault(
                        at,
                        ReasonId::HarnessDied,
                        "the record has two different ends of the control".to_owned(),
                    );
                }
            }
            SignalKind::StartedOver { why } => self.start_over(at, why),
            _ if self.collecting => {}
            SignalKind::Planned { update_steps, soak, checks, evidence, implied, role } => {
                let (update_steps, soak, role) = (*update_steps, *soak, role.clone());
                let (checks, evidence, implied) = (checks.clone(), evidence.clone(), implied.clone());
                let planned = Planned { update_steps, soak, checks, evidence, implied, role };
                if self.planned.get_or_insert_with(|| planned.clone()) != &planned {
                    self.fault(at, ReasonId::HarnessDied, "the record has two different plans".to_owned());
                }
            }
            SignalKind::Tolerances { tolerances } => {
                if self.tolerances.get_or_insert_with(|| tolerances.clone()) != tolerances {
                    self.fault(at, ReasonId::HarnessDied, "the record has two different tolerances".to_owned());
                }
            }
            SignalKind::GuestState { state } if self.counts() => self.state = Some((at, state.clone())),
            SignalKind::GuestState { .. } => {}
            SignalKind::BootCost { took, waited, .. } if self.counts() => {
                self.restart = Some(Restarted { took: *took, waited: *waited });
            }
            SignalKind::BootCost { .. } => {}
            SignalKind::ControlKnown { .. } => self.known = true,
            SignalKind::Limits { limits, .. } => self.limits = *limits,
            SignalKind::PhaseStarted { at: phase } => self.enter(at, *phase),
            SignalKind::PhaseEnded { at: Phase::Watch } => {
                let first = !std::mem::replace(&mut self.boot.watched, true);
                self.done.watches += u32::from(first && self.boot.is_settled());
                if self.update_began && !self.over {
                    self.activity = self.boot.activity().map(|activity| (at, activity));
                }
            }
            SignalKind::PhaseEnded { at: Phase::Check } => self.done.checks_ended = true,
            SignalKind::PhaseEnded { .. } => {}
            SignalKind::Started if self.update_began => {
                self.fault(at, ReasonId::HarnessDied, "the machine was started a second time".to_owned());
            }
            SignalKind::Started => self.begin(at),
            SignalKind::AgentConnected => {
                self.boot.channel_closed = false;
                self.boot.channel_opened = true;
            }
            SignalKind::AgentDisconnected => {
                self.boot.channel_closed = true;
            }
            SignalKind::AgentAnswered => {
                self.boot.answered = true;
                // Whoever answers has the channel open: that event may be lost.
                (self.boot.channel_closed, self.boot.channel_opened) = (false, true);
            }
            SignalKind::AgentSilent { waited } => self.agent_silent(at, *waited),
            SignalKind::KeyPressed => self.boot.key_pressed(),
            SignalKind::BootId { id } => self.boot_id(at, id),
            SignalKind::Settled => self.settled(at),
            SignalKind::StepStarted { subject, restarts, .. } => {
                // One that has begun does not begin again.
                if !std::mem::replace(&mut self.in_step, true) {
                    self.resets.step_begins(if matches!(subject, Subject::Update { .. }) { *restarts } else { 0 });
                }
            }
            SignalKind::StepEnded { subject, name, result } => {
                self.in_step = false;
                self.step_ended(at, subject, name, result);
            }
            SignalKind::RestartAsked { via } => self.restart_asked(at, *via),
            SignalKind::Reset => self.reset(at),
            SignalKind::Panicked { bugcheck } => {
                self.boot.panicked = true;
                let console = self.boot.console_text.as_deref();
                self.blame(at, ReasonId::StopError, words::panic(bugcheck.as_ref(), console));
            }
            SignalKind::PoweredOff => self.blame(at, ReasonId::PoweredOff, self.power_off_words().to_owned()),
            SignalKind::VmLost { detail } => self.fault(at, ReasonId::HostLost, format!("the VM is gone: {detail}")),
            SignalKind::DiskError { host_is_full: true } => {
                self.fault(at, ReasonId::OutOfSpace, "the host's disk is full: the VM was paused".to_owned());
            }
            SignalKind::DiskError { host_is_full: false } => {
                let message = "the host could not read or write the VM's disk: the VM was paused".to_owned();
                self.fault(at, ReasonId::HostLost, message);
            }
            SignalKind::Progress { .. } if !self.started => {}
            SignalKind::Progress { progress } => {
                self.boot.sample(at, *progress);
                self.look(at);
            }
            SignalKind::Console { mark, text } => self.console(at, *mark, text),
            SignalKind::Screen { shows, .. } => self.boot.shows.clone_from(shows),
            SignalKind::LabFault { reason, message } => {
                // The lab never has a say in what the update did.
                let lab = reason.outcome() == Outcome::Inconclusive;
                self.fault(at, if lab { *reason } else { ReasonId::StartFailed }, message.clone());
            }
            SignalKind::Cancelled => self.fault(at, ReasonId::Cancelled, "the run was stopped".to_owned()),
            SignalKind::Facts { .. }
            | SignalKind::StartedFrom { .. }
            | SignalKind::Sealed { .. }
            | SignalKind::ControlFacts { .. } => {}
        }
    }

    /// What can be said now. Without proof of health and without a reason it is inconclusive.
    pub fn verdict(&self) -> Verdict {
        let own = self.own_verdict();
        match self.role() {
            Role::Compared { with } => {
                let Judge { state, states_before: before, restart, activity, tolerances, phase, .. } = self;
                let evidence = self.planned.as_ref().map_or(&[][..], |planned| &planned.evidence);
                let (state, restart, activity, phase) = (state.as_ref(), *restart, *activity, *phase);
                let own = Own { reasons: own.reasons, evidence, state, before, restart, activity, phase };
                compare(own, self.control.as_ref(), with, tolerances.as_ref())
            }
            // Whoever is told of a control is compared with it.
            Role::Alone if own.outcome == Outcome::Healthy && self.control.is_some() => {
                let message = "a control is told of, and the plan names none".to_owned();
                let reason = self.reason(Millis::ZERO, ReasonId::HarnessDied, message);
                Verdict { outcome: Outcome::Inconclusive, reasons: vec![reason] }
            }
            Role::Alone | Role::Control => own,
        }
    }

    /// What can be said now of the machine by itself, whatever its control came to.
    pub fn own_verdict(&self) -> Verdict {
        if let (true, Some(proven)) = (self.reasons.is_empty(), self.proven()) {
            return Verdict { outcome: proven.id.outcome(), reasons: vec![proven] };
        }
        if let Some(lead) = self.reasons.first() {
            return Verdict { outcome: lead.id.outcome(), reasons: self.reasons.clone() };
        }
        if self.is_proven() {
            return Verdict { outcome: Outcome::Healthy, reasons: Vec::new() };
        }
        let lacks = match &self.planned {
            None => "what the cell set out to do".to_owned(),
            Some(planned) if self.done.is_all_of(planned) => "that the machine is up".to_owned(),
            Some(planned) => self.done.lacks(planned).unwrap_or_default(),
        };
        let message = format!(
            "the record ends in phase {} with neither a fault nor proof of health: it lacks {lacks}",
            self.phase
        );
        let reason = self.reason(Millis::ZERO, ReasonId::HarnessDied, message);
        Verdict { outcome: Outcome::Inconclusive, reasons: vec![reason] }
    }

    fn is_proven(&self) -> bool {
        let Some(planned) = &self.planned else { return false };
        let stands = self.is_up() && !self.boot.channel_closed && !self.is_recovering();
        (self.known && !self.started && planned.role.is_control()) || (stands && self.done.is_all_of(planned))
    }

    /// Whether the running boot has finished and is not about to end.
    fn is_up(&self) -> bool {
        self.boot.is_settled() && self.asked.is_none()
    }

    /// Whether what is told of the machine now is told of it with the update.
    fn counts(&self) -> bool {
        self.update_began && self.is_up() && !self.over
    }

    fn role(&self) -> &Role {
        self.planned.as_ref().map_or(&Role::Alone, |planned| &planned.role)
    }

    /// Another machine takes the place of this one, of which nothing counts: but what the candidate did to it does.
    fn start_over(&mut self, at: Millis, why: &str) {
        if self.update_began {
            self.fault(
                at,
                ReasonId::HarnessDied,
                format!("the machine was given up after the update had begun: {why}"),
            );
        } else {
            let (planned, tolerances) = (self.planned.take(), self.tolerances.clone());
            *self = Judge { planned, tolerances, ..Judge::new() };
        }
    }

    fn begin(&mut self, at: Millis) {
        self.started = true;
        self.boot = Boot::starting_at(at);
    }

    fn enter(&mut self, at: Millis, phase: Phase) {
        if phase == Phase::Settle && !self.started {
            self.begin(at);
        }
        self.collecting = matches!(phase, Phase::Collect | Phase::Destroy);
        if self.collecting {
            return;
        }
        self.phase = phase;
        if phase == Phase::Check {
            self.done.checks_ended = false;
        }
        self.update_began |= phase.is_after_update_began();
        if phase == Phase::Apply {
            // What setup was allowed the update is not.
            self.resets.allowed = 0;
            self.resets.take_by_step();
        }
        // The OS restarts by itself in its first boot after an update, and in no later one.
        let of_the_os = match phase {
            Phase::Restart => self.limits.extra_restarts,
            Phase::Soak(_) => 0,
            _ => return,
        };
        self.resets.allowed = of_the_os.saturating_add(self.resets.take_by_step());
    }

    fn agent_silent(&mut self, at: Millis, waited: Millis) {
        if !self.boot.is_settled() {
            return;
        }
        let silent = format!("the agent answered before, and has been silent for {waited}");
        if let Some(why) = self.boot.stopped() {
            self.blame(at, ReasonId::StopError, format!("{silent}; {why}"));
        } else if self.boot.is_dead() {
            let message = format!("{silent}; {}", stuck::unmoved(&self.boot));
            self.blame(at, ReasonId::BootHang, message);
        } else {
            self.blame(at, ReasonId::AgentLost, silent);
        }
    }

    fn console(&mut self, at: Millis, mark: ConsoleMark, text: &str) {
        match mark {
            ConsoleMark::KernelOops => {
                self.boot.oops.get_or_insert_with(|| text.to_owned());
                return;
            }
            ConsoleMark::Firmware => {
                self.boot.firmware = Some(text.to_owned());
                return;
            }
            ConsoleMark::Recovery => {
                self.boot.recovery.get_or_insert_with(|| text.to_owned());
                return;
            }
            ConsoleMark::Login => {
                self.boot.asks_for_login();
                return;
            }
            ConsoleMark::Kernel => {
                self.boot.kernel_begins();
                return;
            }
            ConsoleMark::NoBootDevice | ConsoleMark::BootLoaderStopped | ConsoleMark::KernelPanic => {}
        }
        if self.asked.is_some() && matches!(mark, ConsoleMark::BootLoaderStopped | ConsoleMark::NoBootDevice) {
            self.early = Some((mark, text.to_owned()));
        }
        if mark == ConsoleMark::BootLoaderStopped && self.boot.kernel {
            return;
        }
        self.boot.marks.insert(mark);
        if mark == ConsoleMark::KernelPanic {
            self.boot.last_panic = Some(text.to_owned());
        }
        self.boot.console_text.get_or_insert_with(|| text.to_owned());
        if mark == ConsoleMark::KernelPanic && !self.boot.answered && words::is_for_want_of_a_core(text) {
            return self.for_want_of_a_core(at, text);
        }
        // The firmware has the last word when there is nothing to boot. Other marks are text that any
        // program may print: they count only when the boot does not settle.
        if mark == ConsoleMark::NoBootDevice && !self.boot.answered {
            self.blame(at, ReasonId::NoBootDevice, format!("nothing to start: {text}"));
        }
    }

    /// Judges a machine by what it has been doing lately.
    fn look(&mut self, at: Millis) {
        if self.over || self.asked.is_some() {
            return;
        }
        if !self.boot.is_settled() {
            if let Some((id, message)) = stuck::diagnose(&self.boot, &self.limits) {
                self.blame(at, id, message);
            }
        } else if !self.in_step && self.boot.closed_for() >= self.limits.quiet {
            let message = format!("the agent closed its channel and did not come back for {}", self.boot.closed_for());
            self.blame(at, ReasonId::AgentLost, message);
        }
    }

    fn power_off_words(&self) -> &'static str {
        match self.asked {
            Some(_) => "the guest turned itself off when it was asked to restart",
            None => "the guest turned itself off",
        }
    }

    /// The guest did something wrong: the update's fault, or the lab's where there was no update (yet).
    fn blame(&mut self, at: Millis, id: ReasonId, message: String) {
        self.conclude(self.blamed(at, self.phase, id, message));
    }

    fn blamed(&self, at: Millis, phase: Phase, id: ReasonId, message: String) -> Reason {
        if self.update_began && !self.role().is_control() {
            return Reason { phase, ..self.reason(at, id, message) };
        }
        let message = format!("without the candidate: {message} ({id})");
        if self.update_began {
            Reason { phase, ..self.reason(at, ReasonId::ControlUnhealthy, message) }
        } else {
            self.reason(at, ReasonId::StartFailed, message)
        }
    }

    fn for_want_of_a_core(&mut self, at: Millis, said: &str) {
        let message = format!("the host gave the guest no core while its kernel tried its timer: {said}");
        self.fault(at, ReasonId::HostLost, message);
    }

    /// The lab did something wrong.
    fn fault(&mut self, at: Millis, id: ReasonId, message: String) {
        self.conclude(self.reason(at, id, message));
    }

    fn conclude(&mut self, reason: Reason) {
        // After a refused restart the forced one gathers evidence: it may add what the guest did, and
        // nothing of the lab's.
        let evidence = self.reasons.len() == 1
            && self.reasons[0].id == ReasonId::RestartRefused
            && reason.id.outcome() == Outcome::Unhealthy
            && reason.id != ReasonId::RestartRefused;
        // What was proven before stays, and leads; a loop of such resets tells of them itself.
        let says_so = matches!(reason.id, ReasonId::StopError | ReasonId::BootLoop);
        if !says_so
            && let Some(proven) = self.proven()
            && proven != reason
            && !self.reasons.contains(&proven)
        {
            self.reasons.push(proven);
        }
        if !self.over {
            self.reasons.push(reason);
            // A crash that a machine came back from is known later than what failed in the boot that followed.
            self.reasons.sort_by_key(|reason| reason.at);
        } else if evidence {
            self.reasons.push(reason);
        }
        self.over = true;
    }

    fn reason(&self, at: Millis, id: ReasonId, message: String) -> Reason {
        Reason { id, phase: self.phase, at, message, check: None }
    }
}

/// Whether a guest that panicked cannot have done this.
fn shows_life(what: &SignalKind) -> bool {
    match what {
        SignalKind::StepEnded { result, .. } => matches!(result.exit, Exit::Code { .. } | Exit::Signal { .. }),
        SignalKind::AgentAnswered | SignalKind::BootId { .. } | SignalKind::Settled | SignalKind::GuestState { .. } => {
            true
        }
        _ => false,
    }
}
