use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use time::OffsetDateTime;

use super::{Context, ledger::read_ledger, policy::PolicyArgs};
use crate::{
    catalog::sha256_file,
    files::open_regular,
    gate::{self, Question},
    model::{Millis, Sha256, count, one_line},
    sign::{Envelope, PublicKey},
};

/// Largest approval or file of revocations that is read: far above one of thousands of cells.
const MAX_FILE: u64 = 256 << 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bootgate verify approval.json --key approver.pub --update build/agent.deb
  bootgate verify approval.json --key approver.pub --update a.msi b.msi --max-age 7d --revocations revocations.jsonl
  bootgate verify approval.json --key approver.pub --update a.msi --policy production.yaml --ring canary

Needs neither the run nor a network. Keys: Ed25519 or P-256 in PEM (`openssl pkey -in approver.pem -pubout`), or an \
OpenSSH public key.
Exit code 0: the key's owner approved these files, and nothing speaks against it; 1: it does not hold; 2: it cannot be \
read.")]
pub struct Args {
    /// What `bootgate approve` wrote
    approval: PathBuf,
    /// The approver's public key
    #[arg(long, value_name = "PUB")]
    key: PathBuf,
    /// The files that are to be deployed: each must be among those that were tested
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    update: Vec<PathBuf>,
    /// How long ago the run's first cell may have ended: 12h, 7d
    #[arg(long, value_name = "TIME")]
    max_age: Option<Millis>,
    /// What `bootgate revoke` wrote; must be there
    #[arg(long, value_name = "FILE")]
    revocations: Option<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    let key = PublicKey::read(&args.key)?;
    let approval = read_envelope(&args.approval)?;
    let mut update: Vec<(String, Sha256)> = Vec::new();
    for path in &args.update {
        let sha256 = sha256_file(path).with_context(|| format!("cannot read {}", path.display()))?;
        update.push((path.display().to_string(), sha256));
    }
    let revocations = args.revocations.as_deref().map(|path| read_ledger(path, &key)).transpose()?;
    let policy = args.policy.read()?.map(|chosen| chosen.policy);
    let question = Question {
        key: &key,
        update: &update,
        max_age: args.max_age,
        now: OffsetDateTime::now_utc(),
        revocations: revocations.as_ref(),
        policy: policy.as_ref(),
        ring: args.policy.ring.as_deref(),
    };
    let shown = args.approval.display();
    let answer = match gate::verify(&approval, &question) {
        Ok(answer) => answer,
        Err(error) if error.is_unreadable() => bail!("{shown} cannot be read: {error}"),
        Err(error) => {
            context.print(&format!("does not hold: {}\n", one_line(&error.to_string())))?;
            return Ok(1);
        }
    };
    if !answer.holds() {
        let lines = answer.against.iter().map(|why| format!("does not hold: {}\n", one_line(why)));
        context.print(&lines.collect::<String>())?;
        return Ok(1);
    }
    let facts = &answer.statement.predicate.bootgate;
    let passed = answer.statement.predicate.passed_tests.len();
    let mut text = format!("holds: {passed} cells passed in the run {}, which ended at {}\n", facts.run, facts.ended);
    let tried = facts.cells.iter().filter(|cell| !cell.control).count();
    if passed < tried {
        let by = facts.policy.as_ref().map_or("", |policy| policy.name.as_str());
        let others = count(tried - passed, "other cell");
        text += &format!("{others} did not, which its policy `{}` allows\n", one_line(by));
    }
    if let Some(ring) = facts.ring() {
        text += &format!("it opens the ring {}\n", one_line(ring));
    }
    let others = answer.not_asked(&update);
    if !others.is_empty() {
        text += &format!("tested together with files that were not given: {}\n", one_line(&others.join(", ")));
    }
    context.print(&text)?;
    Ok(0)
}

/// # Errors
/// It cannot be read, or is no envelope.
pub(super) fn read_envelope(path: &Path) -> anyhow::Result<Envelope> {
    Envelope::parse(read_text(path)?.as_bytes()).with_context(|| format!("{} cannot be read", path.display()))
}

pub(super) fn read_text(path: &Path) -> anyhow::Result<String> {
    read_all(&open_regular(path).with_context(|| format!("cannot read {}", path.display()))?, path)
}

/// What is left of an open file.
pub(super) fn read_all(mut file: &File, path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = (&mut file).take(MAX_FILE + 1).read_to_string(&mut text);
    if read.with_context(|| format!("cannot read {}", path.display()))? as u64 > MAX_FILE {
        bail!("{} is longer than {} MiB, so it is none of bootgate's files", path.display(), MAX_FILE >> 20);
    }
    Ok(text)
}
