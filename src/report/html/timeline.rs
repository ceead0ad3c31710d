use std::collections::HashMap;

use crate::{
    event::{Attempt, PhaseSpan, RunState},
    model::{Millis, Phase, Verdict},
};

/// Most phases that are shown; a run may soak a thousand times.
const ROWS: usize = 40;

/// From power-on to the verdict: the phases of a cell, beside its control's.
pub(super) struct Timeline {
    pub(super) rows: Vec<Row>,
    /// How many phases there are beside these.
    pub(super) more: usize,
    /// Whether the control was run, and is shown.
    pub(super) with_control: bool,
}

/// One phase.
pub(super) struct Row {
    pub(super) name: String,
    /// Empty: not reached.
    pub(super) took: String,
    pub(super) control_took: String,
    pub(super) bar: Option<Bar>,
    pub(super) control_bar: Option<Bar>,
    /// Whether it did what it was for.
    pub(super) done: bool,
}

/// A place on a scale from 0 to 100.
pub(super) struct Bar {
    pub(super) left: String,
    pub(super) width: String,
}

/// A phase, and how often it had been entered before: a machine is watched after each restart.
type Name = (Phase, usize);

impl Timeline {
    pub(super) fn of(state: &RunState, attempt: &Attempt, verdict: &Verdict, control: Option<&Attempt>) -> Self {
        let own = spans(attempt);
        let other = control.map(spans).unwrap_or_default();
        // Before its first phase a cell waits for room on the host.
        let power_on = |spans: &[(Name, &PhaseSpan)]| spans.first().map_or(Millis::ZERO, |(_, span)| span.from);
        let (begin, other_begin) = (power_on(&own), power_on(&other));
        let length = |spans: &[(Name, &PhaseSpan)], begin: Millis| {
            spans.iter().map(|(_, span)| (span.from + span.took(state.now)).since(begin)).max().unwrap_or_default()
        };
        let scale = length(&own, begin).max(length(&other, other_begin)).0.max(1);
        let bar = |span: &PhaseSpan, begin: Millis| Bar::of(span.from.since(begin), span.took(state.now), scale);
        let took = |span: Option<&PhaseSpan>| span.map_or(String::new(), |span| span.took(state.now).to_string());
        let find = |spans: &[(Name, &'_ PhaseSpan)], name: Name| {
            spans.iter().find(|(found, _)| *found == name).map(|(_, span)| **span)
        };
        let mut names: Vec<Name> = own.iter().map(|(name, _)| *name).collect();
        names.extend(other.iter().map(|(name, _)| *name).filter(|name| find(&own, *name).is_none()));
        let row = |name: Name| {
            let (mine, its) = (find(&own, name), find(&other, name));
            Row {
                name: name.0.to_string(),
                took: took(mine.as_ref()),
                control_took: took(its.as_ref()),
                bar: mine.map(|span| bar(&span, begin)),
                control_bar: its.map(|span| bar(&span, other_begin)),
                done: mine.is_none_or(|span| span.done),
            }
        };
        let mut rows: Vec<Row> = names.into_iter().map(row).collect();
        if let Some(lead) = verdict.lead().filter(|lead| lead.at > begin) {
            let at = lead.at.since(begin);
            rows.push(Row {
                name: "verdict".to_owned(),
                took: format!("after {at}"),
                control_took: String::new(),
                bar: Some(Bar::of(at, Millis::ZERO, scale)),
                control_bar: None,
                done: false,
            });
        }
        Self { rows, more: judged(attempt).count().saturating_sub(ROWS), with_control: control.is_some() }
    }
}

/// Up to the end of the checks: what follows is fetching evidence and cleaning up.
fn judged(attempt: &Attempt) -> impl Iterator<Item = &PhaseSpan> {
    attempt.phases.iter().filter(|span| !matches!(span.phase, Phase::Collect | Phase::Destroy))
}

fn spans(attempt: &Attempt) -> Vec<(Name, &PhaseSpan)> {
    let mut seen: HashMap<Phase, usize> = HashMap::new();
    let named = judged(attempt).take(ROWS).map(|span| {
        let before = seen.entry(span.phase).and_modify(|before| *before += 1).or_default();
        ((span.phase, *before), span)
    });
    named.collect()
}

impl Bar {
    fn of(from: Millis, took: Millis, scale: u64) -> Self {
        let share = |time: Millis| time.0 as f64 * 100.0 / scale as f64;
        // What is over at once is still seen.
        let width = share(took).clamp(0.6, 100.0);
        Self { left: format!("{:.1}", share(from).min(100.0 - width)), width: format!("{width:.1}") }
    }
}
