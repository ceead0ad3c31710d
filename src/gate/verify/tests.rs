use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::{
    gate::{LedgerError, Revocation, RingFacts, STATEMENT_PAYLOAD, testing::statement},
    model::{Labels, Ring, Rules, StateDir},
    sign::{PrivateKey, lab_key},
};

const NOW: OffsetDateTime = datetime!(2026-01-03 00:00 UTC);

/// A new key.
fn key() -> PrivateKey {
    let folder = tempfile::tempdir().unwrap();
    lab_key(&StateDir::new(folder.path())).unwrap()
}

fn sign(statement: &Statement, key: &PrivateKey) -> Envelope {
    Envelope::sign(STATEMENT_PAYLOAD, &serde_json::to_vec(statement).unwrap(), key).unwrap()
}

fn file(content: &[u8]) -> (String, Sha256) {
    ("FILE".to_owned(), Sha256::of(content))
}

fn ask<'a>(key: &'a PublicKey, update: &'a [(String, Sha256)]) -> Question<'a> {
    Question { key, update, max_age: None, now: NOW, revocations: None, policy: None, ring: None }
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
    let question = Question { max_age: Some(Millis::from_secs(3600)), ..ask(&public, &update) };
    let by_flag = verify(&approval, &question).unwrap().against;
    let rules = Rules { max_age: question.max_age, ..Rules::default() };
    let policy = ApprovalPolicy { name: "mine".into(), rules, rings: Vec::new() };
    let by_policy = asked(&statement(), Some(&policy), None);
    assert_eq!(by_policy, [format!("by the policy `mine`: {}", by_flag[0])], "both reckon alike");
}

#[test]
fn a_revocation_counts_for_its_approval_if_the_same_key_signed_it_and_else_is_refused_or_nobodys() {
    let (key, other) = (key(), key());
    let (public, update) = (key.public(), [file(b"a")]);
    let approval = sign(&statement(), &key);
    let mut later = statement();
    later.predicate.bootgate.signed = Some("2026-01-02T06:00:00Z".into());
    let later = sign(&later, &key);
    assert!(Revocation::sign(&approval, &other, "no", String::new()).is_err(), "it is not its own");
    let line =
        Revocation::sign(&approval, &key, "it breaks printing", "2026-01-02T05:00:00Z".into()).unwrap().to_line();
    let revocations = Ledger::read(&line, &public).unwrap();
    let question = Question { revocations: Some(&revocations), ..ask(&public, &update) };
    let answer = verify(&approval, &question).unwrap();
    assert!(!answer.holds() && answer.against[0].contains("it breaks printing"), "{answer:?}");
    assert!(!verify(&later, &question).unwrap().holds(), "another approval of the same run");
    let mut other_run = statement();
    other_run.predicate.bootgate.run = "r2".into();
    assert!(verify(&sign(&other_run, &key), &question).unwrap().holds());

    let foreign = Revocation::sign(&sign(&statement(), &other), &other, "mine", String::new()).unwrap().to_line();
    let both = Ledger::read(&format!("{foreign}{line}"), &public).unwrap();
    assert_eq!(both, revocations);

    let payload = "\"payload\":\"";
    let changed = line.replacen(payload, &format!("{payload}AAAA"), 1);
    let error = Ledger::read(&format!("{line}{changed}"), &public).unwrap_err();
    assert!(error.to_string().starts_with("line 2: its signature is wrong"), "{error}");
    let unknown = Envelope::sign("text/plain", b"{}", &key).unwrap().to_line();
    for damaged in [format!("{line}\n"), format!("{line}x\n"), unknown] {
        assert!(Ledger::read(&damaged, &public).is_err(), "{damaged}");
    }
    assert!(matches!(Ledger::read(line.trim_end(), &public).unwrap_err(), LedgerError::Torn));
}

fn asked(statement: &Statement, policy: Option<&ApprovalPolicy>, ring: Option<&str>) -> Vec<String> {
    let key = key();
    let (public, update) = (key.public(), [file(b"a")]);
    let question = Question { policy, ring, ..ask(&public, &update) };
    verify(&sign(statement, &key), &question).unwrap().against
}

#[test]
fn an_approval_for_a_ring_holds_for_that_ring_and_one_without_for_none() {
    let mut canary = statement();
    canary.predicate.bootgate.policy.as_mut().unwrap().ring = Some("canary".into());
    assert_eq!(asked(&canary, None, Some("canary")), [""; 0]);
    assert_eq!(asked(&canary, None, Some("broad")), ["it opens the ring `canary`, and `broad` is asked for"]);
    assert_eq!(asked(&canary, None, None).len(), 1);
    assert_eq!(asked(&statement(), None, Some("canary")).len(), 1);
}

#[test]
fn whoever_deploys_may_ask_for_more_than_the_approver_did() {
    let by = |rules: Rules| {
        let policy = ApprovalPolicy { name: "mine".into(), rules, rings: Vec::new() };
        asked(&statement(), Some(&policy), None)
    };
    let os = |value: &str| vec![Labels(vec![("os".to_owned(), vec![value.to_owned()])])];
    assert_eq!(by(Rules::default()), [""; 0]);
    assert_eq!(by(Rules { required: os("9"), soak: 1, image_age: Some(1), ..Rules::default() }), [""; 0]);
    for rules in [
        Rules { required: os("8"), ..Rules::default() },
        Rules { soak: 2, ..Rules::default() },
        Rules { image_age: Some(0), ..Rules::default() },
        Rules { slow_down: Some(1.4), ..Rules::default() },
        Rules { flaky: 0, coverage: 100.0, required: os("8"), ..Rules::default() },
        Rules { max_age: Some(Millis::from_secs(3600)), ..Rules::default() },
    ] {
        let against = by(rules.clone());
        assert!(against.len() == 1 && against[0].starts_with("by the policy `mine`: "), "{rules:?}: {against:?}");
    }

    let ring = |name: &str, soak| Ring {
        name: name.into(),
        rules: Rules { soak, ..Rules::default() },
        soak_time: Millis::ZERO,
    };
    let rings =
        ApprovalPolicy { name: "mine".into(), rules: Rules::default(), rings: vec![ring("a", 1), ring("b", 2)] };
    let mut opens = statement();
    for (name, holds) in [("a", true), ("b", false), ("c", false)] {
        opens.predicate.bootgate.policy.as_mut().unwrap().ring = Some(name.into());
        assert_eq!(asked(&opens, Some(&rings), Some(name)).is_empty(), holds, "{name}");
    }
    opens.predicate.bootgate.cells.iter_mut().for_each(|cell| cell.soak = Some(2));
    opens.predicate.bootgate.policy.as_mut().unwrap().ring = Some("b".into());
    let against = asked(&opens, Some(&rings), Some("b"));
    assert_eq!(against, ["by the policy `mine`: it does not say that the update passed in a"]);
    let passed = RingFacts { ring: "a".into(), approval_sha256: Sha256::of(b"approval") };
    opens.predicate.bootgate.policy.as_mut().unwrap().passed = vec![passed];
    assert_eq!(asked(&opens, Some(&rings), Some("b")), [""; 0]);
    assert!(!asked(&statement(), Some(&rings), None).is_empty(), "it has rings");
    let mut old = statement();
    old.predicate.bootgate.policy = None;
    assert_eq!(asked(&old, Some(&ApprovalPolicy::default()), None).len(), 1, "too little was signed to tell");
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
