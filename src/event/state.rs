use std::collections::HashMap;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{CellEnd, Decision, Level, PlannedCell, RunStart, StopCause};
use crate::model::{
    CellId, ControlFacts, LabTime, Millis, Outcome, Phase, Reason, ReasonId, RunId, Signal, SignalKind, Start,
    StepResult, Subject, Verdict,
};

/// What a run's events add up to so far.
#[derive(Clone, Debug, PartialEq)]
pub struct RunState {
    pub run: RunId,
    /// None: not even the first event was seen.
    pub start: Option<RunStart>,
    /// In the plan's order.
    pub cells: Vec<CellState>,
    /// The latest moment any event carried.
    pub now: Millis,
    /// When each `--resume` was, by the events' clock and in UTC.
    pub resumed: Vec<(Millis, String)>,
    /// Why the run stopped early, if it did.
    pub stopping: Option<StopCause>,
    /// As `run-ended` recorded it.
    pub decision: Option<Decision>,
    /// Notes about the whole run.
    pub notes: Vec<Note>,
    /// How many were taken in.
    pub(super) events: u64,
    /// Events that cannot be: about a cell nobody planned, an end without a start. Any of them bars approval.
    pub contradictions: Vec<String>,
    /// Where in `cells` each is.
    pub(super) index: HashMap<CellId, usize>,
    /// How many cells run, and how many have run at once at most.
    pub(super) running: usize,
    pub(super) lanes: usize,
}

/// One planned cell.
#[derive(Clone, Debug, PartialEq)]
pub struct CellState {
    pub planned: PlannedCell,
    /// In order of time; empty: never started.
    pub attempts: Vec<Attempt>,
}

/// One try at a cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    pub started: Millis,
    /// In the order entered.
    pub phases: Vec<PhaseSpan>,
    /// Setup steps, update steps and checks, in the order begun.
    pub steps: Vec<StepSpan>,
    /// What the judge sees.
    pub signals: Vec<Signal>,
    pub notes: Vec<Note>,
    /// None: running, or bootgate died.
    pub end: Option<CellEnd>,
    /// What the signals of one without an end prove, where somebody has judged them and it is that the update breaks it: bootgate
    /// died in between, and another attempt does not undo that.
    pub proven: Option<Verdict>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseSpan {
    pub phase: Phase,
    pub from: Millis,
    /// None while it lasts.
    pub until: Option<Millis>,
    /// Whether it did what it was for.
    pub done: bool,
}

impl PhaseSpan {
    /// How long it took, up to `now` while it lasts.
    pub fn took(&self, now: Millis) -> Millis {
        self.until.unwrap_or(now).since(self.from)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct StepSpan {
    pub subject: Subject,
    pub name: String,
    pub from: Millis,
    /// None: it never ended.
    pub result: Option<StepResult>,
}

/// Something people should know that decides nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub at: Millis,
    pub level: Level,
    pub text: String,
}

/// How many cells ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Counts {
    pub healthy: usize,
    pub unhealthy: usize,
    pub inconclusive: usize,
}

impl Counts {
    pub fn total(self) -> usize {
        self.healthy + self.unhealthy + self.inconclusive
    }

    /// How often each is among these.
    pub fn of(outcomes: impl Iterator<Item = Outcome>) -> Self {
        outcomes.fold(Self::default(), |mut counts, outcome| {
            match outcome {
                Outcome::Healthy => counts.healthy += 1,
                Outcome::Unhealthy => counts.unhealthy += 1,
                Outcome::Inconclusive => counts.inconclusive += 1,
            }
            counts
        })
    }
}

impl RunState {
    pub fn cell(&self, id: &CellId) -> Option<&CellState> {
        self.cells.get(*self.index.get(id)?)
    }

    /// The cell's verdict if nothing more is to come: what was never answered is inconclusive.
    pub fn verdict(&self, cell: &CellState) -> Verdict {
        match cell.attempts.last() {
            Some(attempt) => attempt.verdict(),
            None if self.stopping.is_some() || self.decision.is_some() => {
                lab_fault(ReasonId::Cancelled, Phase::Start, self.now, "the run stopped before this cell began")
            }
            None => lab_fault(ReasonId::HarnessDied, Phase::Start, self.now, "bootgate ended before this cell began"),
        }
    }

    /// When the latest event was. None: it is not known.
    pub fn utc_now(&self) -> Option<OffsetDateTime> {
        self.utc_of(self.now)
    }

    /// A moment in UTC: the events' clock leaves out the time until a run was resumed. None: it is not known.
    pub fn utc_of(&self, moment: Millis) -> Option<OffsetDateTime> {
        let resumed = self.resumed.iter().rev().find(|(at, _)| *at <= moment);
        let (at, utc) = match (resumed, &self.start) {
            (Some((at, utc)), _) => (*at, utc),
            (None, Some(start)) => (Millis::ZERO, &start.utc),
            (None, None) => return None,
        };
        let since = moment.since(at).as_duration().try_into().unwrap_or(time::Duration::MAX);
        OffsetDateTime::parse(utc, &Rfc3339).ok()?.checked_add(since)
    }

    /// The cells that the update is tried on.
    pub fn permutations(&self) -> impl Iterator<Item = &CellState> {
        self.cells.iter().filter(|cell| !cell.is_control())
    }

    /// The cells that these are compared with.
    pub fn controls(&self) -> impl Iterator<Item = &CellState> {
        self.cells.iter().filter(|cell| cell.is_control())
    }

    /// The outcomes if nothing more is to come: every permutation is in one of them.
    pub fn final_counts(&self) -> Counts {
        Counts::of(self.permutations().map(|cell| self.verdict(cell).outcome))
    }

    /// The same of the controls.
    pub fn control_counts(&self) -> Counts {
        Counts::of(self.controls().map(|cell| self.verdict(cell).outcome))
    }

    /// The outcomes of permutations that have ended by now.
    pub fn counts(&self) -> Counts {
        Counts::of(self.permutations().filter_map(CellState::ended).map(|end| end.verdict.outcome))
    }

    pub fn running(&self) -> impl Iterator<Item = &CellState> {
        self.cells.iter().filter(|cell| cell.is_running())
    }

    /// How long the run still takes, from what cells took in earlier runs and in this one; none while nothing can be
    /// said.
    ///
    /// `now` counts as the events' moments do. As many cells are taken to run at a time as have done so already; no
    /// order of them is shorter than this.
    pub fn time_left(&self, now: Millis) -> Option<Millis> {
        let mean = |sum: u64, n: u64| sum.checked_div(n).map(Millis);
        let add = |(sum, n): (u64, u64), took: Millis| (sum.saturating_add(took.0), n + 1);
        let were_run = self.cells.iter().filter(|cell| cell.known_from().is_none());
        let (sum, n) = were_run.filter_map(CellState::ended).map(|end| end.took).fold((0, 0), add);
        let usual = mean(sum, n).or_else(|| {
            let (sum, n) = self.cells.iter().filter_map(|cell| cell.planned.expected_ms).fold((0, 0), add);
            mean(sum, n)
        })?;
        let left = |cell: &CellState| {
            let whole = cell.planned.expected_ms.unwrap_or(usual);
            match cell.attempts.last() {
                None => whole,
                Some(attempt) if attempt.end.is_none() => whole.since(now.since(attempt.started)),
                Some(_) => Millis::ZERO,
            }
        };
        let (work, longest) = self
            .cells
            .iter()
            .map(left)
            .fold((0_u64, 0), |(work, longest), left| (work.saturating_add(left.0), longest.max(left.0)));
        Some(Millis((work / self.lanes.max(1) as u64).max(longest)))
    }

    /// Lets go of what no report asks of a cell that has ended: samples, and what its phases and steps hold a second
    /// time. A run of thousands of cells would keep it all in memory; the journal still has it.
    pub fn forget_samples(&mut self, id: &CellId) {
        let Some(cell) = self.index.get(id).and_then(|index| self.cells.get_mut(*index)) else { return };
        for attempt in cell.attempts.iter_mut().filter(|attempt| attempt.end.is_some()) {
            attempt.signals.retain(|signal| !is_sample(&signal.what));
            attempt.signals.shrink_to_fit();
        }
    }
}

fn is_sample(what: &SignalKind) -> bool {
    matches!(
        what,
        SignalKind::Progress { .. }
            | SignalKind::Screen { .. }
            | SignalKind::PhaseStarted { .. }
            | SignalKind::PhaseEnded { .. }
            | SignalKind::StepStarted { .. }
            | SignalKind::StepEnded { .. }
    )
}

impl CellState {
    /// Whether it is what others are compared with: no permutation, and not counted as one.
    pub fn is_control(&self) -> bool {
        self.planned.role.is_control()
    }

    /// The earlier run that a control is known from; none: it was run itself.
    pub fn known_from(&self) -> Option<&RunId> {
        self.attempts.last().filter(|_| self.is_control()).and_then(Attempt::known_from)
    }

    /// How the last attempt ended; none while it runs, and if it never did.
    pub fn ended(&self) -> Option<&CellEnd> {
        self.attempts.last().and_then(|attempt| attempt.end.as_ref())
    }

    /// Whether an attempt has started and not ended.
    pub fn is_running(&self) -> bool {
        self.attempts.last().is_some_and(|attempt| attempt.end.is_none())
    }

    /// Whether it is healthy now and was unhealthy before: chance, not proof.
    pub fn is_flaky(&self) -> bool {
        self.ended().is_some_and(|end| end.verdict.outcome == Outcome::Healthy)
            && self.earlier_with(Outcome::Unhealthy).next().is_some()
    }

    /// Attempts before the last one that ended like this.
    pub fn earlier_with(&self, outcome: Outcome) -> impl Iterator<Item = &Attempt> {
        let earlier = self.attempts.split_last().map_or(&[][..], |(_, earlier)| earlier);
        // What one showed that bootgate's death ended nobody had compared, and it was the golden image's fault.
        let lead = self.ended().and_then(|end| end.verdict.lead()).map(|lead| lead.id);
        let is_unwell = lead == Some(ReasonId::ControlUnhealthy);
        earlier.iter().filter(move |attempt| {
            let came_to = if is_unwell { attempt.verdict() } else { attempt.came_to() };
            came_to.outcome == outcome
        })
    }
}

impl Attempt {
    /// Its verdict if nothing more is to come.
    pub fn verdict(&self) -> Verdict {
        if let Some(end) = &self.end {
            return end.verdict.clone();
        }
        let (phase, at) = self.phases.last().map_or((Phase::Start, self.started), |span| (span.phase, span.from));
        lab_fault(ReasonId::HarnessDied, phase, at, "bootgate ended before this cell did; --resume runs it again")
    }

    /// What an attempt came to that another one followed.
    pub fn came_to(&self) -> Verdict {
        match (&self.end, &self.proven) {
            (None, Some(proven)) => proven.clone(),
            _ => self.verdict(),
        }
    }

    /// The phase it is in, or ended in.
    pub fn phase(&self) -> Option<Phase> {
        self.phases.last().map(|span| span.phase)
    }

    /// How the machine that counts began, and the seal that it is a clone of.
    pub fn began(&self) -> Option<(Start, Option<&str>)> {
        let given_up = |signal: &&Signal| matches!(signal.what, SignalKind::StartedOver { .. });
        self.signals.iter().rev().take_while(|signal| !given_up(signal)).find_map(|signal| match &signal.what {
            SignalKind::StartedFrom { start, seal } => Some((*start, seal.as_deref())),
            _ => None,
        })
    }

    /// The earlier run that a control is known from; none: it was run itself.
    pub fn known_from(&self) -> Option<&RunId> {
        self.signals.iter().find_map(|signal| match &signal.what {
            SignalKind::ControlKnown { run, .. } => Some(run),
            _ => None,
        })
    }

    /// What a control found its machine to be like, here or in the earlier run that it is known from.
    pub fn control_facts(&self) -> Option<&ControlFacts> {
        self.signals.iter().rev().find_map(|signal| match &signal.what {
            SignalKind::ControlFacts { facts } | SignalKind::ControlKnown { facts, .. } => Some(facts),
            _ => None,
        })
    }

    /// What its last restart took by itself, without the time that the lab took from it.
    pub fn last_restart(&self) -> Option<Millis> {
        let last = self.signals.iter().rev().find_map(|signal| match &signal.what {
            SignalKind::BootCost { took, waited, .. } => Some(LabTime::own(*took, *waited)),
            _ => None,
        });
        last.flatten()
    }

    pub fn check(&self, id: &str) -> Option<&StepSpan> {
        self.steps.iter().rfind(|step| matches!(&step.subject, Subject::Check { id: found } if found == id))
    }
}

fn lab_fault(id: ReasonId, phase: Phase, at: Millis, message: &str) -> Verdict {
    let reason = Reason { id, phase, at, message: message.to_owned(), check: None };
    Verdict { outcome: Outcome::Inconclusive, reasons: vec![reason] }
}
