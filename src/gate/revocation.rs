use serde::{Deserialize, Serialize};

use super::{Descriptor, STATEMENT_PAYLOAD, Statement};
use crate::{
    model::Sha256,
    sign::{Envelope, EnvelopeError, KeyError, PrivateKey, PublicKey},
};

const PAYLOAD_TYPE: &str = "application/vnd.bootgate.revocation+json";
const VERSION: u32 = 1;

/// An approval that does not count any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    version: u32,
    /// Digest of the approval's payload: signing the same anew does not bring it back.
    pub approval_sha256: Sha256,
    /// The files that the approval is about, for people.
    pub subject: Vec<Descriptor>,
    pub reason: String,
    /// RFC 3339, UTC.
    pub utc: String,
}

/// What is wrong with a file of revocations. Lines count from 1.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    #[error("line {line}: {source}")]
    Line { line: usize, source: EnvelopeError },
    #[error("line {line}: this is no revocation: {source}")]
    Payload { line: usize, source: serde_json::Error },
    #[error("line {line}: revocations of version {found}, and this bootgate reads {VERSION}: use a newer one")]
    Version { line: usize, found: u32 },
    #[error("its last line has no end: some of the file is missing")]
    Torn,
}

/// Why an approval cannot be revoked.
#[derive(Debug, thiserror::Error)]
pub enum Unrevocable {
    #[error(transparent)]
    Approval(#[from] EnvelopeError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Revocation {
    /// Revokes an approval that this key signed. The envelope is a line for the file of revocations.
    ///
    /// # Errors
    /// This key did not sign it, so its word does not count; or it does not sign now.
    pub fn sign(approval: &Envelope, key: &PrivateKey, reason: &str, utc: String) -> Result<Envelope, Unrevocable> {
        let payload = approval.open(STATEMENT_PAYLOAD, &key.public())?;
        let statement: Statement = serde_json::from_slice(&payload).map_err(EnvelopeError::from)?;
        let revocation = Self {
            version: VERSION,
            approval_sha256: Sha256::of(&payload),
            subject: statement.subject,
            reason: reason.to_owned(),
            utc,
        };
        let payload = serde_json::to_vec(&revocation).map_err(EnvelopeError::from)?;
        Ok(Envelope::sign(PAYLOAD_TYPE, &payload, key)?)
    }
}

/// A file of revocations, an envelope a line, as far as one approver signed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations(Vec<Revocation>);

impl Revocations {
    /// Those of this key. Others' revoke nothing here.
    ///
    /// # Errors
    /// [`RevocationError`]: what cannot be read, or is wrongly signed, may have been a revocation.
    pub fn read(text: &str, key: &PublicKey) -> Result<Self, RevocationError> {
        if !text.is_empty() && !text.ends_with('\n') {
            return Err(RevocationError::Torn);
        }
        let mut all = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let opened = Envelope::parse(text.as_bytes()).and_then(|envelope| envelope.open(PAYLOAD_TYPE, key));
            let payload = match opened {
                Ok(payload) => payload,
                Err(EnvelopeError::OtherKey { .. }) => continue,
                Err(source) => return Err(RevocationError::Line { line, source }),
            };
            let bad = |source| RevocationError::Payload { line, source };
            let revocation: Revocation = serde_json::from_slice(&payload).map_err(bad)?;
            if revocation.version != VERSION {
                return Err(RevocationError::Version { line, found: revocation.version });
            }
            all.push(revocation);
        }
        Ok(Self(all))
    }

    /// What revokes the approval whose payload has this digest.
    pub fn of(&self, approval_sha256: &Sha256) -> Option<&Revocation> {
        self.0.iter().find(|revocation| revocation.approval_sha256 == *approval_sha256)
    }
}
