//! What rules make of the evidence: a pure function of it and of the time.

use std::collections::BTreeSet;

use time::{Duration, OffsetDateTime};

use super::{CellFacts, Evidence, Ruling, decide::weight};
use crate::{
    event::Decision,
    model::{CellId, Labels, Outcome, ReasonId, Rules, count},
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

/// The decision by rules, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    pub ruling: Ruling,
    /// In the order in which they are read.
    pub rules: Vec<RuleOutcome>,
}

/// Decides over what is known of a run. Fails closed: what a rule needs to know and nobody tells is against an approval.
pub fn assess(evidence: &Evidence, rules: &Rules, now: OffsetDateTime) -> Assessment {
    let reader = Reader { evidence, rules, now };
    let outcomes = [
        reader.ended(),
        reader.quarantine(),
        reader.cells(),
        reader.lost(),
        reader.slow_down(),
        reader.flaky(),
        reader.not_tried(),
        reader.coverage(),
        reader.control(),
        reader.required(),
        reader.soak(),
        reader.max_age(),
        reader.image_age(),
        reader.record(),
    ];
    Assessment::of(outcomes.into_iter().flatten().collect())
}

/// The cells that pass by themselves, whatever the others do.
pub(super) fn passing<'a>(evidence: &'a Evidence, rules: &'a Rules) -> BTreeSet<&'a CellId> {
    let reader = Reader { evidence, rules, now: OffsetDateTime::UNIX_EPOCH };
    evidence.permutations().filter(|cell| reader.passes(cell)).map(|cell| &cell.id).collect()
}

const COVERAGE: &str = "coverage";

impl Assessment {
    /// What these come to together: the heaviest decides.
    pub(super) fn of(rules: Vec<RuleOutcome>) -> Self {
        // Cells that lack because they are broken have been told of.
        let is_news = |rule: &&RuleOutcome| rule.rule != COVERAGE || rule.against != Some(Decision::Rejected);
        let mut against: Vec<(Decision, String)> =
            rules.iter().filter(is_news).filter_map(|rule| Some((rule.against?, rule.says.clone()))).collect();
        // Sorting is stable: those of one weight stay in the order in which they are read.
        against.sort_by_key(|(decision, _)| std::cmp::Reverse(weight(*decision)));
        let decision = rules.iter().filter_map(|rule| rule.against).max_by_key(|decision| weight(*decision));
        let ruling = Ruling {
            decision: decision.unwrap_or(Decision::Approved),
            reasons: against.into_iter().map(|(_, text)| text).collect(),
        };
        Self { ruling, rules }
    }
}

struct Reader<'a> {
    evidence: &'a Evidence,
    rules: &'a Rules,
    now: OffsetDateTime,
}

impl Reader<'_> {
    fn ended(&self) -> Option<RuleOutcome> {
        let (against, says) = match (&self.evidence.heavier, self.evidence.interrupted) {
            (_, true) => (Some(Decision::Cancelled), "the run was interrupted"),
            (Some((decision, why)), _) => (Some(*decision), why.as_str()),
            (None, _) => (None, "the run came to its end"),
        };
        outcome("ended", against, says, [])
    }

    fn record(&self) -> Option<RuleOutcome> {
        let (against, says) = match &self.evidence.contradiction {
            Some(first) => (Some(Decision::Inconclusive), format!("the journal contradicts itself: {first}")),
            None => (None, "its signals prove what it says".to_owned()),
        };
        outcome("record", against, says, [])
    }

    fn control(&self) -> Option<RuleOutcome> {
        if self.evidence.uncontrolled {
            let says = "control: off: nothing was compared with a control";
            return outcome("control", Some(Decision::Inconclusive), says, []);
        }
        let controls: Vec<&CellFacts> = self.evidence.cells.iter().filter(|cell| cell.control).collect();
        let unwell: Vec<&CellFacts> =
            controls.iter().copied().filter(|cell| cell.outcome != Outcome::Healthy).collect();
        let all = count(controls.len(), "control");
        // An image that is well by chance is nothing to compare with.
        let flaky: Vec<&CellFacts> = controls.iter().copied().filter(|cell| cell.unhealthy_before).collect();
        if !flaky.is_empty() {
            let says = format!("{} of {} flaky", flaky.len(), count(controls.len(), "control"));
            return outcome("control", Some(Decision::Inconclusive), says, ids(&flaky));
        }
        if unwell.is_empty() {
            return outcome("control", None, format!("{} of {all} healthy", controls.len()), []);
        }
        let says = format!("{} of {all} inconclusive", unwell.len());
        outcome("control", Some(Decision::Inconclusive), says, ids(&unwell))
    }

    /// Each entry is told, with the cells that do not count because of it.
    fn quarantine(&self) -> Option<RuleOutcome> {
        if self.rules.quarantine.is_empty() {
            return None;
        }
        let told = self.rules.quarantine.iter().map(|entry| {
            let state = if self.holds(entry.until) { "until" } else { "expired on" };
            format!("{} ({}; {state} {})", entry.cells, entry.reason, entry.until)
        });
        let says = told.collect::<Vec<_>>().join("; ");
        let cells: Vec<&CellFacts> = self.evidence.permutations().filter(|cell| self.is_quarantined(cell)).collect();
        outcome("quarantine", None, says, ids(&cells))
    }

    /// No cell that counts may be unhealthy; those about which nothing is known are coverage's to judge.
    fn cells(&self) -> Option<RuleOutcome> {
        if self.counted().next().is_none() {
            let says = match self.evidence.permutations().next() {
                None => "no cell was planned, so nothing was proven",
                Some(_) => "every cell is in quarantine, so nothing was proven",
            };
            return outcome("cells", Some(Decision::Inconclusive), says, []);
        }
        let broken: Vec<&CellFacts> = self.counted().filter(|cell| self.is_broken(cell)).collect();
        let excused = self.counted().filter(|cell| self.is_excused(cell)).count();
        let also = if excused > 0 {
            format!("{excused} only slower than its control, which is allowed; ")
        } else {
            String::new()
        };
        let says = format!("{also}{} unhealthy", self.share(broken.len()));
        outcome("cells", (!broken.is_empty()).then_some(Decision::Rejected), says, ids(&broken))
    }

    fn lost(&self) -> Option<RuleOutcome> {
        let is_lost = |cell: &&CellFacts| cell.outcome == Outcome::Inconclusive && cell.unhealthy_before;
        let lost: Vec<&CellFacts> = self.counted().filter(is_lost).collect();
        let says = format!("{} unhealthy first, inconclusive on another try", self.share(lost.len()));
        (!lost.is_empty()).then(|| outcome("cells", Some(Decision::Rejected), says, ids(&lost))).flatten()
    }

    fn slow_down(&self) -> Option<RuleOutcome> {
        let most = self.rules.slow_down?;
        let of = |slower: Option<bool>| -> Vec<&CellFacts> {
            let came_up = |cell: &&CellFacts| cell.outcome == Outcome::Healthy || cell.is_only_slow();
            self.counted().filter(came_up).filter(|cell| cell.is_slower_than(most) == slower).collect()
        };
        let (slow, unknown) = (of(Some(true)), of(None));
        if slow.is_empty() && !unknown.is_empty() {
            let says =
                format!("{}: nobody knows how long the restart took beside its control's", self.share(unknown.len()));
            return outcome("slow_down", Some(Decision::Inconclusive), says, ids(&unknown));
        }
        let says = format!("{} slower than {most} times its control's restart", self.share(slow.len()));
        outcome("slow_down", (!slow.is_empty()).then_some(Decision::Rejected), says, ids(&slow))
    }

    fn flaky(&self) -> Option<RuleOutcome> {
        // One that broke and then was only slow was not steady either.
        let is_flaky = |cell: &&CellFacts| cell.flaky || (cell.unhealthy_before && self.passes(cell));
        let flaky: Vec<&CellFacts> = self.counted().filter(is_flaky).collect();
        let allowed = self.rules.flaky;
        let against = (flaky.len() > allowed as usize).then_some(Decision::Rejected);
        let also = if allowed > 0 { format!(", and {allowed} allowed") } else { String::new() };
        let says = match flaky.len() {
            0 => format!("none{also}"),
            some => format!("{} flaky: unhealthy first, healthy on another try{also}", self.share(some)),
        };
        outcome("flaky", against, says, ids(&flaky))
    }

    /// Coverage excuses what the lab could not tell, and not what was never looked at.
    fn not_tried(&self) -> Option<RuleOutcome> {
        let never = [ReasonId::ImageMissing, ReasonId::ImageChanged, ReasonId::Cancelled];
        let is_one = |cell: &&CellFacts| {
            cell.outcome == Outcome::Inconclusive
                && (cell.attempts == 0 || cell.reasons.iter().any(|reason| never.contains(&reason.id)))
        };
        let cells: Vec<&CellFacts> = self.counted().filter(is_one).collect();
        // With the usual coverage they are told of with all others.
        if cells.is_empty() || self.rules.coverage >= 100.0 {
            return None;
        }
        let says = format!("{} not tried, or not on the image that was meant", self.share(cells.len()));
        outcome("cells", Some(Decision::Inconclusive), says, ids(&cells))
    }

    fn coverage(&self) -> Option<RuleOutcome> {
        let (all, passed) = (self.counted().count(), self.counted().filter(|cell| self.passes(cell)).count());
        if all == 0 {
            return None;
        }
        let lacking: Vec<&CellFacts> = self.counted().filter(|cell| !self.passes(cell)).collect();
        let unknown = lacking.iter().filter(|cell| cell.outcome == Outcome::Inconclusive).count();
        #[allow(clippy::cast_precision_loss, reason = "no run has 2^52 cells")]
        let covered = passed as f64 * 100.0 / all as f64;
        let wanted = self.rules.coverage;
        let against = match (covered >= wanted && passed > 0, unknown) {
            (true, _) => None,
            (false, 0) => Some(Decision::Rejected),
            (false, _) => Some(Decision::Inconclusive),
        };
        let says = if wanted < 100.0 || unknown == 0 {
            let wanted = ((wanted * 100.0).round() / 100.0).abs();
            format!("{passed} of {} pass, {covered:.1} %, and {wanted} % wanted", count(all, "cell"))
        } else {
            format!("{} inconclusive", self.share(unknown))
        };
        outcome(COVERAGE, against, says, ids(&lacking))
    }

    fn required(&self) -> Option<RuleOutcome> {
        if self.rules.required.is_empty() {
            return None;
        }
        let matching = |labels: &Labels| {
            let cells = self.evidence.permutations().filter(|cell| labels.matches(&cell.axes));
            cells.collect::<Vec<_>>()
        };
        // With each value that an entry names, not with any of them.
        let absent = self.rules.required.iter().flat_map(Labels::each_value);
        let absent: Vec<String> =
            absent.filter(|labels| matching(labels).is_empty()).map(|labels| labels.to_string()).collect();
        let mut lacking: Vec<&CellFacts> =
            self.rules.required.iter().flat_map(matching).filter(|cell| !self.passes(cell)).collect();
        lacking.sort_by(|a, b| a.id.cmp(&b.id));
        lacking.dedup_by(|a, b| a.id == b.id);
        if !absent.is_empty() {
            let says = format!("required, and no cell was planned with {}", absent.join(", "));
            return outcome("required", Some(Decision::Rejected), says, ids(&lacking));
        }
        if lacking.is_empty() {
            return outcome("required", None, "all that is required passes", []);
        }
        let is_broken = lacking.iter().any(|cell| cell.outcome != Outcome::Inconclusive);
        let against = if is_broken { Decision::Rejected } else { Decision::Inconclusive };
        let says = format!("{} not healthy of what is required", count(lacking.len(), "cell"));
        outcome("required", Some(against), says, ids(&lacking))
    }

    fn soak(&self) -> Option<RuleOutcome> {
        let least = self.rules.soak;
        if least == 0 {
            return None;
        }
        let short: Vec<&CellFacts> = self.counted().filter(|cell| cell.soak.is_none_or(|soak| soak < least)).collect();
        let against = (!short.is_empty()).then_some(Decision::Rejected);
        let says =
            format!("{} planned with less than {}", self.share(short.len()), count(least as usize, "further restart"));
        outcome("soak", against, says, ids(&short))
    }

    fn max_age(&self) -> Option<RuleOutcome> {
        let most = self.rules.max_age?;
        match self.evidence.young_enough(most, self.now) {
            Ok(says) => outcome("max_age", None, says, []),
            Err(says) => outcome("max_age", Some(Decision::Rejected), says, []),
        }
    }

    fn image_age(&self) -> Option<RuleOutcome> {
        let most = self.rules.image_age?;
        let days = count(most as usize, "day");
        let most = Duration::days(i64::from(most));
        let is_old = |cell: &&CellFacts| match (cell.image_made, self.evidence.began) {
            (Some(made), Some(began)) => !(Duration::ZERO..=most).contains(&(began - made.midnight().assume_utc())),
            _ => true,
        };
        let old: Vec<&CellFacts> = self.counted().filter(is_old).collect();
        let mut images: Vec<&str> = old.iter().map(|cell| cell.image.as_str()).collect();
        images.sort_unstable();
        images.dedup();
        let says = match &images[..] {
            [] => format!("no image is older than {days}"),
            old => {
                format!("images older than {days}, or without `made` in the catalogue: {}", old.join(", "))
            }
        };
        outcome("image_age", (!old.is_empty()).then_some(Decision::Rejected), says, ids(&old))
    }

    /// Up to the end of the day.
    fn holds(&self, until: time::Date) -> bool {
        self.now.checked_to_offset(time::UtcOffset::UTC).is_some_and(|now| now.date() <= until)
    }

    /// What is required counts always.
    fn is_quarantined(&self, cell: &CellFacts) -> bool {
        if self.rules.required.iter().any(|labels| labels.matches(&cell.axes)) {
            return false;
        }
        let mut entries = self.rules.quarantine.iter().filter(|entry| self.holds(entry.until));
        entries.any(|entry| entry.cells.matches(&cell.axes))
    }

    /// The permutations whose outcome counts.
    fn counted(&self) -> impl Iterator<Item = &CellFacts> {
        self.evidence.permutations().filter(|cell| !self.is_quarantined(cell))
    }

    fn share(&self, some: usize) -> String {
        format!("{some} of {}", count(self.counted().count(), "cell"))
    }

    /// Healthy, and slowed down no more than is allowed.
    fn passes(&self, cell: &CellFacts) -> bool {
        let is_too_slow = self.rules.slow_down.and_then(|most| cell.is_slower_than(most)) == Some(true);
        !is_too_slow && (cell.outcome == Outcome::Healthy || self.is_excused(cell))
    }

    /// Only slower than its control, and by no more than is allowed. What nobody measured is not excused.
    fn is_excused(&self, cell: &CellFacts) -> bool {
        cell.is_only_slow() && self.rules.slow_down.and_then(|most| cell.is_slower_than(most)) == Some(false)
    }

    fn is_broken(&self, cell: &CellFacts) -> bool {
        cell.outcome == Outcome::Unhealthy && !self.is_excused(cell)
    }
}

fn outcome(
    rule: &'static str,
    against: Option<Decision>,
    says: impl Into<String>,
    cells: impl IntoIterator<Item = CellId>,
) -> Option<RuleOutcome> {
    Some(RuleOutcome { rule, against, says: says.into(), cells: cells.into_iter().collect() })
}

fn ids(cells: &[&CellFacts]) -> Vec<CellId> {
    cells.iter().map(|cell| cell.id.clone()).collect()
}

#[cfg(test)]
mod tests;
