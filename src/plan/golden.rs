//! Plans that are about a golden image itself, with one cell.

use std::{collections::BTreeMap, path::Path};

use super::{
    Planned,
    build::{absolute, refuse_long_lines, secret_names},
    evidence::implied,
    ids::control_ids,
    machines::refuse_foreign,
    pin::Pins,
    steps::StepMaker,
    update_digest::update_digest,
    variables::Variables,
};
use crate::{
    catalog::{Catalog, OnBytes, Recipe},
    model::{
        ApprovalPolicy, Cell, CellId, Collect, GoldenImage, Health, Millis, Network, PLAN_VERSION, Plan, Policy, Role,
        Secrets, Start, Tolerances,
    },
    source::{Diagnostic, Diagnostics},
};

/// How long the machine is watched after each restart.
const WATCH: Millis = Millis::from_secs(5);

/// Further restarts of a layer's machine: one that settles twice has done all that the update left for later.
const SOAK: u32 = 1;

/// The plan that looks at one golden image: a control, cold, that is restarted so often after the first time.
pub fn look_at(image: &GoldenImage, catalog: &Path, soak: u32) -> Plan {
    alone("image-check".to_owned(), image, catalog, |cell| {
        cell.health.soak = soak;
        cell.role = Role::Control;
    })
}

/// The plan that makes a layer: a clone of the image below is given what the recipe says, restarted, judged, and kept in this
/// folder. `on_bytes` is told how much of the steps' files is read.
///
/// # Errors
/// All that is wrong with the recipe's steps. A secret is: the layer outlives the run.
pub fn bake(
    recipe: &Recipe,
    base: &GoldenImage,
    catalog: &Catalog,
    keep_in: &Path,
    on_bytes: OnBytes<'_>,
) -> Result<Planned, Diagnostics> {
    let (mut pins, mut found) = (Pins::new(on_bytes), Diagnostics::default());
    let variables = Variables { file: &catalog.file, axes: &[], given: &BTreeMap::new(), candidate: None };
    let mut maker = StepMaker { variables, pins: &mut pins, family: Some(base.family) };
    let mut update = Vec::new();
    for spec in &recipe.apply {
        match maker.step(spec) {
            Ok(step) => update.push(step),
            Err(error) => found.push_once(error),
        }
    }
    let specs: Vec<_> = recipe.apply.iter().collect();
    refuse_foreign(&catalog.file, &specs, &update, base, &pins, &mut found);
    let checks = implied(&update, &[], &pins);
    // A plan's name has less room than an image's.
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let short: String = recipe.image.chars().map(plain).take(50).collect();
    let name = format!("bake-{}", short.trim_end_matches('-'));
    let mut plan = alone(name, base, &absolute(&catalog.file.path), |cell| {
        cell.id = CellId(recipe.image.clone());
        cell.update = update;
        cell.health.checks = checks;
        cell.health.soak = SOAK;
        cell.keep_in = Some(keep_in.to_owned());
    });
    plan.update_sha256 = update_digest(None, &plan.cells);
    plan.files = pins.told(&plan.cells, None);
    if !secret_names(&plan).is_empty() {
        let error = Diagnostic::error(format!("a secret is in what makes the layer `{}`", recipe.image));
        let hint = "every clone of it would have what the secret did: use it in a matrix's `setup` instead";
        found.push(error.at(&catalog.file, recipe.place).hint(hint));
    }
    refuse_long_lines(&plan, &Secrets::default(), &mut found);
    let (errors, warnings) = found.split();
    errors.or(Planned { plan, secrets: Secrets::default(), warnings })
}

/// One cell that starts from power-on and is judged by itself.
fn alone(name: String, image: &GoldenImage, catalog: &Path, set: impl FnOnce(&mut Cell)) -> Plan {
    let health = Health {
        checks: Vec::new(),
        soak: 0,
        watch: WATCH,
        boot_timeout: None,
        restart_timeout: None,
        tolerances: Tolerances::default(),
    };
    let mut cell = Cell {
        id: control_ids(std::slice::from_ref(&image.name), &[]).remove(0),
        axes: Vec::new(),
        image: image.name.clone(),
        setup: Vec::new(),
        update: Vec::new(),
        health,
        network: Network::None,
        role: Role::Alone,
        start: Start::Cold,
        sealed_setup: 0,
        keep_in: None,
    };
    set(&mut cell);
    Plan {
        version: PLAN_VERSION,
        name,
        matrix: catalog.to_owned(),
        catalog: catalog.to_owned(),
        matrix_sha256: None,
        catalog_sha256: None,
        candidate: None,
        update_sha256: update_digest(None, &[]),
        files: BTreeMap::new(),
        images: BTreeMap::from([(image.name.clone(), image.clone())]),
        cells: vec![cell],
        policy: Policy { retry_inconclusive: 0, retries: 0, control: true },
        approval: ApprovalPolicy::default(),
        collect: Collect::default(),
    }
}
