//! The documents tell the whole truth: what they must list is taken from the program.

use std::{collections::BTreeSet, fs, path::Path};

use bootgate::model::{Outcome, ReasonId};
use serde_json::Value;

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The text below a heading, up to the next one of the same level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, after) = text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    after.split_once("\n## ").map_or(after, |(section, _)| section)
}

/// What the rows of all tables begin with: the names in backquotes in their first cells.
fn rows(text: &str) -> BTreeSet<String> {
    let first_cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('|').next());
    // `a: {b, c}` and `a`, `b` name several things: every word counts.
    let words = first_cells.flat_map(|cell| cell.split(|c: char| !(c.is_ascii_alphanumeric() || "_-".contains(c))));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// All keys of a schema, those of nested mappings included.
fn keys(of: &str) -> BTreeSet<String> {
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_bootgate")).args(["schema", of]).output().unwrap();
    let mut found = BTreeSet::new();
    collect(&serde_json::from_slice(&out.stdout).unwrap(), &mut found);
    assert!(found.contains("version"), "{found:?}");
    found
}

fn collect(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Object(properties)) = fields.get("properties") {
                found.extend(properties.keys().cloned());
            }
            fields.values().for_each(|field| collect(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

#[test]
fn every_reason_is_explained_under_the_outcome_it_leads_to() {
    let text = document("docs/verdicts.md");
    for (heading, outcome) in [("Unhealthy", Outcome::Unhealthy), ("Inconclusive", Outcome::Inconclusive)] {
        let of_outcome = ReasonId::ALL.iter().filter(|reason| reason.outcome() == outcome);
        let expected: BTreeSet<String> = of_outcome.map(|reason| reason.as_str().to_owned()).collect();
        assert_eq!(rows(section(&text, heading)), expected, "{heading}");
    }
}

#[test]
fn every_key_of_the_users_files_is_explained() {
    let text = document("docs/matrix.md");
    for (heading, of) in [("The matrix", "matrix"), ("The catalogue", "catalog")] {
        // The top of a catalogue is shown in full in the README, and a layer's steps are a matrix's.
        let told = [rows(section(&text, heading)), rows(section(&text, "The matrix"))];
        let told = if of == "matrix" { &told[..1] } else { &told[..] };
        // A matrix's rules are those of a policy.
        let rules = rows(&document("docs/policy.md"));
        let told: BTreeSet<String> = told.iter().flatten().chain(&rules).cloned().collect();
        let missing: Vec<String> = keys(of)
            .into_iter()
            .filter(|key| !told.contains(key) && !["version", "images"].contains(&key.as_str()))
            .collect();
        assert!(missing.is_empty(), "docs/matrix.md has no {missing:?} in \"{heading}\"");
    }
    let told = rows(&document("docs/policy.md"));
    let top = ["version", "name", "rules", "rings"];
    let missing: Vec<String> =
        keys("policy").into_iter().filter(|key| !told.contains(key) && !top.contains(&key.as_str())).collect();
    assert!(missing.is_empty(), "docs/policy.md has no {missing:?}");
}

#[test]
fn every_field_of_a_result_is_explained() {
    let text = document("docs/formats.md");
    let told = section(&text, "`result.json`: the run for programs");
    let missing: Vec<String> = keys("result").into_iter().filter(|key| !told.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "docs/formats.md has no {missing:?}");
}

#[test]
fn every_signal_is_explained() {
    let told = rows(section(&document("docs/formats.md"), "`events.jsonl`: the journal"));
    let traces = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces")).unwrap();
    let mut found = BTreeSet::new();
    for trace in traces {
        let text = fs::read_to_string(trace.unwrap().path()).unwrap();
        let signals = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        found.extend(signals.filter_map(|signal| signal["what"]["signal"].as_str().map(str::to_owned)));
    }
    assert!(found.len() > 25, "{found:?}");
    let missing: Vec<_> = found.difference(&told).collect();
    assert!(missing.is_empty(), "docs/formats.md has no {missing:?}");
}

#[test]
fn links_between_documents_lead_somewhere() {
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/approval.md",
        "docs/architecture.md",
        "docs/formats.md",
        "docs/matrix.md",
        "docs/performance.md",
        "docs/pipelines.md",
        "docs/policy.md",
        "docs/truth.md",
        "docs/verdicts.md",
        "docs/watch.md",
        "docs/windows-images.md",
    ] {
        let text = document(name);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(name).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            assert!(link.contains("://") || folder.join(path).exists(), "{name} links to {link}");
        }
    }
}

#[test]
fn every_option_in_the_documents_of_watch_is_one_that_it_has() {
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_bootgate")).args(["watch", "--help"]).output().unwrap();
    let help = String::from_utf8(out.stdout).unwrap();
    for name in ["docs/watch.md", "docs/bootgate-watch.service"] {
        let text = document(name);
        let commands = text.lines().filter(|line| !line.starts_with('#') && !line.contains("bootgate run"));
        let words = commands.flat_map(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')));
        let options: Vec<&str> = words.filter(|word| word.starts_with("--") && !word.ends_with('-')).collect();
        assert!(options.contains(&"--matrix"), "{name}: {options:?}");
        assert!(options.iter().all(|option| help.contains(option)), "{name}: {options:?}");
    }
}
