use std::collections::BTreeMap;

use super::ids::control_ids;
use crate::model::{Cell, CellId, Role, Secrets, Start, Step};

/// Gives each golden image its control, before all other cells, and tells each cell which one it is compared with.
/// Without `wanted` no cell is added, and all are judged by themselves.
///
/// A control goes the way of its image's cells without their update. What runs before its machine is sealed is what
/// they have in common.
pub(super) fn with_controls(mut cells: Vec<Cell>, wanted: bool) -> Vec<Cell> {
    let (images, groups) = by_image(&cells);
    let ids: Vec<CellId> = cells.iter().map(|cell| cell.id.clone()).collect();
    let mut controls = Vec::new();
    for (id, group) in control_ids(&images, &ids).into_iter().zip(&groups) {
        let mine: Vec<&Cell> = group.iter().map(|index| &cells[*index]).collect();
        let sealed = common_setup(&mine);
        if wanted {
            controls.push(control(id.clone(), &mine, sealed));
        }
        for index in group {
            cells[*index].sealed_setup = sealed;
            if wanted {
                cells[*index].role = Role::Compared { with: id.clone() };
            }
        }
    }
    controls.extend(cells);
    controls
}

/// The images, in the order of their first cells, and the indexes of each one's cells.
fn by_image(cells: &[Cell]) -> (Vec<String>, Vec<Vec<usize>>) {
    let mut known = BTreeMap::new();
    let (mut images, mut groups) = (Vec::new(), Vec::<Vec<usize>>::new());
    for (index, cell) in cells.iter().enumerate() {
        let group = *known.entry(cell.image.as_str()).or_insert_with(|| {
            images.push(cell.image.clone());
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(index);
    }
    (images, groups)
}

fn control(id: CellId, cells: &[&Cell], sealed: usize) -> Cell {
    let first = cells[0];
    let all_cold = cells.iter().all(|cell| cell.start == Start::Cold);
    Cell {
        id,
        axes: Vec::new(),
        image: first.image.clone(),
        setup: first.setup[..sealed].to_vec(),
        update: Vec::new(),
        health: first.health.clone(),
        network: first.network.clone(),
        role: Role::Control,
        start: if all_cold { Start::Cold } else { Start::Live },
        sealed_setup: sealed,
        keep_in: None,
    }
}

/// How many of the first setup steps are the same in all cells. What a secret did is never among them: a sealed
/// machine outlives the run.
fn common_setup(cells: &[&Cell]) -> usize {
    let uses_secret =
        |step: &Step| step.kind.commands().into_iter().any(|text| Secrets::names_in(text).next().is_some());
    let [first, others @ ..] = cells else { return 0 };
    let alike = |a: &Step, b: &Step| {
        a.kind.in_guest() == b.kind.in_guest() && (&a.success, a.restarts) == (&b.success, b.restarts)
    };
    let shared = |(n, step): &(usize, &Step)| {
        others.iter().all(|cell| cell.setup.get(*n).is_some_and(|other| alike(step, other)))
    };
    first.setup.iter().enumerate().take_while(shared).take_while(|(_, step)| !uses_secret(step)).count()
}
