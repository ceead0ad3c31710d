use std::{
    fs::OpenOptions,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Context,
    approve::ssh_agent,
    verify::{read_envelope, read_text},
};
use crate::{
    gate::{Revocation, Revocations},
    sign::{Envelope, PrivateKey},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: bootgate revoke approval.json --key approver.pem --reason 'breaks printing, ticket 4711'

Adds a signed line to a file of revocations, which `bootgate verify --revocations FILE` honours. Only the key that
signed an approval can revoke it.")]
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
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    let key = PrivateKey::read(&args.key, ssh_agent())?;
    let approval = read_envelope(&args.approval)?;
    let utc = OffsetDateTime::now_utc().format(&Rfc3339)?;
    let revocation = Revocation::sign(&approval, &key, &args.reason, utc)
        .with_context(|| format!("{} cannot be revoked with {}", args.approval.display(), args.key.display()))?;
    let out = args.out.unwrap_or_else(|| args.approval.with_file_name("revocations.jsonl"));
    append(&out, &revocation, &key)?;
    context.print(&format!("revoked: {}\n", out.display()))?;
    Ok(0)
}

/// A line behind one that is damaged would be of no use.
fn append(out: &Path, revocation: &Envelope, key: &PrivateKey) -> anyhow::Result<()> {
    if out.exists() {
        Revocations::read(&read_text(out)?, &key.public())
            .with_context(|| format!("nothing is added to {}, which is damaged", out.display()))?;
    }
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(out)
        .with_context(|| format!("cannot open {}", out.display()))?;
    let written = file.write_all(revocation.to_line().as_bytes()).and_then(|()| file.sync_data());
    written.with_context(|| format!("cannot write {}", out.display()))
}
