//! The matrix: [`MatrixFile`] as it is written, [`Matrix`] once it is checked.
//!
//! Checked means: everything that can be judged from this one file. What needs the catalogue, the command
//! line, the environment or other files is the plan's business.

mod check;
mod checked;
mod compare;
mod file;
mod guest_path;
mod steps;
mod steps_file;
mod template;

pub use checked::{Action, Axis, CheckSpec, HealthSpec, Matrix, Pairs, StepSpec, is_name};
pub use file::MatrixFile;
pub(crate) use guest_path::{GUEST_PATH_HINT, guest_path_problem};
pub use template::{Part, Template};

use std::{path::Path, sync::Arc};

use crate::source::{Diagnostics, SourceFile, read_yaml};

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
