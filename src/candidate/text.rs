use super::{
    inf,
    source::Source,
    words::{clean, in_code_page},
};
use crate::{
    bytes::utf16,
    model::{About, Content},
};

/// Largest INF that is read, in bytes; those of graphics drivers take one or two MB.
const MAX_INF: usize = 4 << 20;

/// Of a file whose beginning is none of a binary kind.
pub(super) fn inspect(source: &mut Source<'_>, head: &[u8]) -> About {
    let Some(text) = decode(head) else { return About::of(Content::Unknown) };
    if let Some(content) = by_first_line(&text) {
        return About::of(content);
    }
    // Only what may be one is read whole.
    if text.to_ascii_lowercase().contains("[version]") {
        let whole = source.up_to(0, MAX_INF).and_then(|bytes| decode(&bytes));
        if let Some((inf, is_whole)) = whole.as_deref().and_then(inf::parse) {
            let mut about = About::of(Content::Inf(inf));
            if !is_whole || source.len > MAX_INF as u64 {
                about.unread = Some("it is too large to be read whole".to_owned());
            }
            return about;
        }
    }
    About::of(Content::Text)
}

fn by_first_line(text: &str) -> Option<Content> {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let lower = first.to_ascii_lowercase();
    let script = |interpreter: &str| Some(Content::Script { interpreter: interpreter.to_owned() });
    if first == "Windows Registry Editor Version 5.00" || first == "REGEDIT4" {
        return Some(Content::Reg);
    }
    if let Some(command) = first.strip_prefix("#!") {
        return script(&interpreter(command)?);
    }
    if lower.starts_with("@echo off") || lower.starts_with("@setlocal") {
        return script("cmd");
    }
    if lower.starts_with("#requires") || lower.starts_with("<#") {
        return script("powershell");
    }
    None
}

/// The program that a line such as `/usr/bin/env -S python3 -u` runs.
fn interpreter(command: &str) -> Option<String> {
    let mut words = command.split_whitespace().map(|word| word.rsplit('/').next().unwrap_or(word));
    let first = words.next()?;
    let name = if first == "env" { words.find(|word| !word.starts_with('-') && !word.contains('='))? } else { first };
    clean(name)
}

/// Bytes as text, if that is what they are: UTF-16 or UTF-8, by their mark or by their look, or else a code page.
pub(super) fn decode(bytes: &[u8]) -> Option<String> {
    let text = match bytes {
        [] => return None,
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ if looks_like_utf16(bytes) => utf16(bytes, u16::from_le_bytes),
        _ if bytes.contains(&0) => return None,
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            // Cut within a character.
            Err(error) if error.error_len().is_none() => String::from_utf8_lossy(bytes).into_owned(),
            Err(_) => in_code_page(bytes, 1252),
        },
    };
    // Tab, ends of lines and pages, and what DOS ends files with.
    let is_text = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\u{c}' | '\u{1a}' | '\u{1b}');
    text.chars().all(|c| is_text(c) || ('\u{80}'..='\u{9f}').contains(&c)).then_some(text)
}

/// ASCII in UTF-16 without a mark has a zero in every second byte.
fn looks_like_utf16(bytes: &[u8]) -> bool {
    let mut pairs = bytes.chunks_exact(2).take(64);
    bytes.len() >= 8 && bytes.len().is_multiple_of(2) && pairs.all(|pair| pair[0] != 0 && pair[1] == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::testing::{about, utf16_with_mark};

    #[test]
    fn texts_are_told_apart_by_what_they_begin_with() {
        let script = |interpreter: &str| Content::Script { interpreter: interpreter.into() };
        for (text, kind) in [
            ("Windows Registry Editor Version 5.00\r\n\r\n[HKEY_LOCAL_MACHINE\\X]\r\n", Content::Reg),
            ("REGEDIT4\n", Content::Reg),
            ("#!/bin/sh -e\n", script("sh")),
            ("#!/usr/bin/env -S pwsh -NoProfile\n", script("pwsh")),
            ("\r\n@ECHO OFF\r\n", script("cmd")),
            ("#Requires -Version 5\n", script("powershell")),
            ("#!\n", Content::Text),
            ("[Version]\nbut no INF", Content::Text),
            ("content 1", Content::Text),
        ] {
            assert_eq!(about(text.as_bytes()).content, kind, "{text:?}");
            assert_eq!(about(&utf16_with_mark(text)).content, kind, "{text:?}");
        }
    }

    #[test]
    fn what_has_bytes_that_no_text_has_is_data() {
        assert_eq!(about(b"").content, Content::Unknown);
        assert_eq!(about(b"text\0more").content, Content::Unknown);
        assert_eq!(about(b"\x01\x02\x03").content, Content::Unknown);
        assert_eq!(about("Größe".as_bytes()).content, Content::Text);
        assert_eq!(about(b"Gr\xf6\xdfe").content, Content::Text);
        let unmarked = &utf16_with_mark("REGEDIT4\r\n")[2..];
        assert_eq!(about(unmarked).content, Content::Reg);
    }
}
