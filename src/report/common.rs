//! What unhealthy cells have in common: where to look first.

use std::fmt;

use crate::{
    event::{CellState, RunState},
    model::{AxisValue, Outcome, count, one_line},
};

/// What the unhealthy cells have in common and the healthy ones have not, or not all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommonGround {
    /// One sentence for people.
    pub(super) sentence: String,
    /// None: nothing sets any cells apart.
    pub(super) support: Option<Support>,
}

/// How many cells a sentence rests on: those that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Support {
    there: Share,
    elsewhere: Share,
}

impl Support {
    /// Whether every cell there is unhealthy, and none elsewhere.
    pub(super) fn is_exact(&self) -> bool {
        self.there.unhealthy == self.there.all && self.elsewhere.unhealthy == 0
    }
}

/// How many of some cells are unhealthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    unhealthy: usize,
    all: usize,
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { there, elsewhere } = self;
        write!(f, "{} of {} there unhealthy", there.unhealthy, count(there.all, "cell"))?;
        write!(f, ", {} of {} elsewhere", elsewhere.unhealthy, elsewhere.all)
    }
}

/// One or two axis values that some cells have in common.
type Suspect<'a> = Vec<&'a AxisValue>;

/// What the unhealthy cells have in common and the healthy ones have not, if there is something.
pub(super) fn common_ground(state: &RunState) -> Option<CommonGround> {
    let with = |outcome: Outcome| -> Vec<&CellState> {
        state.permutations().filter(|cell| state.verdict(cell).outcome == outcome).collect()
    };
    let (guilty, innocent) = (with(Outcome::Unhealthy), with(Outcome::Healthy));
    if guilty.len() < 2 {
        return None;
    }
    if innocent.is_empty() {
        let sentence = "No cell came up healthy: look at the update itself before the versions.".to_owned();
        return Some(CommonGround { sentence, support: None });
    }
    let support = |suspects: &[Suspect<'_>]| {
        let bearers = |cells: &[&CellState]| {
            cells.iter().filter(|cell| suspects.iter().any(|suspect| has_all(cell, suspect))).count()
        };
        let (bad, good) = (bearers(&guilty), bearers(&innocent));
        let there = Share { unhealthy: bad, all: bad + good };
        let all = guilty.len() + innocent.len();
        Some(Support { there, elsewhere: Share { unhealthy: guilty.len() - bad, all: all - there.all } })
    };
    if let Some(suspects) = explain(&guilty, &innocent) {
        let names: Vec<String> = suspects.iter().map(name).collect();
        let unanswered = guilty.len() + innocent.len() < state.permutations().count();
        let caveat = if unanswered { ", as far as is known" } else { "" };
        let sentence = format!("It breaks wherever {}, and only there{caveat}.", names.join(", or "));
        return Some(CommonGround { sentence, support: support(&suspects) });
    }
    let shared: Suspect<'_> =
        guilty[0].planned.axes.iter().filter(|value| guilty.iter().all(|cell| has(cell, value))).collect();
    let spared = innocent.iter().filter(|cell| has_all(cell, &shared)).count();
    if shared.is_empty() || spared == innocent.len() {
        return None;
    }
    let so_do = if spared == 1 { "so does 1 healthy one".to_owned() } else { format!("so do {spared} healthy ones") };
    let sentence = format!("Every unhealthy cell has {}; {so_do}.", name(&shared));
    Some(CommonGround { sentence, support: support(&[shared]) })
}

/// Of a cell with more axes only pairs of the first are tried.
const MANY: usize = 16;

/// The fewest values, or pairs of values, of which every bearer is unhealthy and that cover all of them.
///
/// At most three, taken greedily: more would explain nothing to anybody.
fn explain<'a>(guilty: &[&'a CellState], innocent: &[&CellState]) -> Option<Vec<Suspect<'a>>> {
    let mut suspects: Vec<Suspect<'a>> = Vec::new();
    let mut suspect = |suspect: Suspect<'a>| {
        let spares_innocents = !innocent.iter().any(|cell| has_all(cell, &suspect));
        if spares_innocents && !suspects.contains(&suspect) {
            suspects.push(suspect);
        }
    };
    for cell in guilty {
        cell.planned.axes.iter().for_each(|value| suspect(vec![value]));
    }
    for cell in guilty {
        let axes = cell.planned.axes.get(..MANY).unwrap_or(&cell.planned.axes);
        for (n, first) in axes.iter().enumerate() {
            axes[n + 1..].iter().for_each(|second| suspect(vec![first, second]));
        }
    }
    let mut left = guilty.to_vec();
    let mut chosen = Vec::new();
    while !left.is_empty() && chosen.len() < 3 {
        let covers = |suspect: &Suspect<'_>| left.iter().filter(|cell| has_all(cell, suspect)).count();
        // The first of the best: single values come before pairs.
        let best = suspects.iter().rev().max_by_key(|suspect| covers(suspect))?.clone();
        // A suspect for each cell is the list of cells again.
        if covers(&best) < 2 {
            return None;
        }
        left.retain(|cell| !has_all(cell, &best));
        chosen.push(best);
    }
    left.is_empty().then_some(chosen)
}

fn has(cell: &CellState, value: &AxisValue) -> bool {
    cell.planned.axes.contains(value)
}

fn has_all(cell: &CellState, suspect: &[&AxisValue]) -> bool {
    suspect.iter().all(|value| has(cell, value))
}

fn name(suspect: &Suspect<'_>) -> String {
    let values: Vec<String> =
        suspect.iter().map(|value| format!("{} = {}", one_line(&value.axis), one_line(&value.value))).collect();
    values.join(" with ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        event::testing::Story,
        model::{Phase, ReasonId},
    };

    const CELLS: [&str; 9] = ["a.p1", "a.p2", "a.p3", "b.p1", "b.p2", "b.p3", "c.p1", "c.p2", "c.p3"];

    /// Three OS versions by three patch levels, as these cells ended.
    fn ended(outcome: impl Fn(&str) -> Outcome) -> RunState {
        let mut story = Story::of(&CELLS);
        for cell in CELLS {
            match outcome(cell) {
                Outcome::Unhealthy => story.failed(cell, 1, Phase::Boot, ReasonId::BootHang, "m"),
                Outcome::Inconclusive => story.failed(cell, 1, Phase::Start, ReasonId::HostLost, "m"),
                Outcome::Healthy => story.healthy(cell, 1),
            };
        }
        story.state()
    }

    fn ground(broken: &[&str], unknown: &[&str]) -> Option<CommonGround> {
        common_ground(&ended(|cell| match () {
            () if broken.contains(&cell) => Outcome::Unhealthy,
            () if unknown.contains(&cell) => Outcome::Inconclusive,
            () => Outcome::Healthy,
        }))
    }

    fn sentence(broken: &[&str], unknown: &[&str]) -> Option<String> {
        ground(broken, unknown).map(|ground| ground.sentence)
    }

    #[test]
    fn what_the_guilty_share_and_the_innocent_lack_is_named() {
        let breaks = |what: &str| Some(format!("It breaks wherever {what}, and only there."));
        assert_eq!(sentence(&["a.p3", "b.p3", "c.p3"], &[]), breaks("patch = p3"));
        let told = sentence(&["a.p3", "b.p3"], &["c.p3"]).unwrap();
        assert_eq!(told, "It breaks wherever patch = p3, and only there, as far as is known.");
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

    #[test]
    fn a_sentence_has_the_numbers_that_it_rests_on() {
        let support = |broken: &[&str], unknown: &[&str]| ground(broken, unknown).unwrap().support.unwrap().to_string();
        assert_eq!(support(&["a.p3", "b.p3", "c.p3"], &[]), "3 of 3 cells there unhealthy, 0 of 6 elsewhere");
        assert_eq!(support(&["a.p3", "b.p3"], &["c.p3"]), "2 of 2 cells there unhealthy, 0 of 6 elsewhere");
        assert_eq!(support(&["a.p3", "b.p3"], &[]), "2 of 3 cells there unhealthy, 0 of 6 elsewhere");
        assert_eq!(ground(&CELLS, &[]).unwrap().support, None);
    }

    proptest! {
        #[test]
        fn what_is_said_to_break_only_there_does(outcomes in prop::collection::vec(0..3_usize, CELLS.len())) {
            let all = [Outcome::Healthy, Outcome::Unhealthy, Outcome::Inconclusive];
            let state = ended(|cell| all[outcomes[CELLS.iter().position(|known| *known == cell).unwrap()]]);
            let counts = state.final_counts();
            if let Some(CommonGround { sentence, support: Some(Support { there, elsewhere }) }) = common_ground(&state) {
                prop_assert_eq!(there.unhealthy, counts.unhealthy);
                prop_assert_eq!(elsewhere.unhealthy, 0);
                prop_assert_eq!(there.all + elsewhere.all, counts.unhealthy + counts.healthy);
                prop_assert_eq!(sentence.contains("only there"), Support { there, elsewhere }.is_exact());
            }
        }

        #[test]
        fn a_value_that_alone_breaks_is_always_found(value in prop::sample::select(vec!["a", "b", "c", "p1", "p2", "p3"])) {
            let breaks = |cell: &str| cell.split('.').any(|part| part == value);
            let state = ended(|cell| if breaks(cell) { Outcome::Unhealthy } else { Outcome::Healthy });
            let told = common_ground(&state).unwrap().sentence;
            prop_assert!(told.contains(&format!("= {value}, and only there")), "{}", told);
        }
    }
}
