//! What a policy's rules make of a run: a pure function of its record, its plan and the time.

use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Ruling, decide::weight};
use crate::{
    event::{CellState, Decision, RunState, StopCause},
    model::{CellId, Labels, Outcome, Plan, ReasonId, Rules, SignalKind},
};

/// What one rule says of a run, and the cells it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleOutcome {
    pub rule: &'static str,
    /// None: it holds.
    pub against: Option<Decision>,
    pub says: String,
    pub cells: Vec<CellId>,
}

/// The decision by a policy, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    pub ruling: Ruling,
    /// In the order in which they are read.
    pub rules: Vec<RuleOutcome>,
}

/// Decides over a recorded run, whose healthy ends were judged again ([`super::judge_again`]). Fails closed: what a rule
/// needs to know and nobody tells is against an approval.
pub fn assess(state: &RunState, plan: &Plan, rules: &Rules, now: OffsetDateTime) -> Assessment {
    let reader = Reader { state, plan, rules, now };
    let outcomes = vec![
        reader.ended(),
        reader.record(),
        reader.controls(),
        reader.quarantine(),
        reader.cells(),
        reader.flaky(),
        reader.coverage(),
        reader.required(),
        reader.soak(),
        reader.max_age(),
        reader.image_age(),
    ];
    let rules: Vec<RuleOutcome> = outcomes.into_iter().flatten().collect();
    let mut against: Vec<(Decision, String)> =
        rules.iter().filter_map(|rule| Some((rule.against?, format!("{}: {}", rule.rule, rule.says)))).collect();
    // Sorting is stable: those of one weight stay in the order above.
    against.sort_by_key(|(decision, _)| std::cmp::Reverse(weight(*decision)));
    let decision = against.first().map_or(Decision::Approved, |(decision, _)| *decision);
    Assessment { ruling: Ruling { decision, reasons: against.into_iter().map(|(_, text)| text).collect() }, rules }
}

struct Reader<'a> {
    state: &'a RunState,
    plan: &'a Plan,
    rules: &'a Rules,
    now: OffsetDateTime,
}

impl Reader<'_> {
    fn ended(&self) -> Option<RuleOutcome> {
        let (against, says) = match (self.state.decision, self.state.stopping) {
            (None, _) => (Some(Decision::Inconclusive), "the run has no end: bootgate was killed"),
            (_, Some(StopCause::Interrupted)) => (Some(Decision::Cancelled), "the run was interrupted"),
            _ => (None, "the run came to its end"),
        };
        outcome("ended", against, says, [])
    }

    fn record(&self) -> Option<RuleOutcome> {
        match self.state.contradictions.first() {
            Some(first) => {
                outcome("record", Some(Decision::Inconclusive), format!("it contradicts itself: {first}"), [])
            }
            None => outcome("record", None, "its signals prove what it says", []),
        }
    }

    fn controls(&self) -> Option<RuleOutcome> {
        if self.state.start.as_ref().is_none_or(|start| start.uncontrolled) {
            return outcome("control", Some(Decision::Inconclusive), "nothing was compared with a control", []);
        }
        let unwell: Vec<&CellState> =
            self.state.cells.iter().filter(|cell| cell.is_control() && !self.is_healthy(cell)).collect();
        let all = self.state.cells.iter().filter(|cell| cell.is_control()).count();
        if unwell.is_empty() && all > 0 {
            return outcome("control", None, format!("{all} of {all} healthy"), []);
        }
        let says = format!("{} of {all} not healthy", unwell.len());
        outcome("control", Some(Decision::Inconclusive), says, ids(&unwell))
    }

    /// One line for every entry that matches a cell or has expired.
    fn quarantine(&self) -> Option<RuleOutcome> {
        if self.rules.quarantine.is_empty() {
            return None;
        }
        let told = self.rules.quarantine.iter().map(|entry| {
            let state = if self.holds(entry.until) { "until" } else { "expired on" };
            format!("{} ({}; {state} {})", entry.cells, entry.reason, entry.until)
        });
        let says = told.collect::<Vec<_>>().join("; ");
        let cells: Vec<&CellState> = self.state.permutations().filter(|cell| self.is_quarantined(cell)).collect();
        outcome("quarantine", None, says, ids(&cells))
    }

    /// No cell that counts may be unhealthy, and one must be healthy; those about which nothing is known are coverage's to
    /// judge.
    fn cells(&self) -> Option<RuleOutcome> {
        let counted: Vec<&CellState> = self.counted().collect();
        let broken: Vec<&CellState> = counted.iter().copied().filter(|cell| self.is_broken(cell)).collect();
        if broken.is_empty() && !counted.iter().any(|cell| self.passes(cell)) {
            return outcome(
                "cells",
                Some(Decision::Inconclusive),
                "none that counts is healthy: nothing was proven",
                [],
            );
        }
        let against = (!broken.is_empty()).then_some(Decision::Rejected);
        outcome("cells", against, format!("{} of {} unhealthy", broken.len(), counted.len()), ids(&broken))
    }

    fn flaky(&self) -> Option<RuleOutcome> {
        let flaky: Vec<&CellState> = self.counted().filter(|cell| cell.is_flaky()).collect();
        let against = (flaky.len() > self.rules.flaky as usize).then_some(Decision::Rejected);
        outcome("flaky", against, format!("{}, and {} allowed", flaky.len(), self.rules.flaky), ids(&flaky))
    }

    fn coverage(&self) -> Option<RuleOutcome> {
        let (all, passed) = (self.counted().count(), self.counted().filter(|cell| self.passes(cell)).count());
        // Of none nothing is covered.
        #[allow(clippy::cast_precision_loss, reason = "no run has 2^52 cells")]
        let covered = if all == 0 { 0.0 } else { passed as f64 * 100.0 / all as f64 };
        let lacking: Vec<&CellState> = self.counted().filter(|cell| !self.passes(cell)).collect();
        let is_unknown = all == 0 || lacking.iter().any(|cell| self.outcome(cell) == Outcome::Inconclusive);
        let against = if covered >= self.rules.coverage {
            None
        } else if is_unknown {
            Some(Decision::Inconclusive)
        } else {
            Some(Decision::Rejected)
        };
        let says = format!("{passed} of {all} healthy, {:.1} %, and {} % wanted", covered, self.rules.coverage);
        outcome("coverage", against, says, ids(&lacking))
    }

    fn required(&self) -> Option<RuleOutcome> {
        if self.rules.required.is_empty() {
            return None;
        }
        let matching = |labels: &Labels| {
            let cells = self.state.permutations().filter(|cell| labels.matches(&cell.planned.axes));
            cells.collect::<Vec<_>>()
        };
        let absent: Vec<String> =
            self.rules.required.iter().filter(|labels| matching(labels).is_empty()).map(ToString::to_string).collect();
        // A quarantine is no proof.
        let lacking: Vec<&CellState> =
            self.rules.required.iter().flat_map(matching).filter(|cell| !self.passes(cell)).collect();
        if !absent.is_empty() {
            let says = format!("no cell was planned with {}", absent.join(", "));
            return outcome("required", Some(Decision::Rejected), says, ids(&lacking));
        }
        let is_broken = lacking.iter().any(|cell| self.outcome(cell) != Outcome::Inconclusive);
        let against = if is_broken { Decision::Rejected } else { Decision::Inconclusive };
        let says = format!("{} not healthy of what is required", lacking.len());
        outcome("required", (!lacking.is_empty()).then_some(against), says, ids(&lacking))
    }

    fn soak(&self) -> Option<RuleOutcome> {
        if self.rules.soak == 0 {
            return None;
        }
        let short: Vec<&CellState> = self.counted().filter(|cell| cell.planned.soak < self.rules.soak).collect();
        let against = (!short.is_empty()).then_some(Decision::Rejected);
        let says = format!("{} planned with less than {} further restarts", short.len(), self.rules.soak);
        outcome("soak", against, says, ids(&short))
    }

    fn max_age(&self) -> Option<RuleOutcome> {
        let most = self.rules.max_age?;
        let ended = self.began().map(|began| began + self.state.now.as_duration());
        let (against, says) = match ended.map(|ended| self.now - ended) {
            None => (true, "when it ran is not known".to_owned()),
            // The clocks of two machines differ.
            Some(age) if age < -Duration::minutes(5) => (true, "it ended in the future".to_owned()),
            Some(age) => (
                age > most.as_duration(),
                format!("it ended {} minutes ago, and {most} are allowed", age.whole_minutes()),
            ),
        };
        outcome("max_age", against.then_some(Decision::Rejected), says, [])
    }

    fn image_age(&self) -> Option<RuleOutcome> {
        let most = Duration::days(i64::from(self.rules.image_age?));
        let began = self.began();
        let is_old = |made: Option<time::Date>| match (made, began) {
            (Some(made), Some(began)) => began - made.midnight().assume_utc() > most,
            _ => true,
        };
        let old: Vec<&str> =
            self.plan.images.values().filter(|image| is_old(image.made)).map(|image| image.name.as_str()).collect();
        let says = match &old[..] {
            [] => format!("no image is older than {} days", most.whole_days()),
            old => {
                format!("older than {} days, or without `made` in the catalogue: {}", most.whole_days(), old.join(", "))
            }
        };
        let cells: Vec<&CellState> = self.counted().filter(|cell| old.contains(&cell.planned.image.as_str())).collect();
        outcome("image_age", (!old.is_empty()).then_some(Decision::Rejected), says, ids(&cells))
    }

    fn began(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::parse(&self.state.start.as_ref()?.utc, &Rfc3339).ok()
    }

    /// Up to the end of the day.
    fn holds(&self, until: time::Date) -> bool {
        self.now.to_offset(time::UtcOffset::UTC).date() <= until
    }

    fn is_quarantined(&self, cell: &CellState) -> bool {
        let mut entries = self.rules.quarantine.iter().filter(|entry| self.holds(entry.until));
        entries.any(|entry| entry.cells.matches(&cell.planned.axes))
    }

    /// The permutations whose outcome counts.
    fn counted(&self) -> impl Iterator<Item = &CellState> {
        self.state.permutations().filter(|cell| !self.is_quarantined(cell))
    }

    fn outcome(&self, cell: &CellState) -> Outcome {
        self.state.verdict(cell).outcome
    }

    fn is_healthy(&self, cell: &CellState) -> bool {
        self.outcome(cell) == Outcome::Healthy
    }

    /// Healthy, and slowed down no more than is allowed.
    fn passes(&self, cell: &CellState) -> bool {
        match self.rules.slow_down {
            None => self.is_healthy(cell),
            Some(most) => {
                let verdict = self.state.verdict(cell);
                let only_slow = verdict.outcome == Outcome::Unhealthy
                    && verdict.reasons.iter().all(|reason| reason.id == ReasonId::SlowBoot);
                // What nobody measured is not known to be slow, nor excused.
                let is_slow = slow_down(cell).map(|times| times > most);
                match is_slow {
                    Some(is_slow) => !is_slow && (only_slow || verdict.outcome == Outcome::Healthy),
                    None => verdict.outcome == Outcome::Healthy,
                }
            }
        }
    }

    /// Unhealthy in the end, or before an attempt about which nothing is known.
    fn is_broken(&self, cell: &CellState) -> bool {
        match self.outcome(cell) {
            Outcome::Healthy | Outcome::Unhealthy => !self.passes(cell),
            Outcome::Inconclusive => cell.earlier_with(Outcome::Unhealthy).next().is_some(),
        }
    }
}

/// How many times as long as its control's restart the cell's last one took, without the time that the lab took from it.
fn slow_down(cell: &CellState) -> Option<f64> {
    let signals = &cell.attempts.last()?.signals;
    let own = signals.iter().rev().find_map(|signal| match &signal.what {
        SignalKind::BootCost { took, waited, .. } => Some(took.since(*waited)),
        _ => None,
    })?;
    let control = signals.iter().rev().find_map(|signal| match &signal.what {
        SignalKind::ControlEnded { facts, .. } => facts.as_ref().map(|facts| facts.restart),
        _ => None,
    })?;
    #[allow(clippy::cast_precision_loss, reason = "no restart takes 2^52 ms")]
    let times = own.0 as f64 / control.0 as f64;
    (control.0 > 0).then_some(times)
}

fn outcome(
    rule: &'static str,
    against: Option<Decision>,
    says: impl Into<String>,
    cells: impl IntoIterator<Item = CellId>,
) -> Option<RuleOutcome> {
    Some(RuleOutcome { rule, against, says: says.into(), cells: cells.into_iter().collect() })
}

fn ids(cells: &[&CellState]) -> Vec<CellId> {
    cells.iter().map(|cell| cell.planned.id.clone()).collect()
}

#[cfg(test)]
mod tests;
