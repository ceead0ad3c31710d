use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use super::{Mark, text};
use crate::event::RunState;

/// The matrix as a grid of two axes; the reader chooses others, which the script draws from [`Matrix::data`].
pub(super) struct Matrix {
    /// Each with whether it is the rows' and the columns'.
    pub(super) axes: Vec<(String, bool, bool)>,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<(String, Vec<Square>)>,
    /// The cells for the script, as JSON that can stand in HTML.
    pub(super) data: String,
}

/// Where a row and a column meet: the cells there, by how they stand, the worst first.
pub(super) type Square = Vec<Group>;

pub(super) struct Group {
    pub(super) mark: Mark,
    pub(super) cells: usize,
    /// The first of them.
    pub(super) id: String,
    /// For who does not see it.
    pub(super) label: String,
    /// Below the sign of one cell alone: its reason, or that it is healthy.
    pub(super) word: String,
}

/// A cell of the matrix as the script sees it.
#[derive(Serialize)]
struct Spot {
    id: String,
    mark: &'static str,
    reason: String,
    /// By the axes' order; null: it lacks this one.
    values: Vec<Option<String>>,
}

#[derive(Serialize)]
struct Data<'a> {
    axes: &'a [String],
    cells: &'a [Spot],
}

/// Most squares of a grid.
const MOST: usize = 10_000;

/// What stands for the value of a cell without this axis.
const NONE: &str = "—";

impl Matrix {
    pub(super) fn of(state: &RunState) -> Self {
        let mut axes: Vec<String> = Vec::new();
        for axis in state.permutations().flat_map(|cell| &cell.planned.axes) {
            let name = text(&axis.axis);
            if !axes.contains(&name) {
                axes.push(name);
            }
        }
        let spots: Vec<Spot> = state
            .permutations()
            .map(|cell| {
                let verdict = state.verdict(cell);
                let value = |name: &String| {
                    let found = cell.planned.axes.iter().find(|axis| text(&axis.axis) == *name);
                    found.map(|axis| text(&axis.value))
                };
                Spot {
                    id: cell.planned.id.to_string(),
                    mark: Mark::of(cell, &verdict).word(),
                    reason: verdict.lead().map_or(String::new(), |lead| lead.id.to_string()),
                    values: axes.iter().map(value).collect(),
                }
            })
            .collect();
        let data = Data { axes: &axes, cells: &spots };
        // `</script>` and `<!--` would end the data.
        let data = serde_json::to_string(&data).unwrap_or_default().replace('<', "\\u003c");
        let (row, column) = chosen(&axes, &spots);
        let at = |spot: &Spot, axis: Option<usize>| {
            axis.map_or(String::new(), |axis| spot.values[axis].clone().unwrap_or_else(|| NONE.to_owned()))
        };
        let (mut heads, mut columns) = (Vec::new(), Vec::new());
        let mut places: HashMap<(usize, usize), Vec<&Spot>> = HashMap::new();
        for spot in spots.iter().filter(|_| row.is_some()) {
            let place = (place_in(&mut heads, at(spot, row)), place_in(&mut columns, at(spot, column)));
            places.entry(place).or_default().push(spot);
        }
        let squares = |row: usize| {
            let here = (0..columns.len()).map(|column| places.get(&(row, column)).map_or(&[][..], Vec::as_slice));
            here.map(square).collect()
        };
        let rows = heads.into_iter().enumerate().map(|(n, head)| (head, squares(n))).collect();
        let axes = axes.into_iter().enumerate().map(|(n, name)| (name, row == Some(n), column == Some(n))).collect();
        Self { axes, columns, rows, data }
    }

    /// Whether there is anything to choose from.
    pub(super) fn has_choice(&self) -> bool {
        self.axes.len() > 1
    }

    /// With so many columns there is no room for reasons.
    pub(super) fn is_wide(&self) -> bool {
        self.columns.len() > 8
    }
}

/// Where a value stands among those that came before; behind them if it is new.
fn place_in(values: &mut Vec<String>, value: String) -> usize {
    values.iter().position(|known| *known == value).unwrap_or_else(|| {
        values.push(value);
        values.len() - 1
    })
}

/// The axes of rows and columns: the first two of which there are several values. Of many values in few rows, the rows
/// are the many. A grid that would be mostly empty has no columns.
fn chosen(axes: &[String], spots: &[Spot]) -> (Option<usize>, Option<usize>) {
    let values = |axis: usize| spots.iter().map(|spot| &spot.values[axis]).collect::<BTreeSet<_>>().len();
    let mut order: Vec<usize> = (0..axes.len()).collect();
    order.sort_by_key(|axis| values(*axis) < 2);
    match order[..] {
        [] => (None, None),
        [only] => (Some(only), None),
        [first, second, ..] if values(first) * values(second) > MOST => (Some(first), None),
        [first, second, ..] if values(second) > values(first).max(12) => (Some(second), Some(first)),
        [first, second, ..] => (Some(first), Some(second)),
    }
}

fn square(here: &[&Spot]) -> Square {
    let kinds = [Mark::Unhealthy, Mark::Flaky, Mark::Inconclusive, Mark::Healthy];
    let group = |mark: Mark| {
        let found: Vec<&&Spot> = here.iter().filter(|spot| spot.mark == mark.word()).collect();
        let first = found.first()?;
        let alone = here.len() == 1;
        let label = match (alone, first.reason.is_empty()) {
            (true, true) => format!("{}: {}", first.id, first.mark),
            (true, false) => format!("{}: {}, {}", first.id, first.mark, first.reason),
            (false, _) => format!("{} of {} {}, the first is {}", found.len(), here.len(), first.mark, first.id),
        };
        let word = match (alone, first.reason.is_empty()) {
            (true, true) => first.mark.to_owned(),
            (true, false) => first.reason.clone(),
            (false, _) => String::new(),
        };
        Some(Group { mark, cells: found.len(), id: first.id.clone(), label, word })
    };
    kinds.into_iter().filter_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::testing::{Story, nine};

    fn shown(matrix: &Matrix) -> Vec<String> {
        let row = |(name, squares): &(String, Vec<Square>)| {
            let signs = |square: &Square| square.iter().map(|group| group.mark.glyph(true)).collect::<String>();
            format!("{name} {}", squares.iter().map(signs).collect::<Vec<_>>().join(" "))
        };
        matrix.rows.iter().map(row).collect()
    }

    #[test]
    fn the_first_two_axes_are_rows_and_columns() {
        let matrix = Matrix::of(&nine().state());
        assert_eq!(matrix.columns, ["p1", "p2", "p3"]);
        assert_eq!(shown(&matrix), ["os-8 ✓ ✓ ✗", "os-9 ✓ ✓ ✗", "os-10 ? ✓ ✗"]);
        assert_eq!(matrix.rows[0].1[2][0].label, "os-8.p3: unhealthy, stop-error");
    }

    #[test]
    fn an_axis_of_one_value_gives_way_to_one_of_several() {
        let mut story = Story::of(&["a.p1", "a.p2"]);
        let crate::event::RunEvent::RunStarted { start } = &mut story.events[0].what else { panic!("no start") };
        for (cell, channel) in start.cells.iter_mut().zip(["beta", "stable"]) {
            cell.axes.push(crate::model::AxisValue { axis: "channel".into(), value: channel.into() });
        }
        let matrix = Matrix::of(&story.state());
        assert_eq!((matrix.columns, matrix.rows.len()), (vec!["beta".to_owned(), "stable".to_owned()], 2));
    }

    #[test]
    fn a_matrix_of_one_axis_or_none_is_no_error() {
        let matrix = Matrix::of(&Story::of(&["a", "b"]).healthy("a", 1).state());
        assert_eq!((shown(&matrix), matrix.columns.len()), (vec!["a ✓".to_owned(), "b ?".to_owned()], 1));
        assert!(Matrix::of(&Story::of(&[]).state()).rows.is_empty());
    }

    #[test]
    fn what_a_value_says_cannot_end_the_data() {
        let mut story = Story::of(&["a.p1"]);
        let crate::event::RunEvent::RunStarted { start } = &mut story.events[0].what else { panic!("no start") };
        start.cells[0].axes[0].value = "</script><!--<b>".to_owned();
        let matrix = Matrix::of(&story.state());
        assert!(!matrix.data.contains('<'), "{}", matrix.data);
        assert!(matrix.rows[0].0.contains("</script>"), "the template escapes it");
    }
}
