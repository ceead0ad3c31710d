use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{SealError, SealKey, io, record};
use crate::{
    clock::utc_now,
    model::{Bytes, Millis, Sha256},
};

/// The version `seal.json` carries.
const VERSION: u32 = 2;

/// Its name in a seal's folder. Written last: a seal without it is none.
const FILE: &str = "seal.json";

/// What is known of a seal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Of the format.
    pub version: u32,
    /// The whole key, of which the folder's name is the beginning.
    pub key: Sha256,
    /// The golden image's name.
    pub image: String,
    /// When it was made: RFC 3339, UTC.
    pub utc: String,
    /// How long the machine took from power-on until settled.
    pub settle: Millis,
    /// What ran in it before it was sealed: the names of the steps.
    pub setup: Vec<String>,
    /// Every file of the folder that a machine is started from.
    pub files: Vec<SealedFile>,
}

/// A file of a seal, by which it is known to be whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedFile {
    /// In the seal's folder.
    pub name: String,
    pub size: Bytes,
    /// Of its content.
    pub sha256: Sha256,
}

impl About {
    /// Of a seal that is made now; [`Builder::finish`](super::Builder::finish) adds the files.
    pub fn new(key: &SealKey, image: &str, settle: Millis, setup: Vec<String>) -> Self {
        let (key, image) = (key.sha256().clone(), image.to_owned());
        Self { version: VERSION, key, image, utc: utc_now(), settle, setup, files: Vec::new() }
    }

    /// Of all its files together.
    pub fn size(&self) -> Bytes {
        Bytes(self.files.iter().map(|file| file.size.0).fold(0, u64::saturating_add))
    }

    /// None: there is no seal in this folder.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, SealError> {
        let unusable = |why: String| SealError::Unusable { path: dir.to_owned(), why };
        let read = record::read(&dir.join(FILE)).map_err(|error| unusable(format!("{FILE}: {error}")))?;
        let Some(about): Option<Self> = read else { return Ok(None) };
        if about.version != VERSION {
            return Err(unusable(format!("version {} of {FILE} is not known", about.version)));
        }
        let plain = |file: &SealedFile| !file.name.is_empty() && !file.name.contains('/') && file.name != "..";
        if !about.files.iter().all(plain) || about.files.is_empty() {
            return Err(unusable(format!("{FILE} names no files of its folder")));
        }
        Ok(Some(about))
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), SealError> {
        let path = dir.join(FILE);
        record::write(&path, self).map_err(io("write", &path))
    }
}
