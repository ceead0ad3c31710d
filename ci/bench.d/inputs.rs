//! The matrices of the benchmark, written into its scratch folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::ensure;

use crate::{Bench, scratch::Scratch};

pub const SOAK: u32 = 1;
pub const WATCH_S: u32 = 1;
/// What the matrices' cells run after the new content is in place, and what is asked in the end.
pub const COMMAND: &str = "echo ${value} >/var/lib/sensor/value && sync";
pub const CHECK: &str = "sensorctl status && grep -qx ${value} /var/lib/sensor/value";
/// Where the update's file goes.
pub const CONTENT: &str = "/var/lib/sensor/content";
pub const OS: &str = "lab-os-10";
pub const PATCHES: [&str; 3] = ["p1", "p2", "p3"];

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The lab's catalogue.
pub fn catalog() -> anyhow::Result<PathBuf> {
    let path = repository().join("images/catalog.yaml");
    ensure!(path.exists(), "the lab's golden images are missing: run images/build (ci/bench does)");
    Ok(path)
}

/// A file that an update brings: the demo's good or bad content.
pub fn content(value: &str) -> PathBuf {
    let name = if value == "bad" { "content-bad.txt" } else { "content-fixed.txt" };
    repository().join("matrices/demo").join(name)
}

/// Three images x so many values: all cells healthy.
pub fn plain(bench: &Bench) -> anyhow::Result<(PathBuf, Vec<String>)> {
    let values: Vec<String> = (1..=bench.options.values()).map(|n| format!("v{n}")).collect();
    Ok((write(&bench.scratch, "plain", &values, SOAK)?, values))
}

/// The same cells with one restart each; and a matrix of one of them per image, for what a first run leaves.
pub fn one_restart(bench: &Bench) -> anyhow::Result<(PathBuf, PathBuf)> {
    let values: Vec<String> = (1..=bench.options.values()).map(|n| format!("v{n}")).collect();
    Ok((write(&bench.scratch, "once", &values, 0)?, write(&bench.scratch, "first", &values[..1], 0)?))
}

/// Three images x good and bad content: the bad one breaks one of them.
pub fn mixed(bench: &Bench) -> anyhow::Result<(PathBuf, Vec<String>)> {
    let values = vec!["good".to_owned(), "bad".to_owned()];
    Ok((write(&bench.scratch, "mixed", &values, SOAK)?, values))
}

fn write(scratch: &Scratch, name: &str, values: &[String], soak: u32) -> anyhow::Result<PathBuf> {
    let folder = scratch.folder("in")?;
    for value in values {
        fs::copy(content(value), folder.join(format!("content-{value}.txt")))?;
    }
    let (patches, values) = (PATCHES.join(", "), values.join(", "));
    let text = format!(
        "version: 1\nname: bench-{name}\ncatalog: {}\n\
         axes:\n  os: [{OS}]\n  patch: [{patches}]\n  value: [{values}]\n\
         update:\n  - copy: {{from: 'content-${{value}}.txt', to: {CONTENT}, mode: \"0644\"}}\n  \
         - sh: '{COMMAND}'\n\
         health:\n  soak: {soak}\n  watch: {WATCH_S}s\n  checks:\n    - {{id: sensor, sh: '{CHECK}'}}\n",
        catalog()?.display()
    );
    let path = folder.join(format!("{name}.yaml"));
    fs::write(&path, text)?;
    Ok(path)
}
