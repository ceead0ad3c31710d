use std::{fs, path::PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Seal, SealError, io, key::steps};
use crate::model::{Cell, Check, ControlFacts, RunId, Sha256, Step, canonical};

/// A control that was run before, from the same seal and with the same questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownControl {
    /// The version of bootgate that ran it: another one may ask in another way.
    pub bootgate: String,
    pub run: RunId,
    /// When that was: RFC 3339, UTC.
    pub utc: String,
    /// What it was like.
    pub facts: ControlFacts,
}

/// What a control's answer depends on beside its seal.
pub fn control_key(cell: &Cell) -> Sha256 {
    let health = &cell.health;
    let asked = |check: &Check| Step {
        name: check.id.clone(),
        kind: check.kind.clone(),
        timeout: check.timeout,
        restarts: 0,
        success: check.success.clone(),
    };
    let checks: Vec<Step> = health.checks.iter().map(asked).collect();
    let ids: Vec<&str> = health.checks.iter().map(|check| check.id.as_str()).collect();
    let timeouts = [health.boot_timeout, health.restart_timeout];
    let about = json!([steps(&cell.setup), ids, steps(&checks), health.soak, health.watch, timeouts]);
    Sha256::of(canonical(about).as_bytes())
}

impl Seal {
    /// What an earlier run found of the control that this cell is.
    pub fn control(&self, cell: &Cell) -> Option<KnownControl> {
        let known: KnownControl = serde_json::from_slice(&fs::read(self.control_file(cell)).ok()?).ok()?;
        (known.bootgate == env!("CARGO_PKG_VERSION")).then_some(known)
    }

    /// Keeps what was found of a healthy control.
    ///
    /// # Errors
    /// It cannot be written, and so the control will be run again.
    pub fn keep_control(&self, cell: &Cell, run: &RunId, utc: String, facts: &ControlFacts) -> Result<(), SealError> {
        let bootgate = env!("CARGO_PKG_VERSION").to_owned();
        let known = KnownControl { bootgate, run: run.clone(), utc, facts: facts.clone() };
        let path = self.control_file(cell);
        let write = || {
            // Beside it and renamed: a reader sees all of it or nothing.
            let mut file = tempfile::NamedTempFile::new_in(self.dir())?;
            serde_json::to_writer(&mut file, &known)?;
            file.persist(&path).map_err(|error| error.error).map(drop)
        };
        write().map_err(io("write", &path))
    }

    fn control_file(&self, cell: &Cell) -> PathBuf {
        self.dir().join(format!("control-{}.json", control_key(cell).short()))
    }
}
