use std::path::PathBuf;

use anyhow::{Context as _, bail};

use super::{
    Context,
    approve::{LedgerArg, ssh_agent},
    ledger::OpenLedger,
    outs::{is_same, refuse_same},
    verify::read_envelope,
};
use crate::{
    clock::utc_now,
    gate::{Revocation, STATEMENT_PAYLOAD, Statement},
    sign::{Envelope, PrivateKey},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: bootgate revoke approval.json --key approver.pem --reason 'breaks printing, ticket 4711'

Adds a signed line to a file of revocations, which `bootgate verify --revocations FILE` honours, and `bootgate ring` and \
`bootgate approve --ring` as well. Only the key that signed an approval can revoke it.")]
pub struct Args {
    /// The approval
    approval: PathBuf,
    /// The private key that signed it, or the public half of one in the ssh-agent
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Why: shown to whoever verifies the approval
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The file of revocations, made if it is not there [default: revocations.jsonl beside the approval]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    ledger: LedgerArg,
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    if args.reason.trim().is_empty() {
        bail!("say with --reason why: whoever verifies the approval is told");
    }
    let key = PrivateKey::read(&args.key, ssh_agent())?;
    let approval = read_envelope(&args.approval)?;
    let revocation = Revocation::sign(&approval, &key, &args.reason, utc_now())
        .with_context(|| format!("{} cannot be revoked with {}", args.approval.display(), args.key.display()))?;
    let out = args.out.unwrap_or_else(|| args.approval.with_file_name("revocations.jsonl"));
    refuse_same(&out, &[&args.approval, &args.key])?;
    // What has opened a ring must open no other. Both files are looked at before one of them is written.
    let ledger = args.ledger.path(context);
    let ledger = if opens_a_ring(&approval, &key) && !is_same(&ledger, &out) {
        Some(OpenLedger::open(&ledger, &key.public())?)
    } else {
        None
    };
    let mut revocations = OpenLedger::open(&out, &key.public())?;
    revocations.append(&revocation)?;
    if let Some(mut ledger) = ledger {
        let also = ledger.append(&revocation);
        also.with_context(|| format!("it is revoked in {}, and not for rings", out.display()))?;
    }
    context.print(&format!("revoked: {}\n", out.display()))?;
    Ok(0)
}

fn opens_a_ring(approval: &Envelope, key: &PrivateKey) -> bool {
    let payload = approval.open(STATEMENT_PAYLOAD, &key.public()).ok();
    let statement = payload.and_then(|payload| serde_json::from_slice::<Statement>(&payload).ok());
    statement.is_some_and(|statement| statement.predicate.bootgate.ring().is_some())
}
