//! Measurements 1 and 2: how near a run comes to the shortest possible one, and live starts against cold ones.
//!
//! A run cannot be shorter than the restarts it must make: cells x restarts x the CPU time of one, over the cores.

use std::{collections::BTreeMap, path::Path, process::Command};

use bootgate::model::Role;
use serde_json::json;

use crate::{
    Bench, afternoon,
    child::{self, Ran},
    host,
    inputs::{self, SOAK},
    record::{Cost, Record},
    say,
    table::Row,
};

/// A run of bootgate with what it left.
pub struct Gate {
    /// `live`, `cold`; for a bootgate that knows no starts, what it does.
    pub start: &'static str,
    pub ran: Ran,
    pub record: Record,
}

pub fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let (matrix, values) = inputs::plain(bench)?;
    let has_starts = knows_starts(bench)?;
    let cells = values.len() * inputs::PATCHES.len();
    let measured = if has_starts {
        say(&format!("{cells} cells, live: the first run, which makes the seals"));
        let first = gate(bench, &matrix, "first", Some("live"))?;
        say(&format!("{cells} cells, live: with seals, after {:.0} s", first.ran.seconds()));
        let live = gate(bench, &matrix, "live", Some("live"))?;
        bench.rows.push(Row::new(1, "first run, seals made").value(first.ran.seconds(), "s"));
        bench.raw.insert("first_run".into(), first.ran.json());
        live
    } else {
        say(&format!("this bootgate has no --start; {cells} cells as it starts them"));
        gate(bench, &matrix, "cold", None)?
    };
    efficiency(bench, &measured);
    if bench.options.wants(2) {
        against_cold(bench, &matrix, &measured)?;
    }
    if bench.options.wants(3) {
        afternoon::measure(bench, &measured, &values)?;
    }
    Ok(())
}

fn knows_starts(bench: &Bench) -> anyhow::Result<bool> {
    let help = Command::new(&bench.program).args(["run", "--help"]).output()?;
    Ok(String::from_utf8_lossy(&help.stdout).contains("--start"))
}

/// Runs this matrix to its end; every cell of it that is not the update's victim must be healthy.
pub fn gate(bench: &mut Bench, matrix: &Path, name: &str, start: Option<&'static str>) -> anyhow::Result<Gate> {
    let mut command = command(bench, matrix, name);
    if let Some(start) = start {
        command.args(["--start", start]);
    }
    let ran = child::run(command, &bench.scratch, name)?;
    let record = Record::read(&bench.scratch.path().join("runs").join(name));
    let record = record.map_err(|error| error.context(format!("bootgate said:\n{}", ran.tail())))?;
    Ok(Gate { start: start.unwrap_or("cold"), ran, record })
}

/// `bootgate run` on this matrix, with the benchmark's own state and a folder of runs of its own.
pub fn command(bench: &Bench, matrix: &Path, name: &str) -> Command {
    let mut command = Command::new(&bench.program);
    command.arg("run").arg(matrix).arg("--quiet").arg("--runs").arg(bench.scratch.path().join("runs").join(name));
    command.current_dir(bench.scratch.path()).env("BOOTGATE_STATE", bench.scratch.path().join("s"));
    command
}

fn efficiency(bench: &mut Bench, gate: &Gate) {
    let Gate { start, ran, record } = gate;
    expect_all_healthy(bench, gate);
    let images: BTreeMap<&str, usize> = record.cells().fold(BTreeMap::new(), |mut images, cell| {
        *images.entry(cell.planned.image.as_str()).or_default() += 1;
        images
    });
    let cores = f64::from(host::cores());
    let restarts = f64::from(1 + SOAK);
    // Cells of different images cost different restarts: each image's control tells its own.
    let controls: BTreeMap<&str, Option<Cost>> = images.keys().map(|image| (*image, record.control(image))).collect();
    let by_controls: Option<f64> = images
        .iter()
        .map(|(image, cells)| Some(*cells as f64 * controls[image].as_ref()?.cpu? * restarts / cores))
        .sum();
    let own = record.own_cost();
    let by_cells =
        own.as_ref().and_then(|cost| Some(images.values().sum::<usize>() as f64 * cost.cpu? * restarts / cores));
    let makespan = ran.seconds();
    let share = |limit: Option<f64>| limit.map(|limit| limit / makespan);

    bench.rows.push(Row::new(1, format!("makespan, {} cells, {start}", record.cells().count())).value(makespan, "s"));
    bench.rows.push(Row::new(1, "limit, by the controls' CPU time").maybe(by_controls, "s"));
    bench.rows.push(Row::new(1, "efficiency, limit / makespan").maybe(share(by_controls), "").at_least(0.75));
    bench.rows.push(Row::new(1, "  by all cells' own CPU time").maybe(share(by_cells), "").optional());
    bench.rows.push(Row::new(1, "cores at work").value(ran.busy * 100.0, "%"));
    bench.rows.push(Row::new(1, "CPU time of bootgate").value(ran.cpu.own, "s"));
    bench.rows.push(Row::new(1, "CPU time of QEMU, sampled").value(ran.machines_cpu, "s"));
    let known = record.state.cells.iter().filter(|cell| cell.planned.role == Role::Control).count();
    let controls: BTreeMap<&str, _> =
        controls.iter().map(|(image, cost)| (*image, cost.as_ref().map(Cost::json))).collect();
    let found = json!({
        "start": start,
        "run": ran.json(),
        "cells": record.cells().count(),
        "controls_planned": known,
        "cells_by_image": images,
        "restarts_per_cell": restarts,
        "control_restart": controls,
        "own_restart": own.map(|cost| cost.json()),
        "limit_by_controls_s": by_controls,
        "limit_by_cells_s": by_cells,
        "lab": record.start.lab,
        "accelerator": record.start.accelerator,
    });
    bench.raw.insert("live_run".into(), found);
}

fn against_cold(bench: &mut Bench, matrix: &Path, measured: &Gate) -> anyhow::Result<()> {
    let ratio = |text: &str| Row::new(2, text.to_owned());
    let with_soak = format!("live / cold, {} restarts a cell", 1 + SOAK);
    if measured.start == "cold" {
        bench.rows.push(Row::new(2, "makespan, cold").value(measured.ran.seconds(), "s"));
        bench.rows.push(ratio(&with_soak).maybe(None, "").at_most(0.60));
        return Ok(());
    }
    say("the same cells, cold");
    let cold = gate(bench, matrix, "cold", Some("cold"))?;
    expect_all_healthy(bench, &cold);
    bench.rows.push(Row::new(2, "makespan, cold").value(cold.ran.seconds(), "s"));
    bench.rows.push(ratio(&with_soak).value(measured.ran.seconds() / cold.ran.seconds(), "").at_most(0.60));
    bench.raw.insert("cold_run".into(), cold.ran.json());

    let (matrix, first) = inputs::one_restart(bench)?;
    say("one restart a cell: the controls");
    gate(bench, &first, "once-first", Some("live"))?;
    say("one restart a cell, live");
    let live = gate(bench, &matrix, "once-live", Some("live"))?;
    say("one restart a cell, cold");
    let cold = gate(bench, &matrix, "once-cold", Some("cold"))?;
    for gate in [&live, &cold] {
        expect_all_healthy(bench, gate);
        bench.rows.push(Row::new(2, format!("makespan, {}, one restart", gate.start)).value(gate.ran.seconds(), "s"));
        bench.raw.insert(format!("{}_run_one_restart", gate.start), gate.ran.json());
    }
    let value = live.ran.seconds() / cold.ran.seconds();
    bench.rows.push(ratio("live / cold, one restart a cell").value(value, "").at_most(0.60));
    Ok(())
}

fn expect_all_healthy(bench: &mut Bench, gate: &Gate) {
    let all_healthy = gate.record.outcomes().values().all(|outcome| outcome == "healthy");
    if !all_healthy || gate.ran.code != Some(0) {
        let summary = gate.record.summary();
        bench.problem(format!("the {} run was not approved (exit code {:?}): {summary}", gate.start, gate.ran.code));
    }
}
