use crate::model::{cut, one_line};

/// Most characters of one text.
const LONGEST: usize = 300;

/// A text of others as a code span: in there no renderer looks for markup, links, mentions or references, so a guest
/// that prints them calls nobody.
pub(super) fn code(text: &str) -> String {
    // A backtick would end the span.
    let shown = cut(&one_line(text), LONGEST).replace('`', "'");
    if shown.is_empty() { "–".to_owned() } else { format!("`{shown}`") }
}

/// The same within a table, where a pipe ends the square even in a code span. Renderers differ in how one is escaped.
pub(super) fn in_table(text: &str) -> String {
    code(text).replace('|', "¦")
}

/// A sentence of ours with words of others in it: as it is if nothing in it can mean anything, else as a code span.
pub(super) fn told(text: &str) -> String {
    let text = one_line(text);
    let is_plain = |c: char| c.is_alphanumeric() || " ,.;=()'-:".contains(c);
    let links = ["www.", "://"].iter().any(|sign| text.contains(sign));
    if text.len() <= LONGEST && text.chars().all(is_plain) && !links { text } else { code(&text) }
}

/// A document that does not grow beyond its limit, and says what was left out.
pub(super) struct Page {
    text: String,
    most: usize,
    left_out: usize,
}

/// Kept for the last lines.
const RESERVED: usize = 1000;

impl Page {
    pub(super) fn new(most: usize) -> Self {
        Self { text: String::new(), most: most - RESERVED, left_out: 0 }
    }

    /// Once a line has no room, none after it is taken: what follows would stand in the wrong place.
    pub(super) fn line(&mut self, line: &str) {
        if self.left_out > 0 || self.text.len() + line.len() + 1 > self.most {
            self.left_out += usize::from(!line.is_empty());
            return;
        }
        // One empty line says as much as several.
        if !(line.is_empty() && self.text.ends_with("\n\n")) {
            self.text.push_str(line);
            self.text.push('\n');
        }
    }

    /// A line between empty ones.
    pub(super) fn paragraph(&mut self, line: &str) {
        self.line("");
        self.line(line);
        self.line("");
    }

    pub(super) fn finish(mut self, foot: &str) -> String {
        let gap = if self.text.ends_with("\n\n") { "" } else { "\n" };
        self.text.push_str(gap);
        if self.left_out > 0 {
            self.text.push_str(&format!("_Left out for its length: {} more lines._\n\n", self.left_out));
        }
        self.text.push_str(&format!("<sub>{foot}</sub>\n"));
        self.text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sentence_stays_as_it_is_unless_something_in_it_could_mean_something() {
        for harmless in ["It breaks wherever patch = p3, and only there.", "control: off: nothing", "ä (b's)"] {
            assert_eq!(told(harmless), harmless);
        }
        for hostile in ["@team", "#12", "!7", "[a](b)", "<b>", "*x*", "http://x", "www.x", "a|b", "a_b", "/close"] {
            assert_eq!(told(hostile), format!("`{hostile}`"));
        }
        assert_eq!(code("a`b\n``"), "`a'b ''`");
        assert_eq!(in_table("a|b\\|"), "`a¦b\\¦`");
        assert_eq!(code(" \n"), "–");
        assert_eq!(code(&"é".repeat(400)).chars().count(), LONGEST + 3);
    }

    #[test]
    fn a_page_that_is_full_takes_nothing_more_and_says_so() {
        let mut page = Page::new(RESERVED + 12);
        for line in ["12345", "123456789", "1"] {
            page.line(line);
        }
        assert_eq!(page.finish("end"), "12345\n\n_Left out for its length: 2 more lines._\n\n<sub>end</sub>\n");
    }

    proptest! {
        #[test]
        fn whatever_a_guest_says_is_one_code_span(text in ".{0,400}") {
            let span = code(&text);
            prop_assert!(!span.contains('\n'));
            prop_assert!(span == "–" || (span.starts_with('`') && span.ends_with('`')));
            prop_assert!(span == "–" || span.matches('`').count() == 2, "{}", span);
            prop_assert!(!in_table(&text).contains('|'));
        }
    }
}
