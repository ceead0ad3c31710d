//! What a run left: its journal, read with the library.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context as _;
use bootgate::{
    event::{CellState, RunStart, RunState, read},
    model::{Millis, Outcome, RestartVia, Role, Signal, SignalKind},
};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

pub struct Record {
    pub state: RunState,
    pub start: RunStart,
}

/// What restarts cost: means, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// From the request until settled.
    pub took: f64,
    /// CPU time of the machine's process; none: nobody told.
    pub cpu: Option<f64>,
    /// Whose it is.
    pub of: String,
}

impl Cost {
    pub fn json(&self) -> Value {
        json!({ "took_s": self.took, "cpu_s": self.cpu, "of": self.of })
    }
}

impl Record {
    /// The only run in this folder.
    pub fn read(runs: &Path) -> anyhow::Result<Self> {
        let mut dirs = fs::read_dir(runs).with_context(|| format!("no run in {}", runs.display()))?;
        let dir = dirs.next().with_context(|| format!("no run in {}", runs.display()))??.path();
        let journal = read(&dir.join("events.jsonl"))?;
        let state = RunState::of(journal.run.clone(), &journal.events);
        let start = state.start.clone().context("a run without a start")?;
        Ok(Self { state, start })
    }

    /// The permutations: cells that are no controls.
    pub fn cells(&self) -> impl Iterator<Item = &CellState> {
        self.state.cells.iter().filter(|cell| cell.planned.role != Role::Control)
    }

    /// Each permutation's id with its outcome, `healthy` or `unhealthy`.
    pub fn outcomes(&self) -> BTreeMap<String, String> {
        let outcome = |cell: &CellState| match self.state.verdict(cell).outcome {
            Outcome::Healthy => "healthy",
            Outcome::Unhealthy => "unhealthy",
            Outcome::Inconclusive => "inconclusive",
        };
        self.cells().map(|cell| (cell.planned.id.0.clone(), outcome(cell).to_owned())).collect()
    }

    /// The decision and the leading reasons, for a message.
    pub fn summary(&self) -> String {
        let decision = self.state.decision.map_or("no decision", |decision| decision.as_str());
        let reason = |cell: &CellState| {
            let verdict = self.state.verdict(cell);
            verdict.lead().map(|lead| format!("{}: {} ({})", cell.planned.id.0, lead.id.as_str(), lead.message))
        };
        let reasons: Vec<String> = self.state.cells.iter().filter_map(reason).take(3).collect();
        format!("{decision} {}", reasons.join("; "))
    }

    /// When the run's moment 0 was, in seconds since 1970.
    pub fn epoch(&self) -> anyhow::Result<f64> {
        let utc = OffsetDateTime::parse(&self.start.utc, &Rfc3339).context("the run's start")?;
        Ok(utc.unix_timestamp_nanos() as f64 / 1e9)
    }

    /// What one restart of this image costs without the candidate: measured by its control in this run, or known
    /// from an earlier one.
    pub fn control(&self, image: &str) -> Option<Cost> {
        let is_its_control = |cell: &&CellState| cell.planned.role == Role::Control && cell.planned.image == image;
        let control = self.state.cells.iter().find(is_its_control)?;
        let of = control.planned.id.0.clone();
        let costs: Vec<(f64, f64)> = boot_costs(control).collect();
        if let Some((took, cpu)) = means(&costs) {
            return Some(Cost { took, cpu: Some(cpu), of });
        }
        // The last one counts: a control that is known, or that says so at its end.
        let known = signals(control).filter_map(|signal| match &signal.what {
            SignalKind::ControlKnown { facts, run, .. } => Some((facts, format!("{of}, in run {}", run.0))),
            SignalKind::ControlFacts { facts } => Some((facts, of.clone())),
            _ => None,
        });
        let (facts, of) = known.last()?;
        let cpu = (facts.restart_cpu > Millis::ZERO).then(|| seconds(facts.restart_cpu));
        Some(Cost { took: seconds(facts.restart), cpu, of })
    }

    /// What restarts of the permutations cost on average, by their own signals.
    pub fn own_cost(&self) -> Option<Cost> {
        let costs: Vec<(f64, f64)> = self.cells().flat_map(boot_costs).collect();
        let (took, cpu) = means(&costs)?;
        Some(Cost { took, cpu: Some(cpu), of: format!("{} restarts of all cells", costs.len()) })
    }

    /// How long this cell's restarts took, for a bootgate that tells no costs.
    pub fn restarts_of(&self, cell: &CellState) -> Option<Cost> {
        let mut asked = None;
        let mut took = Vec::new();
        for signal in signals(cell) {
            match &signal.what {
                SignalKind::RestartAsked { via: RestartVia::Agent } => asked = Some(signal.at),
                SignalKind::Settled => took.extend(asked.take().map(|asked| seconds(signal.at.since(asked)))),
                _ => {}
            }
        }
        let mean = mean(&took)?;
        Some(Cost { took: mean, cpu: None, of: cell.planned.id.0.clone() })
    }
}

pub fn signals(cell: &CellState) -> impl Iterator<Item = &Signal> {
    cell.attempts.iter().flat_map(|attempt| &attempt.signals)
}

/// Each restart's time and CPU time.
fn boot_costs(cell: &CellState) -> impl Iterator<Item = (f64, f64)> {
    signals(cell).filter_map(|signal| match signal.what {
        SignalKind::BootCost { took, cpu, .. } => Some((seconds(took), seconds(cpu))),
        _ => None,
    })
}

fn means(pairs: &[(f64, f64)]) -> Option<(f64, f64)> {
    let (first, second): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    Some((mean(&first)?, mean(&second)?))
}

pub fn mean(numbers: &[f64]) -> Option<f64> {
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

pub fn seconds(time: Millis) -> f64 {
    time.as_duration().as_secs_f64()
}
