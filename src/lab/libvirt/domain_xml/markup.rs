use std::path::Path;

use crate::lab::LabError;

/// A path, escaped.
pub fn path(path: &Path) -> Result<String, LabError> {
    path.to_str()
        .map(text)
        .ok_or_else(|| LabError::Other(format!("{} is not UTF-8, which libvirt needs", path.display())))
}

/// Escaped for XML text and attributes; characters that XML 1.0 does not have become U+FFFD.
pub fn text(raw: &str) -> String {
    let mut escaped = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&apos;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c if c < ' ' && !matches!(c, '\t' | '\n' | '\r') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
