//! How often cells end how, over several runs of the same matrix.

use std::collections::BTreeMap;

use crate::{
    event::RunState,
    model::{CellId, Outcome, ReasonId},
};

/// The normal distribution's quantile for a two-sided interval of 95 %.
const Z: f64 = 1.959_964;

/// What each cell came to in every run so far.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    runs: u32,
    cells: Vec<CellId>,
    ends: BTreeMap<CellId, Vec<(Outcome, Option<ReasonId>)>>,
}

/// How a cell ended in all runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    pub cell: CellId,
    pub runs: usize,
    pub healthy: usize,
    pub unhealthy: usize,
    pub inconclusive: usize,
    /// Between these shares of 1 the true share of unhealthy runs lies with 95 % confidence, inconclusive ones left out.
    pub unhealthy_share: (f64, f64),
    /// The leading reasons, most frequent first.
    pub reasons: Vec<(ReasonId, usize)>,
}

impl Rates {
    /// Adds a run that has ended.
    pub fn add(&mut self, state: &RunState) {
        self.runs += 1;
        for cell in state.permutations() {
            let verdict = state.verdict(cell);
            let id = &cell.planned.id;
            if !self.ends.contains_key(id) {
                self.cells.push(id.clone());
            }
            let lead = verdict.lead().map(|lead| lead.id);
            self.ends.entry(id.clone()).or_default().push((verdict.outcome, lead));
        }
    }

    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// In the plan's order.
    pub fn cells(&self) -> Vec<Rate> {
        self.cells.iter().map(|id| rate(id, &self.ends[id])).collect()
    }
}

fn rate(cell: &CellId, ends: &[(Outcome, Option<ReasonId>)]) -> Rate {
    let count = |outcome| ends.iter().filter(|(end, _)| *end == outcome).count();
    let (healthy, unhealthy, inconclusive) =
        (count(Outcome::Healthy), count(Outcome::Unhealthy), count(Outcome::Inconclusive));
    let mut reasons: BTreeMap<ReasonId, usize> = BTreeMap::new();
    for reason in ends.iter().filter_map(|(_, reason)| *reason) {
        *reasons.entry(reason).or_default() += 1;
    }
    let mut reasons: Vec<(ReasonId, usize)> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let unhealthy_share = interval(unhealthy, healthy + unhealthy);
    Rate { cell: cell.clone(), runs: ends.len(), healthy, unhealthy, inconclusive, unhealthy_share, reasons }
}

/// Where the true share lies with 95 % confidence, after `some` of `all`: Wilson's score interval.
///
/// Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
pub fn interval(some: usize, all: usize) -> (f64, f64) {
    if all == 0 {
        return (0.0, 1.0);
    }
    let n = all as f64;
    let share = some as f64 / n;
    let middle = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((middle - half) / scale).max(0.0), ((middle + half) / scale).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_wilsons() {
        let close = |(low, high): (f64, f64), (a, b): (f64, f64)| (low - a).abs() < 0.001 && (high - b).abs() < 0.001;
        // Of ten, one; of three hundred, none; of nothing, anything.
        assert!(close(interval(1, 10), (0.0179, 0.4042)), "{:?}", interval(1, 10));
        assert!(close(interval(0, 300), (0.0, 0.0126)), "{:?}", interval(0, 300));
        assert!(close(interval(5, 5), (0.5655, 1.0)), "{:?}", interval(5, 5));
        assert_eq!(interval(0, 0), (0.0, 1.0));
    }

    #[test]
    fn reasons_are_counted_and_the_lab_takes_no_part_in_the_share() {
        use Outcome::{Healthy, Inconclusive, Unhealthy};
        let ends = [
            (Unhealthy, Some(ReasonId::BootHang)),
            (Healthy, None),
            (Unhealthy, Some(ReasonId::StopError)),
            (Unhealthy, Some(ReasonId::StopError)),
            (Inconclusive, Some(ReasonId::HostLost)),
        ];
        let rate = rate(&"a".into(), &ends);
        assert_eq!((rate.runs, rate.healthy, rate.unhealthy, rate.inconclusive), (5, 1, 3, 1));
        assert_eq!(rate.reasons[0], (ReasonId::StopError, 2));
        assert_eq!(rate.unhealthy_share, interval(3, 4));
    }
}
