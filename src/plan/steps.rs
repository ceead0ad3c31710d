use std::collections::BTreeMap;

use super::{
    pin::Pins,
    variables::{Variables, Where},
};
use crate::{
    candidate::fits,
    matrix::{Action, CheckSpec, GUEST_PATH_HINT, StepSpec, Template, guest_path_problem},
    model::{Check, Family, GuestFile, Package, PackageKind, Step, StepKind},
    source::{Diagnostic, Place, Placed},
};

/// Longest name that is made for a step without one, in characters.
const MAX_NAME: usize = 60;

/// Where packages are put in a guest that runs programs for Windows: below the system's own folder for temporary files,
/// which only administrators may list.
const PACKAGES: &str = r"C:\Windows\Temp\bootgate";

/// What Wine has only as programs that do nothing.
const NOT_IN_WINE: [&str; 4] = ["ps1", "msu", "cab", "inf"];

/// Makes steps and checks of one cell.
pub(super) struct StepMaker<'a, 'b> {
    pub variables: Variables<'a>,
    pub pins: &'a mut Pins<'b>,
    /// The golden image's; none: no image fits the cell, which is told already.
    pub family: Option<Family>,
}

impl StepMaker<'_, '_> {
    pub fn step(&mut self, spec: &StepSpec) -> Result<Step, Diagnostic> {
        let kind = self.kind(&spec.action, spec.place)?;
        let name = spec.name.clone().unwrap_or_else(|| made_name(&kind));
        let (timeout, restarts, success) = (spec.timeout, spec.restarts, spec.success.clone());
        Ok(Step { name, kind, timeout, restarts, success })
    }

    pub fn check(&mut self, spec: &CheckSpec) -> Result<Check, Diagnostic> {
        let kind = self.kind(&spec.action, spec.place)?;
        let (id, success) = (spec.id.clone(), spec.success.clone());
        Ok(Check { id, kind, timeout: spec.timeout, success, evidence: spec.evidence, implied: false })
    }

    fn kind(&mut self, action: &Action, place: Place) -> Result<StepKind, Diagnostic> {
        self.suits_family(action, place)?;
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
                let files = self.pins.tree(&folder, &to).map_err(|why| self.unusable(from, why))?;
                self.differ_in_windows(&files).map_err(|why| self.unusable(from, why))?;
                StepKind::Files { files }
            }
            Action::Run { argv } => {
                let argv = argv.iter().map(|word| self.variables.fill(word, Where::Command));
                StepKind::Run { argv: argv.collect::<Result<_, _>>()? }
            }
            Action::Sh { script } => StepKind::Sh { script: self.variables.fill(script, Where::Command)? },
            Action::Cmd { script } => StepKind::Cmd { script: self.variables.fill(script, Where::Command)? },
            Action::Ps1 { script } => StepKind::Ps1 { script: self.variables.fill(script, Where::Command)? },
            Action::Package { kind, file, args, beside } => {
                let files = self.package_files(*kind, file, beside.as_ref())?;
                let args = args.iter().map(|word| self.variables.fill(word, Where::Command));
                let package = Package { kind: *kind, files, args: args.collect::<Result<_, _>>()? };
                StepKind::Package { package }
            }
        })
    }

    fn suits_family(&self, action: &Action, place: Place) -> Result<(), Diagnostic> {
        let Some(family) = self.family else { return Ok(()) };
        let kind = action.kind();
        let why = match action {
            Action::Sh { .. } if family.runs_windows_programs() => {
                "there is no /bin/sh in such a guest: use cmd, or ps1"
            }
            Action::Cmd { .. } | Action::Ps1 { .. } | Action::Package { .. } if family == Family::Linux => {
                "only Windows has what runs it: use sh"
            }
            _ if family == Family::Wine && NOT_IN_WINE.contains(&kind) => {
                "Wine has no more than a program of that name that does nothing"
            }
            _ => return Ok(()),
        };
        let error = Diagnostic::error(format!("`{kind}` cannot be done in a guest of the family {}", family.as_str()));
        Err(error.at(self.variables.file, place).hint(why).hint("`when:` limits it to the cells of other images"))
    }

    /// The package, and behind it what lies beside it.
    fn package_files(
        &mut self,
        kind: PackageKind,
        template: &Placed<Template>,
        beside: Option<&Placed<Template>>,
    ) -> Result<Vec<GuestFile>, Diagnostic> {
        let path = self.host_path(template)?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let from = self.pins.file(&path).map_err(|why| self.unusable(template, why))?;
        if let Some(Err(why)) = self.pins.about(&from.path).map(|about| fits(kind.as_str(), about)) {
            let error = Diagnostic::error(format!("`{name}` cannot be installed as `{}`: {why}", kind.as_str()));
            let error = error.at(self.variables.file, template.place);
            return Err(error.hint("each kind of package has its own step: msi, msp, exe, msu, cab, inf, reg"));
        }
        let folder = format!("{PACKAGES}-{}", &from.sha256.short()[..8]);
        let to = format!(r"{folder}\{name}");
        if let Some(why) = guest_path_problem(&to) {
            return Err(self.unusable(template, format!("Windows cannot have a file named `{name}`: {why}")));
        }
        let mut files = vec![GuestFile { from, to: to.clone(), mode: None }];
        if let Some(beside) = beside {
            let path = self.host_path(beside)?;
            let all = self.pins.tree(&path, &folder).map_err(|why| self.unusable(beside, why))?;
            // The package itself may lie in that folder, too.
            let is_package = |file: &GuestFile| file.to == to && file.from.sha256 == files[0].from.sha256;
            let others: Vec<GuestFile> = all.into_iter().filter(|file| !is_package(file)).collect();
            files.extend(others.into_iter().map(|file| GuestFile { mode: None, ..file }));
            self.differ_in_windows(&files).map_err(|why| self.unusable(beside, why))?;
        }
        Ok(files)
    }

    /// Windows does not tell names apart by their case: of two such files one would take the other's place.
    fn differ_in_windows(&self, files: &[GuestFile]) -> Result<(), String> {
        if !self.family.is_some_and(Family::runs_windows_programs) {
            return Ok(());
        }
        let mut seen = BTreeMap::new();
        for file in files {
            if let Some(other) = seen.insert(file.to.to_lowercase(), &file.from.path) {
                let (one, two) = (other.display(), file.from.path.display());
                return Err(format!(
                    "`{one}` and `{two}` would be one file in the guest, which does not tell cases apart"
                ));
            }
        }
        Ok(())
    }

    fn host_path(&self, template: &Placed<Template>) -> Result<std::path::PathBuf, Diagnostic> {
        // The candidate's path is absolute, and joining an absolute path replaces the folder.
        Ok(self.variables.file.folder().join(self.variables.fill(template, Where::Host)?))
    }

    fn guest_path(&self, template: &Placed<Template>) -> Result<String, Diagnostic> {
        let path = self.variables.fill(template, Where::Guest)?;
        let wants_windows = self.family.is_some_and(Family::runs_windows_programs);
        let other = match (self.family, path.starts_with('/')) {
            (Some(_), true) if wants_windows => Some("the guest's paths begin with a drive"),
            (Some(_), false) if !wants_windows => Some("the guest's paths begin with `/`"),
            _ => None,
        };
        match guest_path_problem(&path).or(other) {
            None => Ok(path),
            Some(why) => {
                let error = Diagnostic::error(format!("`{path}` is no path in the guest: {why}"));
                Err(error.at(self.variables.file, template.place).hint(GUEST_PATH_HINT))
            }
        }
    }

    fn unusable(&self, from: &Placed<Template>, why: String) -> Diagnostic {
        let error = Diagnostic::error(why).at(self.variables.file, from.place);
        error.hint("it is a path on this host, relative to this file")
    }
}

fn first_line(script: &str, kind: &str) -> String {
    script.lines().find(|line| !line.trim().is_empty()).unwrap_or(kind).trim().to_owned()
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
        StepKind::Sh { script } => first_line(script, "sh"),
        StepKind::Cmd { script } => first_line(script, "cmd"),
        StepKind::Ps1 { script } => first_line(script, "ps1"),
        StepKind::Package { package } => {
            let verb = if package.kind == PackageKind::Reg { "merge" } else { "install" };
            let words = [verb, package.path().rsplit('\\').next().unwrap_or_default()];
            words.into_iter().chain(package.args.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
        }
        StepKind::Serviced { step } => format!("what step {} installed", step + 1),
    };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() <= MAX_NAME {
        return text;
    }
    text.chars().take(MAX_NAME - 3).chain("...".chars()).collect()
}
