//! The answer: a table for people, JSON for programs.

use std::fs;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{Bench, host, say};

/// One line of the table.
pub struct Row {
    pub number: u8,
    pub measure: String,
    value: Option<f64>,
    unit: &'static str,
    goal: Option<Goal>,
    optional: bool,
}

#[derive(Clone, Copy)]
enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Row {
    pub fn new(number: u8, measure: impl Into<String>) -> Self {
        Self { number, measure: measure.into(), value: None, unit: "", goal: None, optional: false }
    }

    pub fn value(self, value: f64, unit: &'static str) -> Self {
        self.maybe(Some(value), unit)
    }

    /// None: it could not be measured.
    pub fn maybe(self, value: Option<f64>, unit: &'static str) -> Self {
        Self { value: value.filter(|value| value.is_finite()), unit, ..self }
    }

    pub fn at_least(self, goal: f64) -> Self {
        Self { goal: Some(Goal::AtLeast(goal)), ..self }
    }

    pub fn at_most(self, goal: f64) -> Self {
        Self { goal: Some(Goal::AtMost(goal)), ..self }
    }

    /// A number beside another one: the benchmark is whole without it.
    pub fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    pub fn is_missing(&self) -> bool {
        self.value.is_none() && !self.optional
    }

    fn met(&self) -> Option<bool> {
        Some(match self.goal? {
            Goal::AtLeast(goal) => self.value? >= goal,
            Goal::AtMost(goal) => self.value? <= goal,
        })
    }

    fn cells(&self) -> [String; 4] {
        let value = self.value.map_or("not measured".to_owned(), |value| shown(value, self.unit));
        let goal = match self.goal {
            Some(Goal::AtLeast(goal)) => format!(">= {}", shown(goal, self.unit)),
            Some(Goal::AtMost(goal)) => format!("<= {}", shown(goal, self.unit)),
            None => String::new(),
        };
        let met = self.met().map_or("", |met| if met { "met" } else { "MISSED" });
        [self.measure.clone(), value, goal, met.to_owned()]
    }

    fn json(&self) -> Value {
        let (at_least, at_most) = match self.goal {
            Some(Goal::AtLeast(goal)) => (Some(goal), None),
            Some(Goal::AtMost(goal)) => (None, Some(goal)),
            None => (None, None),
        };
        json!({
            "measurement": self.number, "measure": self.measure.trim(), "value": self.value, "unit": self.unit,
            "at_least": at_least, "at_most": at_most, "met": self.met(),
        })
    }
}

fn shown(value: f64, unit: &str) -> String {
    let number = if value.fract() == 0.0 && unit.is_empty() {
        format!("{value}")
    } else if value.abs() < 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.1}")
    };
    if unit.is_empty() { number } else { format!("{number} {unit}") }
}

pub fn print(bench: &Bench, began: &str) {
    let facts = host::facts();
    let text = |key: &str| facts[key].as_str().unwrap_or("unknown").to_owned();
    println!();
    println!("  {began}  {} cores, {}, {}", facts["cores"], text("cpu"), text("os"));
    println!("  {}, libvirt {}", text("qemu"), text("libvirt"));
    let head = ["measure", "value", "goal", ""].map(str::to_owned);
    let lines: Vec<[String; 4]> = bench.rows.iter().map(Row::cells).collect();
    let width =
        |column: usize| lines.iter().chain([&head]).map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    let show = |number: &str, line: &[String; 4]| {
        let [measure, value, goal, met] = line;
        let [a, b, c] = widths;
        let line = format!("  {number:<2} {measure:<a$}  {value:>b$}  {goal:<c$}  {met}");
        println!("{}", line.trim_end());
    };
    println!();
    show("", &head);
    let mut last = 0;
    for (row, line) in bench.rows.iter().zip(&lines) {
        let number = if row.number == last { String::new() } else { row.number.to_string() };
        last = row.number;
        show(&number, line);
    }
    println!();
    for problem in &bench.problems {
        println!("  PROBLEM  {problem}");
    }
}

pub fn write_json(bench: &Bench, began: &str) -> anyhow::Result<()> {
    let path = &bench.options.json;
    let whole = json!({
        "version": 1,
        "date": began,
        "bootgate": host::first_line(&bench.program.to_string_lossy(), "--version"),
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
        "host": host::facts(),
        "accelerator": bench.raw.get("live_run").map_or(Value::Null, |run| run["accelerator"].clone()),
        "cells": bench.options.cells,
        "rows": bench.rows.iter().map(Row::json).collect::<Vec<_>>(),
        "problems": bench.problems,
        "raw": bench.raw,
    });
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let text = serde_json::to_string_pretty(&whole)? + "\n";
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    say(&format!("every number is in {}", path.display()));
    Ok(())
}
