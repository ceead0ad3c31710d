use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use time::OffsetDateTime;

use super::{
    Context, EXIT_INCONCLUSIVE,
    ledger::{OpenLedger, read_ledger},
    outs::{is_same, refuse_same},
    policy::{Chosen, PolicyArgs},
    signed::{LabKeyArg, SignedRun, read_signed},
    verify::read_text,
};
use crate::{
    files::write_out,
    gate::{self, Approver, Opening, STATEMENT_PAYLOAD, Statement, Unsignable},
    model::one_line,
    run::RunFolder,
    sign::{Envelope, PrivateKey},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bootgate approve runs/20260102T030405Z-nightly --key approver.pem
  bootgate approve runs/20260102T030405Z-nightly --key ~/.ssh/approver --out approval.json
  bootgate approve runs/20260102T030405Z-nightly --key approver.pem --policy production.yaml --ring canary

Keys: Ed25519 in PEM (`openssl genpkey -algorithm ed25519 -out approver.pem`) or as OpenSSH has them \
(`ssh-keygen -t ed25519 -N '' -f approver`), and P-256 in PEM. An OpenSSH public key stands for the key that the \
ssh-agent holds. With an OpenSSH key, a signature for \
`ssh-keygen -Y verify -n bootgate` is written beside the approval, as FILE.sig.

It is decided by --policy, else by the rules of the matrix, else every cell must be healthy and none flaky. An approval \
for a ring needs what came of the ring before it (`bootgate ring record`).

The run must be as this machine's own key signed it at its end.
Exit code 0: approved, and signed as PASSED; 1: rejected, and signed as FAILED; 2: it cannot be read, or is not what the \
lab signed; 3: inconclusive or cancelled, nothing is signed.")]
pub struct Args {
    /// The run's directory, the one with events.jsonl
    run: PathBuf,
    /// The approver's private key, or the public half of one in the ssh-agent
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where to write the approval [default: approval.json in the run's directory]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    ledger: LedgerArg,
    /// A file of revocations: what it revokes is not signed again, and opens no ring
    #[arg(long, value_name = "FILE")]
    revocations: Option<PathBuf>,
    #[command(flatten)]
    lab_key: LabKeyArg,
    /// Says nothing of what is signed.
    #[arg(skip)]
    quiet: bool,
}

impl Args {
    /// For a run that has just ended in this lab, and whose end is told elsewhere.
    pub(super) fn of(run: PathBuf, key: PathBuf, policy: PolicyArgs) -> Self {
        let (ledger, lab_key) = (LedgerArg::default(), LabKeyArg::default());
        Self { run, key, out: None, policy, ledger, revocations: None, lab_key, quiet: true }
    }
}

/// Where it is written which rings were opened.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct LedgerArg {
    /// Which approvals opened which rings, and what came of them [default: rings.jsonl in the state folder]
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
}

impl LedgerArg {
    pub(super) fn path(&self, context: &Context) -> PathBuf {
        self.ledger.clone().unwrap_or_else(|| context.state.rings())
    }
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    let key = PrivateKey::read(&args.key, ssh_agent())?;
    let given = args.policy.read()?;
    let SignedRun { journal, state } = read_signed(&args.run, &args.lab_key, context)?;
    let start = state.start.as_ref().context("the run has no start")?;
    let (_, plan) = RunFolder::open(&args.run, state.run.clone(), &start.plan_sha256)?;
    let chosen = given.unwrap_or_else(|| Chosen::of_run(&start.policy));
    let ring = chosen.ring(args.policy.ring.as_deref())?;
    let Chosen { policy, sha256 } = &chosen;
    let out = args.out.unwrap_or_else(|| args.run.join("approval.json"));
    let ledger_path = args.ledger.path(context);
    let journal_path = args.run.join("events.jsonl");
    let inputs =
        [Some(&args.key), Some(&ledger_path), Some(&journal_path), args.revocations.as_ref(), args.policy.path()];
    refuse_same(&out, &inputs.into_iter().flatten().map(PathBuf::as_path).collect::<Vec<_>>())?;
    // Nobody adds to it between the decision and its line.
    let mut open = ring.map(|_| OpenLedger::open(&ledger_path, &key.public())).transpose()?;
    let mut ledger = open.as_ref().map(|open| open.ledger.clone()).unwrap_or_default();
    // Which may be the same file, and is locked then.
    if let Some(path) = args.revocations.as_ref().filter(|path| open.is_none() || !is_same(path, &ledger_path)) {
        ledger = ledger.with_revocations_of(&read_ledger(path, &key.public())?);
    }
    let approver = Approver {
        policy,
        policy_sha256: sha256.as_ref(),
        opening: ring.and_then(|ring| Opening::of(policy, &ring.name, &ledger)),
        ledger: &ledger,
        now: OffsetDateTime::now_utc(),
    };
    let statement = match gate::approve(&plan, &journal, &state, &approver) {
        Ok(statement) => statement,
        Err(error @ Unsignable::NoFiles) => return Err(error.into()),
        Err(error) => {
            context.print_error(&error.into());
            return Ok(EXIT_INCONCLUSIVE);
        }
    };
    let envelope = Envelope::sign(STATEMENT_PAYLOAD, &serde_json::to_vec(&statement)?, &key)?;
    write(&out, &envelope, &key)?;
    if let Some(open) = &mut open {
        let written = open.append(&envelope);
        written.with_context(|| format!("{} opens no ring: approve again", out.display()))?;
    }
    if !args.quiet {
        context.print(&told(&statement, &key, &out))?;
    }
    Ok(statement.predicate.bootgate.decision.exit_code())
}

/// The approval last: it is there only if all of it is.
fn write(out: &Path, envelope: &Envelope, key: &PrivateKey) -> anyhow::Result<()> {
    let text = envelope.to_line();
    let beside = signature_of(out);
    let failed = |path: &Path| format!("cannot write {}", path.display());
    match key.ssh_signature(text.as_bytes())? {
        Some(signature) => write_out(&beside, signature.as_bytes()).with_context(|| failed(&beside))?,
        // One from before would be of another approval.
        None if is_ssh_signature(&beside) => {
            fs::remove_file(&beside).with_context(|| format!("cannot remove {}", beside.display()))?;
        }
        None => {}
    }
    write_out(out, text.as_bytes()).with_context(|| failed(out))
}

fn is_ssh_signature(path: &Path) -> bool {
    read_text(path).is_ok_and(|text| text.starts_with("-----BEGIN SSH SIGNATURE-----"))
}

/// Where the ssh-agent listens.
pub(super) fn ssh_agent() -> Option<PathBuf> {
    std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty()).map(PathBuf::from)
}

fn signature_of(approval: &Path) -> PathBuf {
    let mut name = approval.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

fn told(statement: &Statement, key: &PrivateKey, out: &Path) -> String {
    let result = &statement.predicate;
    let mut text = format!(
        "{}: {} passed, {} failed; signed by key {}\n",
        result.bootgate.decision.as_str().to_uppercase(),
        result.passed_tests.len(),
        result.failed_tests.len(),
        key.public().id()
    );
    let policy = result.bootgate.policy.as_ref();
    let (name, ring) = policy.map_or(("", None), |policy| (policy.name.as_str(), policy.ring.as_deref()));
    text += &format!(
        "by the policy `{}`{}\n",
        one_line(name),
        ring.map(|ring| format!(", for the ring {ring}")).unwrap_or_default()
    );
    for file in &statement.subject {
        let sha256 = file.digest.get("sha256").map_or("", String::as_str);
        text += &format!("  {sha256}  {}\n", one_line(&file.name));
    }
    for reason in &result.bootgate.reasons {
        text += &format!("  {}\n", one_line(reason));
    }
    text + &format!("{}\n", out.display())
}
