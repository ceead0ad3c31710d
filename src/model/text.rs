//! Makes text from guests, matrices and file names safe to show and to write into XML.

use std::{fmt::Write as _, iter::Peekable};

/// Text of several lines: no escape sequences, no control characters but `\n`, nothing XML forbids.
///
/// A terminal obeys escape sequences and direction marks wherever they come from, so a guest could
/// otherwise repaint the lines above or make `healthy` out of `unhealthy`. A CI system obeys commands in what it logs,
/// and so a guest could otherwise set variables there.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            // The eight-bit form of ESC [.
            '\u{9b}' => skip_control_sequence(&mut chars),
            '\t' => out.push_str("    "),
            '\n' => out.push('\n'),
            '\r' => {
                // A lone one overwrites the line on a terminal: here it begins the next.
                if chars.peek() != Some(&'\n') {
                    out.push('\n');
                }
            }
            c if c.is_control() => {}
            c if is_hidden(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    without_commands(out)
}

/// `#` for each number, whatever it is: what is told once with one and once with another is the same.
pub fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }) {
        if c != '#' || !out.ends_with('#') {
            out.push(c);
        }
    }
    out
}

/// The same of hexadecimal numbers too, where numbers in them give them away: addresses, and UUIDs.
pub fn without_hex_numbers(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "#-".contains(c);
    let is_hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit() || "#-".contains(c));
    map_words(&without_numbers(text), is_part, |word| match word.strip_prefix("#x") {
        Some(rest) if !rest.is_empty() && is_hex(rest) => "#x#",
        None if word.len() >= 4 && word.contains('#') && is_hex(word) => "#",
        _ => word,
    })
}

/// `#` for each word that is a number from its first letter to its last; a hexadecimal one has 8 digits or more.
pub fn without_number_words(text: &str) -> String {
    let is_number = |word: &str| {
        let is_hex = word.len() >= 8 && word.chars().all(|c| c.is_ascii_hexdigit());
        !word.is_empty() && (is_hex || word.chars().all(|c| c.is_ascii_digit()))
    };
    map_words(text, |c| c.is_ascii_alphanumeric(), |word| if is_number(word) { "#" } else { word })
}

/// The text with each of its words, which consist of such characters, changed.
fn map_words(text: &str, is_part: impl Fn(char) -> bool, change: impl Fn(&str) -> &str) -> String {
    let words = text.split_inclusive(|c: char| !is_part(c)).map(|word| {
        let (word, after) = word.split_at(word.trim_end_matches(|c: char| !is_part(c)).len());
        format!("{}{after}", change(word))
    });
    words.collect()
}

/// Takes the meaning from logging commands by a space in them: `##vso[…]` (Azure Pipelines, "Logging commands"), and
/// `::name::` at a line's beginning (GitHub, "Workflow commands"), whose runner still obeys `##[…]` anywhere in it.
fn without_commands(text: String) -> String {
    if !text.contains("##") && !text.contains("::") {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 1);
    for line in text.split_inclusive('\n') {
        let mut rest = line;
        if line.trim_start().starts_with("::") {
            let (before, command) = line.split_at(line.len() - line.trim_start().len() + 1);
            out.push_str(before);
            out.push(' ');
            rest = command;
        }
        while let Some(at) = rest.find("##") {
            let (before, found) = rest.split_at(at + 1);
            out.push_str(before);
            if found[1..].trim_start_matches(|c: char| c.is_ascii_alphanumeric()).starts_with('[') {
                out.push(' ');
            }
            rest = found;
        }
        out.push_str(rest);
    }
    out
}

/// The text without what a terminal would obey, on one line.
pub fn one_line(text: &str) -> String {
    plain(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn skip_escape(chars: &mut Peekable<impl Iterator<Item = char>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_control_sequence(chars);
        }
        // Operating system command, device control, privacy message, application command, start of string.
        Some(']' | 'P' | '^' | '_' | 'X') => {
            while let Some(c) = chars.next_if(|c| !matches!(c, '\u{7}' | '\u{9c}' | '\n')) {
                if c == '\u{1b}' {
                    break;
                }
            }
            chars.next_if(|c| matches!(c, '\u{7}' | '\u{9c}' | '\\'));
        }
        _ => {
            while chars.next_if(|c| matches!(c, ' '..='/')).is_some() {}
            chars.next_if(|c| matches!(c, '0'..='~'));
        }
    }
}

fn skip_control_sequence(chars: &mut Peekable<impl Iterator<Item = char>>) {
    while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
    chars.next_if(|c| matches!(c, '@'..='~'));
}

/// What a terminal obeys or does not show: controls, direction marks and overrides, line separators, tags, and code points
/// that are no characters.
pub fn is_hidden(c: char) -> bool {
    let code = u32::from(c);
    let marks = matches!(code, 0xad | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff);
    let others = matches!(code, 0xfdd0..=0xfdef | 0xfff9..=0xfffb | 0xe_0000..=0xe_007f);
    c.is_control() || marks || others || code & 0xfffe == 0xfffe
}

/// Whether a text can stand in a table and be told from others: not blank, nothing hidden in it, not longer than this.
pub fn is_shown(text: &str, longest: usize) -> bool {
    !text.trim().is_empty() && text.chars().count() <= longest && !text.chars().any(is_hidden)
}

/// Whether a text can be a value of an axis, or a key or value of a label: what picks golden images, and is picked by.
pub fn is_label(text: &str) -> bool {
    is_shown(text, 200)
}

/// The text with the middle of its very long words left out: no path or name is worth a screen.
pub fn short_words(text: &str) -> String {
    const LONGEST: usize = 400;
    const KEPT: usize = 150;
    let short = |word: &str| match word.chars().count() {
        length if length <= LONGEST => word.to_owned(),
        length => {
            let begin: String = word.chars().take(KEPT).collect();
            let end: String = word.chars().skip(length - KEPT).collect();
            format!("{begin}[{} more characters]{end}", length - 2 * KEPT)
        }
    };
    text.split_inclusive(char::is_whitespace).map(short).collect()
}

/// Whether a text is a GUID or UUID as all systems write it, without braces: 8, 4, 4, 4 and 12 hexadecimal digits.
pub fn is_guid(text: &str) -> bool {
    let fits = |(n, byte): (usize, u8)| match n {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}

/// The same as Windows writes it, in braces.
pub fn is_guid_in_braces(text: &str) -> bool {
    text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).is_some_and(is_guid)
}

/// Text as it may stand in XML, in an attribute too; characters that XML 1.0 does not have become U+FFFD.
pub fn escape_xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            // As they are they would be read as spaces.
            '\t' | '\n' | '\r' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// So many characters of a text at most, and `…` where there are more.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A number and what it counts: `1 cell`, `2 cells`.
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_leave_nothing_behind() {
        for (dirty, clean) in [
            ("a\u{1b}[31;1mred\u{1b}[0m", "ared"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{1b}]8;;http://x\u{1b}\\link", "link"),
            ("\u{1b}(Bx\u{1b}cx", "xx"),
            ("\u{9b}2Jx", "x"),
            ("50%\rdone\r\nend", "50%\ndone\nend"),
            ("bell\u{7}\u{8}\0\u{7f}", "bell"),
            ("\u{202e}yhtlaeh\u{ffff}\u{1fffe}", "\u{fffd}yhtlaeh\u{fffd}\u{fffd}"),
            ("tab\tend", "tab    end"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
        ] {
            assert_eq!(plain(dirty), clean, "{dirty:?}");
        }
        assert_eq!(one_line(" a\r\n\tb "), "a b");
    }

    #[test]
    fn what_a_ci_system_would_obey_is_only_shown() {
        for (dirty, clean) in [
            ("x ##vso[task.complete result=Succeeded;]y", "x # #vso[task.complete result=Succeeded;]y"),
            ("###[error]x", "## #[error]x"),
            ("##\u{1b}[0mvso[a]", "# #vso[a]"),
            ("a\n  ::add-mask::b", "a\n  : :add-mask::b"),
            ("::error::##[x]", ": :error::# #[x]"),
            ("##teamcity[a]", "# #teamcity[a]"),
            ("## heading, a::b, [##]", "## heading, a::b, [##]"),
        ] {
            assert_eq!(plain(dirty), clean, "{dirty:?}");
        }
        assert_eq!(one_line("a\n::stop-commands::x"), "a : :stop-commands::x");
    }

    proptest! {
        #[test]
        fn no_text_has_a_command_in_it(text in "[#\\[a:\n ]{0,40}") {
            let shown = plain(&text);
            prop_assert!(!shown.lines().any(|line| line.trim_start().starts_with("::")), "{:?}", shown);
            let command = regex::Regex::new(r"##[a-z]*\[").unwrap();
            prop_assert!(!command.is_match(&shown), "{:?}", shown);
            prop_assert_eq!(plain(&shown), shown.clone(), "once is enough");
        }
    }

    #[test]
    fn hexadecimal_numbers_are_known_by_the_numbers_in_them_or_by_their_length() {
        let text = "at 0x7f3ac0de, volume 3f2a77c1-abcd on sda1: bad face";
        assert_eq!(without_hex_numbers(text), "at #x#, volume # on sda#: bad face");
        let path = "/crash/core.x86_64.7.0123456789abcdef.bad";
        assert_eq!(without_number_words(path), "/crash/core.x86_#.#.#.bad");
    }

    #[test]
    fn a_guid_has_its_dashes_where_they_belong() {
        assert!(is_guid("c7a5fdbd-edaf-9455-926a-d65C16DB1809"));
        assert!(is_guid_in_braces("{0A1B2C3D-0000-4000-8000-000000000000}"));
        for bad in ["", &"-".repeat(36), "c7a5fdbdedaf-9455-926a-d65c16db1809-", "c7a5fdbd-edaf-9455-926a"] {
            assert!(!is_guid(bad), "{bad}");
        }
        for bad in ["", "{}", "{0A1B2C3D-0000-4000-8000-00000000000\"}", "0A1B2C3D-0000-4000-8000-000000000000"] {
            assert!(!is_guid_in_braces(bad), "{bad}");
        }
        assert!(!is_guid_in_braces("{äA1B2C3D-0000-4000-8000-00000000000}"));
    }

    #[test]
    fn a_text_is_cut_between_characters_and_only_if_it_is_longer() {
        assert_eq!([cut("äöü", 3), cut("äöü", 2), cut("a", 0), cut("", 0)], ["äöü", "äö…", "…", ""]);
    }

    #[test]
    fn of_a_word_that_is_too_long_begin_and_end_are_left() {
        assert_eq!(short_words("a  b\nc "), "a  b\nc ");
        let long = format!("no `/{}/x`: it is a folder", "é".repeat(5000));
        let short = short_words(&long);
        assert!(short.starts_with("no `/é") && short.ends_with("é/x`: it is a folder"), "{short}");
        assert!(short.contains("[4707 more characters]") && short.chars().count() < 400, "{short}");
    }
}
