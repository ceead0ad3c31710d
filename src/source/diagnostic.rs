use std::{fmt, sync::Arc};

use super::{Place, SourceFile};
use crate::model::{is_hidden, short_words};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// One thing that is wrong, where, and what to do about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// Lower case, one line: what failed, then why.
    pub message: String,
    at: Option<(Arc<SourceFile>, Place)>,
    hints: Vec<String>,
}

impl Diagnostic {
    pub fn error(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, message: message.into(), at: None, hints: Vec::new() }
    }

    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// Points at a place in a file.
    #[must_use]
    pub fn at(mut self, file: &Arc<SourceFile>, place: Place) -> Self {
        self.at = Some((Arc::clone(file), place));
        self
    }

    /// Adds a line that says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Where it points at, if anywhere.
    pub fn place(&self) -> Option<Place> {
        self.at.as_ref().map(|(_, place)| *place)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{word}: {}", harmless(&short_words(&self.message)))?;
        if let Some((file, place)) = &self.at {
            fmt_snippet(f, file, *place)?;
        }
        for hint in &self.hints {
            writeln!(f, "hint: {}", harmless(&short_words(hint)))?;
        }
        Ok(())
    }
}

fn fmt_snippet(f: &mut fmt::Formatter<'_>, file: &SourceFile, place: Place) -> fmt::Result {
    let path = harmless(&short_words(&file.path.display().to_string()));
    let Some(line) = place.line.checked_sub(1).and_then(|n| file.text.lines().nth(n)) else {
        return writeln!(f, "  --> {path}");
    };
    let gutter = place.line.to_string().len();
    writeln!(f, "{:gutter$}--> {path}:{}:{}", "", place.line, place.column)?;
    let (shown, before, carets) = window(line, place);
    writeln!(f, "{:gutter$} |", "")?;
    writeln!(f, "{} | {shown}", place.line)?;
    writeln!(f, "{:gutter$} | {:before$}{}", "", "", "^".repeat(carets))
}

/// The part of a line that is shown, the columns before the caret, and the number of carets.
fn window(line: &str, place: Place) -> (String, usize, usize) {
    const WIDTH: usize = 110;
    const LEAD: usize = 40;
    let chars: Vec<char> = line.chars().map(|c| if is_hidden(c) { ' ' } else { c }).collect();
    let column = (place.column.max(1) - 1).min(chars.len());
    let first = if chars.len() <= WIDTH { 0 } else { column.saturating_sub(LEAD) };
    let last = chars.len().min(first + WIDTH);
    let text = |range: std::ops::Range<usize>| chars[range].iter().collect::<String>();
    let start_of_line: usize = line.chars().take(column).map(char::len_utf8).sum();
    let marked = line[start_of_line..].char_indices().take_while(|(at, _)| *at < place.len).count();
    let marked_end = (column + marked).clamp(column, last.max(column));
    let carets = console::measure_text_width(text(column..marked_end).trim_end()).max(1);
    let dots = if first > 0 { "..." } else { "" };
    let tail = if last < chars.len() { "..." } else { "" };
    let before = dots.len() + console::measure_text_width(&text(first..column));
    (format!("{dots}{}{tail}", text(first..last)), before, carets)
}

/// Keeps a hostile file from commanding the terminal: where something was, something is seen.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { '\u{fffd}' } else { c }).collect()
}

/// All that is wrong with the files of a command, in the order it was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds it unless the very same is there already: one wrong step is wrong in every cell.
    pub fn push_once(&mut self, diagnostic: Diagnostic) {
        if !self.0.contains(&diagnostic) {
            self.0.push(diagnostic);
        }
    }

    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// The errors, and the warnings.
    pub fn split(self) -> (Self, Self) {
        let (errors, warnings) = self.0.into_iter().partition(|diagnostic| diagnostic.severity == Severity::Error);
        (Self(errors), Self(warnings))
    }

    /// `value`, unless there are errors; then all of them.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.has_errors() { Err(self) } else { Ok(value) }
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, more: I) {
        self.0.extend(more);
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, diagnostic) in self.0.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_shows_the_line_a_caret_and_the_hint() {
        let file = Arc::new(SourceFile::from_text("m.yaml", "version: 1\nnane: x\n"));
        let place = Place { line: 2, column: 1, start: 11, len: 4 };
        let shown = Diagnostic::error("unknown key `nane`").at(&file, place).hint("did you mean `name`?").to_string();
        let expected =
            "error: unknown key `nane`\n --> m.yaml:2:1\n  |\n2 | nane: x\n  | ^^^^\nhint: did you mean `name`?\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_very_long_line_is_cut_around_the_place() {
        let line = format!("key: {}", "ü".repeat(5000));
        let file = Arc::new(SourceFile::from_text("m.yaml", line));
        let place = Place { line: 1, column: 4000, start: 7000, len: 9000 };
        let shown = Diagnostic::error("x").at(&file, place).to_string();
        assert!(shown.lines().all(|line| line.chars().count() < 140), "{shown}");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_or_hides_is_echoed() {
        let hostile = "a\u{202e}b\u{9b}31m\u{200b}\u{85}\u{1b}\u{2066}\u{e0041}c";
        let file = Arc::new(SourceFile::from_text(format!("{hostile}.yaml"), format!("key: {hostile}")));
        let place = Place { line: 1, column: 6, start: 5, len: hostile.len() };
        let shown = Diagnostic::error(hostile).at(&file, place).hint(hostile).to_string();
        assert_eq!(shown.lines().count(), 6, "{shown}");
        assert!(shown.chars().all(|c| c == '\n' || !is_hidden(c)), "{shown:?}");
        assert!(shown.contains("1 | key: a b 31m     c"), "{shown}");
    }

    #[test]
    fn places_outside_the_text_do_no_harm() {
        let file = Arc::new(SourceFile::from_text("m.yaml", "ä\u{1b}[31m"));
        for (line, column, len) in [(0, 0, 0), (1, 900, 10), (7, 1, 1), (1, 1, usize::MAX)] {
            let shown = Diagnostic::error("\u{1b}x").at(&file, Place { line, column, start: 0, len }).to_string();
            assert!(!shown.contains('\u{1b}'), "{shown:?}");
        }
    }
}
