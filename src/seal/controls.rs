use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Seal, SealError, io, key::steps, record};
use crate::model::{Cell, Check, ControlFacts, Millis, RunId, Sha256, Step, canonical};

/// How a control is asked what it is like; an answer to other questions is another key.
const QUESTIONS: u32 = 3;

/// A control that was run before, from the same seal and with the same questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownControl {
    /// The key of the seal that it started from, and of what it was asked.
    pub seal: Sha256,
    pub asked: Sha256,
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
    let deadlines = [health.boot_timeout, health.restart_timeout];
    let timeouts: Vec<Millis> = cell.setup.iter().chain(&checks).map(|step| step.timeout).collect();
    let about =
        json!([QUESTIONS, steps(&cell.setup), ids, steps(&checks), health.soak, health.watch, deadlines, timeouts]);
    Sha256::of(canonical(about).as_bytes())
}

impl Seal {
    /// What an earlier run found of the control that this cell is, if that is known.
    ///
    /// # Errors
    /// What is kept of it cannot be used, and so the control is to be run again.
    pub fn control(&self, cell: &Cell) -> Result<Option<KnownControl>, SealError> {
        let path = self.control_file(cell);
        let unusable = |why: String| SealError::Unusable { path: path.clone(), why };
        let read = record::read(&path).map_err(|error| unusable(error.to_string()))?;
        let Some(known): Option<KnownControl> = read else { return Ok(None) };
        if known.seal != self.about.key || known.asked != control_key(cell) {
            return Err(unusable("it is another one's".to_owned()));
        }
        Ok(Some(known).filter(|known| known.bootgate == env!("CARGO_PKG_VERSION")))
    }

    /// Keeps what was found of a healthy control.
    ///
    /// # Errors
    /// It cannot be written, and so the control will be run again.
    pub fn keep_control(&self, cell: &Cell, run: &RunId, utc: String, facts: &ControlFacts) -> Result<(), SealError> {
        let (seal, asked) = (self.about.key.clone(), control_key(cell));
        let bootgate = env!("CARGO_PKG_VERSION").to_owned();
        let known = KnownControl { seal, asked, bootgate, run: run.clone(), utc, facts: facts.clone() };
        let path = self.control_file(cell);
        record::write(&path, &known).map_err(io("write", &path))
    }

    fn control_file(&self, cell: &Cell) -> PathBuf {
        self.dir().join(format!("control-{}.json", control_key(cell).short()))
    }
}
