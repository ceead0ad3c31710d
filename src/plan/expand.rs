use crate::{
    matrix::{Matrix, Pairs},
    model::AxisValue,
    source::{Diagnostic, Diagnostics, Place, hint_among},
};

/// More cells than this are taken for a slip.
const MAX_CELLS: usize = 10_000;

/// A combination of axis values, and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Combination {
    /// A value for every axis, in the matrix's order.
    pub values: Vec<String>,
    /// The entry of `include`; none: from the axes.
    pub included_at: Option<Place>,
}

impl Combination {
    pub fn axes(&self, matrix: &Matrix) -> Vec<AxisValue> {
        let pairs = matrix.axes.iter().zip(&self.values);
        pairs.map(|(axis, value)| AxisValue { axis: axis.name.value.clone(), value: value.clone() }).collect()
    }

    pub fn matches(&self, pairs: &Pairs) -> bool {
        pairs.iter().all(|(axis, values)| values.contains(&self.values[*axis]))
    }

    /// Where the value of an axis is written.
    pub fn place(&self, matrix: &Matrix, axis: &str) -> Place {
        let index = matrix.axes.iter().position(|known| known.name.value == axis);
        let value = index.and_then(|index| {
            let axis = &matrix.axes[index];
            axis.values.iter().find(|value| value.value == self.values[index]).map(|value| value.place)
        });
        self.included_at.or(value).unwrap_or(matrix.axes[0].name.place)
    }
}

/// Every combination that the run tries, the last axis changing fastest, included cells at the end.
pub(super) fn expand(matrix: &Matrix, only: &[(String, String)], found: &mut Diagnostics) -> Vec<Combination> {
    let count = matrix.axes.iter().try_fold(1usize, |count, axis| count.checked_mul(axis.values.len()));
    if count.is_none_or(|count| count > MAX_CELLS) {
        let message = format!("the axes make more than {MAX_CELLS} cells");
        let hint = "every combination is a machine to boot: take values out";
        found.push(Diagnostic::error(message).at(&matrix.file, matrix.axes[0].name.place).hint(hint));
        return Vec::new();
    }
    let mut cells = vec![Combination { values: Vec::new(), included_at: None }];
    for axis in &matrix.axes {
        let longer = |cell: &Combination| -> Vec<Combination> {
            let with = |value: &String| Combination {
                values: cell.values.iter().chain([value]).cloned().collect(),
                included_at: None,
            };
            axis.values.iter().map(|value| with(&value.value)).collect()
        };
        cells = cells.iter().flat_map(longer).collect();
    }
    exclude(matrix, &mut cells, found);
    include(matrix, &mut cells, found);
    for entry in matrix.cold.iter().filter(|entry| !cells.iter().any(|cell| cell.matches(&entry.value))) {
        let error = Diagnostic::error("this entry of `cold` matches no cell").at(&matrix.file, entry.place);
        found.push(error.hint("no cell would prove its cold start: correct it or take it out"));
    }
    if cells.is_empty() {
        let message = "no cell is left";
        let hint = "`exclude` takes every combination out";
        found.push(Diagnostic::error(message).at(&matrix.file, matrix.axes[0].name.place).hint(hint));
        return cells;
    }
    select(matrix, cells, only, found)
}

fn exclude(matrix: &Matrix, cells: &mut Vec<Combination>, found: &mut Diagnostics) {
    let all = cells.clone();
    for entry in &matrix.exclude {
        if !all.iter().any(|cell| cell.matches(&entry.value)) {
            let error = Diagnostic::error("this exclusion matches no cell").at(&matrix.file, entry.place);
            found.push(error.hint("an exclusion that excludes nothing is usually a slip: correct it or take it out"));
        }
        cells.retain(|cell| !cell.matches(&entry.value));
    }
}

fn include(matrix: &Matrix, cells: &mut Vec<Combination>, found: &mut Diagnostics) {
    for entry in &matrix.include {
        if cells.iter().any(|cell| cell.values == entry.value) {
            let error = Diagnostic::error("this included cell is there already").at(&matrix.file, entry.place);
            found.push(error.hint("take it out, or give it values of its own"));
        } else {
            cells.push(Combination { values: entry.value.clone(), included_at: Some(entry.place) });
        }
    }
}

/// Keeps what `--only` asks for: values of one axis are alternatives, different axes must all fit.
fn select(
    matrix: &Matrix,
    mut cells: Vec<Combination>,
    only: &[(String, String)],
    found: &mut Diagnostics,
) -> Vec<Combination> {
    let mut wanted = Pairs::new();
    for (axis, value) in only {
        let names: Vec<&str> = matrix.axes.iter().map(|axis| axis.name.value.as_str()).collect();
        let Some(index) = names.iter().position(|name| name == axis) else {
            let error = Diagnostic::error(format!("--only {axis}={value}: the matrix has no axis `{axis}`"));
            found.push(error.hint(hint_among(axis, &names, "axes")));
            continue;
        };
        let mut values: Vec<&str> = cells.iter().map(|cell| cell.values[index].as_str()).collect();
        if !values.contains(&value.as_str()) {
            values.sort_unstable();
            values.dedup();
            let error = Diagnostic::error(format!("--only {axis}={value}: no cell has the value `{value}`"));
            found.push(error.hint(hint_among(value, &values, "values")));
            continue;
        }
        match wanted.iter_mut().find(|(known, _)| *known == index) {
            Some((_, values)) => values.push(value.clone()),
            None => wanted.push((index, vec![value.clone()])),
        }
    }
    let before = cells.len();
    cells.retain(|cell| cell.matches(&wanted));
    if cells.is_empty() && before > 0 {
        let error = Diagnostic::error("--only leaves no cell: no cell has all of these values");
        found.push(error.hint("`bootgate plan MATRIX` shows all cells"));
    }
    cells
}
