//! How often bootgate is right: the program behind `ci/truth`, which says how to run it.
//!
//! The corpus is `tests/live/runs/{faults,soaked}.yaml`; a `.txt` beside each says what its cells must be found to be.

#[path = "../bench.d/child.rs"]
#[allow(dead_code)]
mod child;
#[path = "../bench.d/host.rs"]
#[allow(dead_code)]
mod host;
#[path = "../bench.d/scratch.rs"]
mod scratch;
#[path = "../bench.d/stop.rs"]
mod stop;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
};

use anyhow::{Context as _, ensure};
use bootgate::{
    event::{self, CellState, RunState},
    model::{Outcome, Phase},
    report::interval,
};
use clap::Parser as _;
use scratch::Scratch;
use serde_json::{Value, json};

/// The matrices whose cells are real faults, and updates that only look like faults.
const CORPUS: [&str; 2] = ["faults", "soaked"];

/// Measures how often bootgate's verdicts are right.
#[derive(Debug, clap::Parser)]
#[command(name = "ci/truth", bin_name = "ci/truth")]
struct Options {
    /// How often the corpus is run under each condition
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    times: u32,
    /// Only under this condition
    #[arg(long, value_enum)]
    only: Option<Condition>,
    /// Where the numbers go
    #[arg(long, value_name = "FILE", default_value = "target/truth/truth.json")]
    json: PathBuf,
    /// Leave the runs in place, and say where
    #[arg(long)]
    keep: bool,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Condition {
    /// Nothing else runs.
    Idle,
    /// As many busy programs as there are cores.
    Loaded,
}

impl Condition {
    fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Loaded => "loaded",
        }
    }
}

/// One cell of one run.
#[derive(Clone, Debug)]
struct Found {
    condition: Condition,
    fault: String,
    expected: String,
    /// `healthy`, or the id of the leading reason.
    found: String,
    outcome: Outcome,
    /// The leading reason in words.
    message: String,
    /// From the begin of the phase in which it was found, in seconds.
    latency: Option<f64>,
}

impl Found {
    fn is_right(&self) -> bool {
        self.found == self.expected
    }
}

/// Progress, for people.
fn say(text: &str) {
    eprintln!("truth: {text}");
}

fn main() -> ExitCode {
    let options = Options::parse();
    match stop::listen().and_then(|()| measure(&options)) {
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

/// True: every verdict was right. Whoever stops it is told what was found until then.
fn measure(options: &Options) -> anyhow::Result<bool> {
    let mut all = Vec::new();
    let ran = run_all(options, &mut all);
    match &ran {
        Err(_) if stop::asked() && !all.is_empty() => say("stopped; what was found until then:"),
        Err(_) => return ran.map(|()| false),
        Ok(()) => {}
    }
    for condition in [Condition::Idle, Condition::Loaded] {
        let of: Vec<&Found> = all.iter().filter(|found| found.condition == condition).collect();
        if !of.is_empty() {
            println!("\n{}: {} cells\n", condition.name(), of.len());
            print_matrix(&of);
        }
    }
    let summary = Summary::of(&all.iter().collect::<Vec<_>>());
    println!("\nall: {}", summary.text());
    write_json(options, &all)?;
    ran.map(|()| summary.wrong() == 0)
}

fn run_all(options: &Options, all: &mut Vec<Found>) -> anyhow::Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = repository.join("tests/live/runs");
    let scratch = Scratch::new(options.keep)?;
    let conditions = [Condition::Idle, Condition::Loaded].into_iter();
    for condition in conditions.filter(|condition| options.only.is_none_or(|only| only == *condition)) {
        let _load = (condition == Condition::Loaded).then(Load::start).transpose()?;
        for turn in 1..=options.times {
            say(&format!("{}, run {turn} of {}", condition.name(), options.times));
            for matrix in CORPUS {
                let expected = expected(&corpus.join(format!("{matrix}.txt")))?;
                let name = format!("{}-{turn}-{matrix}", condition.name());
                let runs = scratch.path().join(&name);
                let mut command = Command::new(env!("CARGO_BIN_EXE_bootgate"));
                command.arg("run").arg(corpus.join(format!("{matrix}.yaml"))).arg("--quiet");
                command.arg("--catalog").arg(repository.join("images/catalog.yaml"));
                command.arg("--runs").arg(&runs).env("BOOTGATE_STATE", scratch.path().join("s"));
                let ran = child::run(command, &scratch, &name)?;
                let (state, journal) = read(&runs).with_context(|| format!("bootgate said:\n{}", ran.tail()))?;
                let found: Vec<Found> =
                    state.permutations().map(|cell| found(condition, &state, cell, &expected)).collect();
                for wrong in found.iter().filter(|found| !found.is_right()) {
                    say(&format!("{} was found to be {}: {}", wrong.fault, wrong.found, wrong.message));
                    keep_journal(&journal, options, &name)?;
                }
                all.extend(found);
            }
        }
    }
    Ok(())
}

/// Lines of a fault and what it must be found to be.
fn expected(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(path)?;
    let pairs = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '));
    Ok(pairs.map(|(fault, found)| (fault.to_owned(), found.trim().to_owned())).collect())
}

fn read(runs: &Path) -> anyhow::Result<(RunState, PathBuf)> {
    let dir = fs::read_dir(runs)?.flatten().next().context("no run directory")?.path();
    let path = dir.join("events.jsonl");
    let journal = event::read(&path)?;
    Ok((RunState::of(journal.run, &journal.events), path))
}

/// A run that was wrong can be looked at later: `bootgate explain DIR CELL`.
fn keep_journal(journal: &Path, options: &Options, name: &str) -> anyhow::Result<()> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join(&options.json);
    let dir = beside.with_file_name("wrong").join(format!("{}-{name}", host::utc().replace(':', "")));
    fs::create_dir_all(&dir)?;
    fs::copy(journal, dir.join("events.jsonl"))?;
    say(&format!("its journal is in {}", dir.display()));
    Ok(())
}

fn found(condition: Condition, state: &RunState, cell: &CellState, expected: &BTreeMap<String, String>) -> Found {
    let fault = cell.planned.axes.iter().find(|axis| axis.axis == "fault").map_or("", |axis| axis.value.as_str());
    let verdict = state.verdict(cell);
    let began = |at| {
        let phases = cell.attempts.last().map_or(&[][..], |attempt| &attempt.phases);
        let within =
            phases.iter().rfind(|span| span.from <= at && !matches!(span.phase, Phase::Collect | Phase::Destroy));
        within.map(|span| span.from)
    };
    let latency = verdict.lead().and_then(|lead| Some(lead.at.since(began(lead.at)?).0 as f64 / 1000.0));
    Found {
        condition,
        fault: fault.to_owned(),
        expected: expected.get(fault).cloned().unwrap_or_default(),
        found: verdict.lead().map_or("healthy".to_owned(), |lead| lead.id.to_string()),
        outcome: verdict.outcome,
        message: verdict.lead().map(|lead| lead.message.clone()).unwrap_or_default(),
        latency,
    }
}

/// How often which kind of mistake was made.
#[derive(Default)]
struct Summary {
    faults: usize,
    healthy: usize,
    false_green: usize,
    false_blame: usize,
    wrong_reason: usize,
    inconclusive: usize,
}

impl Summary {
    fn of(all: &[&Found]) -> Self {
        let mut summary = Self::default();
        for found in all {
            let well = found.expected == "healthy";
            *(if well { &mut summary.healthy } else { &mut summary.faults }) += 1;
            match found.outcome {
                Outcome::Inconclusive => summary.inconclusive += 1,
                Outcome::Healthy => summary.false_green += usize::from(!well),
                Outcome::Unhealthy if well => summary.false_blame += 1,
                Outcome::Unhealthy => summary.wrong_reason += usize::from(found.found != found.expected),
            }
        }
        summary
    }

    fn wrong(&self) -> usize {
        self.false_green + self.false_blame + self.wrong_reason + self.inconclusive
    }

    fn text(&self) -> String {
        let bound = |some, all| format!("{some} of {all} (at most {:.1} %)", interval(some, all).1 * 100.0);
        format!(
            "false greens {}, false blames {}, wrong reasons {}, inconclusive {}",
            bound(self.false_green, self.faults),
            bound(self.false_blame, self.healthy),
            bound(self.wrong_reason, self.faults),
            bound(self.inconclusive, self.faults + self.healthy)
        )
    }
}

fn print_matrix(all: &[&Found]) {
    let mut rows: BTreeMap<(&str, &str), Vec<&Found>> = BTreeMap::new();
    for found in all {
        rows.entry((&found.expected, &found.fault)).or_default().push(found);
    }
    println!("{:<36} {:<18} {:<34} {:>12}", "cell", "must be", "was found to be", "latency, s");
    for ((expected, fault), cells) in &rows {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        cells.iter().for_each(|cell| *counts.entry(&cell.found).or_default() += 1);
        let counts: Vec<String> = counts.iter().map(|(found, count)| format!("{found} {count}")).collect();
        let longest = cells.iter().filter_map(|cell| cell.latency).reduce(f64::max);
        let longest = longest.map_or(String::new(), |longest| format!("{longest:.1}"));
        let mark = if cells.iter().all(|cell| cell.is_right()) { ' ' } else { '!' };
        println!("{fault:<36} {expected:<18} {:<34} {longest:>12} {mark}", counts.join(", "));
    }
    println!("{}", Summary::of(all).text());
}

/// How often what was wrong, with the upper ends of the 95 % intervals.
fn rates(all: &[&Found]) -> Value {
    let summary = Summary::of(all);
    let bound = |some, all| json!({"count": some, "of": all, "upper_bound_95": interval(some, all).1});
    json!({
        "false_green": bound(summary.false_green, summary.faults),
        "false_blame": bound(summary.false_blame, summary.healthy),
        "wrong_reason": bound(summary.wrong_reason, summary.faults),
        "inconclusive": bound(summary.inconclusive, all.len()),
    })
}

fn write_json(options: &Options, all: &[Found]) -> anyhow::Result<()> {
    let cells: Vec<Value> = all
        .iter()
        .map(|found| {
            json!({
                "condition": found.condition.name(), "fault": found.fault, "expected": found.expected,
                "found": found.found, "outcome": found.outcome, "message": found.message, "latency_s": found.latency,
            })
        })
        .collect();
    let conditions = [None, Some(Condition::Idle), Some(Condition::Loaded)];
    let rates: BTreeMap<&str, Value> = conditions
        .into_iter()
        .map(|condition| {
            let of: Vec<&Found> =
                all.iter().filter(|found| condition.is_none_or(|condition| condition == found.condition)).collect();
            (condition.map_or("together", Condition::name), rates(&of))
        })
        .collect();
    let about = json!({"ended": host::utc(), "host": host::facts(), "rates": rates, "cells": cells});
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&options.json);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&path, serde_json::to_string_pretty(&about)? + "\n")?;
    say(&format!("every number is in {}", path.display()));
    Ok(())
}

/// Programs that keep every core busy until this is dropped.
struct Load(Vec<Child>);

impl Load {
    fn start() -> anyhow::Result<Self> {
        let mut load = Self(Vec::new());
        for _ in 0..host::cores() {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
            load.0.push(command.spawn()?);
        }
        ensure!(!load.0.is_empty(), "no core to load");
        Ok(load)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
