//! What is remembered of a layer that was baked: a small JSON file beside its disk.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    files::{Access, read_regular, replace},
    model::Sha256,
};

/// The version a record carries.
const VERSION: u32 = 1;

/// Most that is read of one, in bytes: it lists files.
const LONGEST: u64 = 1 << 20;

/// How a layer came about, and so whether it still is what the catalogue asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baked {
    version: u32,
    /// Of its disk.
    pub sha256: Sha256,
    /// Of its machine's UEFI variables, where it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nvram: Option<Sha256>,
    /// Of its TPM's state, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm_state: Option<Sha256>,
    /// What it was made of: [`super::Recipe::asks`].
    pub recipe: Sha256,
    /// The files that were brought in, absolute, as they were.
    pub files: BTreeMap<PathBuf, Sha256>,
    /// When, RFC 3339.
    pub utc: String,
    /// The run that made it.
    pub run: String,
}

/// Where layers are: `baked/` beside the catalogue.
pub fn baked_folder(catalog_folder: &Path) -> PathBuf {
    let folder = catalog_folder.join("baked");
    std::path::absolute(&folder).unwrap_or(folder)
}

/// The files of one layer, named by its disk's digest: another one takes nothing from a run that uses this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BakedFiles {
    pub disk: PathBuf,
    pub nvram: PathBuf,
    pub tpm_state: PathBuf,
}

impl BakedFiles {
    pub fn of(folder: &Path, image: &str, disk: &Sha256) -> Self {
        let named = |ending: &str| folder.join(format!("{image}-{}.{ending}", disk.short()));
        Self { disk: named("qcow2"), nvram: named("nvram.fd"), tpm_state: named("tpm2") }
    }
}

impl Baked {
    pub fn new(recipe: Sha256, sha256: Sha256, utc: String, run: String) -> Self {
        Self { version: VERSION, sha256, nvram: None, tpm_state: None, recipe, files: BTreeMap::new(), utc, run }
    }

    /// Where the record of a layer is.
    pub fn path(folder: &Path, image: &str) -> PathBuf {
        folder.join(format!("{image}.json"))
    }

    /// None: it was never baked, or nobody can tell how.
    pub fn read(path: &Path) -> Option<Self> {
        let record: Self = serde_json::from_slice(&read_regular(path, LONGEST).ok()?).ok()?;
        let digests = [Some(&record.sha256), record.nvram.as_ref(), record.tpm_state.as_ref()];
        let is_sound = record.version == VERSION && digests.into_iter().flatten().all(Sha256::is_well_formed);
        is_sound.then_some(record)
    }

    /// Takes the place of the one before, whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        replace(path, &serde_json::to_vec_pretty(self)?, Access::Exactly(0o644))
    }
}
