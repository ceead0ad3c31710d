//! Which ring an update may enter: each but the first needs what came of the one before it.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Descriptor, Evidence, Ledger, RingResult, RuleOutcome, Statement, assess, decide::weight, statement::RingFacts,
};
use crate::{
    event::Decision,
    model::{ApprovalPolicy, Millis, Ring, Sha256},
};

/// A ring that is to be opened.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    pub ring: &'a Ring,
    /// In their order.
    before: &'a [Ring],
    ledger: &'a Ledger,
}

/// Whether the ring may be opened, and what that rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub outcome: RuleOutcome,
    pub passed: Vec<RingFacts>,
}

impl<'a> Opening<'a> {
    /// None: the policy has no such ring.
    pub fn of(policy: &'a ApprovalPolicy, name: &str, ledger: &'a Ledger) -> Option<Self> {
        let at = policy.rings.iter().position(|ring| ring.name == name)?;
        Some(Self { ring: &policy.rings[at], before: &policy.rings[..at], ledger })
    }

    /// Whether these files may enter it: they have to have passed in every ring before, by what came of each and by its rules.
    pub fn try_with(&self, subject: &[Descriptor]) -> Opened {
        let (mut against, mut passed) = (Vec::new(), Vec::new());
        let mut says = format!("`{}` is the first", self.ring.name);
        for ring in self.before {
            match came_of(ring, subject, self.ledger) {
                Ok((sha256, told)) => {
                    passed.push(RingFacts { ring: ring.name.clone(), approval_sha256: sha256.clone() });
                    says = told;
                }
                Err(found) => against.push(found),
            }
        }
        // Of several the heaviest, else the first.
        let worst = against.into_iter().rev().max_by_key(|(decision, _)| weight(*decision));
        let (against, says) = worst.map_or((None, says), |(decision, says)| (Some(decision), says));
        Opened { outcome: RuleOutcome { rule: "ring", against, says, cells: Vec::new() }, passed }
    }
}

/// The approval by which these files were in a ring and passed, in words too; or what speaks against that.
fn came_of<'a>(
    ring: &Ring,
    subject: &[Descriptor],
    ledger: &'a Ledger,
) -> Result<(&'a Sha256, String), (Decision, String)> {
    let name = &ring.name;
    let wait = |says: String| Err((Decision::Inconclusive, says));
    // The latest of these very files, whatever it says: an older one does not stand in for it.
    let mut approvals = ledger.approvals.iter().rev();
    let latest = approvals
        .find(|(_, statement)| statement.predicate.bootgate.ring() == Some(name.as_str()) && statement.covers(subject));
    let Some((sha256, statement)) = latest else {
        return wait(format!("no approval of these files opened the ring `{name}` before it"));
    };
    match state_of(sha256, statement, ledger) {
        RingState::Rejected => Err((Decision::Rejected, format!("it was rejected for the ring `{name}`"))),
        RingState::Revoked { utc, .. } => wait(format!("its approval for the ring `{name}` was revoked at {utc}")),
        RingState::Open => wait(format!("what came of the ring `{name}` was not told yet")),
        RingState::Failed(result) => {
            let why = if result.note.is_empty() { String::new() } else { format!(": {}", result.note) };
            Err((Decision::Rejected, format!("it failed in the ring `{name}` at {}{why}", result.utc)))
        }
        RingState::Passed(result) => {
            let facts = &statement.predicate.bootgate;
            let Some((signed, told)) = moment(facts.signed.as_deref()).zip(moment(Some(&result.utc))) else {
                return wait(format!("how long it was in the ring `{name}` is not known"));
            };
            // It may have been approved by other rules than this policy's.
            let by_rules = assess(&Evidence::of_approval(facts), &ring.rules, signed).ruling;
            if let Some(reason) = by_rules.reasons.first() {
                return Err((by_rules.decision, format!("by the rules of the ring `{name}`: {reason}")));
            }
            let between = (told - signed).whole_milliseconds();
            let time = Millis(u64::try_from(between).unwrap_or(0));
            if between < 0 || time < ring.soak_time {
                let soak = ring.soak_time;
                return wait(format!(
                    "what came of the ring `{name}` was told after {time} there, and {soak} is wanted"
                ));
            }
            Ok((sha256, format!("it passed in the ring `{name}`, after {time} there")))
        }
    }
}

fn moment(utc: Option<&str>) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(utc?, &Rfc3339).ok()
}

/// How an update stands in a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingState<'a> {
    Rejected,
    Revoked {
        utc: &'a str,
        reason: &'a str,
    },
    /// Nothing has come back yet.
    Open,
    Passed(&'a RingResult),
    Failed(&'a RingResult),
}

fn state_of<'a>(sha256: &Sha256, statement: &'a Statement, ledger: &'a Ledger) -> RingState<'a> {
    if let Some(revocation) = ledger.revokes(sha256, statement) {
        return RingState::Revoked { utc: &revocation.utc, reason: &revocation.reason };
    }
    if !statement.is_approval() {
        return RingState::Rejected;
    }
    let own = |result: &&RingResult| result.approval_sha256 == *sha256;
    // A failure is the files', not the approval's that happened to be the latest: one that was told later counts as well.
    let failed = |result: &&RingResult| !result.passed && (own(result) || is_of(result, statement));
    match (ledger.results.iter().find(failed), ledger.results.iter().rfind(own)) {
        (Some(failed), _) => RingState::Failed(failed),
        (None, Some(passed)) => RingState::Passed(passed),
        (None, None) => RingState::Open,
    }
}

/// Whether a result of another approval was told after this one was signed, of the same files in the same ring.
fn is_of(result: &RingResult, statement: &Statement) -> bool {
    let facts = &statement.predicate.bootgate;
    let is_later = match (moment(Some(&result.utc)), moment(facts.signed.as_deref())) {
        (Some(told), Some(signed)) => told >= signed,
        _ => true,
    };
    is_later && facts.ring() == Some(result.ring.as_str()) && statement.shares_all_with(&result.subject)
}

/// Where an update stands: its files, and the latest of every ring that it was meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing<'a> {
    pub subject: &'a [Descriptor],
    /// In the order in which they were first signed: ring, when that was, state.
    pub rings: Vec<(&'a str, &'a str, RingState<'a>)>,
}

/// Where every update of a ledger stands, the latest last.
pub fn standings(ledger: &Ledger) -> Vec<Standing<'_>> {
    let mut all: Vec<Standing<'_>> = Vec::new();
    for (sha256, statement) in &ledger.approvals {
        let facts = &statement.predicate.bootgate;
        let Some(ring) = facts.ring() else { continue };
        // A rejected one names the files that were well nowhere, too.
        let at = all.iter().position(|known| statement.shares_all_with(known.subject)).unwrap_or(all.len());
        if at == all.len() {
            all.push(Standing { subject: &statement.subject, rings: Vec::new() });
        }
        let rings = &mut all[at].rings;
        let entry = (ring, facts.signed.as_deref().unwrap_or_default(), state_of(sha256, statement, ledger));
        match rings.iter_mut().find(|(known, ..)| *known == ring) {
            Some(known) => *known = entry,
            None => rings.push(entry),
        }
    }
    all
}

#[cfg(test)]
mod tests;
