//! What CI systems are given: files to copy, and formats that others read.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::harness::Bench;

const EXAMPLES: [&str; 4] = ["github-actions.yml", "gitlab-ci.yml", "azure-pipelines.yml", "Jenkinsfile"];

fn text(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn example(name: &str) -> String {
    text(&format!("ci/examples/{name}"))
}

/// The command lines in a text: what follows `bootgate VERB` at the beginning of a line, or behind what begins a script.
fn commands(text: &str) -> Vec<Vec<String>> {
    let begin = |line: &str| {
        let mut rest = line.trim();
        for prefix in ["- ", "run: ", "script: ", "sh '"] {
            rest = rest.strip_prefix(prefix).unwrap_or(rest);
        }
        // The quote that `sh '` opened.
        let rest = if line.contains("sh 'bootgate") { rest.trim_end_matches('\'') } else { rest };
        rest.starts_with("bootgate ").then(|| words(rest))
    };
    text.lines().filter_map(begin).collect()
}

/// Takes a line apart as a shell does, up to whatever is no word of the command.
fn words(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut word, mut quote, mut begun) = (String::new(), None, false);
    for c in line.chars().chain([' ']) {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => (quote, begun) = (Some(c), true),
            (None, ' ') if begun => {
                if ["|", "||", "&&", ">", ">>", "#", ";"].contains(&word.as_str()) {
                    return found;
                }
                found.push(std::mem::take(&mut word));
                begun = false;
            }
            (None, ' ') => {}
            (None, c) => {
                word.push(c);
                begun = true;
            }
        }
    }
    assert_eq!(quote, None, "a quote is open in {line}");
    found
}

fn is_understood(command: &[String]) -> Result<(), String> {
    bootgate::cli::command().try_get_matches_from(command).map(drop).map_err(|error| error.to_string())
}

#[test]
fn every_command_in_the_examples_and_their_document_is_understood() {
    let files = EXAMPLES.map(|name| format!("ci/examples/{name}"));
    for name in files.iter().map(String::as_str).chain(["docs/pipelines.md"]) {
        let commands = commands(&text(name));
        let verbs: Vec<&str> = commands.iter().map(|command| command[1].as_str()).collect();
        for verb in ["doctor", "run", "report", "approve"] {
            assert!(verbs.contains(&verb), "{name} has no {verb}: {verbs:?}");
        }
        for command in &commands {
            assert_eq!(is_understood(command), Ok(()), "{name}: {command:?}");
        }
    }
}

#[test]
fn a_command_that_is_wrong_is_seen() {
    let found = commands(
        "  - run: bootgate report out/*/ --format 'mark down' >> \"$X\"\n    sh 'bootgate run \"$A\" --nope'\n# bootgate x",
    );
    assert_eq!(
        found,
        [vec!["bootgate", "report", "out/*/", "--format", "mark down"], vec!["bootgate", "run", "$A", "--nope"]]
    );
    assert!(found.iter().all(|command| is_understood(command).is_err()));
}

/// All texts below keys of this name.
fn below<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(text) if name == key => found.push(text),
                    Value::Array(items) if name == key => found.extend(items.iter().filter_map(Value::as_str)),
                    _ => below(field, key, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| below(item, key, found)),
        _ => {}
    }
}

#[test]
fn no_script_of_the_examples_is_put_together_from_what_others_wrote() {
    for (name, key, marks) in [
        ("github-actions.yml", "run", &["${{"][..]),
        ("gitlab-ci.yml", "script", &["$["]),
        ("azure-pipelines.yml", "script", &["${{", "$("]),
    ] {
        let file: Value = serde_saphyr::from_str(&example(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut scripts = Vec::new();
        below(&file, key, &mut scripts);
        assert!(scripts.len() >= 3, "{name}: {scripts:?}");
        for script in scripts {
            assert!(!marks.iter().any(|mark| script.contains(mark)), "{name}: {script}");
        }
    }
}

#[test]
fn the_examples_keep_junit_after_a_failure_too() {
    for (name, wanted) in [
        ("github-actions.yml", "if: always()\n        uses: actions/upload-artifact"),
        ("gitlab-ci.yml", "when: always"),
        ("azure-pipelines.yml", "condition: always()\n        inputs:\n          testResultsFormat: JUnit"),
        ("Jenkinsfile", "post {\n        always {"),
    ] {
        assert!(example(name).contains(wanted), "{name}");
    }
}

/// A recorded run in `run/`.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.file("run/events.jsonl", text("tests/fixtures/journal-v1/events.jsonl"));
    bench
}

fn python(bench: &Bench, words: &[&str]) -> String {
    let output = Command::new("/usr/bin/python3").args(words).current_dir(bench.path("")).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_result_is_as_its_schema_says_and_another_one_is_not() {
    let bench = bench();
    bench.file("schema.json", bench.run("schema result").expect(0).out);
    let result = bench.run("report run --format json").expect(0).out;
    bench.file("result.json", &result);
    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/check_result.py");
    let checked = |name: &str| python(&bench, &[check.to_str().unwrap(), "schema.json", name]);
    assert_eq!(checked("result.json"), "");

    let sound: Value = serde_json::from_str(&result).unwrap();
    for (path, wrong) in [
        ("/decision", json!("maybe")),
        ("/version", json!(2)),
        ("/candidate/sha256", json!("AB")),
        ("/cells/2/reasons/0/id", json!("nope")),
        ("/cells/2/phases/0/phase", json!("soak-0")),
        ("/cells/0/took_ms", json!(-1)),
        ("/cells/0/id", json!("../x")),
    ] {
        let mut result = sound.clone();
        *result.pointer_mut(path).unwrap_or_else(|| panic!("no {path}")) = wrong;
        bench.file("wrong.json", result.to_string());
        assert!(checked("wrong.json").starts_with("wrong.json: "), "{path} is not checked");
    }
}

#[test]
fn a_result_describes_every_kind_of_candidate_as_its_schema_says() {
    use bootgate::model::{About, Cabinet, Content, Inf, Machine, Msi, Msp, Pe, PeRole, Signature};
    let bench = bench();
    bench.file("schema.json", bench.run("schema result").expect(0).out);
    let result: Value = serde_json::from_str(&bench.run("report run --format json").expect(0).out).unwrap();
    let (role, machine) = (PeRole::Driver, Machine::X64);
    let pe = Pe { role, machine, product: None, company: None, file_version: None, product_version: None };
    let kinds = [
        Content::Msi(Msi { machine: Some(Machine::Other), ..Msi::default() }),
        Content::Msp(Msp::default()),
        Content::Pe(pe),
        Content::Cab(Cabinet::default()),
        Content::Inf(Inf { machines: vec![machine], ..Inf::default() }),
        Content::Script { interpreter: "sh".into() },
        Content::Text,
        Content::Unknown,
    ];
    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/check_result.py");
    for content in kinds {
        let mut about = About::of(content);
        about.signature = Some(Signature { signer: None, issuer: None, timestamped: false, verified: false });
        let mut result = result.clone();
        result["candidate"]["about"] = json!(about);
        bench.file("result.json", result.to_string());
        assert_eq!(python(&bench, &[check.to_str().unwrap(), "schema.json", "result.json"]), "", "{about}");
    }
}

/// What the documents of GitLab ("Unit test reports"), Azure ("Publish Test Results") and Jenkins' plugins ask for, read by
/// another parser.
const JUNIT: &str = "
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
assert root.tag == 'testsuites' and set(root.attrib) <= {'name', 'tests', 'failures', 'errors', 'time'}, root.attrib
names = set()
for suite in root:
    assert suite.tag == 'testsuite' and {'name', 'tests', 'failures', 'errors', 'time'} <= set(suite.attrib), suite.attrib
    cases = suite.findall('testcase')
    assert int(suite.get('tests')) == len(cases)
    for kind, count in (('failure', 'failures'), ('error', 'errors'), ('skipped', 'skipped')):
        assert int(suite.get(count)) == sum(case.find(kind) is not None for case in cases), (suite.attrib, kind)
    for case in cases:
        assert {'name', 'classname'} <= set(case.attrib) and float(case.get('time', 0)) >= 0, case.attrib
        names.add((case.get('classname'), case.get('name')))
        for bad in list(case.iter('failure')) + list(case.iter('error')):
            assert bad.get('type') and bad.get('message'), bad.attrib
assert len(names) == int(root.get('tests')), 'GitLab drops cases of the same name'

from junitparser import Error, Failure, JUnitXml
again = [case for suite in JUnitXml.fromfile(sys.argv[1]) for case in suite]
bad = {kind: [r.type for case in again for r in case.result if isinstance(r, kind)] for kind in (Failure, Error)}
print(len(again), *bad[Failure], '/', *bad[Error])
";

#[test]
fn junit_has_what_each_system_reads() {
    let bench = bench();
    bench.file("junit.xml", bench.run("report run --format junit").expect(0).out);
    assert_eq!(python(&bench, &["-c", JUNIT, "junit.xml"]), "72 stop-error stop-error boot-hang / host-lost\n");
}
