use std::{
    env,
    path::{Path, PathBuf},
};

use super::reading::Reading;
use crate::{
    catalog::Catalog,
    matrix::Matrix,
    model::{MAX_SOAK, Start},
    plan::{Choices, Planned},
    source::{Diagnostic, Diagnostics},
};

/// What to test: a matrix and what the command line adds to it.
#[derive(Clone, Debug, clap::Args)]
// A group that has another one in it is empty, unless its members are named.
#[group(args = ["matrix", "candidate", "catalog", "set", "only", "soak", "start"])]
pub struct Select {
    /// The matrix file
    #[arg(value_name = "MATRIX")]
    pub matrix: PathBuf,
    /// The update under test, instead of the matrix's `candidate`
    #[arg(long, value_name = "FILE")]
    pub candidate: Option<PathBuf>,
    #[command(flatten)]
    pub with: MatrixArgs,
}

/// What the command line adds to a matrix, whatever is under test.
#[derive(Clone, Debug, clap::Args)]
pub struct MatrixArgs {
    /// The catalogue of golden images [default: the matrix's key `catalog`, else images/catalog.yaml near it]
    #[arg(long, value_name = "FILE")]
    pub catalog: Option<PathBuf>,
    /// Give a variable of the matrix a value (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// Only the cells with this axis value (repeatable: values of one axis are alternatives)
    #[arg(long, value_name = "AXIS=VALUE", value_parser = pair)]
    pub only: Vec<(String, String)>,
    /// Restart each updated machine so many more times, instead of the matrix's `soak`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_SOAK)))]
    pub soak: Option<u32>,
    /// How every machine begins, instead of the matrix's `start` and `cold`
    #[arg(long, value_enum, value_name = "HOW")]
    pub start: Option<HowToStart>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum HowToStart {
    /// As a clone of a machine that has settled already, where that is possible
    Live,
    /// From power-on
    Cold,
}

impl From<HowToStart> for Start {
    fn from(how: HowToStart) -> Self {
        match how {
            HowToStart::Live => Start::Live,
            HowToStart::Cold => Start::Cold,
        }
    }
}

impl Select {
    /// Reads the files and makes the plan.
    ///
    /// # Errors
    /// All that is wrong with the matrix, else with the catalogue, else with the plan.
    pub fn plan(&self) -> Result<Planned, Diagnostics> {
        let matrix = Matrix::read(&self.matrix)?;
        let catalog = self.catalog(&matrix)?;
        let choices = Choices {
            candidate: self.candidate.clone(),
            set: self.with.set.clone(),
            only: self.with.only.clone(),
            soak: self.with.soak,
            start: self.with.start.map(Start::from),
        };
        let mut reading = Reading::begin();
        crate::plan::plan(&matrix, &catalog, &choices, &|name| env::var(name).ok(), &mut |read| reading.more(read))
    }

    fn catalog(&self, matrix: &Matrix) -> Result<Catalog, Diagnostics> {
        if let Some(path) = &self.with.catalog {
            return Catalog::read(path);
        }
        if let Some(path) = &matrix.catalog {
            if !path.value.exists() {
                let message = format!("there is no catalogue `{}`", path.value.display());
                let error = Diagnostic::error(message).at(&matrix.file, path.place);
                let hint = "the path is relative to the matrix; `images/build` makes the demo's images and catalogue";
                return Err(error.hint(hint).into());
            }
            return Catalog::read(&path.value);
        }
        Catalog::read(&find_catalog(matrix.file.folder())?)
    }
}

/// Looks for `images/catalog.yaml` in a folder and those above it, then in the current folder.
pub(super) fn find_catalog(folder: &Path) -> Result<PathBuf, Diagnostics> {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let here = Path::new("images/catalog.yaml").to_owned();
    let near = folder.ancestors().map(|folder| folder.join("images/catalog.yaml"));
    near.chain([here]).find(|path| path.is_file()).ok_or_else(|| {
        let message = format!("no images/catalog.yaml in {} or above it", folder.display());
        let error = Diagnostic::error(message).hint("name the catalogue with --catalog FILE");
        error.hint("`images/build` makes the demo's images and their catalogue").into()
    })
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("give a key and a value, joined by `=`".into()),
    }
}
