//! What a seal's folder says of itself, in files that know whether they are whole.

use std::{io, path::Path};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    files::{Access, read_regular, replace},
    model::{Sha256, canonical},
};

/// Far above any that was made here.
const LONGEST: u64 = 16 << 20;

/// A record and the digest of it: one that anything was changed of, by chance or by hand, is none.
#[derive(Serialize, Deserialize)]
struct Record {
    /// Of the rest, in its canonical form.
    sha256: Sha256,
    record: Value,
}

/// None: there is no such file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let text = match read_regular(path, LONGEST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let Record { sha256, record } = serde_json::from_slice(&text)?;
    if Sha256::of(canonical(record.clone()).as_bytes()) != sha256 {
        return Err(io::Error::other("it is not what was written"));
    }
    Ok(Some(serde_json::from_value(record)?))
}

/// A reader sees all of it or nothing.
pub(super) fn write<T: Serialize>(path: &Path, record: &T) -> io::Result<()> {
    let record = serde_json::to_value(record)?;
    let sha256 = Sha256::of(canonical(record.clone()).as_bytes());
    replace(path, &serde_json::to_vec_pretty(&Record { sha256, record })?, Access::Private)
}
