//! Measurement 5: what bootgate itself costs, without machines.

use std::{env, process::Command};

use anyhow::ensure;
use serde_json::Value;

use crate::{Bench, child, say, table::Row};

const SLOTS: u32 = 400;
const REAL_CELLS: u32 = 50;
const MIB: f64 = 1024.0 * 1024.0;

pub fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let cells = bench.options.simulated;
    say(&format!("{cells} simulated cells on {SLOTS} slots in virtual time"));
    let found = simulate(bench, "virtual", cells, SLOTS)?;
    let number = |key: &str| found[key].as_f64();
    let bound =
        number("work_s").zip(number("longest_cell_s")).map(|(work, longest)| (work / f64::from(SLOTS)).max(longest));
    let ratio = number("makespan_s").zip(bound).map(|(makespan, bound)| makespan / bound);
    let count = found["cells"].as_u64().unwrap_or_default();
    bench.rows.push(Row::new(5, format!("{count} cells: plan")).maybe(number("plan_s"), "s"));
    bench.rows.push(Row::new(5, format!("{count} cells: schedule, cells, journal")).maybe(number("run_s"), "s"));
    bench.rows.push(Row::new(5, format!("{count} cells: reports")).maybe(number("report_s"), "s"));
    bench.rows.push(Row::new(5, "  peak memory").maybe(number("peak_memory_bytes").map(|bytes| bytes / MIB), "MiB"));
    bench
        .rows
        .push(Row::new(5, format!("  virtual makespan / lower bound, {SLOTS} slots")).maybe(ratio, "").at_most(1.05));
    bench.raw.insert("simulation_virtual".into(), found);

    say(&format!("{REAL_CELLS} simulated cells in real time"));
    let found = simulate(bench, "real", REAL_CELLS, REAL_CELLS)?;
    let number = |key: &str| found[key].as_f64();
    let share = number("run_cpu_s").zip(number("run_s")).map(|(cpu, took)| cpu / took * 100.0);
    let memory = number("peak_memory_bytes").map(|bytes| bytes / MIB);
    bench.rows.push(Row::new(5, format!("{REAL_CELLS} cells at once: peak memory")).maybe(memory, "MiB").at_most(60.0));
    bench
        .rows
        .push(Row::new(5, format!("{REAL_CELLS} cells at once: CPU, of one core")).maybe(share, "%").at_most(2.0));
    bench.raw.insert("simulation_real".into(), found);
    Ok(())
}

/// In a process of its own, whose memory and CPU time are nobody else's.
fn simulate(bench: &mut Bench, kind: &str, cells: u32, slots: u32) -> anyhow::Result<Value> {
    let name = format!("sim-{kind}");
    let folder = bench.scratch.folder(&name)?;
    let mut command = Command::new(env::current_exe()?);
    command.arg("--simulate").arg(format!("{kind}:{cells}:{slots}"));
    // The simulated lab keeps its machines' files in the folder for temporary ones.
    command.current_dir(&folder).env("TMPDIR", &folder);
    let ran = child::run(command, &bench.scratch, &name)?;
    ensure!(ran.code == Some(0), "the simulation failed:\n{}", ran.tail());
    let found: Value = serde_json::from_str(&ran.out)?;
    if found["healthy"] != found["cells"] {
        bench.problem(format!("only {} of {} simulated cells are healthy", found["healthy"], found["cells"]));
    }
    Ok(found)
}
