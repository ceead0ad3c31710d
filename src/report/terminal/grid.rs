use console::measure_text_width;

use super::look::{Look, Mark};
use crate::{
    event::{CellState, RunState},
    model::one_line,
};

/// The matrix at a glance: rows are the first axis (and all beyond the second), columns the second.
///
/// Cells that lack these axes, and whole matrices too wide for the terminal, are listed by name.
pub(super) fn grid(state: &RunState, look: Look) -> Vec<String> {
    let Some((rows, columns)) = shape(state) else { return list(state, look, |_| true) };
    let row_width = rows.iter().map(|row| measure_text_width(row)).max().unwrap_or(0);
    let widths: Vec<usize> = columns.iter().map(|column| measure_text_width(column).max(1)).collect();
    if 4 + row_width + widths.iter().map(|width| width + 3).sum::<usize>() > look.width {
        return list(state, look, |_| true);
    }
    let mut lines = Vec::new();
    let head: String = columns.iter().map(|column| format!("   {column}")).collect();
    lines.push(format!("    {:row_width$}{}", "", look.dim(&head)));
    for row in &rows {
        let mut line = format!("    {}", pad(row, row_width));
        for (column, width) in columns.iter().zip(&widths) {
            let found = state.permutations().find(|cell| place(cell).as_ref() == Some(&(row.clone(), column.clone())));
            let (shown, left) = match found {
                Some(cell) => (look.mark(Mark::of_ended(state, cell)), (width - 1) / 2),
                // A permutation the matrix excludes.
                None => (" ".to_owned(), (width - 1) / 2),
            };
            line.push_str(&format!("   {:left$}{shown}{:right$}", "", "", right = width - 1 - left));
        }
        lines.push(line.trim_end().to_owned());
    }
    lines.extend(list(state, look, |cell| place(cell).is_none()));
    lines
}

fn list(state: &RunState, look: Look, wanted: impl Fn(&CellState) -> bool) -> Vec<String> {
    let cells = state.permutations().filter(|cell| wanted(cell));
    cells.map(|cell| format!("    {} {}", look.mark(Mark::of_ended(state, cell)), cell.planned.id)).collect()
}

/// The row and column labels, in the plan's order; none if a table would show nothing a list doesn't.
pub(in crate::report) fn shape(state: &RunState) -> Option<(Vec<String>, Vec<String>)> {
    let (mut rows, mut columns) = (Vec::new(), Vec::new());
    for (row, column) in state.permutations().filter_map(place) {
        if !rows.contains(&row) {
            rows.push(row);
        }
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    (rows.len() * columns.len() > 1).then_some((rows, columns))
}

/// The row and the column of a cell; none if it has fewer than two axes.
pub(in crate::report) fn place(cell: &CellState) -> Option<(String, String)> {
    let values: Vec<String> = cell.planned.axes.iter().map(|axis| one_line(&axis.value)).collect();
    let [first, second, further @ ..] = values.as_slice() else { return None };
    let row = std::iter::once(first).chain(further).cloned().collect::<Vec<_>>().join(" ");
    Some((row, second.clone()))
}

pub(super) fn pad(text: &str, width: usize) -> String {
    format!("{text}{:1$}", "", width.saturating_sub(measure_text_width(text)))
}
