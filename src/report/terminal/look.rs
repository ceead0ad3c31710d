use std::env;

use console::{Style, Term, truncate_str};

use crate::{
    event::{CellState, Decision, RunState},
    model::{Outcome, Verdict},
};

/// What the place we write to can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub color: bool,
    /// Whether it shows more than ASCII.
    pub unicode: bool,
    /// Columns; lines that tell something short are cut to it.
    pub width: usize,
}

impl Look {
    /// What a pipe or a log gets.
    pub const PLAIN: Look = Look { color: false, unicode: true, width: 200 };

    pub fn of_stdout() -> Self {
        Self::of(&Term::stdout(), console::colors_enabled())
    }

    pub fn of_stderr() -> Self {
        Self::of(&Term::stderr(), console::colors_enabled_stderr())
    }

    fn of(term: &Term, color: bool) -> Self {
        let width = term.size_checked().map_or(Self::PLAIN.width, |(_rows, columns)| usize::from(columns).max(20));
        // https://no-color.org: any value but an empty one.
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { color: color && !unwanted && !is_dumb(), unicode: is_utf8_locale(), width }
    }

    pub(super) fn paint(self, style: Style, text: &str) -> String {
        style.force_styling(self.color).apply_to(text).to_string()
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.paint(Style::new().dim(), text)
    }

    pub(super) fn fit(self, line: &str) -> String {
        truncate_str(line, self.width, if self.unicode { "…" } else { "..." }).into_owned()
    }

    pub(super) fn dot(self) -> &'static str {
        if self.unicode { " · " } else { " - " }
    }

    pub(super) fn mark(self, mark: Mark) -> String {
        self.paint(mark.style(), mark.glyph(self.unicode))
    }
}

/// How a cell stands, or a run or rule, in one sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Mark {
    Healthy,
    Flaky,
    Unhealthy,
    Inconclusive,
}

impl Mark {
    pub(in crate::report) fn of(cell: &CellState, verdict: &Verdict) -> Self {
        match verdict.outcome {
            Outcome::Healthy if cell.is_flaky() => Mark::Flaky,
            outcome => Self::of_outcome(outcome),
        }
    }

    pub(in crate::report) fn of_outcome(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Healthy => Mark::Healthy,
            Outcome::Unhealthy => Mark::Unhealthy,
            Outcome::Inconclusive => Mark::Inconclusive,
        }
    }

    pub(in crate::report) fn of_decision(decision: Decision) -> Self {
        match decision {
            Decision::Approved => Mark::Healthy,
            Decision::Rejected => Mark::Unhealthy,
            Decision::Inconclusive | Decision::Cancelled => Mark::Inconclusive,
        }
    }

    /// `against`: what the rule comes to; none: it holds.
    pub(in crate::report) fn of_rule(against: Option<Decision>) -> Self {
        match against {
            None => Mark::Healthy,
            Some(Decision::Rejected) => Mark::Unhealthy,
            Some(_) => Mark::Inconclusive,
        }
    }

    pub(in crate::report) fn of_ended(state: &RunState, cell: &CellState) -> Self {
        Self::of(cell, &state.verdict(cell))
    }

    pub(in crate::report) fn glyph(self, unicode: bool) -> &'static str {
        match (self, unicode) {
            (Mark::Healthy, true) => "✓",
            (Mark::Healthy, false) => "+",
            (Mark::Unhealthy, true) => "✗",
            (Mark::Unhealthy, false) => "x",
            (Mark::Flaky, _) => "~",
            (Mark::Inconclusive, _) => "?",
        }
    }

    pub(in crate::report) fn word(self) -> &'static str {
        match self {
            Mark::Healthy => "healthy",
            Mark::Flaky => "flaky",
            Mark::Unhealthy => "unhealthy",
            Mark::Inconclusive => "inconclusive",
        }
    }

    pub(super) fn style(self) -> Style {
        match self {
            Mark::Healthy => Style::new().green(),
            Mark::Flaky => Style::new().magenta().bold(),
            Mark::Unhealthy => Style::new().red().bold(),
            Mark::Inconclusive => Style::new().yellow(),
        }
    }
}

pub(super) fn is_dumb() -> bool {
    env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// As POSIX orders the variables: the first that is set decides.
fn is_utf8_locale() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| env::var(name).ok().filter(|v| !v.is_empty()));
    set.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}
