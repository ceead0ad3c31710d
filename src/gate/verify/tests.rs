use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::{
    gate::{CellFacts, Descriptor, Facts, Revocation, RevocationError, STATEMENT_PAYLOAD, TestResult},
    model::{Accelerator, Outcome, StateDir},
    sign::{PrivateKey, lab_key},
};

const NOW: OffsetDateTime = datetime!(2026-01-03 00:00 UTC);

/// A new key.
fn key() -> PrivateKey {
    let folder = tempfile::tempdir().unwrap();
    lab_key(&StateDir::new(folder.path())).unwrap()
}

fn statement() -> Statement {
    let cell = CellFacts {
        id: "os-9.p1".into(),
        image: "os-9".into(),
        control: false,
        outcome: Outcome::Healthy,
        reasons: Vec::new(),
        attempts: 1,
        flaky: false,
        known_from: None,
        start: None,
        seal: None,
        took_ms: Millis(5),
    };
    let facts = Facts {
        run: "r1".into(),
        name: "demo".into(),
        bootgate: "0.1.0".into(),
        decision: Decision::Approved,
        reasons: Vec::new(),
        started: "2026-01-02T00:00:00Z".into(),
        ended: "2026-01-02T01:00:00Z".into(),
        journal_sha256: Sha256::of(b"journal"),
        plan_sha256: Sha256::of(b"plan"),
        update_sha256: Sha256::of(b"update"),
        lab: "sim".into(),
        accelerator: Accelerator::Sim,
        cells: vec![cell],
    };
    Statement {
        kind: STATEMENT.into(),
        subject: vec![Descriptor::of("a.bin", &Sha256::of(b"a")), Descriptor::of("b.bin", &Sha256::of(b"b"))],
        predicate_type: TEST_RESULT.into(),
        predicate: TestResult {
            result: TestOutcome::Passed,
            configuration: Vec::new(),
            passed_tests: vec!["os-9.p1".into()],
            failed_tests: Vec::new(),
            bootgate: facts,
        },
    }
}

fn sign(statement: &Statement, key: &PrivateKey) -> Envelope {
    Envelope::sign(STATEMENT_PAYLOAD, &serde_json::to_vec(statement).unwrap(), key).unwrap()
}

fn file(content: &[u8]) -> (String, Sha256) {
    ("FILE".to_owned(), Sha256::of(content))
}

fn ask<'a>(key: &'a PublicKey, update: &'a [(String, Sha256)]) -> Question<'a> {
    Question { key, update, max_age: None, now: NOW, revocations: None }
}

/// What speaks against a statement that says this.
fn against(change: impl FnOnce(&mut Statement)) -> Vec<String> {
    let (key, mut statement) = (key(), statement());
    change(&mut statement);
    verify(&sign(&statement, &key), &ask(&key.public(), &[file(b"a")])).unwrap().against
}

#[test]
fn an_approval_holds_for_its_files_and_tells_of_those_that_were_not_asked_for() {
    let key = key();
    let approval = sign(&statement(), &key);
    let answer = verify(&approval, &ask(&key.public(), &[file(b"a")])).unwrap();
    assert!(answer.holds());
    assert_eq!(answer.not_asked(&[file(b"a")]), ["b.bin"]);
    assert!(verify(&approval, &ask(&key.public(), &[file(b"a"), file(b"b")])).unwrap().holds());
    for update in [&[file(b"c")][..], &[file(b"a"), file(b"c")], &[]] {
        assert!(!verify(&approval, &ask(&key.public(), update)).unwrap().holds(), "{update:?}");
    }
}

#[test]
fn what_is_signed_and_says_anything_but_approved_does_not_hold() {
    assert_eq!(against(|_| {}), Vec::<String>::new());
    assert_eq!(against(|s| s.kind = "https://in-toto.io/Statement/v0.1".into()).len(), 1);
    assert_eq!(against(|s| s.predicate_type = "https://slsa.dev/provenance/v1".into()).len(), 1);
    assert_eq!(against(|s| s.predicate.result = TestOutcome::Failed).len(), 1);
    assert_eq!(against(|s| s.predicate.result = TestOutcome::Warned).len(), 1);
    assert_eq!(against(|s| s.predicate.bootgate.decision = Decision::Rejected).len(), 1);
    assert_eq!(against(|s| s.subject.clear()).len(), 1);
    assert_eq!(against(|s| s.predicate.bootgate.ended = "yesterday".into()).len(), 1);
    assert_eq!(against(|s| s.predicate.bootgate.ended = "2026-01-03T00:06:00Z".into()).len(), 1);
    // Clocks differ.
    assert_eq!(against(|s| s.predicate.bootgate.ended = "2026-01-03T00:04:00Z".into()).len(), 0);
}

#[test]
fn an_old_run_is_refused_where_an_age_is_asked_for() {
    let key = key();
    let (public, update) = (key.public(), [file(b"a")]);
    let approval = sign(&statement(), &key);
    for (age, holds) in [("24h", true), ("23h", true), ("22h", false), ("7d", true), ("1s", false)] {
        let question = Question { max_age: Some(age.parse().unwrap()), ..ask(&public, &update) };
        assert_eq!(verify(&approval, &question).unwrap().holds(), holds, "{age}");
    }
}

#[test]
fn a_revocation_counts_for_its_approval_if_the_same_key_signed_it_and_else_is_refused_or_nobodys() {
    let (key, other) = (key(), key());
    let (public, update) = (key.public(), [file(b"a")]);
    let approval = sign(&statement(), &key);
    let mut later = statement();
    later.predicate.bootgate.run = "r2".into();
    let later = sign(&later, &key);
    assert!(Revocation::sign(&approval, &other, "no", String::new()).is_err(), "it is not its own");
    let line =
        Revocation::sign(&approval, &key, "it breaks printing", "2026-01-02T05:00:00Z".into()).unwrap().to_line();
    let revocations = Revocations::read(&line, &public).unwrap();
    let question = Question { revocations: Some(&revocations), ..ask(&public, &update) };
    let answer = verify(&approval, &question).unwrap();
    assert!(!answer.holds() && answer.against[0].contains("it breaks printing"), "{answer:?}");
    assert!(verify(&later, &question).unwrap().holds());

    let foreign = Revocation::sign(&sign(&statement(), &other), &other, "mine", String::new()).unwrap().to_line();
    let both = Revocations::read(&format!("{foreign}{line}"), &public).unwrap();
    assert_eq!(both, revocations);

    let payload = "\"payload\":\"";
    let changed = line.replacen(payload, &format!("{payload}AAAA"), 1);
    let error = Revocations::read(&format!("{line}{changed}"), &public).unwrap_err();
    assert!(error.to_string().starts_with("line 2: its signature is wrong"), "{error}");
    for damaged in [format!("{line}\n"), format!("{line}x\n"), approval.to_line()] {
        assert!(Revocations::read(&damaged, &public).is_err(), "{damaged}");
    }
    assert!(matches!(Revocations::read(line.trim_end(), &public).unwrap_err(), RevocationError::Torn));
}

proptest! {
    // Arithmetic on curves is slow without optimisation.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_change_of_an_approval_makes_it_hold_for_anything_else(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let key = key();
        let (public, update) = (key.public(), [file(b"a")]);
        let mut bytes = sign(&statement(), &key).to_line().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        // White space and the name of a hint may change; what it says may not.
        if let Ok(answer) = Envelope::parse(&bytes).and_then(|envelope| verify(&envelope, &ask(&public, &update))) {
            prop_assert_eq!(answer.statement, statement());
        }
    }

    #[test]
    fn an_approval_that_is_cut_short_or_asked_with_another_file_or_key_never_holds(
        at in any::<prop::sample::Index>(),
        content in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let key = key();
        let (public, update) = (key.public(), [file(b"a")]);
        let line = sign(&statement(), &key).to_line();
        let cut = &line[..at.index(line.len() - 1)];
        prop_assert!(Envelope::parse(cut.as_bytes()).is_err());
        let envelope = Envelope::parse(line.as_bytes()).unwrap();
        prop_assert!(verify(&envelope, &ask(&self::key().public(), &update)).is_err());
        prop_assume!(content != b"a" && content != b"b");
        prop_assert!(!verify(&envelope, &ask(&public, &[file(&content)])).unwrap().holds());
    }
}
