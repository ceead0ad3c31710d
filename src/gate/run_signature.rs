use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    event::{Journal, RunEvent, Tail},
    files::{Access, read_regular, replace},
    model::{RunId, Sha256},
    sign::{Envelope, EnvelopeError, KeyError, PrivateKey, PublicKey},
};

/// The file in a run's directory.
pub const RUN_SIGNATURE: &str = "run.sig.json";

const PAYLOAD_TYPE: &str = "application/vnd.bootgate.run+json";
const VERSION: u32 = 1;
/// Far above any that was made here.
const MAX_FILE: u64 = 64 << 10;

/// What the lab's key says of a run.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SignedRun {
    version: u32,
    run: RunId,
    plan_sha256: Sha256,
    /// Digest of the journal's last line, and through the chain of all lines before it.
    journal_sha256: Sha256,
}

#[derive(Debug, thiserror::Error)]
pub enum RunSignatureError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("cannot {action} the run's signature {}: {source}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is not there: the run was not signed by the lab (it is from before that was done, it was killed as it began, or the file was removed), so nothing may rest on it: run again", .0.display())]
    Absent(PathBuf),
    #[error("{} does not prove the run: {source}", .path.display())]
    Wrong { path: PathBuf, source: EnvelopeError },
    #[error("{} is no signature of a run: {why}", .path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("{} is of another run, plan or state of the journal: {what} is not the one that was signed: take an untouched copy, or run again", .path.display())]
    Differs { path: PathBuf, what: &'static str },
    #[error("the run has no end: bootgate was killed, `bootgate run --resume` finishes it")]
    NotEnded,
    #[error("bytes were added behind the end of the run's journal: take an untouched copy, or run again")]
    Added,
}

/// Signs what a run has proven, with the lab's own key: whoever edits a run's files cannot do that again.
#[derive(Debug)]
pub struct RunSigner {
    key: PrivateKey,
    path: PathBuf,
    run: RunId,
    plan_sha256: Sha256,
}

impl RunSigner {
    /// For the run in this directory.
    pub fn new(key: PrivateKey, dir: &Path, run: RunId, plan_sha256: Sha256) -> Self {
        Self { key, path: dir.join(RUN_SIGNATURE), run, plan_sha256 }
    }

    /// Signs the journal as far as it has come, in place of what was signed before.
    ///
    /// # Errors
    /// It cannot be made or written; what was there before stays.
    pub fn sign(&self, journal_sha256: &Sha256) -> Result<(), RunSignatureError> {
        let failed = |source| RunSignatureError::Io { action: "write", path: self.path.clone(), source };
        let says = SignedRun {
            version: VERSION,
            run: self.run.clone(),
            plan_sha256: self.plan_sha256.clone(),
            journal_sha256: journal_sha256.clone(),
        };
        let payload = serde_json::to_vec(&says).map_err(io::Error::other).map_err(failed)?;
        let envelope = Envelope::sign(PAYLOAD_TYPE, &payload, &self.key)?;
        replace(&self.path, envelope.to_line().as_bytes(), Access::Umask).map_err(failed)
    }
}

/// Whether the run in this directory, of which this is the journal, came to its end and is as the lab signed it then.
///
/// # Errors
/// [`RunSignatureError`]: nothing may rest on the run.
pub fn check_run(dir: &Path, journal: &Journal, key: &PublicKey) -> Result<(), RunSignatureError> {
    if !matches!(journal.events.last().map(|event| &event.what), Some(RunEvent::RunEnded { .. })) {
        return Err(RunSignatureError::NotEnded);
    }
    if journal.tail != Tail::Whole {
        return Err(RunSignatureError::Added);
    }
    check(dir, journal, &journal.sha256, key)
}

/// Whether a run that is to go on began, and all that has ended in it did so, under this lab's eyes: it will be signed again, at
/// the end.
///
/// # Errors
/// [`RunSignatureError`].
pub fn check_resumable(dir: &Path, journal: &Journal, key: &PublicKey) -> Result<(), RunSignatureError> {
    check(dir, journal, &journal.signed, key)
}

fn check(dir: &Path, journal: &Journal, sha256: &Sha256, key: &PublicKey) -> Result<(), RunSignatureError> {
    let path = dir.join(RUN_SIGNATURE);
    let wrong = |source| RunSignatureError::Wrong { path: path.clone(), source };
    let unreadable = |why: String| RunSignatureError::Unreadable { path: path.clone(), why };
    let bytes = match read_regular(&path, MAX_FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(RunSignatureError::Absent(path)),
        bytes => bytes.map_err(|source| RunSignatureError::Io { action: "read", path: path.clone(), source })?,
    };
    let payload = Envelope::parse(&bytes).and_then(|envelope| envelope.open(PAYLOAD_TYPE, key)).map_err(wrong)?;
    let signed: SignedRun = serde_json::from_slice(&payload).map_err(|error| unreadable(error.to_string()))?;
    if signed.version != VERSION {
        return Err(unreadable(format!("its version is {}, and this bootgate reads {VERSION}", signed.version)));
    }
    let plan = journal.events.first().and_then(|event| match &event.what {
        RunEvent::RunStarted { start } => Some(&start.plan_sha256),
        _ => None,
    });
    for (same, what) in [
        (signed.run == journal.run, "the run's id"),
        (Some(&signed.plan_sha256) == plan, "the plan"),
        (signed.journal_sha256 == *sha256, "the journal"),
    ] {
        if !same {
            return Err(RunSignatureError::Differs { path, what });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
