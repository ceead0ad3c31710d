use std::{fs, path::Path, time::Instant};

use anyhow::Context as _;
use serde_json::json;

use super::{Args, say::utc_now};
use crate::{
    cli::select::{MatrixArgs, Select},
    matrix::Matrix,
    model::{Millis, Plan, Sha256},
    plan::Planned,
    source::{Diagnostic, Diagnostics},
    watch::{Ask, Stamp},
};

/// What every candidate is tested with.
#[derive(Clone, Debug)]
pub(super) struct Asked(Select);

/// A candidate that no file is called like.
const ANY: &str = "any-candidate";

impl Asked {
    pub fn of(args: &Args) -> Self {
        Self(Select { matrix: args.matrix.clone(), candidate: None, with: args.with.clone() })
    }

    pub fn path(&self) -> &Path {
        &self.0.matrix
    }

    /// The plan for one candidate.
    ///
    /// # Errors
    /// As [`Select::plan`].
    pub fn plan(&self, candidate: &Path) -> Result<Planned, Diagnostics> {
        Select { candidate: Some(candidate.to_owned()), ..self.0.clone() }.plan()
    }

    /// Whether there can be a candidate that is tested: what is to be told of the matrix anyway, and a plan, if any file would
    /// do for one.
    ///
    /// # Errors
    /// What is wrong whatever the candidate.
    pub fn check(&self) -> anyhow::Result<(Diagnostics, Option<Plan>)> {
        let dir = tempfile::tempdir().context("cannot try the matrix")?;
        let any = dir.path().join(ANY);
        fs::write(&any, "").context("cannot try the matrix")?;
        match self.plan(&any) {
            Ok(Planned { plan, warnings, .. }) => Ok((others(warnings, &any), Some(plan))),
            Err(errors) => {
                let wrong = whatever_the_candidate(errors, &any);
                if wrong.has_errors() { Err(wrong.into()) } else { Ok((wrong, None)) }
            }
        }
    }

    /// The digest of the matrix and of what the command line adds to it; none: the matrix is wrong.
    pub fn question(&self) -> Option<Sha256> {
        Some(self.question_of(&Matrix::read(&self.0.matrix).ok()?.file.sha256))
    }

    /// The same of a matrix with this digest.
    pub fn question_of(&self, matrix: &Sha256) -> Sha256 {
        let MatrixArgs { set, only, soak, start, .. } = &self.0.with;
        let start = start.map(|start| format!("{start:?}"));
        let asked = json!({ "matrix": matrix, "set": set, "only": only, "soak": soak, "start": start });
        Sha256::of(asked.to_string().as_bytes())
    }

    /// What the files of ours look like: one of them was perhaps mended since.
    pub fn looks(&self) -> Vec<Option<Stamp>> {
        let files = [Some(&self.0.matrix), self.0.with.catalog.as_ref()].into_iter().flatten();
        files.map(|path| fs::metadata(path).ok().map(|about| Stamp::of(&about))).collect()
    }
}

impl Ask for Asked {
    fn question(&mut self) -> Option<Sha256> {
        Asked::question(self)
    }

    fn utc(&self) -> String {
        utc_now()
    }
}

/// The errors that have nothing to do with the candidate: with them, no other one can be tested either.
pub(super) fn whatever_the_candidate(errors: Diagnostics, candidate: &Path) -> Diagnostics {
    others(errors.split().0, candidate)
}

fn others(found: Diagnostics, candidate: &Path) -> Diagnostics {
    Diagnostics(found.0.into_iter().filter(|one| !is_about(one, candidate)).collect())
}

/// Whether it names the candidate. Whatever is wrong with a file names it, by its path or by its name.
fn is_about(error: &Diagnostic, candidate: &Path) -> bool {
    let name = candidate.file_name().unwrap_or_default().display();
    error.message.contains(&candidate.display().to_string()) || error.message.contains(&format!("`{name}`"))
}

/// A matrix that is wrong, and what was told of it.
#[derive(Debug)]
pub(super) struct Wrong {
    pub text: String,
    looks: Vec<Option<Stamp>>,
    since: Instant,
}

impl Wrong {
    /// `looks`: of the files before they were read.
    pub fn new(errors: &Diagnostics, looks: Vec<Option<Stamp>>) -> Self {
        Self { text: errors.to_string(), looks, since: Instant::now() }
    }

    /// Whether it is worth another look.
    pub fn may_be_right(&self, asked: &Asked, rescan: Millis) -> bool {
        self.since.elapsed() >= rescan.as_duration() || self.looks != asked.looks()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_the_candidate_is_its_own_fault() {
        let candidate = Path::new("/state/watch/x/candidates/aa/agent.msi");
        let of = |messages: &[&str]| {
            let errors = messages.iter().map(|message| Diagnostic::error(*message)).collect();
            whatever_the_candidate(Diagnostics(errors), candidate).0.len()
        };
        let foreign = "`/state/watch/x/candidates/aa/agent.msi` is of no use on x64 Windows: it is for ARM64";
        assert_eq!(of(&[foreign, "`agent.msi` cannot be installed as `msi`: this is text"]), 0);
        assert_eq!(of(&[foreign, "nobody defines the variable `oss`"]), 1);
        assert_eq!(of(&["`old-agent.msi` is no agent.msi"]), 1);
    }
}
