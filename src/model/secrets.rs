use std::{collections::BTreeMap, fmt};

use super::without_numbers;

/// The values of `${env:NAME}` in steps and checks.
///
/// A plan keeps the placeholders, so no file and no report can hold a value. [`Secrets::reveal`] puts the
/// values in at the last moment, and [`Secrets::mask`] takes them out of whatever a guest answers. Not
/// serialisable on purpose.
#[derive(Clone, Default)]
pub struct Secrets {
    values: BTreeMap<String, String>,
    /// Not empty, longest first, so that a value inside another one does not spoil it.
    by_length: Vec<String>,
}

const OPEN: &str = "${env:";
/// What a value is replaced with.
const MASK: &str = "***";

impl Secrets {
    pub fn new(values: BTreeMap<String, String>) -> Self {
        let mut by_length: Vec<String> = values.values().filter(|value| !value.is_empty()).cloned().collect();
        // A guest may answer with a script's output line by line: each line of a value is a secret too.
        let lines: Vec<&str> = by_length.iter().flat_map(|value| value.lines()).map(str::trim).collect();
        let lines: Vec<String> = lines.into_iter().filter(|line| line.len() >= 4).map(str::to_owned).collect();
        by_length.extend(lines);
        // A guest's errors are told without their numbers: what is left of a value is as secret.
        let left: Vec<String> =
            by_length.iter().map(|value| without_numbers(value)).filter(|left| left.len() >= 4).collect();
        by_length.extend(left);
        by_length.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        by_length.dedup();
        Self { values, by_length }
    }

    /// The names of values so short that masking them hides other text too.
    pub fn short(&self) -> impl Iterator<Item = &str> {
        self.values.iter().filter(|(_, value)| value.len() < 4).map(|(name, _)| name.as_str())
    }

    /// A text of the plan as the guest must get it: `${env:NAME}` becomes the value, `$${env:` a plain
    /// `${env:`. Names that are not known stay as they are.
    pub fn reveal(&self, text: &str) -> String {
        let mut revealed = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(OPEN) {
            let (before, found) = rest.split_at(at);
            let after = &found[OPEN.len()..];
            if let Some(before) = before.strip_suffix('$') {
                revealed.push_str(before);
                revealed.push_str(OPEN);
                rest = after;
                continue;
            }
            revealed.push_str(before);
            match after.split_once('}').and_then(|(name, after)| Some((self.values.get(name)?, after))) {
                Some((value, after)) => {
                    revealed.push_str(value);
                    rest = after;
                }
                None => {
                    revealed.push_str(OPEN);
                    rest = after;
                }
            }
        }
        revealed.push_str(rest);
        revealed
    }

    /// The length of the longest value, in bytes: whoever cuts a text must mask so much beyond the cut, or part
    /// of a value stays.
    pub fn longest(&self) -> usize {
        // In UTF-16 it has twice as many.
        self.by_length.first().map_or(0, |value| value.len() * 2)
    }

    /// Replaces every value in `text` by `***`.
    pub fn mask(&self, text: &str) -> String {
        self.by_length.iter().fold(text.to_owned(), |text, value| text.replace(value, MASK))
    }

    /// [`Secrets::mask`] for content that may be no text, or text in UTF-16 as Windows' installers log it.
    pub fn mask_bytes(&self, content: &[u8]) -> Vec<u8> {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        self.by_length.iter().fold(content.to_vec(), |content, value| {
            let masked = replaced(&content, value.as_bytes(), MASK.as_bytes());
            replaced(&masked, &utf16(value), &utf16(MASK))
        })
    }

    /// The names that [`Secrets::reveal`] would look for in a text.
    pub fn names_in(text: &str) -> impl Iterator<Item = &str> {
        let found = text.match_indices(OPEN).filter(|(at, _)| !text[..*at].ends_with('$'));
        found.filter_map(|(at, _)| text[at + OPEN.len()..].split_once('}')).map(|(name, _)| name)
    }

    /// A placeholder as it stands in a plan's text.
    pub fn placeholder(name: &str) -> String {
        format!("{OPEN}{name}}}")
    }

    /// Text that [`Secrets::reveal`] gives back as it was, whatever it looks like.
    pub fn escape(text: &str) -> String {
        text.replace(OPEN, "$${env:")
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.values.keys().map(|name| (name, MASK))).finish()
    }
}

fn replaced(content: &[u8], value: &[u8], by: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some(at) = rest.windows(value.len()).position(|window| window == value) {
        text.extend_from_slice(&rest[..at]);
        text.extend_from_slice(by);
        rest = &rest[at + value.len()..];
    }
    text.extend_from_slice(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(pairs: &[(&str, &str)]) -> Secrets {
        Secrets::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn values_are_revealed_only_where_a_placeholder_stands() {
        let secrets = secrets(&[("TOKEN", "s3cret"), ("EMPTY", "")]);
        for (text, expected) in [
            ("a ${env:TOKEN} b${env:TOKEN}", "a s3cret bs3cret"),
            ("${env:EMPTY}", ""),
            ("$${env:TOKEN}", "${env:TOKEN}"),
            ("${env:OTHER} ${env:", "${env:OTHER} ${env:"),
            ("${TOKEN}", "${TOKEN}"),
        ] {
            assert_eq!(secrets.reveal(text), expected, "{text}");
        }
        assert_eq!(secrets.reveal(&Secrets::escape("x ${env:TOKEN}")), "x ${env:TOKEN}");
        assert_eq!(Secrets::names_in("${env:A} $${env:B} ${env:C} ${env:").collect::<Vec<_>>(), ["A", "C"]);
    }

    #[test]
    fn a_revealed_value_is_not_searched_again() {
        let secrets = secrets(&[("A", "${env:B}"), ("B", "b")]);
        assert_eq!(secrets.reveal("${env:A}"), "${env:B}");
    }

    #[test]
    fn a_value_is_masked_in_utf_16_too() {
        let secrets = Secrets::new(BTreeMap::from([("T".to_owned(), "s3cret".to_owned())]));
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        assert_eq!(secrets.mask_bytes(&utf16("CID='s3cret'")), utf16("CID='***'"));
    }

    #[test]
    fn values_are_masked_longest_first_and_never_shown() {
        let secrets = secrets(&[("A", "abc"), ("B", "abcdef"), ("C", ""), ("D", "line one\nline two")]);
        assert_eq!(secrets.mask("x abcdef abc line two"), "x *** *** ***");
        assert!(!format!("{secrets:?}").contains("abc"));
    }

    #[test]
    fn what_a_log_without_numbers_leaves_of_a_value_is_masked_too() {
        let secrets = secrets(&[("A", "hunter22"), ("PIN", "4711")]);
        let told = without_numbers("login hunter22 failed 3 times, pin 4711");
        assert_eq!(secrets.mask(&told), "login *** failed # times, pin #");
    }
}
