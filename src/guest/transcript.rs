use std::sync::Mutex;

use serde_json::{Value, json};

use crate::{lab::AgentError, model::Secrets};

/// Longest request or reply that is kept whole; longer ones are mostly file content.
const KEEP: usize = 2048;

/// Most lines that are kept: a poll repeats, and the end is what matters least.
const LINES: usize = 5000;

/// Fields that carry content, not protocol.
const CONTENT: [&str; 3] = ["buf-b64", "out-data", "err-data"];

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

    /// Masked word by word, because JSON and base64 would hide a secret from the mask.
    fn safe(&self, text: &str) -> String {
        let Ok(mut value) = serde_json::from_str::<Value>(text) else { return self.short(text) };
        self.clean(&mut value);
        self.short(&value.to_string())
    }

    fn clean(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.secrets.mask(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.clean(item)),
            Value::Object(fields) => {
                for (key, field) in fields.iter_mut() {
                    match field {
                        Value::String(data) if CONTENT.contains(&key.as_str()) => {
                            *field = json!(format!("({} characters of base64)", data.len()));
                        }
                        _ => self.clean(field),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn short(&self, text: &str) -> String {
        let masked = self.secrets.mask(text);
        if masked.len() <= KEEP {
            return masked;
        }
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
