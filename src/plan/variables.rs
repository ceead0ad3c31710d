use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use crate::{
    matrix::{Part, Template},
    model::{AxisValue, Secrets},
    source::{Diagnostic, Place, Placed, SourceFile, nearest},
};

/// Where a text with variables stands: it decides which of them make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// A path on this host.
    Host,
    /// A path in the guest.
    Guest,
    /// A program's argument or a script.
    Command,
}

/// The values of one cell's variables.
#[derive(Debug)]
pub(super) struct Variables<'a> {
    /// Where the texts stand.
    pub file: &'a Arc<SourceFile>,
    pub axes: &'a [AxisValue],
    /// From `vars` and `--set`.
    pub given: &'a BTreeMap<String, String>,
    pub candidate: Option<&'a PathBuf>,
}

impl Variables<'_> {
    /// Puts the variables in. Secrets stay placeholders.
    ///
    /// # Errors
    /// A variable that nobody defines, or that makes no sense here.
    pub fn fill(&self, template: &Placed<Template>, place: Where) -> Result<String, Diagnostic> {
        let mut text = String::new();
        for part in &template.value.0 {
            match part {
                Part::Text(plain) => text.push_str(&verbatim(plain, place)),
                Part::Secret(name) if place == Where::Command => text.push_str(&Secrets::placeholder(name)),
                Part::Secret(name) => return Err(self.misplaced_secret(name, template.place)),
                Part::Variable(name) => {
                    let at = self.file.find_within(template.place, &format!("${{{name}}}"));
                    text.push_str(&verbatim(&self.value(name, at, place)?, place));
                }
            }
        }
        Ok(text)
    }

    fn value(&self, name: &str, at: Place, place: Where) -> Result<String, Diagnostic> {
        if name == "candidate" {
            return self.candidate_path(at, place);
        }
        let axis = self.axes.iter().find(|pair| pair.axis == name).map(|pair| &pair.value);
        axis.or_else(|| self.given.get(name)).cloned().ok_or_else(|| self.unknown(name, at, place))
    }

    fn candidate_path(&self, at: Place, place: Where) -> Result<String, Diagnostic> {
        if place != Where::Host {
            let message = "`${candidate}` is a file of this host, which the guest does not have";
            let hint = "bring it in with `copy: {from: ${candidate}, to: /some/path}`, and use that path here";
            return Err(Diagnostic::error(message).at(self.file, at).hint(hint));
        }
        let path = self.candidate.map(|path| path.to_str().map(str::to_owned).ok_or("its path is not valid UTF-8"));
        path.unwrap_or(Err("none is given")).map_err(|why| {
            let error = Diagnostic::error(format!("`${{candidate}}` has no value: {why}"));
            error.at(self.file, at).hint("give the update under test with --candidate FILE")
        })
    }

    fn unknown(&self, name: &str, at: Place, place: Where) -> Diagnostic {
        let known = self.axes.iter().map(|pair| pair.axis.as_str());
        let known = known.chain(self.given.keys().map(String::as_str)).chain(["candidate"]);
        let error = Diagnostic::error(format!("nobody defines the variable `{name}`")).at(self.file, at);
        let error = match nearest(name, known) {
            Some(meant) => error.hint(format!("did you mean `${{{meant}}}`?")),
            None => error.hint(format!("add it to `vars:`, or give it with --set {name}=VALUE")),
        };
        match place {
            Where::Command => error.hint(format!("write `$${{{name}}}` for the shell's own variable")),
            _ => error,
        }
    }

    fn misplaced_secret(&self, name: &str, at: Place) -> Diagnostic {
        let message = format!("`${{env:{name}}}` is a secret and cannot be part of a path");
        let error = Diagnostic::error(message).at(self.file, at);
        error.hint(format!("secrets are for `run`, `sh` and checks; here use a variable and --set {name}=..."))
    }
}

/// Text that must reach the guest as it is, although commands are searched for secrets' placeholders later.
fn verbatim(text: &str, place: Where) -> String {
    if place == Where::Command { Secrets::escape(text) } else { text.to_owned() }
}
