//! `bootgate approve`, `verify` and `revoke`: approvals are checked by other programs too, and forged in every way.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bootgate::{
    event::{CellEnd, Event, JournalWriter, PlannedCell, RunEvent, RunStart, RunState, read},
    gate::{RUN_SIGNATURE, Ruling, RunSigner, decide},
    health::judge,
    model::{Accelerator, Cell, CellId, Millis, Plan, Sha256, Signal, SignalKind, StateDir},
    run::RunFolder,
    sign::lab_key,
};
use serde_json::Value;

use super::harness::Bench;

const MATRIX: &str = "\
version: 1
name: test
axes: {os: [a, b]}
candidate: content.txt
update: [{copy: {from: '${candidate}', to: /x}}]
health: {checks: [{id: sensor, sh: sensor}]}
";
const KNOWN: &str = "is-known-to-be-well-from-an-earlier-run";
const WELL: &str = "is-as-well-as-its-control";
const PANICS: &str = "panics-in-the-first-boot-with-the-update";
const CANCELLED: &str = "is-cancelled-in-its-boot";

/// A lab that made a run, whose cell of image `b` went as this trace says, and an approver's keys.
struct Lab {
    bench: Bench,
    run: PathBuf,
}

impl Lab {
    fn new(second: &str) -> Self {
        Self::of(MATRIX, second)
    }

    fn of(matrix: &str, second: &str) -> Self {
        Self::with_files(matrix, second, &[("m/content.txt", "content 1")])
    }

    fn with_files(matrix: &str, second: &str, files: &[(&str, &str)]) -> Self {
        let bench = Bench::new();
        bench.catalog();
        bench.file("m/test.yaml", matrix);
        files.iter().for_each(|(name, text)| drop(bench.file(name, text)));
        let plan = bench.run("plan m/test.yaml --format json").expect(0).out.replace("DIR", "/lab");
        let plan: Plan = serde_json::from_str(&plan).unwrap();
        let (folder, plan_sha256) = RunFolder::create(&bench.path("runs"), &plan).unwrap();
        let key = lab_key(&StateDir::new(bench.path("state"))).unwrap();
        let signer = RunSigner::new(key, &folder.dir, folder.run.clone(), plan_sha256.clone());
        let mut journal = JournalWriter::create(&folder.journal(), folder.run.clone()).unwrap();
        let mut now = 0;
        let mut write = |at: u64, cell: Option<&CellId>, what: RunEvent| {
            let ends = what.is_to_last();
            journal.append(&Event { at: Millis(at), cell: cell.cloned(), what }).unwrap();
            if ends {
                signer.sign(journal.sha256()).unwrap();
            }
        };
        write(0, None, RunEvent::RunStarted { start: Box::new(start(&plan, plan_sha256)) });
        for Cell { id, role, image, .. } in &plan.cells {
            let mut signals = trace(if role.is_control() {
                KNOWN
            } else if image == "img-a" {
                WELL
            } else {
                second
            });
            for signal in &mut signals {
                if let SignalKind::Planned { role: of, .. } = &mut signal.what {
                    of.clone_from(role);
                }
            }
            let verdict = judge(&signals);
            write(now, Some(id), RunEvent::CellStarted { attempt: 1 });
            for Signal { at, what } in signals {
                write(now + at.0, Some(id), RunEvent::Signal { signal: what });
            }
            now += 100_000;
            let end = CellEnd { attempt: 1, verdict, artifacts: Vec::new(), took: Millis(100_000) };
            write(now, Some(id), RunEvent::CellEnded { end });
        }
        let so_far = read(&folder.journal()).unwrap();
        let Ruling { decision, .. } = decide(&RunState::of(folder.run.clone(), &so_far.events));
        write(now, None, RunEvent::RunEnded { decision });

        let lab = Self { run: folder.dir, bench };
        lab.tool("openssl genpkey -algorithm ed25519 -out ed.pem").good();
        lab.tool("openssl pkey -in ed.pem -pubout -out ed.pub").good();
        lab
    }

    fn approve(&self, words: &str, code: i32) -> String {
        let answer =
            self.bench.run(&format!("approve {} --out approval.json {words}", self.run.display())).expect(code);
        answer.out + &answer.err
    }

    fn verify(&self, words: &str, code: i32) -> String {
        let answer = self.bench.run(&format!("verify approval.json --update m/content.txt {words}")).expect(code);
        answer.out + &answer.err
    }

    /// Runs another program in the bench's folder.
    fn tool(&self, words: &str) -> Tool {
        let mut words = words.split(' ');
        let mut command = Command::new(words.next().unwrap());
        Tool(command.args(words).current_dir(self.bench.path("")).output().unwrap())
    }

    fn shell(&self, script: &str) -> Tool {
        Tool(Command::new("sh").args(["-c", script]).current_dir(self.bench.path("")).output().unwrap())
    }

    /// The approval: what was signed, by DSSE's words, and the signature, as files; and the statement.
    fn signed(&self) -> Value {
        let envelope: Value = serde_json::from_slice(&fs::read(self.bench.path("approval.json")).unwrap()).unwrap();
        assert_eq!(envelope["payloadType"], "application/vnd.in-toto+json");
        let decode = |text: &Value| STANDARD.decode(text.as_str().unwrap()).unwrap();
        let payload = decode(&envelope["payload"]);
        let head = format!("DSSEv1 28 application/vnd.in-toto+json {} ", payload.len());
        self.bench.file("signed", [head.as_bytes(), &payload].concat());
        self.bench.file("signature", decode(&envelope["signatures"][0]["sig"]));
        serde_json::from_slice(&payload).unwrap()
    }

    fn journal(&self) -> PathBuf {
        self.run.join("events.jsonl")
    }

    /// Replaces words in the journal and makes its chain whole again.
    fn forge(&self, from: &str, to: &str) {
        let mut prev = Sha256::of(b"");
        let mut text = String::new();
        for line in fs::read_to_string(self.journal()).unwrap().replace(from, to).lines() {
            let mut value: Value = serde_json::from_str(line).unwrap();
            value["prev"] = prev.0.into();
            let line = value.to_string();
            prev = Sha256::of(line.as_bytes());
            text += &(line + "\n");
        }
        fs::write(self.journal(), text).unwrap();
    }
}

struct Tool(Output);

impl Tool {
    #[track_caller]
    fn good(self) {
        assert!(self.0.status.success(), "{:?}", self.0);
    }

    #[track_caller]
    fn bad(self) {
        assert!(!self.0.status.success(), "{:?}", self.0);
    }
}

fn start(plan: &Plan, plan_sha256: Sha256) -> RunStart {
    RunStart {
        utc: "2025-01-02T03:04:05Z".into(),
        bootgate: "0.1.0".into(),
        name: plan.name.clone(),
        plan_sha256,
        cells: plan.cells.iter().map(PlannedCell::from).collect(),
        update_sha256: plan.update_sha256.clone(),
        candidate_sha256: plan.candidate.as_ref().map(|candidate| candidate.sha256.clone()),
        candidate_name: Some("content.txt".into()),
        candidate_about: None,
        lab: "sim".into(),
        accelerator: Accelerator::Sim,
        uncontrolled: false,
        policy: plan.approval.clone(),
    }
}

fn trace(name: &str) -> Vec<Signal> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces").join(name).with_extension("jsonl");
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().skip(1).filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_approved_run_is_signed_and_another_machine_can_verify_that_with_the_file_alone() {
    let lab = Lab::new(WELL);
    let told = lab.approve("--key ed.pem", 0);
    assert!(told.starts_with("APPROVED: 2 passed, 0 failed; signed by key "), "{told}");
    let statement = lab.signed();
    assert_eq!(statement["predicate"]["result"], "PASSED");
    assert_eq!(statement["subject"][0]["digest"]["sha256"], Sha256::of(b"content 1").0);
    let matrix = fs::read(lab.bench.path("m/test.yaml")).unwrap();
    assert_eq!(statement["predicate"]["configuration"][0]["digest"]["sha256"], Sha256::of(&matrix).0);
    fs::remove_dir_all(&lab.run).unwrap();
    fs::remove_dir_all(lab.bench.path("state")).unwrap();
    let told = lab.verify("--key ed.pub", 0);
    assert!(told.starts_with("holds: 2 cells passed in the run "), "{told}");
    assert!(!lab.bench.path("state/lab-key.pem").exists(), "nothing is made by looking");
}

#[test]
fn by_default_the_approval_is_in_the_runs_directory() {
    let lab = Lab::new(WELL);
    lab.bench.run(&format!("approve {} --key ed.pem", lab.run.display())).expect(0);
    assert!(lab.run.join("approval.json").is_file());
}

#[test]
fn another_file_key_or_date_does_not_hold_and_what_cannot_be_read_is_told_apart() {
    let lab = Lab::new(WELL);
    lab.approve("--key ed.pem", 0);
    lab.bench.file("other.txt", "content 2");
    let told = lab.verify("other.txt --key ed.pub", 1);
    assert!(told.contains("other.txt (sha256 ") && told.contains("is not among the files that were tested"), "{told}");
    let told = lab.verify("--key ed.pub --max-age 7d", 1);
    assert!(told.contains("ago, and 168h 00m is allowed"), "{told}");
    lab.verify("--key ed.pub --max-age 10000d", 0);
    lab.tool("openssl genpkey -algorithm ed25519 -out other.pem").good();
    lab.tool("openssl pkey -in other.pem -pubout -out other.pub").good();
    assert!(lab.verify("--key other.pub", 1).contains("signed by another key"));
    for words in ["--key ed.pem", "--key nowhere.pub", "nowhere.txt --key ed.pub", "--key ed.pub --revocations nowhere"]
    {
        lab.verify(words, 2);
    }
    let whole = fs::read(lab.bench.path("approval.json")).unwrap();
    for length in [0, 20, whole.len() / 2, whole.len() - 3] {
        lab.bench.file("approval.json", &whole[..length]);
        lab.verify("--key ed.pub", 2);
    }
}

#[test]
fn a_rejected_run_is_signed_as_failed_and_does_not_hold() {
    let lab = Lab::new(PANICS);
    let told = lab.approve("--key ed.pem", 1);
    assert!(told.starts_with("REJECTED: 1 passed, 1 failed"), "{told}");
    let statement = lab.signed();
    assert_eq!(statement["predicate"]["result"], "FAILED");
    assert_eq!(statement["predicate"]["failedTests"], serde_json::json!(["b"]));
    assert!(lab.verify("--key ed.pub", 1).contains("the update was rejected"));
}

#[test]
fn an_inconclusive_run_is_never_signed() {
    let lab = Lab::new(CANCELLED);
    let told = lab.approve("--key ed.pem", 3);
    assert!(told.contains("only what was approved or rejected is signed"), "{told}");
    assert!(!lab.bench.path("approval.json").exists());
}

#[test]
fn no_edit_of_a_runs_files_turns_a_rejection_into_an_approval() {
    let refused = |edit: &dyn Fn(&Lab), why: &str| {
        let lab = Lab::new(PANICS);
        edit(&lab);
        let told = lab.approve("--key ed.pem", 2);
        assert!(told.contains(why), "{told}");
        assert!(!lab.bench.path("approval.json").exists());
    };
    refused(&|lab| lab.forge("\"unhealthy\"", "\"healthy\""), "the journal is not the one that was signed");
    refused(&|lab| lab.forge("\"rejected\"", "\"approved\""), "the journal is not the one that was signed");
    let plain = |lab: &Lab| {
        let text = fs::read_to_string(lab.journal()).unwrap();
        fs::write(lab.journal(), text.replace("unhealthy", "healthy")).unwrap();
    };
    refused(&plain, "the chain is broken");
    let cut = |lab: &Lab| {
        let text = fs::read_to_string(lab.journal()).unwrap();
        fs::write(lab.journal(), &text[..text.trim_end().rfind('\n').unwrap() + 1]).unwrap();
    };
    refused(&cut, "the run has no end");
    refused(&|lab| fs::remove_file(lab.run.join(RUN_SIGNATURE)).unwrap(), "was not signed by the lab");
    let other = |lab: &Lab| {
        let other = Lab::new(WELL);
        fs::copy(other.journal(), lab.journal()).unwrap();
        fs::copy(other.run.join(RUN_SIGNATURE), lab.run.join(RUN_SIGNATURE)).unwrap();
    };
    refused(&other, "signed by another key");
    let plan = |lab: &Lab| {
        let path = lab.run.join("plan.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(&Sha256::of(b"content 1").0, &Sha256::of(b"evil").0)).unwrap();
    };
    refused(&plan, "is not the plan that the run began with");
    refused(&|lab| fs::remove_dir_all(lab.bench.path("state")).unwrap(), "this machine has no lab key");
}

#[test]
fn reports_of_a_run_that_was_edited_say_so_and_their_exit_code_approves_nothing() {
    let lab = Lab::new(PANICS);
    let report = |words: &str| lab.bench.run(&format!("report {} {words}", lab.run.display()));
    assert_eq!(report("--exit-code").expect(1).err, "");
    // Whoever makes a healthy cell of the other one.
    let well = fs::read_to_string(Lab::new(WELL).journal()).unwrap();
    fs::write(lab.journal(), well).unwrap();
    for words in ["--exit-code", "--format azure --exit-code"] {
        let told = report(words).expect(3).err;
        assert!(told.contains("this is not what the lab signed"), "{told}");
    }
    fs::remove_dir_all(lab.bench.path("state")).unwrap();
    report("--exit-code").expect(0);
}

#[test]
fn a_journal_that_was_cut_or_edited_at_any_line_is_judged_as_no_good_record() {
    let lab = Lab::new(WELL);
    let judged = || {
        let ran = lab.bench.run(&format!("judge {}", lab.run.display()));
        (ran.code, ran.err)
    };
    assert_eq!(judged(), (Some(0), String::new()));
    let whole = fs::read_to_string(lab.journal()).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    for line in 0..lines.len() {
        fs::write(lab.journal(), lines[..line].join("\n") + if line > 0 { "\n" } else { "" }).unwrap();
        let (code, told) = judged();
        assert!(matches!(code, Some(1 | 2)), "cut before line {}: {code:?} {told}", line + 1);
        assert!(!told.is_empty(), "cut before line {}", line + 1);
        let edited = lines[line].replacen("at_ms\":", "at_ms\":1", 1);
        let all = lines.iter().enumerate().map(|(n, before)| if n == line { edited.as_str() } else { *before });
        fs::write(lab.journal(), all.collect::<Vec<_>>().join("\n") + "\n").unwrap();
        let (code, told) = judged();
        assert!(matches!(code, Some(1 | 2)), "line {} edited: {code:?} {told}", line + 1);
        assert!(told.contains("line ") || told.contains("not what the lab signed"), "line {}: {told}", line + 1);
    }
    fs::write(lab.journal(), whole).unwrap();
    assert_eq!(judged(), (Some(0), String::new()));
}

#[test]
fn nothing_is_written_over_what_it_is_made_of() {
    let lab = Lab::new(WELL);
    let key = fs::read(lab.bench.path("ed.pem")).unwrap();
    let run = lab.run.display();
    for words in [
        format!("approve {run} --key ed.pem --out ed.pem"),
        format!("approve {run} --key ed.pem --out {run}/events.jsonl"),
        format!("report {run} --format client --out {run}/events.jsonl"),
    ] {
        let told = lab.bench.run(&words).expect(2).err;
        assert!(told.contains("would be written over"), "{told}");
    }
    lab.approve("--key ed.pem", 0);
    let told = lab.bench.run("revoke approval.json --key ed.pem --reason x --out approval.json").expect(2).err;
    assert!(told.contains("would be written over"), "{told}");
    assert_eq!(fs::read(lab.bench.path("ed.pem")).unwrap(), key);
    lab.verify("--key ed.pub", 0);
    // What is beside it and no signature of ours stays.
    lab.bench.file("approval.json.sig", "notes");
    lab.approve("--key ed.pem", 0);
    assert!(lab.bench.path("approval.json.sig").exists());
}

#[test]
fn a_run_that_was_copied_is_approved_elsewhere_with_the_labs_public_key() {
    let lab = Lab::new(WELL);
    lab.tool("openssl pkey -in state/lab-key.pem -pubout -out lab.pub").good();
    fs::remove_dir_all(lab.bench.path("state")).unwrap();
    lab.approve("--key ed.pem --lab-key lab.pub", 0);
    assert!(lab.approve("--key ed.pem --lab-key ed.pub", 2).contains("signed by another key"));
}

#[test]
fn openssl_and_securesystemslib_verify_approvals_of_ed25519_and_p256_keys() {
    let lab = Lab::new(WELL);
    lab.tool("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.pem").good();
    lab.tool("openssl ecparam -name prime256v1 -genkey -out sec1.pem").good();
    let python = lab.bench.file("verify.py", include_str!("verify_dsse.py"));
    for (key, verify) in [
        ("ed", "openssl pkeyutl -verify -pubin -inkey ed.pub -rawin -in signed -sigfile signature"),
        ("ec", "openssl dgst -sha256 -verify ec.pub -signature signature signed"),
        ("sec1", "openssl dgst -sha256 -verify sec1.pub -signature signature signed"),
    ] {
        lab.tool(&format!("openssl pkey -in {key}.pem -pubout -out {key}.pub")).good();
        lab.approve(&format!("--key {key}.pem"), 0);
        lab.verify(&format!("--key {key}.pub"), 0);
        lab.signed();
        lab.tool(verify).good();
        let check = format!("/usr/bin/python3 {} approval.json {key}.pub", python.display());
        lab.tool(&check).good();

        let text = fs::read_to_string(lab.bench.path("approval.json")).unwrap();
        let at = text.find("\"payload\":\"").unwrap() + 40;
        let other = if &text[at..=at] == "A" { "B" } else { "A" };
        lab.bench.file("approval.json", format!("{}{other}{}", &text[..at], &text[at + 1..]));
        lab.tool(&check).bad();
        lab.verify(&format!("--key {key}.pub"), 1);
        let mut signed = fs::read(lab.bench.path("signed")).unwrap();
        signed[60] ^= 1;
        lab.bench.file("signed", signed);
        lab.tool(verify).bad();
    }
}

#[test]
fn with_an_openssh_key_ssh_keygen_verifies_the_approval_too() {
    let lab = Lab::new(WELL);
    lab.shell("ssh-keygen -q -t ed25519 -N '' -C approver@example.com -f ssh").good();
    lab.approve("--key ssh", 0);
    lab.verify("--key ssh.pub", 0);
    lab.shell("echo \"approver $(cat ssh.pub)\" > allowed").good();
    let verify = "ssh-keygen -Y verify -f allowed -I approver -n bootgate -s approval.json.sig < approval.json";
    lab.shell(verify).good();
    lab.shell(&verify.replace("-n bootgate", "-n file")).bad();
    lab.shell(&format!("echo >> approval.json; {verify}")).bad();
    // One that is of another approval does not stay beside this one.
    lab.approve("--key ed.pem", 0);
    assert!(!lab.bench.path("approval.json.sig").exists());

    // The agent holds the key, and its public half names it.
    let agent = "eval $(ssh-agent) >/dev/null; trap 'ssh-agent -k >/dev/null' EXIT; ssh-add -q ssh; rm ssh";
    let words = format!("approve {} --out approval.json --key ssh.pub", lab.run.display());
    lab.bench.run(&words).expect(2);
    let bootgate = env!("CARGO_BIN_EXE_bootgate");
    lab.shell(&format!("{agent}; BOOTGATE_STATE=state {bootgate} {words} && {verify}")).good();
    lab.verify("--key ssh.pub", 0);
    lab.shell(&format!("{agent}; ssh-add -q -D; BOOTGATE_STATE=state {bootgate} {words}")).bad();

    lab.shell("ssh-keygen -q -t ed25519 -N secret -f locked && ssh-keygen -q -t rsa -b 2048 -N '' -f rsa").good();
    assert!(lab.approve("--key locked", 2).contains("protected by a passphrase"));
    assert!(lab.approve("--key rsa", 2).contains("openssl genpkey"));
    assert!(lab.approve("--key ssh.pub", 2).contains("there is no ssh-agent"));
}

#[test]
fn a_revoked_approval_does_not_hold_where_revocations_are_asked_for() {
    let lab = Lab::new(WELL);
    lab.approve("--key ed.pem", 0);
    lab.bench.run("revoke approval.json --key ed.pem --reason ticket-4711").expect(0);
    lab.verify("--key ed.pub", 0);
    let told = lab.verify("--key ed.pub --revocations revocations.jsonl", 1);
    assert!(told.contains("it was revoked at ") && told.contains("ticket-4711"), "{told}");
    // Signing the same again brings nothing back, and a second line is added behind the first.
    lab.approve("--key ed.pem", 0);
    lab.verify("--key ed.pub --revocations revocations.jsonl", 1);
    lab.bench.run("revoke approval.json --key ed.pem --reason again").expect(0);
    let text = fs::read_to_string(lab.bench.path("revocations.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 2);

    lab.tool("openssl genpkey -algorithm ed25519 -out other.pem").good();
    let told = lab.bench.run("revoke approval.json --key other.pem --reason mine").expect(2).err;
    assert!(told.contains("cannot be revoked with other.pem"), "{told}");
    lab.bench.file("revocations.jsonl", text.replacen("\"sig\":\"", "\"sig\":\"AAAA", 1));
    assert!(lab.verify("--key ed.pub --revocations revocations.jsonl", 2).contains("line 1: "));
    let told = lab.bench.run("revoke approval.json --key ed.pem --reason again").expect(2).err;
    assert!(told.contains("nothing is added"), "{told}");
    lab.bench.file("revocations.jsonl", "");
    lab.verify("--key ed.pub --revocations revocations.jsonl", 0);
}

#[test]
fn the_files_of_the_first_version_are_read() {
    let bench = Bench::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/approval-v1");
    for name in [
        "approval.json",
        "approver.pub",
        "lab.pub",
        "revocations.jsonl",
        "content.txt",
        "run/events.jsonl",
        "run/plan.json",
        "run/run.sig.json",
    ] {
        bench.file(name, fs::read(fixture.join(name)).unwrap());
    }
    let verify = "verify approval.json --key approver.pub --update content.txt";
    bench.run(verify).expect(0);
    bench.run(&format!("{verify} --revocations revocations.jsonl")).expect(1);
    let key = bench.path("key.pem");
    assert!(
        Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(key).status().unwrap().success()
    );
    bench.run("approve run --key key.pem --lab-key lab.pub").expect(0);
}

#[test]
fn a_policy_decides_over_a_signed_run_and_over_no_other() {
    let lab = Lab::new(WELL);
    let gate = |policy: &str| {
        lab.bench.file("policy.yaml", format!("version: 1\nname: production\nrules: {policy}\n"));
        lab.bench.run(&format!("gate {} --policy policy.yaml", lab.run.display()))
    };
    let approved = gate("{soak: 0}").expect(0).out;
    assert!(approved.contains("✓ cells") && approved.contains("APPROVED  by the policy `production`"), "{approved}");
    let rejected = gate("{soak: 9, required: [{os: c}]}").expect(1).out;
    assert!(rejected.contains("✗ soak") && rejected.contains("no cell was planned with os=c"), "{rejected}");
    assert_eq!(gate("{max_age: 1s}").code, Some(1));
    let panics = Lab::new(PANICS);
    assert_eq!(panics.bench.run(&format!("gate {}", panics.run.display())).code, Some(1));

    fs::remove_file(lab.run.join(RUN_SIGNATURE)).unwrap();
    assert_eq!(gate("{soak: 0}").code, Some(2), "nobody signed it");
}

#[test]
fn the_rules_of_a_matrix_decide_its_run_and_a_policy_of_the_approvers_own_stands_in_their_place() {
    let lab = Lab::of(&format!("{MATRIX}policy: {{rules: {{soak: 9}}}}\n"), WELL);
    let gate = format!("gate {}", lab.run.display());
    let told = lab.bench.run(&gate).expect(1).out;
    assert!(told.contains("2 of 2 cells planned with less than 9 further restarts"), "{told}");
    let told = lab.bench.run(&format!("report {} --exit-code", lab.run.display())).expect(1).out;
    assert!(told.contains("REJECTED"), "{told}");
    lab.approve("--key ed.pem", 1);
    lab.bench.file("policy.yaml", "version: 1\nname: production\nrules: {soak: 0}\n");
    let told = lab.approve("--key ed.pem --policy policy.yaml", 0);
    assert!(told.contains("by the policy `production`"), "{told}");
    let statement = lab.signed();
    let policy = fs::read(lab.bench.path("policy.yaml")).unwrap();
    let configuration = statement["predicate"]["configuration"].as_array().unwrap();
    assert!(configuration.iter().any(|it| it["name"] == "policy" && it["digest"]["sha256"] == Sha256::of(&policy).0));
    lab.verify("--key ed.pub --policy policy.yaml", 0);
    lab.bench.file("strict.yaml", "version: 1\nname: strict\nrules: {soak: 9}\n");
    let told = lab.verify("--key ed.pub --policy strict.yaml", 1);
    assert!(told.contains("by the policy `strict`: 2 of 2 cells planned with less than 9"), "{told}");
    assert!(lab.verify("--key ed.pub --policy nowhere.yaml", 2).contains("nowhere.yaml"));
}

#[test]
fn an_update_goes_from_ring_to_ring_by_what_came_back() {
    let lab = Lab::new(WELL);
    let rings = "version: 1\nname: production\nrings: [{name: lab}, {name: canary, soak_time: 1h}, {name: broad}]\n";
    lab.bench.file("policy.yaml", rings);
    let ring = |words: &str, code| {
        let answer = lab.bench.run(&format!("ring {words}")).expect(code);
        answer.out + &answer.err
    };
    let told = lab.approve("--key ed.pem --policy policy.yaml", 2);
    assert!(told.contains("say with --ring which is meant") && told.contains("lab, canary, broad"), "{told}");
    assert!(lab.approve("--key ed.pem --policy policy.yaml --ring moon", 2).contains("no ring `moon`"));
    assert!(lab.approve("--key ed.pem --ring lab", 2).contains("it has none"));
    let told = lab.approve("--key ed.pem --policy policy.yaml --ring canary", 3);
    assert!(told.contains("no approval of these files opened the ring `lab`"), "{told}");
    assert!(!lab.bench.path("approval.json").exists());

    lab.approve("--key ed.pem --policy policy.yaml --ring lab", 0);
    lab.verify("--key ed.pub --ring lab", 0);
    lab.verify("--key ed.pub --ring lab --policy policy.yaml", 0);
    for words in ["--key ed.pub --ring broad", "--key ed.pub", "--key ed.pub --ring moon --policy policy.yaml"] {
        lab.verify(words, 1);
    }
    assert!(lab.approve("--key ed.pem --policy policy.yaml --ring canary", 3).contains("was not told yet"));
    assert!(ring("record approval.json --key ed.pem", 2).contains("--passed"));
    ring("record approval.json --key ed.pem --passed --machines 40", 0);
    lab.approve("--key ed.pem --policy policy.yaml --ring canary", 0);
    ring("record approval.json --key ed.pem --passed", 0);
    // An hour has not passed.
    let told = lab.approve("--key ed.pem --policy policy.yaml --ring broad", 3);
    assert!(told.contains("was told after ") && told.contains(" is wanted"), "{told}");
    let told = ring("status --key ed.pub --policy policy.yaml", 0);
    assert!(told.contains("content.txt") && told.contains("passed at ") && told.contains("40 machines"), "{told}");
    assert!(told.contains("broad") && told.contains("closed: "), "{told}");
    // One that was copied from elsewhere is read like this machine's own.
    fs::copy(lab.bench.path("state/rings.jsonl"), lab.bench.path("copy.jsonl")).unwrap();
    assert_eq!(ring("status --key ed.pub --policy policy.yaml --ledger copy.jsonl", 0), told);

    let told = ring("record approval.json --key ed.pem --failed --note printing", 0);
    assert!(told.contains("failed in the ring canary"), "{told}");
    fs::copy(lab.bench.path("approval.json"), lab.bench.path("canary.json")).unwrap();
    let told = lab.approve("--key ed.pem --policy policy.yaml --ring broad", 1);
    assert!(told.contains("failed in the ring `canary`"), "{told}");
    assert_eq!(lab.signed()["predicate"]["result"], "FAILED");
    lab.bench.run("revoke canary.json --key ed.pem --reason ticket-4711").expect(0);
    assert!(ring("status --key ed.pub", 0).contains("revoked at "));
    lab.verify("--key ed.pub --ring canary --revocations revocations.jsonl", 1);
    assert!(lab.approve("--key ed.pem --policy policy.yaml --ring lab", 3).contains("the run was revoked at "));
    lab.tool("openssl genpkey -algorithm ed25519 -out other.pem").good();
    lab.tool("openssl pkey -in other.pem -pubout -out other.pub").good();
    assert!(ring("record approval.json --key other.pem --passed", 2).contains("signed by another key"));
    let told = ring("record canary.json --key ed.pem --passed --ledger other.jsonl", 2);
    assert!(told.contains("other.jsonl has no such approval"), "{told}");
    assert!(ring("record canary.json --key ed.pem --passed", 2).contains("the approval was revoked at "));
    assert!(ring("status --key other.pub", 0).contains("nothing that this key signed"));
    let text = fs::read_to_string(lab.bench.path("state/rings.jsonl")).unwrap();
    lab.bench.file("state/rings.jsonl", text.replacen("\"sig\":\"", "\"sig\":\"AAAA", 1));
    assert!(ring("status --key ed.pub", 2).contains("line 1: "));
    assert!(lab.approve("--key ed.pem --policy policy.yaml --ring lab", 2).contains("rings.jsonl"));
}

#[test]
fn what_several_processes_record_at_once_is_all_there() {
    let lab = Lab::new(WELL);
    lab.bench.file("policy.yaml", "version: 1\nname: production\nrings: [{name: lab}, {name: broad}]\n");
    lab.approve("--key ed.pem --policy policy.yaml --ring lab", 0);
    let note = "x".repeat(50_000);
    let words = format!("ring record approval.json --key ed.pem --passed --note {note}");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| lab.bench.run(&words).expect(0));
        }
    });
    let text = fs::read_to_string(lab.bench.path("state/rings.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 9, "the approval and eight results");
    lab.bench.run("ring status --key ed.pub").expect(0);
}

#[test]
fn a_file_that_was_well_on_no_machine_is_not_approved_with_the_others() {
    let matrix = "\
version: 1
name: test
axes: {os: [a, b]}
update:
  - copy: {from: one.txt, to: /x}
    when: {os: a}
  - copy: {from: two.txt, to: /x}
    when: {os: b}
health: {checks: [{id: sensor, sh: sensor}]}
policy: {rules: {quarantine: [{cells: {os: b}, reason: known, until: 2099-12-31}]}}
";
    let lab = Lab::with_files(matrix, PANICS, &[("m/one.txt", "1"), ("m/two.txt", "2")]);
    lab.approve("--key ed.pem", 0);
    let verify = |file: &str| lab.bench.run(&format!("verify approval.json --key ed.pub --update {file}"));
    verify("m/one.txt").expect(0);
    let told = verify("m/two.txt").expect(1).out;
    assert!(told.contains("is not among the files that were tested"), "{told}");
}
