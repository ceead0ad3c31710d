use std::{cmp::Reverse, collections::BinaryHeap};

use tokio::time::Instant;

use super::{Happening, Rule};

/// What a machine still has to do, in order of time, and of arrival within the same moment.
#[derive(Default)]
pub(super) struct Agenda {
    entries: BinaryHeap<Reverse<Entry>>,
    arrivals: u64,
}

pub(super) enum Due {
    Timeline(Happening),
    /// The answer to a request to restart.
    Asked(Happening),
    CommandEnds(Box<Ending>),
}

/// A command that will have run its course.
pub(super) struct Ending {
    pub pid: i64,
    pub rule: Rule,
    /// Where its output goes, but for `.out` and `.err`.
    pub output: Option<String>,
}

struct Entry {
    at: Instant,
    arrival: u64,
    due: Due,
}

impl Agenda {
    pub fn add(&mut self, at: Instant, due: Due) {
        self.arrivals += 1;
        self.entries.push(Reverse(Entry { at, arrival: self.arrivals, due }));
    }

    pub fn next(&self) -> Option<Instant> {
        self.entries.peek().map(|Reverse(entry)| entry.at)
    }

    /// The first thing that is due by `now`, and since when.
    pub fn take(&mut self, now: Instant) -> Option<(Instant, Due)> {
        self.next().filter(|at| *at <= now)?;
        self.entries.pop().map(|Reverse(entry)| (entry.at, entry.due))
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Forgets all that a running kernel would have done.
    pub fn keep_timeline(&mut self) {
        self.entries.retain(|Reverse(entry)| matches!(entry.due, Due::Timeline(_)));
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.arrival).cmp(&(other.at, other.arrival))
    }
}
