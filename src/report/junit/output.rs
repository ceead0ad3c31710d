use std::fmt::Write as _;

use crate::{
    event::{Attempt, Level, StepSpan},
    model::StepResult,
    report::story::ended,
};

/// What steps wrote, each under a line that names it: standard output, standard error.
pub(super) fn of_steps<'a>(steps: impl Iterator<Item = &'a StepSpan>) -> (Option<String>, Option<String>) {
    let (mut out, mut err) = (String::new(), String::new());
    for step in steps {
        let ending = step.result.as_ref().map_or("never ended".to_owned(), ended);
        let _ = writeln!(out, "== {}: {ending}", step.name);
        let Some(StepResult { output, .. }) = &step.result else { continue };
        append(&mut out, &output.stdout);
        if output.truncated {
            append(&mut out, "[the rest was cut off]");
        }
        if !output.stderr.is_empty() {
            let _ = writeln!(err, "== {}", step.name);
            append(&mut err, &output.stderr);
        }
    }
    (Some(out).filter(|text| !text.is_empty()), Some(err).filter(|text| !text.is_empty()))
}

/// What concerns the whole attempt: its notes and where its evidence lies.
pub(super) fn of_cell(attempt: &Attempt) -> Option<String> {
    let mut text = String::new();
    for note in &attempt.notes {
        let level = if note.level == Level::Warning { "warning: " } else { "" };
        let _ = writeln!(text, "[{}] {level}{}", note.at, note.text);
    }
    for artifact in attempt.end.iter().flat_map(|end| &end.artifacts) {
        let _ = writeln!(text, "evidence: {artifact}");
    }
    Some(text).filter(|text| !text.is_empty())
}

fn append(to: &mut String, text: &str) {
    to.push_str(text);
    if !text.is_empty() && !text.ends_with('\n') {
        to.push('\n');
    }
}
