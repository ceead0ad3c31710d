use super::{
    pin::Pins,
    variables::{Variables, Where},
};
use crate::{
    matrix::{Action, CheckSpec, GUEST_PATH_HINT, StepSpec, Template, guest_path_problem},
    model::{Check, GuestFile, Step, StepKind},
    source::{Diagnostic, Placed},
};

/// Longest name that is made for a step without one, in characters.
const MAX_NAME: usize = 60;

/// Makes steps and checks of one cell.
pub(super) struct StepMaker<'a> {
    pub variables: Variables<'a>,
    pub pins: &'a mut Pins,
}

impl StepMaker<'_> {
    pub fn step(&mut self, spec: &StepSpec) -> Result<Step, Diagnostic> {
        let kind = self.kind(&spec.action)?;
        let name = spec.name.clone().unwrap_or_else(|| made_name(&kind));
        let (timeout, restarts, success) = (spec.timeout, spec.restarts, spec.success.clone());
        Ok(Step { name, kind, timeout, restarts, success })
    }

    pub fn check(&mut self, spec: &CheckSpec) -> Result<Check, Diagnostic> {
        let kind = self.kind(&spec.action)?;
        let (id, success) = (spec.id.clone(), spec.success.clone());
        Ok(Check { id, kind, timeout: spec.timeout, success, evidence: spec.evidence })
    }

    fn kind(&mut self, action: &Action) -> Result<StepKind, Diagnostic> {
        Ok(match action {
            Action::Copy { from, to, mode } => {
                let to = self.guest_path(to)?;
                let path = self.host_path(from)?;
                let from = self.pins.file(&path).map_err(|why| self.unusable(from, why))?;
                StepKind::Copy { file: GuestFile { from, to, mode: *mode } }
            }
            Action::Files { from, to } => {
                let to = self.guest_path(to)?;
                let folder = self.host_path(from)?;
                StepKind::Files { files: self.pins.tree(&folder, &to).map_err(|why| self.unusable(from, why))? }
            }
            Action::Run { argv } => {
                let argv = argv.iter().map(|word| self.variables.fill(word, Where::Command));
                StepKind::Run { argv: argv.collect::<Result<_, _>>()? }
            }
            Action::Sh { script } => StepKind::Sh { script: self.variables.fill(script, Where::Command)? },
        })
    }

    fn host_path(&self, template: &Placed<Template>) -> Result<std::path::PathBuf, Diagnostic> {
        // The candidate's path is absolute, and joining an absolute path replaces the folder.
        Ok(self.variables.matrix.file.folder().join(self.variables.fill(template, Where::Host)?))
    }

    fn guest_path(&self, template: &Placed<Template>) -> Result<String, Diagnostic> {
        let path = self.variables.fill(template, Where::Guest)?;
        match guest_path_problem(&path) {
            None => Ok(path),
            Some(why) => {
                let error = Diagnostic::error(format!("`{path}` is no path in the guest: {why}"));
                Err(error.at(&self.variables.matrix.file, template.place).hint(GUEST_PATH_HINT))
            }
        }
    }

    fn unusable(&self, from: &Placed<Template>, why: String) -> Diagnostic {
        let error = Diagnostic::error(why).at(&self.variables.matrix.file, from.place);
        error.hint("`from` is a path on this host, relative to the matrix")
    }
}

/// A name from the kind and its main argument. No host path is in it: the same update has the same names
/// on every host.
fn made_name(kind: &StepKind) -> String {
    let text = match kind {
        StepKind::Copy { file } => format!("copy to {}", file.to),
        StepKind::Files { files } => {
            format!("copy {} files, the first to {}", files.len(), files.first().map_or("", |file| &file.to))
        }
        StepKind::Run { argv } => argv.join(" "),
        StepKind::Sh { script } => {
            script.lines().find(|line| !line.trim().is_empty()).unwrap_or("sh").trim().to_owned()
        }
    };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() <= MAX_NAME {
        return text;
    }
    text.chars().take(MAX_NAME - 3).chain("...".chars()).collect()
}
