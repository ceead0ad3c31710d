use std::{collections::BTreeSet, path::PathBuf};

use anyhow::bail;

use super::{
    Context,
    approve::{LedgerArg, ssh_agent},
    ledger::{OpenLedger, read_ledger, read_ledger_or_none},
    table::{minute, table},
    verify::read_envelope,
};
use crate::{
    clock::utc_now,
    gate::{Descriptor, Ledger, Opening, RingResult, RingState, Standing, standings},
    matrix::read_policy,
    model::{ApprovalPolicy, count, one_line},
    sign::{PrivateKey, PublicKey},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Rings get an update one after the other (`rings` in the policy). For each of them:
  bootgate approve RUN --key approver.pem --policy production.yaml --ring lab
  ... deploy it there, where `bootgate verify --ring lab` allows it ...
  bootgate ring record RUN/approval.json --key approver.pem --passed --machines 40
and the next ring can be approved once its time there is over.")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Sign what came of an update in the ring that its approval opened
    Record(Record),
    /// Show where each candidate stands
    Status(Status),
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("result").required(true).args(["passed", "failed"]))]
#[command(after_help = "\
Examples:
  bootgate ring record approval.json --key approver.pem --passed --machines 40
  bootgate ring record approval.json --key approver.pem --failed --note 'printing stopped on two machines'

One failure bars the next ring, whatever else is recorded of the same approval.
Exit code 0: recorded; 2: it cannot be read, or opened no ring.")]
struct Record {
    /// The approval that opened the ring
    approval: PathBuf,
    /// The private key that signed it, or the public half of one in the ssh-agent
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// All is well there
    #[arg(long)]
    passed: bool,
    /// Something is not
    #[arg(long)]
    failed: bool,
    /// How many machines got the update
    #[arg(long, value_name = "N")]
    machines: Option<u32>,
    /// For whoever reads it
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    #[command(flatten)]
    ledger: LedgerArg,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bootgate ring status --key approver.pub --policy production.yaml
  bootgate ring status --key approver.pub --ledger rings.jsonl --revocations revocations.jsonl

With a policy, rings that were not opened are shown too, and what the next one waits for.
Exit code 0: shown; 2: it cannot be read.")]
struct Status {
    /// The approver's public key: what others signed is not shown
    #[arg(long, value_name = "PUB")]
    key: PathBuf,
    /// The policy with the rings
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    ledger: LedgerArg,
    /// A file of revocations
    #[arg(long, value_name = "FILE")]
    revocations: Option<PathBuf>,
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    match args.verb {
        Verb::Record(args) => record(&args, context),
        Verb::Status(args) => status(&args, context),
    }
}

fn record(args: &Record, context: &Context) -> anyhow::Result<u8> {
    let key = PrivateKey::read(&args.key, ssh_agent())?;
    let approval = read_envelope(&args.approval)?;
    let cannot =
        |error| anyhow::Error::from(error).context(format!("nothing is recorded of {}", args.approval.display()));
    let (line, result) =
        RingResult::sign(&approval, &key, (args.passed, args.machines, &args.note), utc_now()).map_err(cannot)?;
    let path = args.ledger.path(context);
    let mut open = OpenLedger::open(&path, &key.public())?;
    let known = open.ledger.approvals.iter().find(|(sha256, _)| *sha256 == result.approval_sha256);
    let Some((sha256, statement)) = known else {
        bail!("{} has no such approval: give the --ledger that it was signed with", path.display());
    };
    if let Some(revocation) = open.ledger.revokes(sha256, statement) {
        bail!("the approval was revoked at {}: {}", revocation.utc, revocation.reason);
    }
    open.append(&line)?;
    let ring = one_line(&result.ring);
    let word = if args.passed { "passed" } else { "failed" };
    let mut text = format!("{word} in the ring {ring}: {}\n", path.display());
    let others = open.ledger.approvals.iter().filter(|(sha256, statement)| {
        *sha256 != result.approval_sha256
            && statement.is_approval()
            && statement.shares_all_with(&result.subject)
            && open.ledger.revokes(sha256, statement).is_none()
    });
    let others: Vec<String> = others.filter_map(|(_, other)| other.predicate.bootgate.ring().map(one_line)).collect();
    if args.failed && !others.is_empty() {
        text += &format!(
            "approvals of these files for the rings {} still hold where they are verified: `bootgate revoke` takes them back\n",
            others.join(", ")
        );
    }
    if args.passed
        && open.ledger.results.iter().any(|other| !other.passed && other.approval_sha256 == result.approval_sha256)
    {
        text += "a failure was recorded of the same approval before, and counts\n";
    }
    context.print(&text)?;
    Ok(0)
}

fn status(args: &Status, context: &Context) -> anyhow::Result<u8> {
    let key = PublicKey::read(&args.key)?;
    let path = args.ledger.path(context);
    let mut ledger = read_ledger_or_none(&path, &key)?;
    if let Some(path) = &args.revocations {
        ledger = ledger.with_revocations_of(&read_ledger(path, &key)?);
    }
    let policy = args.policy.as_deref().map(read_policy).transpose()?.map(|(policy, _)| policy);
    let all = standings(&ledger);
    if all.is_empty() {
        context.print(&format!("{}: nothing that this key signed opened a ring\n", path.display()))?;
        return Ok(0);
    }
    let rows: Vec<[String; 4]> = all.iter().flat_map(|standing| rows(standing, policy.as_ref(), &ledger)).collect();
    context.print(&table(["CANDIDATE", "RING", "SINCE", "STATE"], &rows))?;
    Ok(0)
}

fn rows(standing: &Standing<'_>, policy: Option<&ApprovalPolicy>, ledger: &Ledger) -> Vec<[String; 4]> {
    let row =
        |ring: &str, since: &str, state: String| [String::new(), one_line(ring), one_line(since), one_line(&state)];
    let mut rows: Vec<[String; 4]> =
        standing.rings.iter().map(|(ring, since, state)| row(ring, &minute(since), told(state))).collect();
    let opened: BTreeSet<&str> = standing.rings.iter().map(|(ring, ..)| *ring).collect();
    let closed = policy.iter().flat_map(|policy| &policy.rings).filter(|ring| !opened.contains(ring.name.as_str()));
    for (n, ring) in closed.enumerate() {
        let opening = policy.and_then(|policy| Opening::of(policy, &ring.name, ledger)).filter(|_| n == 0);
        let state =
            opening.map(|opening| opening.try_with(standing.subject).outcome).map(|outcome| match outcome.against {
                None => format!("can be approved: {}", outcome.says),
                Some(_) => format!("closed: {}", outcome.says),
            });
        rows.push(row(&ring.name, "", state.unwrap_or_else(|| "closed".to_owned())));
    }
    if let Some(first) = rows.first_mut() {
        first[0] = name(standing.subject);
    }
    rows
}

fn name(subject: &[Descriptor]) -> String {
    let Some(first) = subject.first() else { return "?".to_owned() };
    let digest: String = first.digest.get("sha256").into_iter().flat_map(|sha256| sha256.chars().take(12)).collect();
    let more =
        if subject.len() > 1 { format!(" and {}", count(subject.len() - 1, "more file")) } else { String::new() };
    one_line(&format!("{} {digest}{more}", first.name))
}

fn told(state: &RingState<'_>) -> String {
    let of = |result: &RingResult| {
        let machines = result.machines.map(|n| format!(", {}", count(n as usize, "machine"))).unwrap_or_default();
        let note = if result.note.is_empty() { String::new() } else { format!(": {}", result.note) };
        format!("at {}{machines}{note}", minute(&result.utc))
    };
    match state {
        RingState::Rejected => "rejected".to_owned(),
        RingState::Revoked { utc, reason } => format!("revoked at {}: {reason}", minute(utc)),
        RingState::Open => "open, nothing has come back yet".to_owned(),
        RingState::Passed(result) => format!("passed {}", of(result)),
        RingState::Failed(result) => format!("failed {}", of(result)),
    }
}
