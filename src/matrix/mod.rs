//! The matrix: [`MatrixFile`] as it is written, [`Matrix`] once it is checked.
//!
//! Checked means: everything that can be judged from this one file. What needs the catalogue, the command
//! line, the environment or other files is the plan's business.

mod check;
mod checked;
mod compare;
mod file;
mod guest_path;
mod policy;
mod steps;
mod steps_file;
mod template;

pub use checked::{Action, Axis, CheckSpec, HealthSpec, Matrix, Pairs, StepSpec, is_name};
pub use file::MatrixFile;
pub(crate) use guest_path::{GUEST_PATH_HINT, guest_path_problem};
pub use policy::{PolicyFile, read_policy};
pub use steps_file::StepEntry;
pub use template::{Part, Template};

use std::{path::Path, sync::Arc};

use crate::source::{Diagnostics, Placed, SourceFile, read_yaml};

/// Checks steps that stand in another file than a matrix: there are no axes for `when`.
///
/// # Errors
/// All that is wrong with them.
pub fn check_steps(file: &Arc<SourceFile>, raw: Vec<Placed<StepEntry>>) -> Result<Vec<StepSpec>, Diagnostics> {
    let mut checker = check::Checker { file: Arc::clone(file), axes: Vec::new(), found: Diagnostics::default() };
    let steps = checker.steps(raw, &[]);
    checker.found.or(steps)
}

impl Matrix {
    /// Reads and checks a matrix file.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(path: &Path) -> Result<Self, Diagnostics> {
        Self::from_source(SourceFile::read(path)?)
    }

    /// Checks a matrix whose text is at hand already.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn from_source(file: Arc<SourceFile>) -> Result<Self, Diagnostics> {
        let raw: MatrixFile = read_yaml(&file, steps::unknown_key)?;
        check::check(file, raw)
    }
}
