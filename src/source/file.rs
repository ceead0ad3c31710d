use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Diagnostic;
use crate::{files::read_regular, model::Sha256};

/// Longest file that is read, in bytes: far above any matrix, far below what would hurt.
pub const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Where something stands in a file. The zero value means "nowhere in particular".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Bytes from the start of the text.
    pub start: usize,
    /// In bytes.
    pub len: usize,
}

/// The text of a file and the name it is shown under.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceFile {
    pub path: PathBuf,
    pub text: String,
    /// Of the file itself, byte order mark and all.
    pub sha256: Sha256,
}

impl SourceFile {
    /// Reads a text file.
    ///
    /// # Errors
    /// One diagnostic: absent, a folder, unreadable, longer than [`MAX_FILE`], empty, or not UTF-8.
    pub fn read(path: &Path) -> Result<Arc<Self>, Diagnostic> {
        let failed = |why: String, hint: Option<&str>| {
            let diagnostic = Diagnostic::error(format!("cannot read `{}`: {why}", path.display()));
            hint.into_iter().fold(diagnostic, Diagnostic::hint)
        };
        let from_io = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => failed("there is no such file".into(), Some("check the path for a typo")),
            io::ErrorKind::PermissionDenied => failed("permission denied".into(), None),
            _ => failed(error.to_string(), None),
        };
        let about = fs::metadata(path).map_err(from_io)?;
        if about.is_dir() {
            return Err(failed("it is a folder".into(), Some("give the YAML file itself")));
        }
        if about.len() > MAX_FILE {
            return Err(failed(format!("it is longer than {} MiB", MAX_FILE >> 20), Some("is this the right file?")));
        }
        let text = String::from_utf8(read_regular(path, MAX_FILE).map_err(from_io)?).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let line = 1 + error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count();
            failed(format!("line {line} is not valid UTF-8"), Some("save the file as UTF-8"))
        })?;
        if text.trim_start_matches('\u{feff}').trim().is_empty() {
            return Err(failed("it is empty".into(), None));
        }
        Ok(Arc::new(Self::from_text(path, text)))
    }

    /// A file whose text is at hand already.
    pub fn from_text(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        // A byte order mark would shift every place by one character.
        let text: String = text.into();
        let sha256 = Sha256::of(text.as_bytes());
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        Self { path: path.into(), text, sha256 }
    }

    /// Where `needle` stands within the text at `place`; `place` itself if it is not there as written.
    pub fn find_within(&self, place: Place, needle: &str) -> Place {
        let end = place.start.saturating_add(place.len).min(self.text.len());
        let Some(at) = self.text.get(place.start..end).and_then(|text| text.find(needle)) else { return place };
        let start = place.start + at;
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            line: 1 + before.matches('\n').count(),
            column: 1 + before[line_start..].chars().count(),
            start,
            len: needle.len(),
        }
    }

    /// The folder that relative paths in this file start from.
    pub fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }
}
