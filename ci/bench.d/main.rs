//! What bootgate costs, measured: the program behind `ci/bench`, which says how to run it.
//!
//! Each measurement is a file: `restarts` (1 and 2), `afternoon` (3), `detection` (4), `simulation` with `yard` (5).
//! `child` runs a program and counts what it used, `record` reads what a run left, `table` is the answer.

mod afternoon;
mod child;
mod detection;
mod host;
mod inputs;
mod options;
mod record;
mod restarts;
mod scratch;
mod simulation;
mod stop;
mod table;
mod yard;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser as _;
use options::Options;
use scratch::Scratch;
use serde_json::{Map, Value};
use table::Row;

/// What all measurements share, and what they add to.
struct Bench {
    options: Options,
    scratch: Scratch,
    /// The bootgate under test, built with the same profile as this program.
    program: PathBuf,
    rows: Vec<Row>,
    /// Every number behind the rows, by measurement.
    raw: Map<String, Value>,
    /// What could not be measured, and verdicts that are not what they must be.
    problems: Vec<String>,
}

impl Bench {
    fn problem(&mut self, text: impl Into<String>) {
        let text = text.into();
        say(&format!("PROBLEM: {text}"));
        self.problems.push(text);
    }
}

/// Progress, for people.
fn say(text: &str) {
    eprintln!("bench: {text}");
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(order) = &options.simulate {
        return match yard::simulate(order) {
            Ok(found) => {
                println!("{found}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    match stop::listen().and_then(|()| measure(options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(_) if stop::asked() => {
            say("cancelled");
            ExitCode::from(130)
        }
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// True: everything that was asked for was measured, and the verdicts are what they must be.
fn measure(options: Options) -> anyhow::Result<bool> {
    let mut bench = Bench {
        scratch: Scratch::new(options.keep)?,
        program: PathBuf::from(env!("CARGO_BIN_EXE_bootgate")),
        options,
        rows: Vec::new(),
        raw: Map::new(),
        problems: Vec::new(),
    };
    let began = host::utc();
    let wants = |bench: &Bench, numbers: &[u8]| numbers.iter().any(|number| bench.options.wants(*number));
    type Measurement = fn(&mut Bench) -> anyhow::Result<()>;
    let measurements: [(&[u8], Measurement); 3] =
        [(&[1, 2, 3], restarts::measure), (&[4], detection::measure), (&[5], simulation::measure)];
    for (numbers, measurement) in measurements {
        if !wants(&bench, numbers) {
            continue;
        }
        if let Err(error) = measurement(&mut bench) {
            stop::check()?;
            let names: Vec<String> = numbers.iter().map(u8::to_string).collect();
            bench.problem(format!("measurement {} ended early: {error:#}", names.join(", ")));
        }
    }
    bench.rows.retain(|row| bench.options.wants(row.number));
    bench.rows.sort_by_key(|row| row.number);
    let unmeasured: Vec<String> =
        bench.rows.iter().filter(|row| row.is_missing()).map(|row| format!("not measured: {}", row.measure)).collect();
    bench.problems.extend(unmeasured);
    table::print(&bench, &began);
    table::write_json(&bench, &began)?;
    Ok(bench.problems.is_empty())
}
