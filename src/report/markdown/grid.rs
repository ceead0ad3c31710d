use std::collections::HashMap;

use super::{
    sign,
    words::{Page, code, in_table},
};
use crate::{
    event::{CellState, RunState},
    report::terminal::{Mark, place, shape},
};

/// A wider table has to be scrolled, and a longer one hides what stands below it.
const COLUMNS: usize = 30;
const SQUARES: usize = 600;

/// Most cells of a list.
const LISTED: usize = 60;

/// The matrix at a glance: rows are the first axis (and all beyond the second), columns the second. Cells without these
/// axes, and whole matrices that are too large, are listed.
pub(super) fn grid(page: &mut Page, state: &RunState) {
    let fits = |(rows, columns): &(Vec<String>, Vec<String>)| {
        columns.len() <= COLUMNS && rows.len() * columns.len() <= SQUARES
    };
    match shape(state).filter(fits) {
        Some((rows, columns)) => {
            table(page, state, &rows, &columns);
            list(page, state, |cell| place(cell).is_none());
        }
        None => list(page, state, |_| true),
    }
}

fn table(page: &mut Page, state: &RunState, rows: &[String], columns: &[String]) {
    let mut marks: HashMap<(String, String), &str> = HashMap::new();
    for cell in state.permutations() {
        if let Some(place) = place(cell) {
            marks.entry(place).or_insert(sign(Mark::of_ended(state, cell)));
        }
    }
    let heads: String = columns.iter().map(|column| format!(" {} |", in_table(column))).collect();
    page.line(&format!("| |{heads}"));
    page.line(&format!("|---|{}", ":-:|".repeat(columns.len())));
    for row in rows {
        // A permutation that the matrix excludes has no mark.
        let mark = |column: &String| marks.get(&(row.clone(), column.clone())).copied().unwrap_or_default();
        let squares: String = columns.iter().map(|column| format!(" {} |", mark(column))).collect();
        page.line(&format!("| {} |{squares}", in_table(row)));
    }
    page.line("");
}

fn list(page: &mut Page, state: &RunState, wanted: impl Fn(&CellState) -> bool) {
    let mut cells: Vec<(Mark, &CellState)> =
        state.permutations().filter(|cell| wanted(cell)).map(|cell| (Mark::of_ended(state, cell), cell)).collect();
    // Sorting is stable: among those that are well, and those that are not, the plan's order stays.
    cells.sort_by_key(|(mark, _)| *mark == Mark::Healthy);
    for (mark, cell) in cells.iter().take(LISTED) {
        page.line(&format!("- {} {}", sign(*mark), code(cell.planned.id.as_ref())));
    }
    if cells.len() > LISTED {
        page.line(&format!("- and {} more, all in `result.json`", cells.len() - LISTED));
    }
    page.line("");
}
