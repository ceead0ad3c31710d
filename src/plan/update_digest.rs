use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::model::{Candidate, Cell, Sha256, Step, canonical};

/// What an approval is about: the candidate, every file that the update copies, and its steps.
///
/// The same on every host (no host path is in it), and whatever the order or number of cells.
pub(super) fn update_digest(candidate: Option<&Candidate>, cells: &[Cell]) -> Sha256 {
    // A control gets no update.
    let permutations = cells.iter().filter(|cell| !cell.role.is_control());
    let updates: BTreeSet<String> = permutations.map(|cell| canonical(steps(&cell.update))).collect();
    let subject = json!({
        "version": 1,
        "candidate": candidate.map(|candidate| &candidate.sha256),
        "updates": updates,
    });
    Sha256::of(canonical(subject).as_bytes())
}

fn steps(steps: &[Step]) -> Value {
    let step = |step: &Step| {
        let mut about = json!({
            "kind": step.kind.in_guest(),
            "timeout": step.timeout,
            "success": step.success,
        });
        if step.restarts > 0 {
            about["restarts"] = step.restarts.into();
        }
        about
    };
    steps.iter().map(step).collect()
}
