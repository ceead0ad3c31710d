use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Revocations, STATEMENT_PAYLOAD, Statement, TestOutcome,
    statement::{STATEMENT, TEST_RESULT},
};
use crate::{
    event::Decision,
    model::{Millis, Sha256},
    sign::{Envelope, EnvelopeError, PublicKey},
};

/// How far the clocks of a lab and of a deployment may differ.
const CLOCKS_DIFFER: Duration = Duration::minutes(5);

/// What is asked of an approval.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The approver's.
    pub key: &'a PublicKey,
    /// The files that are to be deployed: names, for the answer, and digests.
    pub update: &'a [(String, Sha256)],
    /// How long ago the run may have ended.
    pub max_age: Option<Millis>,
    pub now: OffsetDateTime,
    pub revocations: Option<&'a Revocations>,
}

/// An approval that was read and whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub statement: Statement,
    /// What speaks against it, a sentence each; it holds if there is none.
    pub against: Vec<String>,
}

impl Answer {
    pub fn holds(&self) -> bool {
        self.against.is_empty()
    }

    /// Files that were tested together with those that were asked for.
    pub fn not_asked<'a>(&'a self, update: &[(String, Sha256)]) -> Vec<&'a str> {
        let asked = |subject: &&super::Descriptor| update.iter().any(|(_, sha256)| subject.is(sha256));
        self.statement.subject.iter().filter(|subject| !asked(subject)).map(|subject| subject.name.as_str()).collect()
    }
}

/// Whether an approval allows these files to be deployed, without the run that it is of.
///
/// # Errors
/// Nothing in it may be believed: it is damaged, or the key did not sign it.
pub fn verify(approval: &Envelope, question: &Question<'_>) -> Result<Answer, EnvelopeError> {
    let Question { key, update, max_age, now, revocations } = question;
    let payload = approval.open(STATEMENT_PAYLOAD, key)?;
    let statement: Statement = serde_json::from_slice(&payload)?;
    let mut against = Vec::new();
    for (found, wanted) in [(&statement.kind, STATEMENT), (&statement.predicate_type, TEST_RESULT)] {
        if found != wanted {
            against.push(format!("it states `{found}`, and `{wanted}` is asked for"));
        }
    }
    let facts = &statement.predicate.bootgate;
    if statement.predicate.result != TestOutcome::Passed || facts.decision != Decision::Approved {
        let why = facts.reasons.first().map_or_else(String::new, |reason| format!(": {reason}"));
        against.push(format!("the update was {}{why}", facts.decision.as_str()));
    }
    if update.is_empty() {
        against.push("no file was asked for".to_owned());
    }
    for (name, sha256) in update.iter() {
        if !statement.subject.iter().any(|subject| subject.is(sha256)) {
            against.push(format!("{name} (sha256 {sha256}) is not among the files that were tested"));
        }
    }
    match OffsetDateTime::parse(&facts.ended, &Rfc3339) {
        Err(_) => against.push(format!("its run ended at `{}`, which is no UTC time", facts.ended)),
        Ok(ended) if ended - *now > CLOCKS_DIFFER => {
            against.push(format!("its run ended at {}, which lies ahead: is the clock right?", facts.ended));
        }
        Ok(ended) => {
            let age = Millis(u64::try_from((*now - ended).whole_milliseconds()).unwrap_or(0));
            if let Some(max) = max_age.filter(|max| age > *max) {
                against.push(format!("its run ended at {}, which is {age} ago: more than {max}", facts.ended));
            }
        }
    }
    if let Some(revocation) = revocations.and_then(|all| all.of(&Sha256::of(&payload))) {
        against.push(format!("it was revoked at {}: {}", revocation.utc, revocation.reason));
    }
    Ok(Answer { statement, against })
}

#[cfg(test)]
mod tests;
