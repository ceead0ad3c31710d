use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::history::KnownCells;
use crate::model::{Cell, Millis, Role, Start};

/// Cells that wait for their turn.
///
/// Controls go first, because others wait for them; then cells that failed last time, because what breaks is to be
/// known early; then the longest, so that none begins when all others are done (the rule "longest processing time
/// first" needs at most a third more than the best order). Equals keep the plan's order.
#[derive(Debug, Default)]
pub struct Queue {
    /// Cells of one group may start or wait alike, so that only the first of each is asked about.
    groups: BTreeMap<Group, BTreeSet<Place>>,
}

/// The image, whether it is a control, and how it starts.
type Group = (String, bool, bool);

/// A place in the row: smaller is sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Not a control.
    later: bool,
    /// Another try waits for all first ones.
    attempt: u32,
    /// Not known to fail.
    sound: bool,
    expected: Reverse<Millis>,
    index: usize,
}

/// What is known of each of the plan's cells.
#[derive(Debug)]
pub struct Expectations {
    cells: Vec<Expected>,
}

#[derive(Clone, Copy, Debug)]
struct Expected {
    known: Option<Millis>,
    assumed: Millis,
    failed: bool,
}

impl Expectations {
    /// A cell that nothing is known of is taken to be as long as the others are in the mean.
    pub fn new(cells: &[Cell], known: &KnownCells) -> Self {
        let known: Vec<_> = cells.iter().map(|cell| known.of(cell)).collect();
        let took: Vec<u64> = known.iter().flatten().filter_map(|known| known.took).map(|took| took.0).collect();
        let mean = Millis(took.iter().sum::<u64>().checked_div(took.len() as u64).unwrap_or(0));
        let expected = |known: Option<super::history::Known>| {
            let took = known.and_then(|known| known.took);
            Expected { known: took, assumed: took.unwrap_or(mean), failed: known.is_some_and(|known| known.failed) }
        };
        Self { cells: known.into_iter().map(expected).collect() }
    }

    /// How long the plan's `index`-th cell took in earlier runs.
    pub fn took(&self, index: usize) -> Option<Millis> {
        self.cells.get(index)?.known
    }
}

impl Queue {
    pub fn add(&mut self, index: usize, cell: &Cell, attempt: u32, expectations: &Expectations) {
        let control = cell.role == Role::Control;
        let (failed, assumed) =
            expectations.cells.get(index).map_or((false, Millis::ZERO), |known| (known.failed, known.assumed));
        let place = Place { later: !control, attempt, sound: !failed, expected: Reverse(assumed), index };
        let group = (cell.image.clone(), control, cell.start == Start::Cold);
        self.groups.entry(group).or_default().insert(place);
    }

    /// The cell whose turn it is, of those that may start, and the number of its attempt. It stays in the row.
    pub fn next(&self, may_start: impl Fn(usize) -> bool) -> Option<(usize, u32)> {
        let firsts = self.groups.values().filter_map(BTreeSet::first);
        let next = firsts.filter(|place| may_start(place.index)).min()?;
        Some((next.index, next.attempt))
    }

    /// Takes a cell out of the row.
    pub fn remove(&mut self, index: usize, cell: &Cell) {
        let control = cell.role == Role::Control;
        let group = (cell.image.clone(), control, cell.start == Start::Cold);
        let Some(row) = self.groups.get_mut(&group) else { return };
        // It is the first one, unless the caller has other plans.
        if row.first().is_some_and(|place| place.index == index) {
            row.pop_first();
        } else {
            row.retain(|place| place.index != index);
        }
        if row.is_empty() {
            self.groups.remove(&group);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub fn clear(&mut self) {
        self.groups.clear();
    }
}

#[cfg(test)]
mod tests;
