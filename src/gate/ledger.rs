//! Signed lines about approvals: themselves, what came of them, and that they do not count any more.

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Descriptor, STATEMENT_PAYLOAD, Statement};
use crate::{
    model::{RunId, Sha256, one_line},
    sign::{Envelope, EnvelopeError, KeyError, PrivateKey, PublicKey},
};

const REVOCATION: &str = "application/vnd.bootgate.revocation+json";
const RING_RESULT: &str = "application/vnd.bootgate.ring-result+json";
const VERSION: u32 = 1;

/// An approval that does not count any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    version: u32,
    /// Digest of the approval's payload.
    pub approval_sha256: Sha256,
    /// The run: signing it anew, or going on with it, does not bring the approval back. None in a revocation from before this
    /// was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<RunId>,
    /// The files that the approval is about, for people.
    pub subject: Vec<Descriptor>,
    pub reason: String,
    /// RFC 3339, UTC.
    pub utc: String,
}

/// What came of an update in a ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingResult {
    version: u32,
    /// Digest of the payload of the approval that opened the ring.
    pub approval_sha256: Sha256,
    pub ring: String,
    /// The files, for people.
    pub subject: Vec<Descriptor>,
    pub passed: bool,
    /// How many machines got it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<u32>,
    /// For people; may be empty.
    pub note: String,
    /// RFC 3339, UTC.
    pub utc: String,
}

/// What is wrong with a file of such lines. They count from 1.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("line {line}: {source}")]
    Line { line: usize, source: EnvelopeError },
    #[error("line {line}: this is no {what}: {source}")]
    Payload { line: usize, what: &'static str, source: serde_json::Error },
    #[error("line {line}: a {what} of version {found}, and this bootgate reads {VERSION}: use a newer one")]
    Version { line: usize, what: &'static str, found: u32 },
    #[error("line {line}: nobody knows here what `{}` is", shown(.found))]
    Unknown { line: usize, found: String },
    #[error(
        "its last line has no end: some of the file is missing, or a write was cut short, and then the line is to be removed"
    )]
    Torn,
}

/// Why nothing can be said of an approval.
#[derive(Debug, thiserror::Error)]
pub enum Unsayable {
    #[error(transparent)]
    Approval(#[from] EnvelopeError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("it opens no ring: its policy has none")]
    NoRing,
    #[error("the update was {0}, so the ring was never opened")]
    NotApproved(&'static str),
}

/// An approval that this key signed, and the digest of its payload.
fn open(approval: &Envelope, key: &PrivateKey) -> Result<(Statement, Sha256), EnvelopeError> {
    let payload = approval.open(STATEMENT_PAYLOAD, &key.public())?;
    Ok((serde_json::from_slice(&payload)?, Sha256::of(&payload)))
}

fn sign<T: Serialize>(kind: &str, what: &T, key: &PrivateKey) -> Result<Envelope, Unsayable> {
    let payload = serde_json::to_vec(what).map_err(EnvelopeError::from)?;
    Ok(Envelope::sign(kind, &payload, key)?)
}

impl Revocation {
    /// Revokes an approval that this key signed. The envelope is a line for the file.
    ///
    /// # Errors
    /// This key did not sign it, so its word does not count; or it does not sign now.
    pub fn sign(approval: &Envelope, key: &PrivateKey, reason: &str, utc: String) -> Result<Envelope, Unsayable> {
        let (statement, approval_sha256) = open(approval, key)?;
        let revocation = Self {
            version: VERSION,
            approval_sha256,
            run: Some(statement.predicate.bootgate.run),
            subject: statement.subject,
            reason: reason.to_owned(),
            utc,
        };
        sign(REVOCATION, &revocation, key)
    }
}

impl RingResult {
    /// Says what came of an approval that this key signed. The envelope is a line for the file.
    ///
    /// # Errors
    /// This key did not sign it, or it opened no ring.
    pub fn sign(
        approval: &Envelope,
        key: &PrivateKey,
        (passed, machines, note): (bool, Option<u32>, &str),
        utc: String,
    ) -> Result<(Envelope, Self), Unsayable> {
        let (statement, approval_sha256) = open(approval, key)?;
        let facts = &statement.predicate.bootgate;
        let ring = facts.ring().ok_or(Unsayable::NoRing)?.to_owned();
        if !statement.is_approval() {
            return Err(Unsayable::NotApproved(facts.decision.as_str()));
        }
        let subject = statement.subject;
        let note = note.to_owned();
        let result = Self { version: VERSION, approval_sha256, ring, subject, passed, machines, note, utc };
        Ok((sign(RING_RESULT, &result, key)?, result))
    }
}

/// A file of signed lines, as far as one approver signed them. Those of others say nothing here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// With the digests of their payloads, in the order in which they were signed.
    pub approvals: Vec<(Sha256, Statement)>,
    pub results: Vec<RingResult>,
    revocations: Vec<Revocation>,
}

impl Ledger {
    /// # Errors
    /// [`LedgerError`]: what cannot be read, or is wrongly signed, may have been a revocation.
    pub fn read(text: &str, key: &PublicKey) -> Result<Self, LedgerError> {
        if !text.is_empty() && !text.ends_with('\n') {
            return Err(LedgerError::Torn);
        }
        let mut all = Self::default();
        for (line, text) in (1..).zip(text.lines()) {
            let envelope = Envelope::parse(text.as_bytes()).map_err(|source| LedgerError::Line { line, source })?;
            let kind =
                [STATEMENT_PAYLOAD, RING_RESULT, REVOCATION].into_iter().find(|kind| *kind == envelope.payload_type);
            let Some(kind) = kind else { return Err(LedgerError::Unknown { line, found: envelope.payload_type }) };
            match envelope.open(kind, key) {
                Ok(payload) => all.add(line, kind, &payload)?,
                // What nobody can have signed was damaged.
                Err(EnvelopeError::OtherKey { .. }) if envelope.has_signature() => {}
                Err(EnvelopeError::OtherKey { .. }) => {
                    return Err(LedgerError::Line { line, source: EnvelopeError::BadSignature });
                }
                Err(source) => return Err(LedgerError::Line { line, source }),
            }
        }
        all.approvals.sort_by_key(|(_, statement)| signed_at(statement));
        Ok(all)
    }

    fn add(&mut self, line: usize, kind: &str, payload: &[u8]) -> Result<(), LedgerError> {
        match kind {
            REVOCATION => self.revocations.push(versioned(line, "revocation", payload, |it: &Revocation| it.version)?),
            RING_RESULT => self.results.push(versioned(line, "result", payload, |it: &RingResult| it.version)?),
            _ => {
                let (sha256, statement): (Sha256, Statement) = (Sha256::of(payload), read(line, "approval", payload)?);
                // A copy of an old line makes it no newer.
                if !self.approvals.iter().any(|(known, _)| *known == sha256) {
                    self.approvals.push((sha256, statement));
                }
            }
        }
        Ok(())
    }

    /// The same, and what another file revokes.
    #[must_use]
    pub fn with_revocations_of(mut self, other: &Self) -> Self {
        self.revocations.extend(other.revocations.iter().cloned());
        self
    }

    /// What revokes the approval whose payload has this digest.
    pub fn revokes(&self, approval_sha256: &Sha256, statement: &Statement) -> Option<&Revocation> {
        let by_run = self.revokes_run(&statement.predicate.bootgate.run);
        by_run.or_else(|| self.revocations.iter().find(|revocation| revocation.approval_sha256 == *approval_sha256))
    }

    /// What revokes all that is signed of a run.
    pub fn revokes_run(&self, run: &RunId) -> Option<&Revocation> {
        self.revocations.iter().find(|revocation| revocation.run.as_ref() == Some(run))
    }
}

/// What somebody else wrote, for a message.
fn shown(text: &str) -> String {
    one_line(text).chars().take(80).collect()
}

/// None, and so the oldest: nobody knows.
fn signed_at(statement: &Statement) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(statement.predicate.bootgate.signed.as_deref()?, &Rfc3339).ok()
}

fn read<T: for<'a> Deserialize<'a>>(line: usize, what: &'static str, payload: &[u8]) -> Result<T, LedgerError> {
    serde_json::from_slice(payload).map_err(|source| LedgerError::Payload { line, what, source })
}

fn versioned<T: for<'a> Deserialize<'a>>(
    line: usize,
    what: &'static str,
    payload: &[u8],
    version: impl Fn(&T) -> u32,
) -> Result<T, LedgerError> {
    let it = read(line, what, payload)?;
    match version(&it) {
        VERSION => Ok(it),
        found => Err(LedgerError::Version { line, what, found }),
    }
}
