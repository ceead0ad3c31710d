use crate::{
    event::{CellState, RunState},
    model::{AxisValue, Outcome, one_line},
};

/// One or two axis values that some cells have in common.
type Suspect<'a> = Vec<&'a AxisValue>;

/// One sentence on what the unhealthy cells have in common and the healthy ones have not, if there is
/// something: where to look first.
pub(super) fn common_ground(state: &RunState) -> Option<String> {
    let with = |outcome: Outcome| -> Vec<&CellState> {
        state.permutations().filter(|cell| state.verdict(cell).outcome == outcome).collect()
    };
    let (guilty, innocent) = (with(Outcome::Unhealthy), with(Outcome::Healthy));
    if guilty.len() < 2 {
        return None;
    }
    if innocent.is_empty() {
        return Some("No cell came up healthy: look at the update itself before the versions.".to_owned());
    }
    if let Some(suspects) = explain(&guilty, &innocent) {
        let names: Vec<String> = suspects.iter().map(name).collect();
        let unanswered = guilty.len() + innocent.len() < state.permutations().count();
        let caveat = if unanswered { ", as far as cells answered" } else { "" };
        return Some(format!("It breaks wherever {}, and only there{caveat}.", names.join(", or ")));
    }
    let shared: Vec<&AxisValue> =
        guilty[0].planned.axes.iter().filter(|value| guilty.iter().all(|cell| has(cell, value))).collect();
    if shared.is_empty() || innocent.iter().all(|cell| shared.iter().all(|value| has(cell, value))) {
        return None;
    }
    let spared = innocent.iter().filter(|cell| shared.iter().all(|value| has(cell, value))).count();
    let so_do = if spared == 1 { "so does 1 healthy one".to_owned() } else { format!("so do {spared} healthy ones") };
    Some(format!("Every unhealthy cell has {}; {so_do}.", name(&shared)))
}

/// The fewest values, or pairs of values, of which every bearer is unhealthy and that cover all of them.
///
/// At most three, taken greedily: more would explain nothing to anybody.
fn explain<'a>(guilty: &[&'a CellState], innocent: &[&CellState]) -> Option<Vec<Suspect<'a>>> {
    let mut suspects: Vec<Suspect<'a>> = Vec::new();
    let mut suspect = |suspect: Suspect<'a>| {
        let spares_innocents = !innocent.iter().any(|cell| suspect.iter().all(|value| has(cell, value)));
        if spares_innocents && !suspects.contains(&suspect) {
            suspects.push(suspect);
        }
    };
    for cell in guilty {
        cell.planned.axes.iter().for_each(|value| suspect(vec![value]));
    }
    for cell in guilty {
        for (n, first) in cell.planned.axes.iter().enumerate() {
            cell.planned.axes[n + 1..].iter().for_each(|second| suspect(vec![first, second]));
        }
    }
    let mut left = guilty.to_vec();
    let mut chosen = Vec::new();
    while !left.is_empty() && chosen.len() < 3 {
        let covers =
            |suspect: &Suspect<'_>| left.iter().filter(|cell| suspect.iter().all(|value| has(cell, value))).count();
        // The first of the best: single values come before pairs.
        let best = suspects.iter().rev().max_by_key(|suspect| covers(suspect))?.clone();
        // A suspect for each cell is the list of cells again.
        if covers(&best) < 2 {
            return None;
        }
        left.retain(|cell| !best.iter().all(|value| has(cell, value)));
        chosen.push(best);
    }
    left.is_empty().then_some(chosen)
}

fn has(cell: &CellState, value: &AxisValue) -> bool {
    cell.planned.axes.contains(value)
}

fn name(suspect: &Suspect<'_>) -> String {
    let values: Vec<String> =
        suspect.iter().map(|value| format!("{} = {}", one_line(&value.axis), one_line(&value.value))).collect();
    values.join(" with ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::testing::Story,
        model::{Phase, ReasonId},
    };

    /// Three OS versions by three patch levels, the given ones unhealthy, those with `?` inconclusive.
    fn sentence(broken: &[&str], unknown: &[&str]) -> Option<String> {
        let cells = ["a", "b", "c"].map(|os| ["p1", "p2", "p3"].map(|patch| format!("{os}.{patch}")));
        let cells: Vec<&str> = cells.iter().flatten().map(String::as_str).collect();
        let mut story = Story::of(&cells);
        for cell in cells {
            match () {
                () if broken.contains(&cell) => story.failed(cell, 1, Phase::Boot, ReasonId::BootHang, "m"),
                () if unknown.contains(&cell) => story.failed(cell, 1, Phase::Start, ReasonId::HostLost, "m"),
                () => story.healthy(cell, 1),
            };
        }
        common_ground(&story.state())
    }

    #[test]
    fn what_the_guilty_share_and_the_innocent_lack_is_named() {
        let breaks = |what: &str| Some(format!("It breaks wherever {what}, and only there."));
        assert_eq!(sentence(&["a.p3", "b.p3", "c.p3"], &[]), breaks("patch = p3"));
        let told = sentence(&["a.p3", "b.p3"], &["c.p3"]).unwrap();
        assert_eq!(told, "It breaks wherever patch = p3, and only there, as far as cells answered.");
        assert_eq!(sentence(&["a.p3", "b.p3", "c.p1", "c.p2", "c.p3"], &[]), breaks("patch = p3, or os = c"));
    }

    #[test]
    fn nothing_is_claimed_that_a_healthy_cell_refutes() {
        assert_eq!(
            sentence(&["a.p3", "b.p3"], &[]).unwrap(),
            "Every unhealthy cell has patch = p3; so does 1 healthy one."
        );
        assert_eq!(sentence(&["a.p1", "b.p2", "c.p3"], &[]), None);
        assert_eq!(sentence(&["a.p1"], &[]), None, "one cell shares everything with itself");
        assert_eq!(sentence(&[], &[]), None);
    }
}
