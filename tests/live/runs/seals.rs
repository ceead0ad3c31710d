//! Cells that start from a sealed machine.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use bootgate::{catalog::sha256_file, model::Sha256};

use super::harness::{Bench, catalog, golden, matrix};

/// Every cell has data of its own before the restart and looks for it afterwards; the setup is told apart by its
/// machine: what all cells share runs once.
fn cells_with_data(bench: &Bench, cells: &[&str]) -> String {
    let body = "setup:\n  - sh: cat /proc/sys/kernel/random/uuid >/root/common\n  - sh: echo ${cell} >/root/own\n\
                update:\n  - sh: dd if=/dev/urandom of=/root/noise bs=64k count=40 && sync\n\
                health:\n  watch: 1s\n  checks:\n\
                \x20   - {id: own, sh: 'test \"$(cat /root/own)\" = ${cell}'}\n\
                \x20   - {id: common, sh: 'cat /root/common'}\n\
                \x20   - {id: clock, sh: 'date -u +%Y'}\n";
    bench.file("seals.yaml", matrix(cells, body)).display().to_string()
}

fn seal(bench: &Bench) -> PathBuf {
    let entries = fs::read_dir(bench.path("s/seals")).unwrap().map(|entry| entry.unwrap().path());
    let folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    assert_eq!(folders.len(), 1, "one image, one seal: {folders:?}");
    folders.into_iter().next().unwrap()
}

fn digests(dir: &Path) -> Vec<(PathBuf, Sha256)> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), sha256_file(&file).unwrap())).collect()
}

/// What the check of this name printed, over all permutations.
fn printed(run: &Path, check: &str) -> Vec<String> {
    let journal = fs::read_to_string(run.join("events.jsonl")).unwrap();
    let lines = journal.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let ended = lines.filter(|line| {
        line["signal"]["signal"] == "step-ended"
            && line["signal"]["name"] == check
            && !line["cell"].as_str().unwrap().starts_with("control-")
    });
    ended.map(|line| line["signal"]["result"]["output"]["stdout"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn later_runs_start_from_the_first_ones_seal_and_a_damaged_one_changes_no_verdict() {
    let bench = Bench::new();
    let before = golden();
    let matrix = cells_with_data(&bench, &["a", "b", "c"]);
    let first = bench.run(&[&matrix]).expect(0);
    assert_eq!(first.starts(), ["live"; 3], "{}", first.out);
    let common = printed(&first.dir, "common");
    assert!(common.len() == 3 && common.iter().all(|id| *id == common[0]), "the common setup ran once: {common:?}");
    let sealed = digests(&seal(&bench));

    let second = bench.run(&[&matrix]).expect(0);
    assert_eq!(second.starts(), ["live"; 3], "{}", second.out);
    assert!(second.out.contains("known from an earlier run"), "the control is not run again: {}", second.out);
    assert_eq!(printed(&second.dir, "common"), common, "the same sealed machine");
    let year = time::OffsetDateTime::now_utc().year().to_string();
    let clocks = printed(&second.dir, "clock");
    assert!(clocks.len() == 3 && clocks.iter().all(|clock| clock.trim() == year), "the clock was set: {clocks:?}");
    assert_eq!(digests(&seal(&bench)), sealed, "a clone wrote to the seal");

    let memory = seal(&bench).join("memory");
    let mut bytes = fs::read(&memory).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0xa5);
    fs::set_permissions(&memory, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&memory, bytes).unwrap();
    let damaged = bench.run(&[&matrix]).expect(0);
    assert_eq!(damaged.verdicts(), first.verdicts());
    assert_ne!(printed(&damaged.dir, "common"), common, "the damaged seal was used");
    assert_eq!(golden(), before, "a golden image was touched");
    bench.assert_nothing_left();
}

#[test]
fn from_power_on_the_verdicts_are_the_same() {
    let bench = Bench::new();
    let faults = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/runs/faults.yaml");
    let chosen = ["none", "exits-with-5", "panics-at-boot", "stops-the-sensor", "turns-off-at-boot"];
    let mut words = vec![faults.display().to_string(), "--catalog".into(), catalog()];
    words.extend(chosen.iter().flat_map(|fault| ["--only".to_owned(), format!("fault={fault}")]));
    let verdicts = |start: &str| {
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        words.extend(["--start", start]);
        let ran = bench.run(&words).expect(1);
        assert_eq!(ran.starts(), vec![start; chosen.len()], "{}", ran.out);
        ran.verdicts()
    };
    assert_eq!(verdicts("live"), verdicts("cold"));
    bench.assert_nothing_left();
}
