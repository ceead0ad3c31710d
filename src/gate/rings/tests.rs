use super::*;
use crate::{
    gate::{Revocation, STATEMENT_PAYLOAD, TestOutcome, testing::statement},
    model::{Rules, StateDir},
    sign::{Envelope, PrivateKey, lab_key},
};

/// The approver's pen: writes lines, and reads them.
struct Pen {
    key: PrivateKey,
    lines: String,
}

impl Pen {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { key: lab_key(&StateDir::new(folder.path())).unwrap(), lines: String::new() }
    }

    /// Signs an approval of the file `a` for a ring.
    fn approve(&mut self, ring: &str, signed: &str, change: impl FnOnce(&mut Statement)) -> Envelope {
        let mut statement = statement();
        let facts = &mut statement.predicate.bootgate;
        facts.policy.as_mut().unwrap().ring = Some(ring.to_owned());
        facts.signed = Some(signed.to_owned());
        facts.run = format!("run-{}", self.lines.len()).as_str().into();
        change(&mut statement);
        let payload = serde_json::to_vec(&statement).unwrap();
        self.add(Envelope::sign(STATEMENT_PAYLOAD, &payload, &self.key).unwrap())
    }

    fn record(&mut self, approval: &Envelope, passed: bool, utc: &str) {
        let (line, _) = RingResult::sign(approval, &self.key, (passed, Some(40), ""), utc.to_owned()).unwrap();
        self.add(line);
    }

    fn revoke(&mut self, approval: &Envelope) {
        self.add(Revocation::sign(approval, &self.key, "ticket", "2026-01-03T00:00:00Z".to_owned()).unwrap());
    }

    fn add(&mut self, line: Envelope) -> Envelope {
        self.lines += &line.to_line();
        line
    }

    fn ledger(&self) -> Ledger {
        Ledger::read(&self.lines, &self.key.public()).unwrap()
    }

    fn enters(&self, ring: &str, files: &[Descriptor]) -> Option<Decision> {
        let (policy, ledger) = (policy(), self.ledger());
        Opening::of(&policy, ring, &ledger).unwrap().try_with(files).outcome.against
    }

    fn a_enters(&self, ring: &str) -> Option<Decision> {
        self.enters(ring, &[Descriptor::of("a.bin", &Sha256::of(b"a"))])
    }
}

/// Three rings, with a day in each.
fn policy() -> ApprovalPolicy {
    let ring =
        |name: &str| Ring { name: name.into(), rules: Rules::default(), soak_time: Millis::from_secs(24 * 3600) };
    ApprovalPolicy { name: "p".into(), rules: Rules::default(), rings: ["lab", "canary", "broad"].map(ring).into() }
}

const MONDAY: &str = "2026-01-05T08:00:00Z";
const AN_HOUR_LATER: &str = "2026-01-05T09:00:00Z";
const TUESDAY: &str = "2026-01-06T08:00:00Z";
const WAIT: Option<Decision> = Some(Decision::Inconclusive);

#[test]
fn a_ring_opens_once_the_update_has_passed_its_time_in_the_one_before() {
    let mut pen = Pen::new();
    assert_eq!((pen.a_enters("lab"), pen.a_enters("canary")), (None, WAIT));
    let lab = pen.approve("lab", MONDAY, |_| {});
    assert_eq!(pen.a_enters("canary"), WAIT, "nothing came back");
    pen.record(&lab, true, AN_HOUR_LATER);
    assert_eq!(pen.a_enters("canary"), WAIT, "it was not there for long enough");
    pen.record(&lab, true, TUESDAY);
    assert_eq!((pen.a_enters("canary"), pen.a_enters("broad")), (None, WAIT));
    let other = [Descriptor::of("a.bin", &Sha256::of(b"another"))];
    assert_eq!(pen.enters("canary", &other), WAIT, "other files of the same name");
    let both = [Descriptor::of("a.bin", &Sha256::of(b"a")), other[0].clone()];
    assert_eq!(pen.enters("canary", &both), WAIT, "one file more");
    assert_eq!(pen.enters("canary", &[]), WAIT);
    let mut nameless = Descriptor::of("a.bin", &Sha256::of(b"a"));
    nameless.digest.clear();
    assert_eq!(pen.enters("canary", &[nameless]), WAIT);
}

#[test]
fn a_failure_in_a_ring_rejects_the_next_one_whatever_else_was_told_of_it() {
    let mut pen = Pen::new();
    let lab = pen.approve("lab", MONDAY, |_| {});
    pen.record(&lab, false, AN_HOUR_LATER);
    pen.record(&lab, true, TUESDAY);
    assert_eq!(pen.a_enters("canary"), Some(Decision::Rejected));
    // It was approved anew, and has to prove itself anew.
    let again = pen.approve("lab", TUESDAY, |_| {});
    assert_eq!(pen.a_enters("canary"), WAIT);
    pen.record(&again, true, "2026-01-07T08:00:00Z");
    assert_eq!(pen.a_enters("canary"), None);
}

#[test]
fn an_older_approval_does_not_stand_in_for_the_latest() {
    let mut pen = Pen::new();
    let first = pen.approve("lab", MONDAY, |_| {});
    pen.record(&first, true, TUESDAY);
    assert_eq!(pen.a_enters("canary"), None);
    let second = pen.approve("lab", "2026-01-07T08:00:00Z", |_| {});
    assert_eq!(pen.a_enters("canary"), WAIT, "it has to prove itself anew");
    // A copy of the old lines behind the new one makes them no newer.
    let copy = pen.lines.lines().next().unwrap().to_owned();
    pen.lines += &(copy + "\n");
    assert_eq!(pen.a_enters("canary"), WAIT);
    pen.record(&second, false, "2026-01-08T08:00:00Z");
    assert_eq!(pen.a_enters("canary"), Some(Decision::Rejected));
    pen.revoke(&second);
    assert_eq!(pen.a_enters("canary"), WAIT, "revoking it brings nothing older back");
    pen.approve("lab", "2026-01-09T08:00:00Z", |statement| statement.predicate.result = TestOutcome::Failed);
    assert_eq!(pen.a_enters("canary"), Some(Decision::Rejected));
}

#[test]
fn a_failure_that_is_told_of_an_older_approval_counts_until_the_ring_is_approved_anew() {
    let mut pen = Pen::new();
    let first = pen.approve("lab", MONDAY, |_| {});
    let second = pen.approve("lab", AN_HOUR_LATER, |_| {});
    pen.record(&second, true, TUESDAY);
    pen.record(&second, true, "2026-01-07T08:00:00Z");
    assert_eq!(pen.a_enters("canary"), None);
    pen.record(&first, false, "2026-01-07T09:00:00Z");
    assert_eq!(pen.a_enters("canary"), Some(Decision::Rejected));
    let third = pen.approve("lab", "2026-01-07T10:00:00Z", |_| {});
    assert_eq!(pen.a_enters("canary"), WAIT);
    pen.record(&third, true, "2026-01-08T10:00:00Z");
    assert_eq!(pen.a_enters("canary"), None);
}

#[test]
fn what_happens_in_any_ring_before_counts_and_by_this_policys_rules() {
    let mut pen = Pen::new();
    let lab = pen.approve("lab", MONDAY, |_| {});
    pen.record(&lab, true, TUESDAY);
    let canary = pen.approve("canary", TUESDAY, |_| {});
    pen.record(&canary, true, "2026-01-07T08:00:00Z");
    assert_eq!(pen.a_enters("broad"), None);
    let (policy, ledger) = (policy(), pen.ledger());
    let opened = Opening::of(&policy, "broad", &ledger).unwrap().try_with(&[Descriptor::of("a", &Sha256::of(b"a"))]);
    assert_eq!(opened.passed.iter().map(|passed| passed.ring.as_str()).collect::<Vec<_>>(), ["lab", "canary"]);
    pen.record(&lab, false, "2026-01-07T09:00:00Z");
    assert_eq!(pen.a_enters("broad"), Some(Decision::Rejected), "it failed two rings before");

    let mut pen = Pen::new();
    let lax = pen.approve("lab", MONDAY, |statement| {
        statement.predicate.bootgate.cells.iter_mut().for_each(|cell| cell.flaky = true);
    });
    pen.record(&lax, true, TUESDAY);
    assert_eq!(pen.a_enters("canary"), Some(Decision::Rejected), "by whatever rules it was approved");
    // What is told of a time before it began was told of something else.
    let mut pen = Pen::new();
    let lab = pen.approve("lab", TUESDAY, |_| {});
    pen.record(&lab, true, MONDAY);
    assert_eq!(pen.a_enters("canary"), WAIT);
}

#[test]
fn a_line_under_another_keys_name_still_counts_and_a_changed_one_is_refused() {
    let mut pen = Pen::new();
    let lab = pen.approve("lab", MONDAY, |_| {});
    pen.record(&lab, false, TUESDAY);
    let id = pen.key.public().id();
    pen.lines = pen.lines.replace(&id, &"0".repeat(id.len()));
    assert_eq!(pen.a_enters("canary"), Some(Decision::Rejected));
}

#[test]
fn what_was_revoked_or_rejected_or_is_of_another_key_opens_nothing() {
    let mut pen = Pen::new();
    let lab = pen.approve("lab", MONDAY, |_| {});
    pen.record(&lab, true, TUESDAY);
    assert_eq!(pen.a_enters("canary"), None);
    let another = Pen::new().key.public();
    assert_eq!(Ledger::read(&pen.lines, &another).unwrap(), Ledger::default());
    pen.revoke(&lab);
    assert_eq!(pen.a_enters("canary"), WAIT);

    let mut pen = Pen::new();
    let rejected = pen.approve("lab", MONDAY, |statement| statement.predicate.result = TestOutcome::Failed);
    let result = RingResult::sign(&rejected, &pen.key, (true, None, ""), TUESDAY.to_owned());
    assert!(result.unwrap_err().to_string().contains("never opened"));
    let nowhere = pen.approve("lab", MONDAY, |statement| statement.predicate.bootgate.policy = None);
    assert!(RingResult::sign(&nowhere, &pen.key, (true, None, ""), TUESDAY.to_owned()).is_err());
    assert_eq!(pen.a_enters("canary"), Some(Decision::Rejected));
    // An approval without a time cannot have been there long enough.
    let mut pen = Pen::new();
    let timeless = pen.approve("lab", MONDAY, |statement| statement.predicate.bootgate.signed = None);
    pen.record(&timeless, true, TUESDAY);
    assert_eq!(pen.a_enters("canary"), WAIT);
}

#[test]
fn where_an_update_stands_is_told_ring_by_ring_and_the_latest_counts() {
    let mut pen = Pen::new();
    let lab = pen.approve("lab", MONDAY, |_| {});
    pen.record(&lab, true, TUESDAY);
    let canary = pen.approve("canary", TUESDAY, |_| {});
    let ledger = pen.ledger();
    let [standing] = &standings(&ledger)[..] else { panic!("one update") };
    let words: Vec<(&str, bool, bool)> = standing
        .rings
        .iter()
        .map(|(ring, _, state)| (*ring, matches!(state, RingState::Passed(_)), *state == RingState::Open))
        .collect();
    assert_eq!(words, [("lab", true, false), ("canary", false, true)]);
    pen.revoke(&canary);
    pen.approve("lab", "2026-01-08T08:00:00Z", |statement| statement.predicate.result = TestOutcome::Failed);
    let ledger = pen.ledger();
    let rings = &standings(&ledger)[0].rings;
    assert!(matches!(rings[0].2, RingState::Rejected) && matches!(rings[1].2, RingState::Revoked { .. }));
}
