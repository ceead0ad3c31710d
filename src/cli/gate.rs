use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::json;
use time::OffsetDateTime;

use super::{
    Context, NotifyArgs,
    plan::Format,
    policy::{Chosen, PolicyArgs},
    signed::{LabKeyArg, read_signed},
};
use crate::{
    gate::{Assessment, RuleOutcome, assess_run},
    model::one_line,
    report::RuleResult,
    run::RunFolder,
};

/// Most cells that are named behind a rule.
const NAMED: usize = 8;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bootgate gate runs/20260102T030405Z-nightly
  bootgate gate runs/20260102T030405Z-nightly --policy production.yaml

Without --policy the rules of the matrix hold, and without those every cell must be healthy and none flaky. docs/policy.md has the rules; `bootgate schema policy` is their \
JSON Schema. Each rule is told with the cells that it rests on. With --ring the rules of that ring hold; whether it may be opened yet, `bootgate approve` asks. The run must be as this machine's own key signed it at its end.
Exit code 0: approved; 1: rejected; 2: the run or the policy cannot be read; 3: inconclusive; 130: the run was cancelled.")]
pub struct Args {
    /// The run's directory, the one with events.jsonl
    run: PathBuf,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    lab_key: LabKeyArg,
    #[command(flatten)]
    notify: NotifyArgs,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &Args, context: &Context) -> anyhow::Result<u8> {
    args.notify.check()?;
    let given = args.policy.read()?;
    let state = read_signed(&args.run, &args.lab_key, context)?.state;
    let start = state.start.as_ref().context("the run has no start")?;
    // The plan is what an approval would be about.
    RunFolder::open(&args.run, state.run.clone(), &start.plan_sha256)?;
    let chosen = given.unwrap_or_else(|| Chosen::of_run(&start.policy));
    let ring = chosen.ring(args.policy.ring.as_deref())?;
    let rules = ring.map_or(&chosen.policy.rules, |ring| &ring.rules);
    let assessment = assess_run(&state, rules, OffsetDateTime::now_utc());
    let text = match args.format {
        Format::Table => told(&assessment, &chosen.policy.name),
        Format::Json => serde_json::to_string_pretty(&for_programs(&assessment, &chosen.policy.name))? + "\n",
    };
    let printed = context.print(&text);
    // A full disk behind standard output is nothing that others need wait for.
    args.notify.tell_of(&state, &assessment.ruling);
    printed?;
    Ok(assessment.ruling.decision.exit_code())
}

fn told(assessment: &Assessment, policy: &str) -> String {
    let width = assessment.rules.iter().map(|rule| rule.rule.len()).max().unwrap_or_default();
    let mut text = String::new();
    for rule in &assessment.rules {
        let sign = match rule.against {
            None => console::style("✓").green(),
            Some(_) => console::style("✗").red(),
        };
        text += &format!("  {sign} {:width$}  {}{}\n", rule.rule, one_line(&rule.says), cells(rule));
    }
    let word = assessment.ruling.decision.as_str().to_uppercase();
    text + &format!("\n  {word}  by the policy `{}`\n", one_line(policy))
}

fn cells(rule: &RuleOutcome) -> String {
    if rule.cells.is_empty() {
        return String::new();
    }
    let named: Vec<&str> = rule.cells.iter().take(NAMED).map(|cell| cell.0.as_str()).collect();
    let more = rule.cells.len() - named.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(": {}{more}", named.join(", "))
}

fn for_programs(assessment: &Assessment, policy: &str) -> serde_json::Value {
    let rules: Vec<RuleResult> = assessment.rules.iter().cloned().map(RuleResult::from).collect();
    json!({
        "decision": assessment.ruling.decision.as_str(),
        "policy": policy,
        "rules": rules,
    })
}
