use std::path::Path;

use super::{
    grid::{grid, pad},
    look::{Look, Mark},
};
use crate::{
    event::{CellState, Counts, Decision, RunState},
    gate,
    model::{Outcome, ReasonId, count, one_line},
    report::{
        ReportFile,
        causes::{self, Finding, by_cause, called, permutations_with},
        common::common_ground,
    },
};

/// What a run came to, for people: the matrix at a glance, what broke and where, the decision.
///
/// `run_dir` is shown as the place of everything else.
pub fn summary(state: &RunState, look: Look, run_dir: &Path) -> String {
    let mut lines = vec![String::new(), look.fit(&headline(state, look))];
    lines.extend(candidate(state, look));
    lines.push(String::new());
    if !state.cells.is_empty() {
        lines.extend(grid(state, look));
        lines.push(String::new());
        lines.push(format!("    {}", legend(state, look)));
        lines.extend(controls(state, look));
    }
    lines.extend(findings(permutations_with(state, Outcome::Unhealthy), look, "cell"));
    if let Some(ground) = common_ground(state) {
        lines.extend([String::new(), format!("  {}", look.bold(&ground.sentence))]);
    }
    lines.extend(findings(causes::controls(state), look, "control"));
    lines.extend(findings(permutations_with(state, Outcome::Inconclusive), look, "cell"));
    lines.extend(remarks(state, look));
    lines.push(String::new());
    lines.extend(decision(state, look));
    let files = ReportFile::ALL.map(ReportFile::file_name).join(", ");
    lines.push(look.dim(&format!("  {}  ({files})", run_dir.display())));
    lines.join("\n") + "\n"
}

fn headline(state: &RunState, look: Look) -> String {
    let Some(start) = &state.start else { return format!("  {}", look.bold(state.run.as_ref())) };
    let mut parts = vec![look.bold(&one_line(&start.name))];
    match (&start.candidate_name, &start.candidate_sha256) {
        (Some(name), Some(sha256)) => parts.push(format!("{} {}", one_line(name), look.dim(sha256.short()))),
        _ => parts.push(format!("update {}", look.dim(start.update_sha256.short()))),
    }
    parts.push(format!("{} in {}", count(state.permutations().count(), "cell"), state.now));
    parts.push(one_line(&start.lab));
    if !start.lab.contains(&start.accelerator.to_string()) {
        parts.push(start.accelerator.to_string());
    }
    format!("  {}", parts.join(look.dot()))
}

/// What was tested, where that says more than its name.
fn candidate(state: &RunState, look: Look) -> Option<String> {
    let about = state.start.as_ref()?.candidate_about.as_ref().filter(|about| about.is_telling())?;
    Some(look.fit(&format!("  {}", look.dim(&one_line(&about.to_string())))))
}

fn legend(state: &RunState, look: Look) -> String {
    let marks: Vec<Mark> = state.permutations().map(|cell| Mark::of_ended(state, cell)).collect();
    let kinds = [Mark::Healthy, Mark::Flaky, Mark::Unhealthy, Mark::Inconclusive];
    let shown = kinds.iter().map(|kind| (kind, marks.iter().filter(|mark| *mark == kind).count()));
    let shown = shown.filter(|(_, n)| *n > 0).map(|(kind, n)| format!("{} {n} {}", look.mark(*kind), kind.word()));
    shown.collect::<Vec<_>>().join("   ")
}

/// What became of the cells that all others are compared with, in one line; none if there are none.
fn controls(state: &RunState, look: Look) -> Option<String> {
    let Counts { healthy, unhealthy, inconclusive } = state.control_counts();
    let known = state.controls().filter(|cell| cell.known_from().is_some()).count();
    let from = if known == 1 { "an earlier run" } else { "earlier runs" };
    let known = if known > 0 { format!(" ({known} known from {from})") } else { String::new() };
    let told = [
        (healthy > 0).then(|| format!("{healthy} {}{known}", Mark::Healthy.word())),
        (unhealthy + inconclusive > 0).then(|| {
            let word = look.paint(Mark::Inconclusive.style(), Mark::Inconclusive.word());
            format!("{} {word}", unhealthy + inconclusive)
        }),
    ];
    let told: Vec<String> = told.into_iter().flatten().collect();
    (!told.is_empty()).then(|| format!("    controls  {}", told.join("   ")))
}

/// Cells named for each cause; a matrix may have hundreds.
const SHOWN: usize = 12;

/// Cells of one outcome (which are `what`), grouped by their first cause.
fn findings(all: Vec<Finding<'_>>, look: Look, what: &str) -> Vec<String> {
    let unhealthy = all.iter().any(|found| found.outcome == Outcome::Unhealthy);
    let mark = if unhealthy { Mark::Unhealthy } else { Mark::Inconclusive };
    let mut lines = Vec::new();
    for (id, cells) in by_cause(all) {
        let title = look.paint(mark.style(), called(id));
        lines.push(String::new());
        lines.push(format!("  {} {title}  {}", look.mark(mark), look.dim(&count(cells.len(), what))));
        let width = cells.iter().map(|found| found.cell.planned.id.as_ref().len()).max().unwrap_or(0);
        let hidden = cells.len().saturating_sub(SHOWN);
        for Finding { cell, lead, .. } in cells.into_iter().take(SHOWN) {
            let told = lead.map_or(String::new(), |reason| format!("{}: {}", reason.phase, one_line(&reason.message)));
            lines.push(look.fit(&format!("      {}  {told}", pad(cell.planned.id.as_ref(), width))));
        }
        if hidden > 0 {
            lines.push(look.dim(&format!("      and {hidden} more, all in result.json")));
        }
        if let Some(advice) = id.and_then(advice) {
            lines.push(look.dim(&look.fit(&format!("      {advice}"))));
        }
    }
    lines
}

/// What to do about what the lab could not answer.
pub(in crate::report) fn advice(id: ReasonId) -> Option<&'static str> {
    Some(match id {
        ReasonId::ControlUnhealthy => {
            "The golden image needs attention: its machine is not well without the candidate either."
        }
        ReasonId::ImageMissing => "Put the disk where the catalogue says; `bootgate images list` lists them.",
        ReasonId::ImageChanged => "Restore the disk, or give the catalogue its new digest: `bootgate images verify`.",
        ReasonId::StartFailed => {
            "The machine or its setup fails even without the update: see the cell's serial.log and agent.jsonl."
        }
        ReasonId::OutOfSpace => "Free space on the host's disk, then go on with `--resume`.",
        ReasonId::HostLost => "See the host's log (was QEMU killed for its memory?), then go on with `--resume`.",
        ReasonId::Cancelled | ReasonId::HarnessDied => "Go on with `--resume`: only these cells run again.",
        _ => return None,
    })
}

fn remarks(state: &RunState, look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    let retried = gate::retried_after_lab_fault(state);
    if retried > 0 {
        lines.push(format!("  {} healthy only after the lab had failed at first.", count(retried, "cell")));
    }
    for note in state.notes.iter().filter(|note| note.level == crate::event::Level::Warning) {
        lines.push(look.fit(&format!("  warning: {}", one_line(&note.text))));
    }
    if !lines.is_empty() {
        lines.insert(0, String::new());
    }
    lines
}

fn decision(state: &RunState, look: Look) -> Vec<String> {
    let gate::Ruling { decision, reasons } = gate::ruling(state);
    let style = Mark::of_decision(decision).style().bold();
    let word = look.paint(style, &decision.as_str().to_uppercase());
    let told = decided(state, decision, &reasons);
    let mut lines =
        vec![format!("  {word}  {}  {}", look.bold(&told), look.dim(&format!("exit code {}", decision.exit_code())))];
    // The leading reason is what the line above says.
    lines.extend(reasons.iter().skip(1).map(|reason| look.dim(&look.fit(&format!("  also: {}", one_line(reason))))));
    lines
}

/// The decision in one sentence; the leading reason is in it.
pub(in crate::report) fn decided(state: &RunState, decision: Decision, reasons: &[String]) -> String {
    let counts = state.final_counts();
    let unhealthy = counts.unhealthy;
    let planned = state.permutations().count();
    let leads = |what: &str| reasons.first().is_some_and(|reason| reason.ends_with(what));
    match decision {
        // Rules may let something pass.
        Decision::Approved if counts.healthy < planned || state.permutations().any(CellState::is_flaky) => {
            let flaky = state.permutations().filter(|cell| cell.is_flaky()).count();
            let other = [(unhealthy, "unhealthy"), (counts.inconclusive, "inconclusive"), (flaky, "flaky")];
            let other: Vec<String> =
                other.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
            let all = count(planned, "permutation");
            format!(
                "{} of {all} came up healthy, and the policy lets {} pass",
                counts.healthy - flaky,
                other.join(", ")
            )
        }
        Decision::Approved if planned == 1 => "the only permutation came up healthy".to_owned(),
        Decision::Approved => format!("all {planned} permutations came up healthy"),
        Decision::Rejected if unhealthy > 0 && leads("unhealthy") => {
            let verb = if unhealthy == 1 { "breaks" } else { "break" };
            format!("{unhealthy} of {} {verb}", count(planned, "permutation"))
        }
        _ => reasons.first().cloned().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{
            RunEvent,
            testing::{Story, controlled, nine},
        },
        model::{About, Content, Machine, Msi, Phase, Rules},
    };

    fn shown(story: &Story, look: Look) -> String {
        summary(&story.state(), look, Path::new("runs/x"))
    }

    #[test]
    fn what_the_policy_lets_pass_is_not_told_as_healthy() {
        let mut story = Story::of(&["a.p1", "a.p2", "a.p3"]);
        story.healthy("a.p1", 1).failed("a.p2", 1, Phase::Start, ReasonId::HostLost, "gone");
        story.failed("a.p3", 1, Phase::Boot, ReasonId::StopError, "once").healthy("a.p3", 2);
        let told = shown(&story, Look::PLAIN);
        assert!(told.contains("REJECTED  1 of 3 cells flaky"), "{told}");
        if let RunEvent::RunStarted { start } = &mut story.events[0].what {
            start.policy.rules = Rules { coverage: 50.0, flaky: 1, ..Rules::default() };
        }
        story.run_ended(Decision::Approved);
        let told = shown(&story, Look::PLAIN);
        let sentence =
            "APPROVED  1 of 3 permutations came up healthy, and the policy lets 1 inconclusive, 1 flaky pass";
        assert!(told.contains(sentence), "{told}");
    }

    #[test]
    fn a_rejected_run_shows_the_grid_the_causes_and_the_common_ground() {
        insta::assert_snapshot!(shown(&nine(), Look { width: 100, ..Look::PLAIN }));
    }

    #[test]
    fn controls_stand_below_the_grid_and_those_that_are_not_well_have_their_reason() {
        insta::assert_snapshot!(shown(&controlled(), Look { width: 100, ..Look::PLAIN }));
    }

    #[test]
    fn ascii_and_narrow_places_get_what_they_can_show() {
        let text = shown(&nine(), Look { color: false, unicode: false, width: 40 });
        assert!(text.is_ascii(), "{text}");
        let narrow = shown(&nine(), Look { color: false, unicode: true, width: 20 });
        assert!(narrow.contains("    ✗ os-8.p3"), "no room for a grid: {narrow}");
    }

    #[test]
    fn what_was_tested_is_told_where_it_says_more_than_a_name() {
        let lines = |about| {
            let mut story = nine();
            let RunEvent::RunStarted { start } = &mut story.events[0].what else { panic!("no start") };
            start.candidate_about = Some(about);
            shown(&story, Look { width: 100, ..Look::PLAIN }).lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let msi = Msi { name: Some("Sensor\u{1b}[2J".into()), machine: Some(Machine::X64), ..Msi::default() };
        assert_eq!(lines(About::of(Content::Msi(msi)))[2], r#"  MSI "Sensor" x64, no signature in it"#);
        assert_eq!(lines(About::of(Content::Text))[2], "");
    }

    #[test]
    fn a_guest_cannot_repaint_the_terminal() {
        let text = shown(&nine(), Look::PLAIN);
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn an_approved_run_is_told_in_one_line() {
        let mut story = Story::of(&["a.p1", "a.p2"]);
        story.healthy("a.p1", 1).healthy("a.p2", 1).run_ended(Decision::Approved);
        assert!(shown(&story, Look::PLAIN).contains("\n  APPROVED  all 2 permutations came up healthy  exit code 0\n"));
    }

    #[test]
    fn a_killed_run_says_what_to_do() {
        let mut story = Story::of(&["a.p1", "a.p2"]);
        let text = shown(story.start("a.p1", 1), Look::PLAIN);
        assert!(text.contains("Go on with `--resume`") && text.contains("INCONCLUSIVE  the run has no end"), "{text}");
    }
}
