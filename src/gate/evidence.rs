//! What is decided over: the same whether it comes from a run's record or from an approval of the run.

use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::{CellFacts, Facts, decide::weight};
use crate::{
    event::{CellState, Decision, RunState, StopCause},
    model::{Millis, Outcome, SignalKind},
};

/// How far the clocks of two machines may differ.
pub(super) const CLOCKS_DIFFER: Duration = Duration::minutes(5);

/// What is known of a run.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Controls too, in the plan's order.
    pub cells: Vec<CellFacts>,
    pub began: Option<OffsetDateTime>,
    pub ended: Option<OffsetDateTime>,
    /// The end of the cell that ended first: in a run that was resumed, that may be long before the run's.
    pub oldest: Option<OffsetDateTime>,
    pub interrupted: bool,
    /// Nothing was compared: `control: off`.
    pub uncontrolled: bool,
    pub contradiction: Option<String>,
    /// What the end of the run was, if that is not told by its cells, and in a sentence why.
    pub heavier: Option<(Decision, String)>,
}

impl Evidence {
    /// Of a record. Its healthy ends are believed: [`super::judge_again`] comes first.
    pub fn of(state: &RunState) -> Self {
        let start = state.start.as_ref();
        let cells: Vec<CellFacts> = state.cells.iter().map(|cell| facts_of(state, cell)).collect();
        Self {
            oldest: oldest(&cells).or(state.utc_now()),
            cells,
            began: start.and_then(|start| moment(&start.utc)),
            ended: state.utc_now(),
            interrupted: state.stopping == Some(StopCause::Interrupted),
            uncontrolled: start.is_some_and(|start| start.uncontrolled),
            contradiction: state.contradictions.first().cloned(),
            heavier: None,
        }
    }

    /// Of what was signed. Only what was decided, and does not contradict itself, is.
    pub fn of_approval(facts: &Facts) -> Self {
        Self {
            cells: facts.cells.clone(),
            began: moment(&facts.started),
            ended: moment(&facts.ended),
            oldest: oldest(&facts.cells).or(moment(&facts.ended)),
            // What is signed has controls; one from elsewhere may not.
            uncontrolled: !facts.cells.iter().any(|cell| cell.control),
            ..Self::default()
        }
    }

    /// The cells that the update was tried on.
    pub fn permutations(&self) -> impl Iterator<Item = &CellFacts> {
        self.cells.iter().filter(|cell| !cell.control)
    }

    /// How long ago the first cell ended, in a sentence; an error if that is longer than this, or cannot be.
    pub(super) fn young_enough(&self, most: Millis, now: OffsetDateTime) -> Result<String, String> {
        let age = now - self.oldest.ok_or("when the cells ended is not known")?;
        if age < -CLOCKS_DIFFER {
            return Err("a cell ended in the future".to_owned());
        }
        let age = Millis(u64::try_from(age.whole_milliseconds()).unwrap_or(0));
        let says = format!("its first cell ended {age} ago, and {most} is allowed");
        if age > most { Err(says) } else { Ok(says) }
    }

    /// Adds what the run itself recorded as its end, which nothing makes better: `own` is what its record amounts to by its
    /// own rules. Without an end it was killed.
    pub(super) fn with_recorded(mut self, recorded: Option<Decision>, own: Decision) -> Self {
        self.heavier = match recorded {
            None => Some((Decision::Inconclusive, "the run has no end: bootgate was killed".to_owned())),
            Some(recorded) if weight(recorded) > weight(own) => {
                Some((recorded, format!("the run ended as {}", recorded.as_str())))
            }
            Some(_) => None,
        };
        self
    }
}

fn moment(utc: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(utc, &Rfc3339).ok()
}

/// Of the cells that the update was tried on.
fn oldest(cells: &[CellFacts]) -> Option<OffsetDateTime> {
    cells.iter().filter(|cell| !cell.control).filter_map(|cell| moment(cell.ended.as_deref()?)).min()
}

fn facts_of(state: &RunState, cell: &CellState) -> CellFacts {
    let verdict = state.verdict(cell);
    let began = cell.attempts.last().and_then(|attempt| attempt.began());
    let (restart_ms, control_restart_ms) = restarts(cell);
    CellFacts {
        id: cell.planned.id.clone(),
        image: cell.planned.image.clone(),
        control: cell.is_control(),
        outcome: verdict.outcome,
        reasons: verdict.reasons,
        attempts: cell.attempts.len(),
        flaky: cell.is_flaky(),
        known_from: cell.known_from().cloned(),
        start: began.map(|(start, _)| start),
        seal: began.and_then(|(_, seal)| seal).map(str::to_owned),
        took_ms: cell.ended().map(|end| end.took).unwrap_or_default(),
        ended: ended(state, cell),
        axes: cell.planned.axes.clone(),
        soak: Some(cell.planned.soak),
        unhealthy_before: cell.earlier_with(Outcome::Unhealthy).next().is_some(),
        image_made: cell.planned.image_made,
        restart_ms,
        control_restart_ms,
    }
}

fn ended(state: &RunState, cell: &CellState) -> Option<String> {
    let attempt = cell.attempts.last()?;
    let at = Millis(attempt.started.0.saturating_add(attempt.end.as_ref()?.took.0));
    state.utc_of(at)?.format(&Rfc3339).ok()
}

/// What its last restart took, without the time that the lab took from it, and what its control's took.
fn restarts(cell: &CellState) -> (Option<Millis>, Option<Millis>) {
    let Some(last) = cell.attempts.last() else { return (None, None) };
    let control = last.signals.iter().rev().find_map(|signal| match &signal.what {
        SignalKind::ControlEnded { facts, .. } => facts.as_ref().map(|facts| facts.restart),
        _ => None,
    });
    (last.last_restart(), control)
}
