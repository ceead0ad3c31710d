use std::{collections::BTreeSet, sync::Arc};

use super::{
    Axis, GUEST_PATH_HINT, HealthSpec, Matrix, MatrixFile, Pairs,
    file::{AxisValues, HealthEntry, PolicyEntry},
    guest_path_problem, is_name,
};
use crate::{
    model::{ApprovalPolicy, Collect, MAX_SOAK, Millis, Network, Policy, is_label},
    source::{Diagnostic, Diagnostics, Entries, Place, Placed, SourceFile, Written, hint_among},
};

/// How long a settled machine is watched when the matrix does not say.
const WATCH: Millis = Millis::from_secs(5);
/// Checks a matrix as far as it can be judged by itself.
pub(super) fn check(file: Arc<SourceFile>, raw: MatrixFile) -> Result<Matrix, Diagnostics> {
    let mut checker = Checker { file: Arc::clone(&file), axes: Vec::new(), found: Diagnostics::default() };
    if raw.version.value != 1 {
        let message = format!("version {} of matrix files is not known", raw.version.value);
        checker.error(raw.version.place, message, "this bootgate reads version 1");
    }
    if !is_name(&raw.name.value) {
        checker.error(raw.name.place, format!("`{}` is no name for a matrix", raw.name.value), NAME_HINT);
    }
    checker.axes(raw.axes);
    let include = checker.include(raw.include);
    // Values that only an included cell has may be named by `when`, but `exclude` could never match them.
    let exclude = raw.exclude.into_iter();
    let exclude = exclude.map(|entry| entry.with(checker.pairs(&entry.value, &[], Some(entry.place)))).collect();
    let cold = raw.cold.into_iter();
    let cold = cold.map(|entry| entry.with(checker.pairs(&entry.value, &include, Some(entry.place)))).collect();
    let control_off = checker.control_off(raw.control);
    let vars = checker.vars(raw.vars);
    for restarts in raw.setup.iter().filter_map(|step| step.value.restarts.as_ref()) {
        let hint = "what restarts the machine in `setup` belongs into the golden image";
        checker.error(restarts.place, "only a step of `update` may restart the machine by itself", hint);
    }
    let setup = checker.steps(raw.setup, &include);
    if raw.update.value.is_empty() {
        checker.error(raw.update.place, "`update` has no step", "without an update there is nothing to test");
    }
    let update = checker.steps(raw.update.value, &include);
    let health = checker.health(raw.health);
    let policy = policy(&raw.policy, control_off.is_none());
    let approval = match (raw.policy.rules, raw.policy.rings) {
        (None, rings) if rings.is_empty() => ApprovalPolicy::default(),
        (rules, rings) => checker.approval(raw.name.value.clone(), rules, rings, &include),
    };
    let folder = file.folder().to_owned();
    let joined = |path: Placed<String>| path.with(folder.join(&path.value));
    let matrix = Matrix {
        name: raw.name.value,
        catalog: raw.catalog.map(joined),
        axes: std::mem::take(&mut checker.axes),
        exclude,
        include,
        network: checker.network(raw.network),
        control_off,
        start: raw.start,
        cold,
        setup,
        update,
        candidate: raw.candidate.map(joined),
        vars,
        health,
        policy,
        approval,
        collect: checker.collect(raw.collect),
        file,
    };
    checker.found.or(matrix)
}

pub(super) const NAME_HINT: &str = "use a to z, digits and `-`, at most 60, with no `-` at an end";

fn policy(raw: &PolicyEntry, control: bool) -> Policy {
    let count = |raw: &Option<Placed<u32>>| raw.as_ref().map_or(0, |count| count.value);
    Policy { retry_inconclusive: count(&raw.retry_inconclusive), retries: count(&raw.retries), control }
}

pub(super) struct Checker {
    pub(super) file: Arc<SourceFile>,
    pub(super) axes: Vec<Axis>,
    pub(super) found: Diagnostics,
}

impl Checker {
    pub(super) fn error(&mut self, place: Place, message: impl Into<String>, hint: impl Into<String>) {
        self.found.push(Diagnostic::error(message).at(&self.file, place).hint(hint));
    }

    fn axes(&mut self, raw: Placed<AxisValues>) {
        if raw.value.0.is_empty() {
            self.error(raw.place, "`axes` is empty", "give at least one axis, e.g. `os: [debian-12]`");
        }
        for (name, values) in raw.value.0 {
            self.variable_name(&name, "an axis");
            if values.value.0.is_empty() {
                let message = format!("the axis `{}` has no value", name.value);
                self.error(values.place, message, "give it values, or take the axis out");
            }
            let mut seen = BTreeSet::new();
            for value in &values.value.0 {
                self.axis_value(&name.value, value);
                if !seen.insert(&value.value.0) {
                    let message = format!("the axis `{}` has the value `{}` twice", name.value, value.value.0);
                    self.error(value.place, message, "take one of them out");
                }
            }
            let values = values.value.0.into_iter().map(|value| Placed::new(value.value.0, value.place)).collect();
            self.axes.push(Axis { name, values });
        }
    }

    fn axis_value(&mut self, axis: &str, value: &Placed<Written>) {
        if !is_label(&value.value.0) {
            let message = format!("this is no value for the axis `{axis}`");
            self.error(value.place, message, "use a text of 1 to 200 printable characters");
        }
    }

    fn variable_name(&mut self, name: &Placed<String>, what: &str) {
        let text = &name.value;
        let plain = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_'));
        if !plain || !text.starts_with(|c: char| c.is_ascii_alphabetic()) || text.len() > 60 {
            let hint = "use letters, digits and `_`, beginning with a letter: it is also a variable, `${name}`";
            self.error(name.place, format!("`{text}` is no name for {what}"), hint);
        } else if text == "candidate" || text == "env" {
            let hint = format!("`${{{text}}}` means something already: choose another name");
            self.error(name.place, format!("{what} cannot be called `{text}`"), hint);
        }
    }

    fn vars(&mut self, raw: Entries<Placed<Written>>) -> Vec<(Placed<String>, String)> {
        for (name, _) in &raw.0 {
            self.variable_name(name, "a variable");
            if self.axes.iter().any(|axis| axis.name.value == name.value) {
                let message = format!("`{}` is an axis already", name.value);
                self.error(name.place, message, "call the variable something else");
            }
        }
        raw.0.into_iter().map(|(name, value)| (name, value.value.0)).collect()
    }

    fn include(&mut self, raw: Vec<Placed<Entries<Placed<Written>>>>) -> Vec<Placed<Vec<String>>> {
        let mut cells = Vec::new();
        for entry in raw {
            let mut cell = vec![None; self.axes.len()];
            for (axis, value) in &entry.value.0 {
                self.axis_value(&axis.value, value);
                if let Some(index) = self.axis_index(axis) {
                    cell[index] = Some(value.value.0.clone());
                }
            }
            let missing = self.axes.iter().zip(&cell).filter(|(_, value)| value.is_none());
            let missing: Vec<String> = missing.map(|(axis, _)| format!("`{}`", axis.name.value)).collect();
            if missing.is_empty() {
                cells.push(entry.with(cell.into_iter().flatten().collect()));
            } else {
                let message = format!("this included cell has no value for {}", missing.join(", "));
                self.error(entry.place, message, "`include` adds one whole cell: give every axis");
            }
        }
        cells
    }

    fn axis_index(&mut self, name: &Placed<String>) -> Option<usize> {
        let index = self.axes.iter().position(|axis| axis.name.value == name.value);
        if index.is_none() {
            let names: Vec<&str> = self.axes.iter().map(|axis| axis.name.value.as_str()).collect();
            let hint = hint_among(&name.value, &names, "axes");
            self.error(name.place, format!("there is no axis `{}`", name.value), hint);
        }
        index
    }

    /// Axis and value pairs, each of which must exist (or be a value of an included cell). `nonempty` is
    /// where to complain if there are none at all.
    pub(super) fn pairs(
        &mut self,
        raw: &AxisValues,
        include: &[Placed<Vec<String>>],
        nonempty: Option<Place>,
    ) -> Pairs {
        if let (Some(place), true) = (nonempty, raw.0.is_empty()) {
            self.error(place, "this names no axis", "give at least one pair, e.g. `{os: debian-12}`");
        }
        let mut pairs = Pairs::new();
        for (axis, values) in &raw.0 {
            let Some(index) = self.axis_index(axis) else { continue };
            if values.value.0.is_empty() {
                self.error(values.place, format!("no value is given for `{}`", axis.value), "give at least one");
            }
            for value in &values.value.0 {
                let known = self.axes[index].values.iter().map(|value| value.value.as_str());
                let known: Vec<&str> = known.chain(include.iter().map(|cell| cell.value[index].as_str())).collect();
                if !known.contains(&value.value.0.as_str()) {
                    let message = format!("the axis `{}` has no value `{}`", axis.value, value.value.0);
                    let hint = hint_among(&value.value.0, &known, "values");
                    self.error(value.place, message, hint);
                }
            }
            pairs.push((index, values.value.0.iter().map(|value| value.value.0.clone()).collect()));
        }
        pairs
    }

    fn health(&mut self, raw: HealthEntry) -> HealthSpec {
        if let Some(soak) = raw.soak.as_ref().filter(|soak| soak.value > MAX_SOAK) {
            let message = format!("{} further restarts are more than the {MAX_SOAK} allowed", soak.value);
            self.error(soak.place, message, "`soak` counts restarts, not seconds");
        }
        HealthSpec {
            soak: raw.soak.map_or(0, |soak| soak.value),
            watch: self.duration(raw.watch).unwrap_or(WATCH),
            boot_timeout: self.deadline(raw.boot_timeout),
            restart_timeout: self.deadline(raw.restart_timeout),
            checks: self.checks(raw.checks),
            tolerances: self.tolerances(raw.compare),
        }
    }

    pub(super) fn duration(&mut self, raw: Option<Placed<String>>) -> Option<Millis> {
        let raw = raw?;
        raw.value.parse().map_err(|error| self.error(raw.place, format!("{error}"), TIME_HINT)).ok()
    }

    /// A duration that must not be zero.
    pub(super) fn deadline(&mut self, raw: Option<Placed<String>>) -> Option<Millis> {
        let place = raw.as_ref()?.place;
        let deadline = self.duration(raw)?;
        if deadline == Millis::ZERO {
            self.error(place, "a deadline of zero is always missed", "give the longest time it may take");
        }
        Some(deadline)
    }

    fn network(&mut self, raw: Option<Placed<String>>) -> Network {
        let Some(raw) = raw else { return Network::None };
        match raw.value.as_str() {
            "none" => Network::None,
            "user" => Network::User,
            name => {
                if name.is_empty() || name.chars().any(|c| c.is_control() || c == '/') {
                    let hint = "use `none`, `user`, or the name of a libvirt network";
                    self.error(raw.place, format!("`{name}` is no network"), hint);
                }
                Network::Named(name.to_owned())
            }
        }
    }

    /// YAML 1.1 reads `on` and `off` as booleans, YAML 1.2 as texts: both mean the same here.
    fn control_off(&mut self, raw: Option<Placed<Written>>) -> Option<Place> {
        let Placed { value: Written(text), place } = raw?;
        match text.as_str() {
            "on" | "true" => return None,
            "off" | "false" => {}
            _ => self.error(place, format!("`control` cannot be `{text}`"), "it is `on` or `off`"),
        }
        Some(place)
    }

    fn collect(&mut self, raw: Vec<Placed<String>>) -> Collect {
        for path in &raw {
            if let Some(why) = guest_path_problem(&path.value) {
                self.error(path.place, format!("`{}` is no path in the guest: {why}", path.value), GUEST_PATH_HINT);
            } else if path.value.contains("${") {
                let hint = "write the path as it is; one that a guest does not have is passed over";
                self.error(path.place, format!("`{}`: what is collected is the same for all cells", path.value), hint);
            }
        }
        Collect { files: raw.into_iter().map(|path| path.value).collect() }
    }
}

const TIME_HINT: &str = "give a number and a unit: ms, s, m, h or d";
