use std::path::Path;

use super::{
    LINE, Links, Mark,
    budget::Budget,
    pictures::{Filmstrip, filmstrip, is_below},
    text,
    timeline::Timeline,
};
use crate::{
    event::{Attempt, CellState, Level, RunState, StepSpan},
    health::deciding,
    model::{GuestState, Millis, Outcome, Role, SignalKind, Start, Subject, Verdict, plain},
    report::{
        causes::NO_REASON,
        story::{ended, told},
    },
};

/// Most entries of any list of a cell.
const LISTED: usize = 100;

/// Most that is shown of one output, in bytes: its end.
const OUTPUT: usize = 8 << 10;

/// The same of a step that did well in a cell that is well.
const OUTPUT_OF_HEALTHY: usize = 1 << 10;

/// A cell as the page tells it.
pub(super) struct CellView {
    pub(super) id: String,
    pub(super) mark: Mark,
    pub(super) is_control: bool,
    /// Of its first cause; empty: it is healthy.
    pub(super) reason: String,
    pub(super) told: String,
    pub(super) took: String,
    pub(super) axes: Vec<(String, String)>,
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) reasons: Vec<ReasonView>,
    pub(super) timeline: Option<Timeline>,
    pub(super) strip: Filmstrip,
    pub(super) deciding: Vec<(String, String)>,
    pub(super) steps: Vec<StepView>,
    pub(super) checks: Vec<CheckView>,
    /// What is measured: here, and of the control.
    pub(super) measured: Vec<(&'static str, String, String)>,
    /// The control's cell in this page.
    pub(super) control: Option<String>,
    pub(super) notes: Vec<String>,
    pub(super) earlier: Vec<AttemptView>,
    pub(super) artifacts: Vec<Artifact>,
}

pub(super) struct ReasonView {
    pub(super) id: &'static str,
    pub(super) at: String,
    pub(super) told: String,
}

pub(super) struct StepView {
    pub(super) what: &'static str,
    pub(super) name: String,
    pub(super) ok: bool,
    pub(super) ended: String,
    pub(super) outputs: Vec<OutputView>,
}

pub(super) struct OutputView {
    pub(super) stream: &'static str,
    pub(super) text: String,
    pub(super) cut: bool,
}

pub(super) struct CheckView {
    pub(super) id: String,
    /// None: it was not answered.
    pub(super) ok: Option<bool>,
    pub(super) here: String,
    pub(super) control: String,
}

/// An attempt before the one that counts.
pub(super) struct AttemptView {
    pub(super) number: u32,
    pub(super) mark: Mark,
    pub(super) told: String,
}

pub(super) struct Artifact {
    /// In the cell's folder, if it is there.
    pub(super) path: String,
    /// None: it has no place that the page knows.
    pub(super) link: Option<String>,
}

impl CellView {
    pub(super) fn of(state: &RunState, cell: &CellState, run_dir: &Path, links: Links, budget: &mut Budget) -> Self {
        let verdict = state.verdict(cell);
        let mark = Mark::of(cell, &verdict);
        let healthy = mark == Mark::Healthy;
        let last = cell.attempts.last();
        let control = match &cell.planned.role {
            Role::Compared { with } => state.cell(with),
            Role::Alone | Role::Control => None,
        };
        let control_run = control.and_then(|control| control.attempts.last());
        // One that is known from an earlier run has no phases of its own.
        let beside = control_run.filter(|attempt| !attempt.phases.is_empty());
        let empty = Filmstrip { frames: Vec::new(), left_out: None };
        Self {
            id: cell.planned.id.to_string(),
            mark,
            is_control: cell.is_control(),
            reason: match verdict.lead() {
                Some(lead) => lead.id.to_string(),
                None if verdict.outcome == Outcome::Healthy => String::new(),
                None => NO_REASON.to_owned(),
            },
            told: first_cause(cell, &verdict),
            took: cell.ended().map_or(String::new(), |end| end.took.to_string()),
            axes: cell.planned.axes.iter().map(|axis| (text(&axis.axis), text(&axis.value))).collect(),
            facts: facts(cell),
            reasons: last.map(|attempt| reasons(attempt, &verdict)).unwrap_or_default(),
            timeline: last
                .filter(|attempt| !attempt.phases.is_empty())
                .map(|attempt| Timeline::of(state, attempt, &verdict, beside)),
            strip: last.map_or(empty, |attempt| filmstrip(attempt, run_dir, healthy, budget)),
            deciding: last.filter(|_| budget.verdict()).map(decided_by).unwrap_or_default(),
            steps: last.map(|attempt| steps(attempt, healthy, budget)).unwrap_or_default(),
            checks: checks(cell, control_run),
            measured: last.map(|attempt| measured(attempt, control_run)).unwrap_or_default(),
            control: control.map(|control| control.planned.id.to_string()),
            notes: notes(cell),
            earlier: earlier(cell),
            artifacts: artifacts(cell, links),
        }
    }
}

/// What is told of the cell beside its name.
fn first_cause(cell: &CellState, verdict: &Verdict) -> String {
    if let Some(lead) = verdict.lead() {
        return text(&format!("{}: {}", lead.phase, lead.message));
    }
    let before = cell.earlier_with(Outcome::Unhealthy).next().filter(|_| cell.is_flaky());
    let told = before.map(|attempt| format!("attempt {}: {}", attempt.number, told_of(attempt)));
    told.map_or(String::new(), |told| text(&told))
}

/// The first cause of an attempt.
fn told_of(attempt: &Attempt) -> String {
    attempt.came_to().lead().map_or(String::new(), |lead| format!("{} in {}: {}", lead.id, lead.phase, lead.message))
}

fn facts(cell: &CellState) -> Vec<(&'static str, String)> {
    let mut facts = vec![("Golden image", text(&cell.planned.image))];
    if let Some(run) = cell.known_from() {
        facts.push(("Not run again", format!("known to be well from {run}")));
    }
    match cell.attempts.last().and_then(Attempt::began) {
        Some((Start::Live, seal)) => {
            let seal = seal.map(|seal| format!(" of the seal {}", text(seal))).unwrap_or_default();
            facts.push(("Started as", format!("a live clone{seal}")));
        }
        Some((Start::Cold, _)) => facts.push(("Started", "from power-on".to_owned())),
        None => {}
    }
    facts.push(("Attempts", cell.attempts.len().to_string()));
    facts
}

fn reasons(attempt: &Attempt, verdict: &Verdict) -> Vec<ReasonView> {
    let view = |reason: &crate::model::Reason| ReasonView {
        id: reason.id.as_str(),
        at: reason.at.since(attempt.started).to_string(),
        told: text(&format!("{}: {}", reason.phase, reason.message)),
    };
    verdict.reasons.iter().take(LISTED).map(view).collect()
}

/// The signals that the verdict rests on.
fn decided_by(attempt: &Attempt) -> Vec<(String, String)> {
    let line =
        |signal: &crate::model::Signal| (signal.at.since(attempt.started).to_string(), text(&told(&signal.what)));
    deciding(&attempt.signals).iter().take(LISTED).map(line).collect()
}

/// Setup and update; checks stand beside their control's.
fn steps(attempt: &Attempt, healthy: bool, budget: &mut Budget) -> Vec<StepView> {
    attempt.steps.iter().take(LISTED).map(|step| step_view(step, healthy, budget)).collect()
}

fn step_view(step: &StepSpan, healthy: bool, budget: &mut Budget) -> StepView {
    let ok = step.result.as_ref().is_some_and(|result| result.ok);
    let most = if healthy && ok { OUTPUT_OF_HEALTHY } else { OUTPUT };
    let streams = step.result.iter().flat_map(|result| {
        [("Output", &result.output.stdout), ("Error output", &result.output.stderr)].map(|(stream, text)| {
            let (text, cut) = end_of(text, most);
            OutputView { stream, text, cut: cut || result.output.truncated }
        })
    });
    StepView {
        what: match step.subject {
            Subject::Setup { .. } => "setup",
            Subject::Update { .. } => "update",
            Subject::Check { .. } => "check",
        },
        name: text(&step.name),
        ok,
        ended: step.result.as_ref().map_or("never ended".to_owned(), |result| text(&ended(result))),
        outputs: streams.filter(|output| !output.text.is_empty() && budget.output(output.text.len())).collect(),
    }
}

/// The end of a text, made safe, and whether something is missing before it.
fn end_of(dirty: &str, most: usize) -> (String, bool) {
    let clean = plain(dirty);
    let clean = clean.trim_end();
    let from = (clean.len().saturating_sub(most)..).find(|at| clean.is_char_boundary(*at)).unwrap_or(clean.len());
    (clean[from..].to_owned(), from > 0)
}

fn checks(cell: &CellState, control: Option<&Attempt>) -> Vec<CheckView> {
    // What it answered here stands beside it anyway.
    let facts = control.filter(|control| control.known_from().is_some()).and_then(Attempt::control_facts);
    let answer = |attempt: Option<&Attempt>, id: &str| -> Option<(bool, String)> {
        let result = attempt?.check(id)?.result.as_ref()?;
        Some((result.ok, ended(result)))
    };
    let view = |id: &String| {
        let here = answer(cell.attempts.last(), id);
        let known = facts.map(|facts| {
            let fails = facts.failing_checks.contains(id);
            if fails { "fails there too".to_owned() } else { "passed in an earlier run".to_owned() }
        });
        CheckView {
            id: text(id),
            ok: here.as_ref().map(|(ok, _)| *ok),
            here: here.map_or("not answered".to_owned(), |(_, told)| text(&told)),
            control: answer(control, id).map(|(_, told)| text(&told)).or(known).unwrap_or_default(),
        }
    };
    cell.planned.checks.iter().take(LISTED).map(view).collect()
}

/// Tells one thing of a guest.
type Tell = fn(&GuestState) -> String;

/// What the judge compares with the control.
fn measured(attempt: &Attempt, control: Option<&Attempt>) -> Vec<(&'static str, String, String)> {
    let facts = control.and_then(Attempt::control_facts);
    let guest = attempt.signals.iter().rev().find_map(|signal| match &signal.what {
        SignalKind::GuestState { state } => Some(state.as_ref()),
        _ => None,
    });
    let other = facts.and_then(|facts| facts.guest.as_deref());
    let time = |time: Option<Millis>| time.map_or(String::new(), |time| time.to_string());
    let of = |state: Option<&GuestState>, tell: Tell| state.map_or(String::new(), tell);
    let free = |state: &GuestState| -> String {
        let disks = state.disks.iter().take(6).map(|disk| format!("{} on {}", disk.free, text(&disk.mount)));
        disks.collect::<Vec<_>>().join(", ")
    };
    let asked: [(&str, Tell); 6] = [
        ("Memory used", |state| state.memory_used.to_string()),
        ("Services that run", |state| state.services.len().to_string()),
        ("Different errors in the log", |state| state.errors.len().to_string()),
        ("Crash dumps", |state| state.dumps.len().to_string()),
        ("Free on disks", free),
        ("Clock ahead", |state| state.clock_ahead_ms.map_or(String::new(), |ms| format!("{ms} ms"))),
    ];
    let mut rows = vec![("Last restart", time(attempt.last_restart()), time(facts.map(|facts| facts.restart)))];
    rows.extend(asked.map(|(what, tell)| (what, of(guest, tell), of(other, tell))));
    rows.retain(|(_, here, _)| !here.is_empty());
    rows
}

fn notes(cell: &CellState) -> Vec<String> {
    let notes = cell.attempts.last().into_iter().flat_map(|attempt| &attempt.notes);
    let told = notes.map(|note| match note.level {
        Level::Warning => format!("warning: {}", text(&note.text)),
        Level::Info => text(&note.text),
    });
    told.take(LISTED).collect()
}

fn earlier(cell: &CellState) -> Vec<AttemptView> {
    let earlier = cell.attempts.split_last().map_or(&[][..], |(_, earlier)| earlier);
    let view = |attempt: &Attempt| {
        let mark = Mark::of_outcome(attempt.verdict().outcome);
        AttemptView { number: attempt.number, mark, told: text(&told_of(attempt)) }
    };
    earlier.iter().take(LISTED).map(view).collect()
}

/// The files of all attempts.
fn artifacts(cell: &CellState, links: Links) -> Vec<Artifact> {
    let paths = cell.attempts.iter().filter_map(|attempt| attempt.end.as_ref()).flat_map(|end| &end.artifacts);
    let folder = format!("cells/{}/", cell.planned.id);
    let view = |path: &String| {
        let link = (links == Links::Beside && is_below(path)).then(|| encoded(path));
        Artifact { path: text(path.strip_prefix(&folder).unwrap_or(path)), link }
    };
    paths.take(2 * LISTED).map(view).collect()
}

/// A path as a relative URL.
fn encoded(path: &str) -> String {
    let mut url = String::with_capacity(path.len() + 2);
    // A first segment with a colon would be a scheme.
    url.push_str("./");
    for byte in path.bytes().take(LINE * 4) {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'~' | b'/' => url.push(char::from(byte)),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_output_the_end_is_shown() {
        assert_eq!(end_of("ab\u{202e}c\n", 100), ("ab\u{fffd}c".to_owned(), false));
        assert_eq!(end_of("xxéyy", 3), ("yy".to_owned(), true));
    }

    #[test]
    fn a_link_leads_nowhere_but_below_the_page() {
        assert_eq!(encoded("javascript:alert(1)"), "./javascript%3Aalert%281%29");
        assert_eq!(encoded("cells/a b/\"x.log"), "./cells/a%20b/%22x.log");
    }
}
