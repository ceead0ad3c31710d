//! A run as numbers, in OpenMetrics text: what GitLab compares between two branches, and what Prometheus reads.
//!
//! GitLab takes a line apart as a shell would and drops whatever follows a `#`, so labels hold nothing but letters, digits,
//! `.`, `_` and `-`.

use std::fmt::Write as _;

use super::causes::{by_cause, finding};
use crate::{
    event::{Counts, Decision, RunState},
    gate,
    model::{Millis, ReasonId},
};

/// The document's bytes; the same events give the same bytes.
///
/// # Errors
/// If not even the run's start was recorded.
pub(super) fn render(state: &RunState) -> Result<Vec<u8>, String> {
    let start = state.start.as_ref().ok_or("the run's start was not recorded")?;
    let matrix = label(&start.name);
    let mut text = String::new();
    let approved = gate::ruling(state).decision == Decision::Approved;
    family(&mut text, "bootgate_approved", "Whether the run was approved.", None);
    let _ = writeln!(text, "bootgate_approved{{matrix=\"{matrix}\"}} {}", u8::from(approved));
    counts(&mut text, "bootgate_cells", "Planned cells by outcome, controls left out.", &matrix, state.final_counts());
    counts(&mut text, "bootgate_controls", "Controls by outcome.", &matrix, state.control_counts());
    let flaky = state.permutations().filter(|cell| cell.is_flaky()).count();
    family(&mut text, "bootgate_flaky_cells", "Cells that were unhealthy first and healthy on another try.", None);
    let _ = writeln!(text, "bootgate_flaky_cells{{matrix=\"{matrix}\"}} {flaky}");
    reasons(&mut text, &matrix, state);
    family(&mut text, "bootgate_run_seconds", "How long the run took.", Some("seconds"));
    let _ = writeln!(text, "bootgate_run_seconds{{matrix=\"{matrix}\"}} {}", seconds(state.now));
    text.push_str("# EOF\n");
    Ok(text.into_bytes())
}

fn family(text: &mut String, name: &str, help: &str, unit: Option<&str>) {
    let _ = writeln!(text, "# TYPE {name} gauge");
    if let Some(unit) = unit {
        let _ = writeln!(text, "# UNIT {name} {unit}");
    }
    let _ = writeln!(text, "# HELP {name} {help}");
}

fn counts(text: &mut String, name: &str, help: &str, matrix: &str, counts: Counts) {
    family(text, name, help, None);
    let Counts { healthy, unhealthy, inconclusive } = counts;
    for (outcome, n) in [("healthy", healthy), ("unhealthy", unhealthy), ("inconclusive", inconclusive)] {
        let _ = writeln!(text, "{name}{{matrix=\"{matrix}\",outcome=\"{outcome}\"}} {n}");
    }
}

/// How many cells each reason leads; none where all are healthy.
fn reasons(text: &mut String, matrix: &str, state: &RunState) {
    let groups = by_cause(state.permutations().filter_map(|cell| finding(state, cell)).collect());
    if groups.is_empty() {
        return;
    }
    family(text, "bootgate_cells_by_reason", "Cells that are not healthy, by the reason that leads.", None);
    for (id, cells) in groups {
        let id = id.map_or("none", ReasonId::as_str);
        let _ = writeln!(text, "bootgate_cells_by_reason{{matrix=\"{matrix}\",reason=\"{id}\"}} {}", cells.len());
    }
}

fn seconds(time: Millis) -> String {
    format!("{}.{:03}", time.0 / 1000, time.0 % 1000)
}

fn label(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        RunEvent,
        testing::{Story, nine},
    };

    fn text(story: &Story) -> String {
        String::from_utf8(render(&story.state()).unwrap()).unwrap()
    }

    #[test]
    fn a_run_is_told_in_numbers() {
        insta::assert_snapshot!(text(&nine()));
    }

    #[test]
    fn a_matrixs_name_cannot_break_a_line_wherever_it_is_read() {
        let mut story = nine();
        let RunEvent::RunStarted { start } = &mut story.events[0].what else { panic!("no start") };
        start.name = "a\"} 1 # x\n\\ä".into();
        let text = text(&story);
        assert!(text.contains("bootgate_approved{matrix=\"a---1---x---\"} 0\n"), "{text}");
        let mut samples = text.lines().filter(|line| !line.starts_with('#'));
        assert!(samples.all(|line| line.split(' ').count() == 2), "{text}");
    }
}
