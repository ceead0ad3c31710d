use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{
    controls::with_controls,
    evidence::implied,
    expand::{Combination, expand},
    ids::cell_ids,
    machines::refuse_foreign,
    pin::Pins,
    steps::StepMaker,
    update_digest::update_digest,
    variables::Variables,
};
use crate::{
    catalog::{Catalog, NoImage, OnBytes},
    matrix::{Action, Matrix, StepSpec, Template},
    model::{
        AxisValue, Bytes, Candidate, Cell, CellId, Check, GoldenImage, Health, HostFile, PLAN_VERSION, Plan, Role,
        Secrets, Sha256, Start, StepKind,
    },
    source::{Diagnostic, Diagnostics, did_you_mean},
};

/// What the command line adds to a matrix.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// The update under test, instead of the matrix's own.
    pub candidate: Option<PathBuf>,
    /// Values of variables.
    pub set: Vec<(String, String)>,
    /// Only the cells with these axis values.
    pub only: Vec<(String, String)>,
    /// Further restarts, instead of the matrix's number.
    pub soak: Option<u32>,
    /// How every machine begins, whatever the matrix says.
    pub start: Option<Start>,
}

/// A plan, and what must not be in it.
#[derive(Clone, Debug)]
pub struct Planned {
    pub plan: Plan,
    /// The values of the plan's `${env:NAME}`.
    pub secrets: Secrets,
    pub warnings: Diagnostics,
}

/// Makes the plan of a run. `environment` answers what a variable of the process's environment is; `on_bytes` is told how
/// much is read of the files that go into guests, which may be large.
///
/// # Errors
/// All that makes the run impossible. Absent golden disks are not among it.
pub fn plan(
    matrix: &Matrix,
    catalog: &Catalog,
    choices: &Choices,
    environment: &dyn Fn(&str) -> Option<String>,
    on_bytes: OnBytes<'_>,
) -> Result<Planned, Diagnostics> {
    let mut builder = Builder { matrix, catalog, pins: Pins::new(on_bytes), found: Diagnostics::default() };
    let combinations = expand(matrix, &choices.only, &mut builder.found);
    let candidate = builder.candidate(choices);
    let given = builder.variables(choices);
    let path = candidate.as_ref().map(|candidate| candidate.path.clone());
    let ids = cell_ids(&combinations.iter().map(|cell| cell.axes(matrix)).collect::<Vec<_>>());
    let mut images = BTreeMap::new();
    let mut cells = Vec::new();
    for (id, combination) in ids.into_iter().zip(&combinations) {
        if let Some((cell, image)) = builder.cell(id, combination, &given, path.as_ref(), choices) {
            images.insert(image.name.clone(), image.clone());
            cells.push(cell);
        }
    }
    builder.warn(&cells);
    let files = builder.pins.told(&cells, path.as_deref());
    let mut found = builder.found;
    let cells = with_controls(cells, matrix.policy.control);
    let plan = Plan {
        version: PLAN_VERSION,
        name: matrix.name.clone(),
        matrix: absolute(&matrix.file.path),
        catalog: absolute(&catalog.file.path),
        matrix_sha256: Some(matrix.file.sha256.clone()),
        catalog_sha256: Some(catalog.file.sha256.clone()),
        update_sha256: update_digest(candidate.as_ref(), &cells),
        candidate,
        files,
        images,
        cells,
        policy: matrix.policy.clone(),
        approval: matrix.approval.clone(),
        collect: matrix.collect.clone(),
    };
    let secrets = secrets(&plan, environment).unwrap_or_else(|missing| {
        found.extend(missing.0);
        Secrets::default()
    });
    refuse_long_lines(&plan, &secrets, &mut found);
    for image in plan.images.values() {
        if let Some(why) = &image.unbaked {
            let warning = Diagnostic::warning(format!("the image `{}` cannot be used: {why}", image.name));
            found.push(warning.hint(format!("`bootgate images bake {}` makes its disk", image.name)));
        }
    }
    for name in secrets.short() {
        let warning = Diagnostic::warning(format!("the secret `{name}` has less than 4 characters"));
        found.push(warning.hint("masking it may hide much of what the guest says"));
    }
    let (errors, warnings) = found.split();
    errors.or(Planned { plan, secrets, warnings })
}

/// The values of a plan's `${env:NAME}`, which the plan itself never holds: a resumed run needs the same
/// environment again.
///
/// # Errors
/// The variables that are not set.
pub fn secrets(plan: &Plan, environment: &dyn Fn(&str) -> Option<String>) -> Result<Secrets, Diagnostics> {
    let (mut values, mut missing) = (BTreeMap::new(), Diagnostics::default());
    for name in secret_names(plan) {
        match environment(name) {
            Some(value) => drop(values.insert(name.to_owned(), value)),
            None => {
                let error = Diagnostic::error(format!("the environment variable `{name}` is not set"));
                missing.push(error.hint(format!("a step or check uses it as `${{env:{name}}}`")));
            }
        }
    }
    missing.or(Secrets::new(values))
}

/// The `NAME` of all `${env:NAME}` in a plan.
pub(super) fn secret_names(plan: &Plan) -> BTreeSet<&str> {
    let steps = plan.cells.iter().flat_map(|cell| cell.setup.iter().chain(&cell.update)).map(|step| &step.kind);
    let checks = plan.cells.iter().flat_map(|cell| &cell.health.checks).map(|check| &check.kind);
    steps.chain(checks).flat_map(StepKind::commands).flat_map(Secrets::names_in).collect()
}

/// Refuses what would not be a command line in a Windows guest.
pub(super) fn refuse_long_lines(plan: &Plan, secrets: &Secrets, found: &mut Diagnostics) {
    for cell in plan.cells.iter().filter(|cell| plan.images[&cell.image].family.runs_windows_programs()) {
        let steps = cell.setup.iter().chain(&cell.update).map(|step| (format!("step `{}`", step.name), &step.kind));
        let checks = cell.health.checks.iter().map(|check| (format!("check `{}`", check.id), &check.kind));
        for (what, kind) in steps.chain(checks) {
            if let Some(why) = command_line_problem(kind, secrets) {
                let error = Diagnostic::error(format!("the {what} cannot be run in Windows: {why}"));
                found.push_once(error.hint("use `cmd` or `ps1`, whose scripts may be long and have several lines"));
            }
        }
    }
}

/// Longest command line that is surely taken: `cmd.exe` reads lines of 8191 characters, of which some are ours, and each may
/// have to be escaped.
const LONGEST_LINE: usize = 3500;

/// Why a program and its arguments are no command line for `cmd.exe`, if they are not.
fn command_line_problem(kind: &StepKind, secrets: &Secrets) -> Option<String> {
    if !matches!(kind, StepKind::Run { .. } | StepKind::Package { .. }) {
        return None;
    }
    let words: Vec<String> = kind.commands().into_iter().map(|word| secrets.reveal(word)).collect();
    let length: usize = words.iter().map(|word| word.chars().count() + 3).sum();
    if words.iter().any(|word| word.contains(['\r', '\n'])) {
        return Some("an argument, or a variable or secret in it, has a line end".to_owned());
    }
    (length > LONGEST_LINE)
        .then(|| format!("its command line has {length} characters, and {LONGEST_LINE} are the most"))
}

pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

struct Builder<'a> {
    matrix: &'a Matrix,
    catalog: &'a Catalog,
    pins: Pins<'a>,
    found: Diagnostics,
}

impl<'a> Builder<'a> {
    fn candidate(&mut self, choices: &Choices) -> Option<Candidate> {
        let (path, place) = match (&choices.candidate, &self.matrix.candidate) {
            (Some(path), _) => (path, None),
            (None, Some(path)) => (&path.value, Some(path.place)),
            (None, None) => return None,
        };
        let used = self.matrix.update.iter().any(uses_candidate);
        let problem = match self.pins.file(path) {
            Ok(_) if !used => {
                let error = Diagnostic::error("no step of `update` uses the candidate, so it would not be tested");
                error.hint("bring it into the guest with `copy: {from: ${candidate}, to: /some/path}`")
            }
            Ok(HostFile { path, size, sha256 }) => {
                let about = self.pins.about(&path).cloned();
                return Some(Candidate { path, size, sha256, about });
            }
            Err(why) => {
                Diagnostic::error(format!("no candidate: {why}")).hint("give another one with --candidate FILE")
            }
        };
        self.found.push(match place {
            Some(place) => problem.at(&self.matrix.file, place),
            None => problem,
        });
        // The steps that use it must not complain as well that there is none.
        Some(Candidate { path: absolute(path), size: Bytes(0), sha256: Sha256::of(b""), about: None })
    }

    /// The variables of `vars` and `--set`.
    fn variables(&mut self, choices: &Choices) -> BTreeMap<String, String> {
        let defaults = self.matrix.vars.iter().map(|(name, value)| (name.value.clone(), value.clone()));
        let mut given: BTreeMap<String, String> = defaults.collect();
        let used: BTreeSet<&str> = self.templates().flat_map(Template::variables).collect();
        for (name, value) in &choices.set {
            let problem = if self.matrix.axes.iter().any(|axis| axis.name.value == *name) {
                Some(("it is an axis, which has its values already", format!("--only {name}={value} picks a value")))
            } else if name == "candidate" {
                Some(("the candidate is a file", "use --candidate FILE".to_owned()))
            } else if !used.contains(name.as_str()) {
                let known = used.iter().copied().filter(|name| !is_candidate(name));
                let hint = did_you_mean(name, known, || format!("a step would use it as `${{{name}}}`"));
                Some(("nothing uses it", hint))
            } else {
                None
            };
            match problem {
                Some((why, hint)) => {
                    self.found.push(Diagnostic::error(format!("--set {name}=...: {why}")).hint(hint));
                }
                None => drop(given.insert(name.clone(), value.clone())),
            }
        }
        given
    }

    fn cell(
        &mut self,
        id: CellId,
        combination: &Combination,
        given: &BTreeMap<String, String>,
        candidate: Option<&PathBuf>,
        choices: &Choices,
    ) -> Option<(Cell, &'a GoldenImage)> {
        let axes = combination.axes(self.matrix);
        let image = self.image(combination, &axes);
        let variables = Variables { file: &self.matrix.file, axes: &axes, given, candidate };
        let family = image.map(|image| image.family);
        let mut maker = StepMaker { variables, pins: &mut self.pins, family };
        let found = &mut self.found;
        let mut keep = |error| found.push_once(error);
        let mut steps = |specs: &[StepSpec]| -> Vec<_> {
            let mine = specs.iter().filter(|step| combination.matches(&step.when));
            mine.filter_map(|step| maker.step(step).map_err(&mut keep).ok()).collect()
        };
        let (setup, update) = (steps(&self.matrix.setup), steps(&self.matrix.update));
        let health = &self.matrix.health;
        let mut checks: Vec<Check> =
            health.checks.iter().filter_map(|check| maker.check(check).map_err(&mut keep).ok()).collect();
        let implied = implied(&update, &checks, maker.pins);
        checks.extend(implied);
        if let Some(first) = self.matrix.update.first() {
            let mine = || self.matrix.update.iter().filter(|step| combination.matches(&step.when));
            let problem = if mine().next().is_none() {
                Some((format!("no step of `update` belongs to the cell {id}"), "untested"))
            } else if self.matrix.update.iter().any(uses_candidate) && !mine().any(uses_candidate) {
                Some((format!("no step of `update` in the cell {id} uses the candidate"), "without it"))
            } else {
                None
            };
            if let Some((message, how)) = problem {
                let hint = format!("it would be approved {how}: widen a `when`, or exclude the cell");
                keep(Diagnostic::error(message).at(&self.matrix.file, first.place).hint(hint));
            }
        }
        let health = Health {
            checks,
            soak: choices.soak.unwrap_or(health.soak),
            watch: health.watch,
            boot_timeout: health.boot_timeout,
            restart_timeout: health.restart_timeout,
            tolerances: health.tolerances.clone(),
        };
        let image = image?;
        let specs: Vec<&StepSpec> = self.matrix.update.iter().filter(|step| combination.matches(&step.when)).collect();
        refuse_foreign(&self.matrix.file, &specs, &update, image, &self.pins, &mut self.found);
        let network = self.matrix.network.clone();
        let cell = Cell {
            id,
            axes,
            image: image.name.clone(),
            setup,
            update,
            health,
            network,
            role: Role::Alone,
            start: choices.start.unwrap_or_else(|| self.start(combination)),
            sealed_setup: 0,
            keep_in: None,
        };
        Some((cell, image))
    }

    fn start(&self, combination: &Combination) -> Start {
        let cold = self.matrix.cold.iter().any(|entry| combination.matches(&entry.value));
        if cold { Start::Cold } else { self.matrix.start }
    }

    fn image(&mut self, combination: &Combination, axes: &[AxisValue]) -> Option<&'a GoldenImage> {
        self.catalog
            .resolve(axes)
            .map_err(|problem| {
                let axis = match &problem {
                    NoImage::NoMatch { lacks, .. } => lacks.first().map_or("", |pair| pair.axis.as_str()),
                    _ => "",
                };
                let (message, hint) = problem.explain(self.catalog);
                let place = combination.place(self.matrix, axis);
                self.found.push_once(Diagnostic::error(message).at(&self.matrix.file, place).hint(hint));
            })
            .ok()
    }

    fn templates(&self) -> impl Iterator<Item = &'a Template> {
        let steps = self.matrix.setup.iter().chain(&self.matrix.update).map(|step| &step.action);
        steps.chain(self.matrix.health.checks.iter().map(|check| &check.action)).flat_map(templates)
    }

    fn warn(&mut self, cells: &[Cell]) {
        if let Some(place) = self.matrix.control_off {
            let warning = Diagnostic::warning("without controls this run cannot be approved");
            let hint = "nothing tells a fault of the update from one of the golden image: take `control: off` out";
            self.found.push(warning.at(&self.matrix.file, place).hint(hint));
        }
        if self.matrix.health.checks.is_empty() && !cells.is_empty() {
            let warning = Diagnostic::warning("the matrix has no health checks: a machine that boots passes");
            self.found.push(warning.hint("ask the updated product how it is, under `health: checks:`"));
        }
    }
}

fn uses_candidate(step: &StepSpec) -> bool {
    templates(&step.action).any(|template| template.variables().any(is_candidate))
}

fn is_candidate(name: &str) -> bool {
    name == "candidate"
}

fn templates(action: &Action) -> impl Iterator<Item = &Template> {
    let placed = match action {
        Action::Copy { from, to, .. } | Action::Files { from, to } => vec![from, to],
        Action::Run { argv } => argv.iter().collect(),
        Action::Sh { script } | Action::Cmd { script } | Action::Ps1 { script } => vec![script],
        Action::Package { file, args, beside, .. } => [file].into_iter().chain(args).chain(beside).collect(),
    };
    placed.into_iter().map(|placed| &placed.value)
}
