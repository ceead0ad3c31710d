use std::collections::BTreeSet;

use super::{
    Action, CheckSpec, StepSpec, Template,
    check::{Checker, NAME_HINT},
    is_name,
    steps_file::{CheckEntry, CopyEntry, FilesEntry, PackageEntry, Packaged, ScriptEntry, StepEntry},
};
use crate::{
    model::{Millis, PackageKind, is_shown},
    source::{Diagnostic, Place, Placed, SourceFile, Written},
};

/// A script is one argument of the guest's shell, and Linux takes at most 128 KiB for one (`MAX_ARG_STRLEN`).
const MAX_SCRIPT: usize = 100 * 1024;

/// The deadline of a step or check that names none.
const TIMEOUT: Millis = Millis::from_secs(300);

/// Most restarts that a step may do by itself.
const MAX_RESTARTS: u32 = 20;

/// Longest name of a step, in characters.
const MAX_TITLE: usize = 100;

const KINDS: &str = "copy, files, run, sh, cmd, ps1, msi, msp, exe, msu, cab, inf, reg";
const CHECK_KINDS: &str = "run, sh, cmd, ps1";

/// Better words for a key that a check does not have.
pub(super) fn unknown_key(mapping: &str, key: &str) -> Option<(String, String)> {
    let is_step = mapping == "Check" && KINDS.split(", ").any(|kind| kind == key);
    is_step
        .then(|| (format!("a check cannot be of the kind `{key}`"), format!("the kinds of checks are {CHECK_KINDS}")))
}

impl Checker {
    pub(super) fn steps(&mut self, raw: Vec<Placed<StepEntry>>, include: &[Placed<Vec<String>>]) -> Vec<StepSpec> {
        raw.into_iter().filter_map(|entry| self.step(entry, include)).collect()
    }

    fn step(&mut self, raw: Placed<StepEntry>, include: &[Placed<Vec<String>>]) -> Option<StepSpec> {
        let Placed { value: entry, place } = raw;
        let when = entry.when.map(|when| self.pairs(&when, include, Some(place))).unwrap_or_default();
        if let Some(name) = entry.name.as_ref().filter(|name| !is_shown(&name.value, MAX_TITLE)) {
            self.error(name.place, "this is no name for a step", "use a line of 1 to 100 printable characters");
        }
        let copy = entry.copy.map(|copy| self.copy(copy.value));
        let files = entry.files.map(|files| self.files(files.value));
        let scripts = [self.sh(entry.sh), self.cmd(entry.cmd), self.ps1(entry.ps1)];
        let packages = [
            (PackageKind::Msi, entry.msi),
            (PackageKind::Msp, entry.msp),
            (PackageKind::Exe, entry.exe),
            (PackageKind::Msu, entry.msu),
            (PackageKind::Cab, entry.cab),
            (PackageKind::Inf, entry.inf),
            (PackageKind::Reg, entry.reg),
        ];
        let packages = packages.map(|(kind, raw)| raw.map(|raw| self.package(kind, raw)));
        let actions = [copy, files, self.run(entry.run)].into_iter().chain(scripts).chain(packages);
        let action = self.exactly_one(place, actions.flatten().collect(), "step", KINDS);
        let package = match &action {
            Some(Action::Package { kind, .. }) => Some(*kind),
            _ => None,
        };
        let timeout = self.timeout(entry.timeout, package.map_or(TIMEOUT, PackageKind::timeout));
        let success = self.success(entry.success, package.map_or(&[0], PackageKind::success));
        let action = action?;
        let name = entry.name.map(|name| name.value);
        if let Some(many) = entry.restarts.as_ref().filter(|restarts| restarts.value > MAX_RESTARTS) {
            let message = format!("{} restarts are more than the {MAX_RESTARTS} that a step may do", many.value);
            self.error(many.place, message, "a machine that restarts so often is what is looked for");
        }
        let restarts = entry.restarts.map_or(0, |restarts| restarts.value);
        Some(StepSpec { place, name, timeout, restarts, success, when, action })
    }

    pub(super) fn checks(&mut self, raw: Vec<Placed<CheckEntry>>) -> Vec<CheckSpec> {
        let mut seen = BTreeSet::new();
        let mut checks = Vec::new();
        for Placed { value: entry, place } in raw {
            if !is_name(&entry.id.value) {
                self.error(entry.id.place, format!("`{}` is no id for a check", entry.id.value), NAME_HINT);
            } else if !seen.insert(entry.id.value.clone()) {
                let message = format!("two checks have the id `{}`", entry.id.value);
                self.error(entry.id.place, message, "reports name checks by their id: give each its own");
            }
            let (timeout, success) = (self.timeout(entry.timeout, TIMEOUT), self.success(entry.success, &[0]));
            let actions = [self.run(entry.run), self.sh(entry.sh), self.cmd(entry.cmd), self.ps1(entry.ps1)];
            let actions = actions.into_iter().flatten().collect();
            if let Some(action) = self.exactly_one(place, actions, "check", CHECK_KINDS) {
                let (id, evidence) = (entry.id.value, entry.evidence);
                checks.push(CheckSpec { place, id, evidence, timeout, success, action });
            }
        }
        checks
    }

    fn exactly_one(&mut self, place: Place, mut actions: Vec<Action>, what: &str, kinds: &str) -> Option<Action> {
        match actions.len() {
            1 => return actions.pop(),
            0 => self.error(place, format!("this {what} does nothing"), format!("give it one of {kinds}")),
            _ => {
                let hint = format!("give it exactly one of {kinds}; make two {what}s of it");
                self.error(place, format!("this {what} does {} things at once", actions.len()), hint);
            }
        }
        None
    }

    fn timeout(&mut self, raw: Option<Placed<String>>, usual: Millis) -> Millis {
        self.deadline(raw).unwrap_or(usual)
    }

    /// Codes of Windows have 32 bits and are written with a sign, without one, or in hexadecimal.
    fn success(&mut self, raw: Option<Placed<Vec<Placed<Written>>>>, usual: &[i32]) -> Vec<i32> {
        let Some(raw) = raw else { return usual.to_vec() };
        if raw.value.is_empty() {
            self.error(raw.place, "no exit code means success", "list at least one, e.g. `success: [0, 3010]`");
        }
        let mut codes = BTreeSet::new();
        for Placed { value: Written(text), place } in raw.value {
            match exit_code(&text) {
                Some(code) => drop(codes.insert(code)),
                None => {
                    self.error(place, format!("`{text}` is no exit code"), "it is a whole number of at most 32 bits")
                }
            }
        }
        codes.into_iter().collect()
    }

    fn package(&mut self, kind: PackageKind, raw: Placed<PackageEntry>) -> Action {
        let Packaged { file, args, beside } = match raw.value {
            PackageEntry::Text(file) => Packaged { file: Placed::new(file, raw.place), args: Vec::new(), beside: None },
            PackageEntry::More(more) => more,
        };
        if let Some(first) = args.first().filter(|_| !kind.takes_args()) {
            let problem = format!("the installer of `{}` takes no further arguments", kind.as_str());
            self.error(first.place, problem, "take them out; msi, msp and exe take some");
        }
        for word in &args {
            if word.value.0.contains(['\0', '\r', '\n']) {
                self.error(word.place, "an argument of a program for Windows is one line", "take the line ends out");
            }
        }
        let args = args.into_iter().map(|word| word.with(Template::parse(&word.value.0))).collect();
        Action::Package { kind, file: template(file), args, beside: beside.map(template) }
    }

    fn copy(&mut self, raw: CopyEntry) -> Action {
        let mode = raw.mode.and_then(|mode| self.mode(&mode));
        Action::Copy { from: template(raw.from), to: template(raw.to), mode }
    }

    fn files(&mut self, raw: FilesEntry) -> Action {
        Action::Files { from: template(raw.from), to: template(raw.to) }
    }

    fn mode(&mut self, raw: &Placed<Written>) -> Option<u32> {
        let text = raw.value.0.strip_prefix("0o").unwrap_or(&raw.value.0);
        let octal = (3..=5).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o7777);
        if mode.is_none() {
            self.error(raw.place, format!("`{}` are no permission bits", raw.value.0), "write them in octal: \"0644\"");
        }
        mode
    }

    fn run(&mut self, raw: Option<Placed<Vec<Placed<Written>>>>) -> Option<Action> {
        let raw = raw?;
        if raw.value.first().is_none_or(|program| program.value.0.is_empty()) {
            let hint = "list the program's path and its arguments: `run: [/usr/bin/true]`";
            self.error(raw.place, "`run` names no program", hint);
        }
        for word in raw.value.iter().filter(|word| word.value.0.contains('\0')) {
            self.error(word.place, "an argument cannot have a NUL character in it", "take it out");
        }
        let argv = raw.value.into_iter().map(|word| word.with(Template::parse(&word.value.0))).collect();
        Some(Action::Run { argv })
    }

    fn sh(&mut self, raw: Option<Placed<ScriptEntry>>) -> Option<Action> {
        Some(Action::Sh { script: self.script(raw?, "sh: true")? })
    }

    fn cmd(&mut self, raw: Option<Placed<ScriptEntry>>) -> Option<Action> {
        Some(Action::Cmd { script: self.script(raw?, "cmd: ver")? })
    }

    fn ps1(&mut self, raw: Option<Placed<ScriptEntry>>) -> Option<Action> {
        Some(Action::Ps1 { script: self.script(raw?, "ps1: exit 0")? })
    }

    /// `nothing`: a step of this kind that does nothing.
    fn script(&mut self, raw: Placed<ScriptEntry>, nothing: &str) -> Option<Placed<Template>> {
        let text = match &raw.value {
            ScriptEntry::Text(text) => text.clone(),
            ScriptEntry::More(script) => self.script_file(&script.file)?,
        };
        if text.trim().is_empty() {
            self.error(raw.place, "the script is empty", format!("`{nothing}` does nothing, successfully"));
        } else if text.contains('\0') {
            self.error(raw.place, "a script cannot have a NUL character in it", "take it out");
        } else if text.len() > MAX_SCRIPT {
            let problem = format!("the script is longer than {} KiB", MAX_SCRIPT >> 10);
            self.error(raw.place, problem, "bring it into the guest with `copy`, and `run` it there");
        }
        Some(raw.with(Template::parse(&text)))
    }

    fn script_file(&mut self, path: &Placed<String>) -> Option<String> {
        match SourceFile::read(&self.file.folder().join(&path.value)) {
            Ok(script) => Some(script.text.clone()),
            Err(Diagnostic { message, .. }) => {
                self.error(path.place, message, "the path is relative to this file");
                None
            }
        }
    }
}

fn exit_code(text: &str) -> Option<i32> {
    let code = match text.strip_prefix("0x") {
        Some(hex) if !hex.starts_with('+') => i64::from(u32::from_str_radix(hex, 16).ok()?),
        Some(_) => return None,
        None => text.parse().ok()?,
    };
    i32::try_from(code).or_else(|_| u32::try_from(code).map(u32::cast_signed)).ok()
}

fn template(raw: Placed<String>) -> Placed<Template> {
    raw.with(Template::parse(&raw.value))
}
