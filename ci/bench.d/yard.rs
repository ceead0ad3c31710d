//! Runs of scripted guests through the library, in a process of their own: all that knows how a run is put together.

use std::{
    fs::{self, File},
    ops::ControlFlow,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bootgate::{
    catalog::{Catalog, DigestCache, sha256_file},
    event::{CellEnd, Event, JournalWriter, RunState},
    gate::RunSigner,
    lab::{
        Boots, Lab, VmSpec,
        sim::{GuestScript, Rule, SimHost, SimLab},
    },
    matrix::Matrix,
    model::{Accelerator, Bytes, Cell, Millis, Outcome, Plan, Secrets, StateDir, Verdict},
    plan::{self, Choices},
    report::{ReportFile, write_all},
    run::{self, Capacity, History, Images, Memory, Order, RunFolder, Sink},
    sign::lab_key,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::host;

const IMAGES: u32 = 10;

/// Carries out `virtual:CELLS:SLOTS` or `real:CELLS:SLOTS` in the current folder, and says what it took.
pub fn simulate(order: &str) -> anyhow::Result<Value> {
    let words: Vec<&str> = order.split(':').collect();
    let [kind, cells, slots] = words[..] else { anyhow::bail!("an order is KIND:CELLS:SLOTS") };
    let (cells, slots) = (cells.parse()?, slots.parse()?);
    if kind == "virtual" {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().start_paused(true).build()?.block_on(whole(cells, slots, varied))
    } else {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.enable_all().build()?.block_on(whole(cells, slots, quick))
    }
}

/// Guests as a big test bed has them: each image boots in a time of its own (20 to 65 s), and one cell in 50 takes four
/// such times to install the update.
fn varied(spec: &VmSpec) -> GuestScript {
    let guest = GuestScript::healthy(boot_time(&spec.image.name));
    guest.rule(Rule::on("/opt/update v").takes(install_time(&spec.image.name, &spec.cell.0)))
}

fn boot_time(image: &str) -> Duration {
    Duration::from_secs(20 + 5 * trailing_number(image))
}

fn install_time(image: &str, cell: &str) -> Duration {
    if trailing_number(cell) % 50 == 7 { boot_time(image) * 4 } else { Duration::from_millis(10) }
}

/// Guests whose runs are over within a minute.
fn quick(_: &VmSpec) -> GuestScript {
    GuestScript::healthy(Duration::from_secs(12))
}

/// How long the varied guests' cells took last time, which is about three boots, the update and what is between them.
fn last_time(here: &Path, plan: &Plan) -> anyhow::Result<History> {
    let (mut history, problem) = History::open(&here.join("history.sqlite"));
    ensure!(problem.is_none(), "the history: {problem:?}");
    let took = |cell: &Cell| {
        let update = if cell.role.is_control() { Duration::ZERO } else { install_time(&cell.image, &cell.id.0) };
        Millis::from(boot_time(&cell.image) * 3 + update + Duration::from_secs(15))
    };
    for cell in &plan.cells {
        let verdict = Verdict { outcome: Outcome::Healthy, reasons: Vec::new() };
        let end = CellEnd { attempt: 1, verdict, artifacts: Vec::new(), took: took(cell) };
        history.record(&plan.name, Accelerator::Sim, cell, &end, String::new())?;
    }
    Ok(history)
}

fn trailing_number(name: &str) -> u64 {
    let digits: String = name.chars().rev().take_while(char::is_ascii_digit).collect();
    digits.chars().rev().collect::<String>().parse().unwrap_or_default()
}

/// From the user's files to the reports.
async fn whole(cells: u32, slots: u32, script: fn(&VmSpec) -> GuestScript) -> anyhow::Result<Value> {
    let here = std::env::current_dir()?;
    let (matrix, catalog) = write_files(&here, cells)?;

    let began = Instant::now();
    let matrix = Matrix::read(&matrix).map_err(|found| anyhow::anyhow!("the matrix: {found:?}"))?;
    let catalog = Catalog::read(&catalog).map_err(|found| anyhow::anyhow!("the catalogue: {found:?}"))?;
    let planned = plan::plan(&matrix, &catalog, &Choices::default(), &|_| None, &mut |_| ControlFlow::Continue(()));
    let plan = planned.map_err(|found| anyhow::anyhow!("the plan: {found:?}"))?.plan;
    let (folder, plan_sha256) = RunFolder::create(&here.join("runs"), &plan)?;
    let plan_s = began.elapsed().as_secs_f64();

    let history = last_time(&here, &plan)?;
    let began = Instant::now();
    let before = host::process_time(std::process::id()).context("this process's times")?;
    let lab = Arc::new(SimLab::new(SimHost::default(), script));
    let journal = JournalWriter::create(&folder.journal(), folder.run.clone())?;
    let dir = folder.dir.clone();
    let key = lab_key(&StateDir::new(&here))?;
    let signer = RunSigner::new(key, &folder.dir, folder.run.clone(), plan_sha256.clone());
    let order = Order {
        folder,
        plan,
        plan_sha256,
        signer,
        secrets: Secrets::default(),
        lab: lab.clone(),
        capacity: Capacity::new(&here.join("slots"), lab.info(), Some(slots), Memory::Fixed(Bytes::mib(1 << 30)))?,
        boots: Boots::unbounded(),
        history,
        images: Images::new(Arc::new(DigestCache::open(here.join("digests.json"))), false),
        seals: None,
        fail_fast: false,
        interrupt: CancellationToken::new(),
        hurry: CancellationToken::new(),
        journal,
        resumed: None,
    };
    let finished = run::run(order, &mut Silent).await?;
    let run_s = began.elapsed().as_secs_f64();
    let after = host::process_time(std::process::id()).context("this process's times")?;

    let run_peak = host::peak_memory(std::process::id());
    let began = Instant::now();
    for written in write_all(&dir, &finished.state, &ReportFile::ALL) {
        written.result.with_context(|| format!("cannot write {}", written.path.display()))?;
    }
    let report_s = began.elapsed().as_secs_f64();
    ensure!(lab.census().live == 0, "machines are left");

    let took: Vec<Millis> = finished.state.cells.iter().filter_map(|cell| cell.ended()).map(|end| end.took).collect();
    let counts = finished.state.final_counts();
    Ok(json!({
        "cells": cells,
        "slots": slots,
        "healthy": counts.healthy,
        "decision": finished.ruling.decision,
        "plan_s": plan_s,
        "run_s": run_s,
        "run_cpu_s": after.own - before.own,
        "report_s": report_s,
        "run_peak_memory_bytes": run_peak,
        "peak_memory_bytes": host::peak_memory(std::process::id()),
        "makespan_s": finished.state.now.as_duration().as_secs_f64(),
        "work_s": took.iter().map(|took| took.as_duration().as_secs_f64()).sum::<f64>(),
        "longest_cell_s": took.iter().max().map(|took| took.as_duration().as_secs_f64()),
        "peak_machines": lab.census().peak,
        "journal_bytes": File::open(dir.join("events.jsonl"))?.metadata()?.len(),
    }))
}

/// A matrix and a catalogue whose images are all the same empty disk.
fn write_files(folder: &Path, cells: u32) -> anyhow::Result<(std::path::PathBuf, std::path::PathBuf)> {
    let disk = folder.join("empty.qcow2");
    fs::write(&disk, empty_qcow2())?;
    let sha256 = sha256_file(&disk)?;
    let mut catalog = "version: 1\nimages:\n".to_owned();
    for n in 0..IMAGES {
        catalog += &format!(
            "  - {{name: sim-{n}, labels: {{os: sim-{n}}}, disk: empty.qcow2, sha256: {sha256}, memory: 256MiB, family: linux}}\n"
        );
    }
    let (catalog_path, matrix_path) = (folder.join("catalog.yaml"), folder.join("sim.yaml"));
    fs::write(&catalog_path, catalog)?;
    let os: Vec<String> = (0..IMAGES.min(cells)).map(|n| format!("sim-{n}")).collect();
    let values: Vec<String> = (0..cells.div_ceil(IMAGES)).map(|n| format!("v{n}")).collect();
    let matrix = format!(
        "version: 1\nname: sim\ncatalog: catalog.yaml\naxes:\n  os: [{}]\n  value: [{}]\n\
         update:\n  - copy: {{from: sim.yaml, to: /opt/update.yaml}}\n  - sh: /opt/update ${{value}}\n\
         health:\n  soak: 1\n  watch: 5s\n  checks:\n    - {{id: sensor, sh: service sensor status}}\n",
        os.join(", "),
        values.join(", ")
    );
    fs::write(&matrix_path, matrix)?;
    Ok((matrix_path, catalog_path))
}

/// A header of version 3 with clusters of 64 KiB (QEMU's docs/interop/qcow2.txt).
fn empty_qcow2() -> Vec<u8> {
    let mut head = vec![0; 512];
    head[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    head[23] = 16;
    head[103] = 104;
    head
}

struct Silent;

impl Sink for Silent {
    fn event(&mut self, _: &Event, _: &RunState) {}
}
