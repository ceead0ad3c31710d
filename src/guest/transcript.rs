use std::sync::Mutex;

use serde_json::json;

use crate::{lab::AgentError, model::Secrets};

/// Longest request or reply that is kept whole; longer ones are mostly file content.
const KEEP: usize = 2048;

/// Most lines that are kept: a poll repeats, and the end is what matters least.
const LINES: usize = 5000;

/// What was said to a guest's agent and what it answered: evidence, with secrets masked.
#[derive(Debug)]
pub struct Transcript {
    secrets: Secrets,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    text: String,
    count: usize,
    /// The exchange before and how often it came again: polls are told once.
    last: Option<(String, String)>,
    repeats: usize,
}

impl Transcript {
    pub fn new(secrets: Secrets) -> Self {
        Self { secrets, lines: Mutex::default() }
    }

    pub(super) fn note(&self, request: &str, reply: &Result<String, AgentError>) {
        let request = self.safe(request);
        let reply = match reply {
            Ok(reply) => self.safe(reply),
            Err(error) => format!("error: {}", self.safe(&error.to_string())),
        };
        let mut lines = self.lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if lines.last.as_ref().is_some_and(|last| last.0 == request && last.1 == reply) {
            lines.repeats += 1;
            return;
        }
        lines.flush();
        lines.last = Some((request, reply));
    }

    /// The transcript so far: a JSON object per line.
    pub fn text(&self) -> String {
        let mut lines = self.lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        lines.flush();
        lines.text.clone()
    }

    fn safe(&self, text: &str) -> String {
        if text.len() <= KEEP {
            return self.secrets.mask(text);
        }
        // Masked before it is cut, so that no half of a secret is left at the edge.
        let masked = self.secrets.mask(text);
        let cut: String = masked.chars().take(KEEP).collect();
        format!("{cut}… ({} bytes in all)", text.len())
    }
}

impl Lines {
    fn flush(&mut self) {
        let Some((request, reply)) = self.last.take() else { return };
        let repeats = std::mem::take(&mut self.repeats);
        if self.count == LINES {
            return;
        }
        self.count += 1;
        let mut line = json!({"request": request, "reply": reply});
        if repeats > 0 {
            line["repeated"] = json!(repeats);
        }
        self.text.push_str(&line.to_string());
        self.text.push('\n');
    }
}
