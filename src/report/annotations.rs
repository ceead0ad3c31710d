//! What went wrong as commands that CI systems turn into annotations: lines for a job's log.
//!
//! Guests' words are in them, so everything that would end a command or begin another one is escaped, as the systems'
//! own documents say: GitHub's "Workflow commands for GitHub Actions", Azure Pipelines' "Logging commands" and "Percent
//! encoding".

use super::{
    causes::{Finding, finding},
    terminal::decided,
};
use crate::{
    event::{CellState, Decision, RunState},
    gate,
    model::{Outcome, cut, one_line},
};

/// Most annotations of one level. GitHub shows ten of each from a step, and drops the others without a word.
const MOST: usize = 10;

/// Most characters of a message.
const LONGEST: usize = 500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// It bars approval, and blames the update; and the decision itself.
    Error,
    /// The lab could not tell, or the policy lets it pass.
    Warning,
}

struct Annotation {
    level: Level,
    title: String,
    /// A reason's id.
    code: Option<&'static str>,
    message: String,
}

/// GitHub's workflow commands.
///
/// # Errors
/// If not even the run's start was recorded.
pub(super) fn github(state: &RunState) -> Result<Vec<u8>, String> {
    let (decision, told) = headline(state)?;
    let mut text = String::new();
    if decision == Decision::Approved {
        text += &format!("::notice title={}::{}\n", property("bootgate: approved"), data(&told));
    }
    for Annotation { level, title, code, message } in annotations(state, decision, &told) {
        let name = if level == Level::Error { "error" } else { "warning" };
        let title = code.map_or(title.clone(), |code| format!("{title}: {code}"));
        text += &format!("::{name} title={}::{}\n", property(&title), data(&message));
    }
    Ok(text.into_bytes())
}

/// Azure Pipelines' logging commands; the last one ends the step as the run ended.
///
/// # Errors
/// If not even the run's start was recorded.
pub(super) fn azure(state: &RunState) -> Result<Vec<u8>, String> {
    let (decision, told) = headline(state)?;
    let mut text = String::new();
    for Annotation { level, title, code, message } in annotations(state, decision, &told) {
        let name = if level == Level::Error { "error" } else { "warning" };
        let code = code.map_or(String::new(), |code| format!("code={};", vso(code)));
        text += &format!("##vso[task.logissue type={name};{code}]{}\n", vso(&format!("{title}: {message}")));
    }
    let result = if decision == Decision::Approved { "Succeeded" } else { "Failed" };
    text += &format!("##vso[task.complete result={result};]{}\n", vso(&format!("{}: {told}", decision.as_str())));
    Ok(text.into_bytes())
}

/// The decision, and its sentence.
fn headline(state: &RunState) -> Result<(Decision, String), String> {
    state.start.as_ref().ok_or("the run's start was not recorded")?;
    let gate::Ruling { decision, reasons } = gate::ruling(state);
    Ok((decision, short(&decided(state, decision, &reasons))))
}

/// The decision unless it is an approval, then the cells in the plan's order; errors first.
fn annotations(state: &RunState, decision: Decision, told: &str) -> Vec<Annotation> {
    let mut errors = Vec::new();
    if decision != Decision::Approved {
        let title = format!("bootgate: {}", decision.as_str());
        errors.push(Annotation { level: Level::Error, title, code: None, message: told.to_owned() });
    }
    let mut warnings = Vec::new();
    for cell in &state.cells {
        let Some(mut annotation) = finding(state, cell).map(|found| of_cell(&found)).or_else(|| flaky(cell)) else {
            continue;
        };
        if decision == Decision::Approved {
            annotation.level = Level::Warning;
        }
        let list = if annotation.level == Level::Error { &mut errors } else { &mut warnings };
        list.push(annotation);
    }
    bounded(errors).into_iter().chain(bounded(warnings)).collect()
}

fn flaky(cell: &CellState) -> Option<Annotation> {
    let message = "unhealthy first, healthy on another try: not to be relied on".to_owned();
    let title = cell.planned.id.to_string();
    cell.is_flaky().then_some(Annotation { level: Level::Error, title, code: Some("flaky"), message })
}

fn of_cell(found: &Finding<'_>) -> Annotation {
    // Of a control nothing is the update's fault.
    let blames = found.outcome == Outcome::Unhealthy && !found.cell.is_control();
    let level = if blames { Level::Error } else { Level::Warning };
    let message = match &found.lead {
        Some(lead) => short(&format!("{}: {}", lead.phase, lead.message)),
        None => "no reason was recorded".to_owned(),
    };
    let code = found.lead.as_ref().map(|lead| lead.id.as_str());
    Annotation { level, title: found.cell.planned.id.to_string(), code, message }
}

/// Those that are shown, the last of them for all that are not.
fn bounded(mut all: Vec<Annotation>) -> Vec<Annotation> {
    if all.len() <= MOST {
        return all;
    }
    let (level, more) = (all[0].level, all.len() - (MOST - 1));
    all.truncate(MOST - 1);
    let message = "all of them are in result.json and report.html".to_owned();
    all.push(Annotation { level, title: format!("bootgate: and {more} more cells"), code: None, message });
    all
}

fn short(text: &str) -> String {
    cut(&one_line(text), LONGEST)
}

/// For what stands behind the second `::` of a workflow command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// For a value before it.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// For values and messages of a logging command: the agent undoes this in both.
fn vso(text: &str) -> String {
    let text = text.replace('%', "%AZP25").replace(';', "%3B").replace(']', "%5D");
    text.replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{
            RunEvent,
            testing::{Story, controlled, nine},
        },
        model::{Phase, ReasonId, Rules},
    };

    fn text(bytes: Result<Vec<u8>, String>) -> String {
        String::from_utf8(bytes.unwrap()).unwrap()
    }

    #[test]
    fn github_gets_a_command_for_the_decision_and_for_each_cell() {
        insta::assert_snapshot!(text(github(&nine().state())));
    }

    #[test]
    fn azure_gets_an_issue_for_each_cell_and_the_steps_result() {
        insta::assert_snapshot!(text(azure(&nine().state())));
    }

    #[test]
    fn an_approval_is_a_notice_and_a_success() {
        let mut story = Story::of(&["a.p1"]);
        story.healthy("a.p1", 1).run_ended(Decision::Approved);
        let told = "the only permutation came up healthy";
        assert_eq!(text(github(&story.state())), format!("::notice title=bootgate%3A approved::{told}\n"));
        let expected = format!("##vso[task.complete result=Succeeded;]approved: {told}\n");
        assert_eq!(text(azure(&story.state())), expected);
    }

    #[test]
    fn no_more_are_told_than_are_shown_and_the_last_says_how_many_there_are() {
        let ids: Vec<String> = (0..30).map(|n| format!("os-{n}.p1")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut story = Story::of(&ids);
        for (n, id) in ids.iter().enumerate() {
            let reason = if n % 2 == 0 { ReasonId::BootHang } else { ReasonId::HostLost };
            story.failed(id, 1, Phase::Boot, reason, "m");
        }
        let text = text(github(&story.run_ended(Decision::Rejected).state()));
        for (level, more) in [("error", 7), ("warning", 6)] {
            let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(&format!("::{level} "))).collect();
            assert_eq!(lines.len(), MOST, "{text}");
            let last = format!("title=bootgate%3A and {more} more cells::");
            assert!(lines[MOST - 1].contains(&last), "{text}");
        }
    }

    #[test]
    fn controls_warn_and_flaky_cells_are_errors() {
        let warned = text(github(&controlled().state()));
        assert!(warned.contains("::warning title=control-os-9-p1%3A control-unhealthy::"), "{warned}");
        let mut story = Story::of(&["a.p1"]);
        story.failed("a.p1", 1, Phase::Boot, ReasonId::BootHang, "m").healthy("a.p1", 2);
        let text = text(github(&story.run_ended(Decision::Rejected).state()));
        assert!(text.contains("::error title=a.p1%3A flaky::"), "{text}");
    }

    #[test]
    fn what_the_policy_lets_pass_is_a_warning() {
        let mut story = Story::of(&["a.p1"]);
        let RunEvent::RunStarted { start } = &mut story.events[0].what else { panic!("no start") };
        start.policy.rules = Rules { flaky: 1, ..Rules::default() };
        story.failed("a.p1", 1, Phase::Boot, ReasonId::BootHang, "m").healthy("a.p1", 2);
        let text = text(github(&story.run_ended(Decision::Approved).state()));
        assert!(text.starts_with("::notice ") && text.contains("::warning title=a.p1%3A flaky::"), "{text}");
        assert!(!text.contains("::error"), "{text}");
    }

    #[test]
    fn a_guest_cannot_end_a_command_or_begin_another_one() {
        let hostile = "50% ]x;y\n::set-output name=a::b\r\n##vso[task.setvariable variable=PATH]/evil";
        let mut story = Story::of(&["a.p1"]);
        let state = story.failed("a.p1", 1, Phase::Boot, ReasonId::StopError, hostile).state();
        let lines = text(github(&state));
        assert!(lines.lines().all(|line| line.starts_with("::error title=")), "{lines}");
        assert!(lines.contains("::boot: 50%25 ]x;y : :set-output name=a::b"), "{lines}");
        let lines = text(azure(&state));
        assert!(lines.lines().all(|line| line.starts_with("##vso[task.")), "{lines}");
        assert!(lines.lines().all(|line| line.matches("##vso[").count() == 1), "{lines}");
        assert!(lines.contains("50%AZP25 %5Dx%3By"), "{lines}");
    }
}
