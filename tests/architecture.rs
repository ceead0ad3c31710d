//! Which module may import which: the flow in `src/lib.rs`, checked.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What each of our modules may import of ours, tests aside. `cli` may import everything.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("bytes", &[]),
    ("clock", &[]),
    ("files", &["model"]),
    ("qcow2", &[]),
    ("source", &["model", "files"]),
    ("matrix", &["model", "source"]),
    ("catalog", &["matrix", "model", "source", "files", "qcow2"]),
    ("candidate", &["model", "bytes", "files"]),
    ("plan", &["matrix", "catalog", "candidate", "model", "source"]),
    ("health", &["model"]),
    ("event", &["model", "files"]),
    ("sign", &["model"]),
    ("watch", &["model", "event", "files"]),
    ("gate", &["model", "event", "files", "health", "sign"]),
    ("report", &["model", "event", "files", "gate", "health"]),
    ("notify", &["model", "event", "gate"]),
    ("lab", &["model", "files", "qcow2"]),
    ("guest", &["model", "bytes", "lab"]),
    ("seal", &["model", "clock", "files", "lab", "catalog"]),
    ("image", &["model", "files", "source", "qcow2", "catalog", "lab"]),
    ("cell", &["model", "clock", "event", "lab", "guest", "health", "seal"]),
    ("run", &["model", "clock", "event", "files", "lab", "seal", "cell", "gate", "catalog"]),
];

/// Crates that only some places may use, so that the rest doesn't depend on them.
const FENCED: &[(&str, &[&str])] = &[
    ("anyhow", &["cli/", "main.rs"]),
    ("virt", &["lab/libvirt"]),
    ("rusqlite", &["run/history"]),
    ("ed25519_dalek", &["sign/"]),
    ("p256", &["sign/"]),
    ("ssh_key", &["sign/"]),
    ("ureq", &["notify/"]),
    ("rustls", &["notify/"]),
    ("rustls_native_certs", &["notify/"]),
];

/// Modules that only reckon, and what they may not touch: what comes out depends on nothing but what went in.
const PURE: &[&str] = &["health"];
const WORLD: &[&str] = &["env", "fs", "io", "net", "process", "thread", "time"];
const WORLDLY: &[&str] = &["tokio", "tracing", "rand", "libc", "rustix"];
const TOLD: &[&str] = &["println!", "eprintln!", "print!", "eprint!", "dbg!"];

/// What a source file, named relative to `src/`, does against the rules.
fn violations(file: &str, source: &str) -> Vec<String> {
    let module = file.split(['/', '.']).next().unwrap_or_default();
    let code = without_comments_and_strings(source);
    let mut found = Vec::new();
    if let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == module) {
        for used in ours(file, &code) {
            let is_known = ALLOWED.iter().any(|(name, _)| *name == used) || used == "cli";
            if is_known && used != module && !allowed.contains(&used.as_str()) {
                found.push(format!("{file}: {module}/ imports {used}/"));
            }
        }
    }
    for (name, homes) in FENCED {
        let is_home = homes.iter().any(|home| file.starts_with(home));
        if !is_home && (paths(&code, &format!("{name}::")) || paths(&code, &format!("use {name};"))) {
            found.push(format!("{file}: uses the crate {name}"));
        }
    }
    if PURE.contains(&module) {
        let used = after("std::", &code);
        found.extend(WORLD.iter().filter(|part| used.contains(**part)).map(|part| format!("{file}: uses std::{part}")));
        let crates = WORLDLY.iter().filter(|name| paths(&code, &format!("{name}::")));
        found.extend(crates.map(|name| format!("{file}: uses the crate {name}")));
        found.extend(TOLD.iter().filter(|name| code.contains(**name)).map(|name| format!("{file}: uses {name}")));
    }
    found
}

/// The first segments of all paths that lead to our own modules.
fn ours(file: &str, code: &str) -> BTreeSet<String> {
    // How many `super` lead from this file to the crate's root.
    let folders = file.matches('/').count();
    let depth = folders + usize::from(!file.ends_with("mod.rs"));
    let mut roots = vec!["crate::".to_owned(), "bootgate::".to_owned()];
    roots.push("super::".repeat(depth));
    roots.iter().flat_map(|root| after(root, code)).collect()
}

/// The segments that follow this beginning of a path.
fn after(root: &str, code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(root) {
        let before = code[..at].chars().next_back();
        if !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':')) {
            found.extend(heads(&code[at + root.len()..]));
        }
    }
    found
}

/// The first name of a path, or of each path in a group `{a::b, c}`.
fn heads(rest: &str) -> Vec<String> {
    let name =
        |text: &str| -> String { text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let mut names = vec![name(group)];
    let mut depth = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name(&group[at + 1..])),
            _ => {}
        }
    }
    names
}

fn paths(code: &str, prefix: &str) -> bool {
    code.match_indices(prefix).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':'))
    })
}

/// Keeps code only: what a comment or a message mentions is no import.
fn without_comments_and_strings(source: &str) -> String {
    let mut out = String::new();
    let mut lines = source.lines().peekable();
    while let Some(line) = lines.next() {
        // Unit tests come last in a file, and may use what they like.
        if line.trim() == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.starts_with("mod tests")) {
            break;
        }
        let mut in_string = false;
        let mut previous = ' ';
        for c in line.chars() {
            if c == '"' && previous != '\\' {
                in_string = !in_string;
            } else if c == '/' && previous == '/' && !in_string {
                out.pop();
                break;
            } else if !in_string {
                out.push(c);
            }
            previous = c;
        }
        out.push('\n');
    }
    out
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Each source file but those of tests: its name relative to `src/`, and what is in it.
fn files() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&src, &mut paths);
    let is_test = |name: &str| name.ends_with("tests.rs") || name.ends_with("testing.rs") || name.contains("/tests/");
    let named = paths.iter().map(|path| (path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned(), path));
    let code = named.filter(|(name, _)| !is_test(name));
    let files: Vec<_> = code.map(|(name, path)| (name, fs::read_to_string(path).unwrap())).collect();
    assert!(files.len() > 20, "only {} files found", files.len());
    files
}

#[test]
fn modules_import_only_what_the_flow_allows() {
    let found: Vec<_> = files().iter().flat_map(|(name, source)| violations(name, source)).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_flow_allows_nothing_that_is_not_needed() {
    let files = files();
    let mut unused = Vec::new();
    for (module, allowed) in ALLOWED {
        let is_here = |name: &str| name.split(['/', '.']).next() == Some(*module);
        let here = files.iter().filter(|(name, _)| is_here(name));
        let used: BTreeSet<_> =
            here.flat_map(|(name, source)| ours(name, &without_comments_and_strings(source))).collect();
        unused.extend(
            allowed.iter().filter(|name| !used.contains(**name)).map(|name| format!("{module}/ never imports {name}/")),
        );
    }
    assert!(unused.is_empty(), "\n{}", unused.join("\n"));
}

#[test]
fn every_module_of_the_crate_has_a_rule() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    for line in lib.lines() {
        let Some(module) = line.trim().trim_start_matches("pub ").strip_prefix("mod ") else { continue };
        let module = module.trim_end_matches(';');
        assert!(module == "cli" || ALLOWED.iter().any(|(name, _)| *name == module), "no rule for {module}/");
    }
}

#[test]
fn each_rule_is_seen_to_fail() {
    for (module, allowed) in ALLOWED {
        let others = ALLOWED.iter().map(|(name, _)| *name).chain(["cli"]);
        for other in others.filter(|other| other != module && !allowed.contains(other)) {
            let (file, source) = (format!("{module}/x.rs"), format!("use crate::{other}::X;"));
            assert_eq!(violations(&file, &source), [format!("{file}: {module}/ imports {other}/")]);
        }
    }
    for (name, _) in FENCED {
        let source = format!("fn f() -> {name}::X {{}}");
        assert_eq!(violations("model/x.rs", &source), [format!("model/x.rs: uses the crate {name}")]);
    }
    for module in PURE {
        let file = format!("{module}/x.rs");
        for part in WORLD {
            let source = format!("use std::{{collections::X, {part}::Y}};");
            assert_eq!(violations(&file, &source), [format!("{file}: uses std::{part}")]);
        }
        for name in WORLDLY {
            assert_eq!(violations(&file, &format!("use {name}::X;")), [format!("{file}: uses the crate {name}")]);
        }
    }
}

#[test]
fn an_import_is_found_however_it_is_written() {
    for (file, source, why) in [
        ("report/junit/cases.rs", "use super::super::super::run::Run;", "report/junit/cases.rs: report/ imports run/"),
        ("report/mod.rs", "use super::cell::Cell;", "report/mod.rs: report/ imports cell/"),
        ("report/html.rs", "fn f() { crate::lab::open(); }", "report/html.rs: report/ imports lab/"),
        ("gate/decide.rs", "use crate::{event::{A, B}, guest};", "gate/decide.rs: gate/ imports guest/"),
        (
            "health/judge.rs",
            "use crate::{\n    event::Event,\n    model::X,\n};",
            "health/judge.rs: health/ imports event/",
        ),
        ("matrix/mod.rs", "pub use crate::run::X;", "matrix/mod.rs: matrix/ imports run/"),
        ("event/mod.rs", "#[cfg(test)]\npub mod testing;\nuse crate::run::X;", "event/mod.rs: event/ imports run/"),
        ("lab/sim.rs", "use virt::connect::Connect;", "lab/sim.rs: uses the crate virt"),
    ] {
        assert_eq!(violations(file, source), [why], "{source}");
    }
}

#[test]
fn what_is_allowed_or_only_mentioned_passes() {
    for (file, source) in [
        ("plan/mod.rs", "use crate::{catalog::X, matrix::{A, B}, model::Cell};"),
        ("cli/run.rs", "use anyhow::Context as _; use crate::run::X;"),
        ("lab/libvirt/mod.rs", "use virt::sys;"),
        ("gate/run_signature.rs", "use crate::sign::Envelope;"),
        ("health/judge.rs", "/// See [`crate::event::Event`].\nfn f() { g(\"crate::lab::x\"); }"),
        ("model/mod.rs", "use self::plan::X; mod plan; use super_duper::event;"),
        ("event/fold.rs", "use super::model_like;\n#[cfg(test)]\nmod tests { use crate::report::X; }"),
        ("lab/mod.rs", "use my_virt::x;"),
    ] {
        assert_eq!(violations(file, source), Vec::<String>::new(), "{source}");
    }
}
