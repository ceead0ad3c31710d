use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Evidence, Facts, Ledger, STATEMENT_PAYLOAD, Statement, TestOutcome, assess,
    evidence::CLOCKS_DIFFER,
    statement::{STATEMENT, TEST_RESULT},
};
use crate::{
    event::Decision,
    model::{ApprovalPolicy, Millis, Sha256},
    sign::{Envelope, EnvelopeError, PublicKey},
};

/// What is asked of an approval.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The approver's.
    pub key: &'a PublicKey,
    /// The files that are to be deployed: names, for the answer, and digests.
    pub update: &'a [(String, Sha256)],
    /// How long ago the run's first cell may have ended.
    pub max_age: Option<Millis>,
    pub now: OffsetDateTime,
    /// A file with revocations, and whatever else was signed.
    pub revocations: Option<&'a Ledger>,
    /// The rules of whoever deploys, which may be others than those that it was approved by.
    pub policy: Option<&'a ApprovalPolicy>,
    /// The ring that the update is to go to.
    pub ring: Option<&'a str>,
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
    let Question { key, update, max_age, now, revocations, policy, ring } = question;
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
        Ok(_) => against.extend(max_age.and_then(|most| Evidence::of_approval(facts).young_enough(most, *now).err())),
    }
    against.extend(other_ring(facts, *ring));
    if let Some(policy) = policy {
        against.extend(by_policy(facts, policy, *ring, *now));
    }
    if let Some(revocation) = revocations.and_then(|all| all.revokes(&Sha256::of(&payload), &statement)) {
        against.push(format!("it was revoked at {}: {}", revocation.utc, revocation.reason));
    }
    Ok(Answer { statement, against })
}

/// One for a ring is for no other, and one without a ring for none.
fn other_ring(facts: &Facts, asked: Option<&str>) -> Option<String> {
    match (facts.ring(), asked) {
        (None, Some(asked)) => Some(format!("it opens no ring, and `{asked}` is asked for")),
        (Some(opens), None) => Some(format!("it opens the ring `{opens}` only: ask for that ring")),
        (Some(opens), Some(asked)) if opens != asked => {
            Some(format!("it opens the ring `{opens}`, and `{asked}` is asked for"))
        }
        _ => None,
    }
}

fn by_policy(facts: &Facts, policy: &ApprovalPolicy, ring: Option<&str>, now: OffsetDateTime) -> Vec<String> {
    let by = |says: &str| format!("by the policy `{}`: {says}", policy.name);
    let Some(signed) = &facts.policy else {
        return vec![by("the approval does not say enough, it is from an older bootgate: approve the run again")];
    };
    let rules = match ring {
        _ if policy.rings.is_empty() => &policy.rules,
        None => return vec![by("it has rings, and none was asked for")],
        Some(name) => match policy.rings.iter().position(|ring| ring.name == name) {
            Some(at) => {
                let before = policy.rings[..at].iter().map(|ring| ring.name.as_str());
                let passed = signed.passed.iter().map(|passed| passed.ring.as_str());
                if !before.clone().eq(passed) {
                    let before: Vec<&str> = before.collect();
                    return vec![by(&format!("it does not say that the update passed in {}", before.join(", ")))];
                }
                &policy.rings[at].rules
            }
            None => return vec![by(&format!("it has no ring `{name}`"))],
        },
    };
    let reasons = assess(&Evidence::of_approval(facts), rules, now).ruling.reasons;
    reasons.iter().map(|says| by(says)).collect()
}

#[cfg(test)]
mod tests;
