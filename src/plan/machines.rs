use std::{collections::BTreeSet, ffi::OsStr, mem::discriminant, sync::Arc};

use super::pin::Pins;
use crate::{
    candidate::foreign,
    matrix::{Action, StepSpec},
    model::{About, Content, Family, GoldenImage, GuestFile, Machine, Step},
    source::{Diagnostic, Diagnostics, Place, SourceFile},
};

/// What every golden image is: the lab makes no other machines.
const MACHINE: Machine = Machine::X64;

/// Refuses what a cell's update, written as `specs`, brings to Windows that Windows on such a machine cannot use.
///
/// A folder may hold builds for several machines, of which an installer picks one: there a foreign file is an error only if
/// all of its kind are foreign, and nothing is said if one of the same name fits.
pub(super) fn refuse_foreign(
    file: &Arc<SourceFile>,
    specs: &[&StepSpec],
    update: &[Step],
    image: &GoldenImage,
    pins: &Pins,
    found: &mut Diagnostics,
) {
    // Fewer: one of them is wrong, which has been told.
    if image.family != Family::Windows || specs.len() != update.len() {
        return;
    }
    for (spec, step) in specs.iter().zip(update) {
        for diagnostic in of_files(step.kind.files(), pins) {
            found.push_once(diagnostic.at(file, place(spec)));
        }
    }
}

fn of_files(files: &[GuestFile], pins: &Pins) -> Vec<Diagnostic> {
    let (mut wrong, mut right) = (Vec::new(), Vec::new());
    for file in files {
        let Some(about) = pins.about(&file.from.path) else { continue };
        match foreign(about, MACHINE) {
            Some(why) => wrong.push((file, about, why)),
            None => right.push((file, about)),
        }
    }
    let names: BTreeSet<&OsStr> = right.iter().filter_map(|(file, _)| file.from.path.file_name()).collect();
    wrong.retain(|(file, ..)| !file.from.path.file_name().is_some_and(|name| names.contains(name)));
    let has_other = |about: &About| right.iter().any(|(_, other)| are_alike(&other.content, &about.content));
    let (doubtful, useless): (Vec<_>, Vec<_>) = wrong.into_iter().partition(|(_, about, _)| has_other(about));
    let told = |of: &[(&GuestFile, &About, String)], diagnostic: fn(String) -> Diagnostic| {
        let (file, _, why) = of.first()?;
        let path = file.from.path.display();
        let told = diagnostic(format!("`{path}` is of no use on {MACHINE} Windows: {why}"));
        let told = told.hint("give the build for x64, or leave the step out for these images with `when`");
        Some(if of.len() > 1 { told.hint(format!("the same goes for {} more files", of.len() - 1)) } else { told })
    };
    [told(&useless, Diagnostic::error), told(&doubtful, Diagnostic::warning)].into_iter().flatten().collect()
}

/// Whether one file may be there in place of the other.
fn are_alike(one: &Content, other: &Content) -> bool {
    match (one, other) {
        (Content::Pe(one), Content::Pe(other)) => one.role == other.role,
        _ => discriminant(one) == discriminant(other),
    }
}

/// Where the step says what it brings.
fn place(spec: &StepSpec) -> Place {
    match &spec.action {
        Action::Copy { from, .. } | Action::Files { from, .. } | Action::Package { file: from, .. } => from.place,
        _ => spec.place,
    }
}
