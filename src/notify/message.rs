use serde::Serialize;
use serde_json::{Value, json};

use super::Shape;
use crate::{
    event::{Counts, Decision, RunState},
    gate::Ruling,
    model::{Millis, RunId, Sha256, count, cut, one_line},
};

/// The version that the generic form carries.
const VERSION: u32 = 1;

/// Most reasons in a message for people; receivers refuse long ones.
const REASONS: usize = 8;

/// Most characters of one text in a message.
const LONGEST: usize = 300;

/// A decision over a run. As JSON it is the generic form, which `docs/formats.md` describes.
#[derive(Clone, Debug, Serialize)]
pub struct Decided {
    version: u32,
    event: &'static str,
    run: RunId,
    name: String,
    decision: Decision,
    exit_code: u8,
    reasons: Vec<String>,
    candidate: Option<Candidate>,
    counts: Counts,
    started: Option<String>,
    took_ms: Millis,
}

#[derive(Clone, Debug, Serialize)]
struct Candidate {
    name: Option<String>,
    sha256: Sha256,
}

impl Decided {
    pub fn of(state: &RunState, ruling: &Ruling) -> Self {
        let start = state.start.as_ref();
        let candidate = start.and_then(|start| {
            let sha256 = start.candidate_sha256.clone()?;
            Some(Candidate { name: start.candidate_name.as_deref().map(short), sha256 })
        });
        Self {
            version: VERSION,
            event: "decision",
            run: state.run.clone(),
            name: start.map_or(String::new(), |start| short(&start.name)),
            decision: ruling.decision,
            exit_code: ruling.decision.exit_code(),
            reasons: ruling.reasons.iter().map(|reason| short(reason)).collect(),
            candidate,
            counts: state.final_counts(),
            started: start.map(|start| start.utc.clone()),
            took_ms: state.now,
        }
    }

    /// What is sent.
    pub(super) fn body(&self, shape: Shape) -> Value {
        match shape {
            Shape::Generic => json!(self),
            Shape::Slack => self.for_slack(),
            Shape::Teams => self.for_teams(),
        }
    }

    /// `text` is what notifications show, `blocks` what the message shows ("Sending messages using incoming webhooks").
    fn for_slack(&self) -> Value {
        let section = |text: String| json!({"type": "section", "text": mrkdwn(text)});
        let headline = slack(&self.headline());
        let mut blocks = vec![section(format!("*{headline}*"))];
        if !self.reasons.is_empty() {
            let lines: Vec<String> = self.told_reasons().iter().map(|reason| format!("• {}", slack(reason))).collect();
            blocks.push(section(lines.join("\n")));
        }
        let facts: Vec<String> = self.facts().iter().map(|(head, fact)| format!("{head}: {}", slack(fact))).collect();
        blocks.push(json!({"type": "context", "elements": [mrkdwn(facts.join("\n"))]}));
        json!({"text": headline, "blocks": blocks})
    }

    /// An adaptive card. Its text blocks would take words of others for Markdown, runs of text do not.
    fn for_teams(&self) -> Value {
        let runs = |runs: Value| json!({"type": "RichTextBlock", "inlines": runs});
        let color = match self.decision {
            Decision::Approved => "Good",
            Decision::Rejected => "Attention",
            Decision::Inconclusive | Decision::Cancelled => "Warning",
        };
        let headline =
            json!([{"type": "TextRun", "text": self.headline(), "weight": "Bolder", "size": "Medium", "color": color}]);
        let mut body = vec![runs(headline)];
        body.extend(self.told_reasons().iter().map(|reason| runs(json!([{"type": "TextRun", "text": reason}]))));
        body.extend(self.facts().iter().map(|(head, fact)| {
            runs(json!([
                {"type": "TextRun", "text": format!("{head}: "), "isSubtle": true},
                {"type": "TextRun", "text": fact},
            ]))
        }));
        let card = json!({
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": body,
        });
        json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": card,
            }],
        })
    }

    fn headline(&self) -> String {
        let what = self.candidate.as_ref().and_then(|candidate| candidate.name.as_ref()).unwrap_or(&self.name);
        format!("{}: {what}", self.decision.as_str().to_uppercase())
    }

    fn told_reasons(&self) -> Vec<String> {
        let mut told: Vec<String> = self.reasons.iter().take(REASONS).cloned().collect();
        if self.reasons.len() > REASONS {
            told.push(format!("and {} more", self.reasons.len() - REASONS));
        }
        told
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let Counts { healthy, unhealthy, inconclusive } = self.counts;
        let cells = format!(
            "{healthy} healthy, {unhealthy} unhealthy, {inconclusive} inconclusive of {} in {}",
            count(self.counts.total(), "cell"),
            self.took_ms
        );
        let mut facts = vec![("Matrix", self.name.clone()), ("Cells", cells), ("Run", self.run.to_string())];
        if let Some(candidate) = &self.candidate {
            facts.push(("SHA-256", candidate.sha256.to_string()));
        }
        facts
    }
}

fn short(text: &str) -> String {
    cut(&one_line(text), LONGEST)
}

/// `verbatim`: no name or URL in it becomes a link. Slack refuses a text beyond 3000 characters.
fn mrkdwn(text: String) -> Value {
    let text: String = text.chars().take(3000).collect();
    json!({"type": "mrkdwn", "verbatim": true, "text": text})
}

/// Slack's control characters ("Formatting text for app surfaces"): without them no text mentions anybody.
fn slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{RunEvent, testing::nine},
        gate,
    };

    fn decided() -> Decided {
        let mut story = nine();
        let RunEvent::RunStarted { start } = &mut story.events[0].what else { panic!("no start") };
        start.candidate_name = Some("<!channel> a&b [x](http://e)".into());
        let state = story.state();
        Decided::of(&state, &gate::ruling(&state))
    }

    fn shown(shape: Shape) -> String {
        serde_json::to_string_pretty(&decided().body(shape)).unwrap()
    }

    #[test]
    fn the_generic_form_has_the_decision_and_what_it_is_about() {
        insta::assert_snapshot!(shown(Shape::Generic));
    }

    #[test]
    fn slack_gets_text_and_blocks_that_mention_nobody() {
        insta::assert_snapshot!(shown(Shape::Slack));
    }

    #[test]
    fn teams_gets_a_card_without_markdown() {
        insta::assert_snapshot!(shown(Shape::Teams));
    }

    #[test]
    fn a_run_that_was_broken_before_its_start_is_told_too() {
        let state = RunState::new("r1".into());
        let body = Decided::of(&state, &gate::ruling(&state)).body(Shape::Generic);
        assert_eq!((&body["decision"], &body["started"]), (&json!("inconclusive"), &Value::Null));
    }

    #[test]
    fn a_message_does_not_grow_beyond_what_receivers_take() {
        let state = nine().state();
        let mut ruling = gate::ruling(&state);
        ruling.reasons = (0..5000).map(|n| format!("{n} {}", "&".repeat(5000))).collect();
        let decided = Decided::of(&state, &ruling);
        for shape in [Shape::Slack, Shape::Teams] {
            assert!(decided.body(shape).to_string().len() < 10_000, "{shape:?}: Teams takes 28 KB");
        }
        let section = &decided.body(Shape::Slack)["blocks"][1]["text"]["text"];
        assert!(section.as_str().unwrap().chars().count() <= 3000, "Slack's limit of one text");
    }
}
