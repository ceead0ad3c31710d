use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use super::{annotations, html, html::Links, json, junit, markdown, metrics};
use crate::{event::RunState, files::write_out};

/// A report that is a file in the run directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFile {
    Junit,
    Json,
    Html,
}

impl ReportFile {
    pub const ALL: [Self; 3] = [Self::Junit, Self::Json, Self::Html];

    /// Its name in the run directory.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Junit => "junit.xml",
            Self::Json => "result.json",
            Self::Html => "report.html",
        }
    }

    fn render(self, state: &RunState, run_dir: &Path) -> Result<Vec<u8>, String> {
        match self {
            Self::Junit => junit::render(state),
            Self::Json => json::render(state),
            Self::Html => html::render(state, run_dir, Links::Beside),
        }
    }
}

/// A report that stands by itself, wherever it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    Junit,
    Json,
    /// The whole run for people.
    Html,
    /// The run for somebody who has to decide, and has no use for how it was found.
    Client,
    /// For a pull request or a job's page.
    Markdown,
    /// GitHub's workflow commands.
    Github,
    /// Azure Pipelines' logging commands.
    Azure,
    /// Numbers, as OpenMetrics.
    Metrics,
}

impl Document {
    /// Its bytes; pictures come from the run directory.
    ///
    /// # Errors
    /// Not even the run's start was recorded.
    pub fn render(self, state: &RunState, run_dir: &Path) -> Result<Vec<u8>, String> {
        match self {
            Self::Junit => junit::render(state),
            Self::Json => json::render(state),
            Self::Html => html::render(state, run_dir, Links::None),
            Self::Client => html::render_client(state),
            Self::Markdown => markdown::render(state),
            Self::Github => annotations::github(state),
            Self::Azure => annotations::azure(state),
            Self::Metrics => metrics::render(state),
        }
    }
}

/// What became of one report.
#[derive(Debug)]
pub struct Written {
    pub file: ReportFile,
    pub path: PathBuf,
    pub result: io::Result<()>,
}

/// Writes the given reports into the run directory, each whole or not at all. One that fails, even with a
/// panic, doesn't stop the others.
pub fn write_all(run_dir: &Path, state: &RunState, files: &[ReportFile]) -> Vec<Written> {
    let write = |&file: &ReportFile| {
        let path = run_dir.join(file.file_name());
        let rendered = catch_unwind(AssertUnwindSafe(|| file.render(state, run_dir)));
        let result = match rendered {
            Ok(Ok(bytes)) => write_out(&path, &bytes),
            Ok(Err(message)) => Err(io::Error::other(message)),
            Err(_) => Err(io::Error::other("internal error: the report panicked")),
        };
        Written { file, path, result }
    };
    files.iter().map(write).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::event::testing;

    #[test]
    fn one_report_that_fails_does_not_stop_another() {
        let dir = tempfile::tempdir().unwrap();
        // A folder in its place can't be replaced by a file.
        fs::create_dir_all(dir.path().join("junit.xml/x")).unwrap();
        let written = write_all(dir.path(), &testing::nine().state(), &ReportFile::ALL);
        assert!(written[0].result.is_err());
        assert!(written[1..].iter().all(|written| written.result.is_ok()));
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3, "no temporary file stays: {left:?}");
    }

    #[test]
    fn a_run_that_has_no_start_gives_errors_and_no_files() {
        let dir = tempfile::tempdir().unwrap();
        let written = write_all(dir.path(), &RunState::new("r1".into()), &ReportFile::ALL);
        assert!(written.iter().all(|written| written.result.is_err()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
