//! `bootgate watch`: every candidate that comes into a folder gets its run, its reports and its approval.
//!
//! When a file is complete and what is next is decided in [`crate::watch`], which looks at the folder on a thread of its
//! own. Here the runs are made, one after the other.

mod matrix;
mod place;
mod say;
mod status;
mod turn;
mod worker;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::sync::{Notify, oneshot};

use self::{
    matrix::Asked,
    place::Place,
    say::{Say, utc_now},
    worker::Worker,
};
use super::{
    Context, EXIT_USAGE, NotifyArgs, approve,
    policy::{Chosen, PolicyArgs},
    select::MatrixArgs,
    session::{LabArgs, RoomArgs, Stop, stoppable},
};
use crate::{
    event::Decision,
    gate::heavier,
    model::{Millis, Plan},
    sign::PrivateKey,
    watch::{Folder, Halt, Looker, Names, Queue, QueueFile, Record, State, Store, There},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bootgate watch /srv/vendor --matrix matrices/agent.yaml --key approver.pem
  bootgate watch /srv/vendor --matrix matrices/agent.yaml --match '*.msi' --set channel=beta
  bootgate watch /srv/vendor --matrix matrices/agent.yaml --status

A candidate is a regular file directly in DIR whose name is neither hidden nor that of an unfinished download. It is tested \
once nothing has changed about it for the settle time; what is tested is a copy of those bytes. Runs wait in line, which is \
kept in the state folder: after a restart the interrupted run goes on. The same bytes are tested again only if the matrix \
has changed. docs/watch.md tells more, and docs/bootgate-watch.service is a unit for systemd.

Ctrl-C once stops cleanly; twice stops now. Exit code: 130 stopped; 2 usage or configuration. With --once, the worst answer \
to what is there: 0 all approved; 1 an update broke something; 2 one cannot be tested; 3 inconclusive, or a file has no \
answer yet.")]
pub struct Args {
    /// The folder that candidates come into
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The matrix that each candidate is tested with; it is read anew for each
    #[arg(long, value_name = "FILE")]
    matrix: PathBuf,
    #[command(flatten)]
    with: MatrixArgs,
    /// Only files with such names: `*` stands for any text, `?` for one character (repeatable)
    #[arg(long = "match", value_name = "GLOB")]
    globs: Vec<String>,
    /// How long a file must stay the same to be complete
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = settle_time)]
    settle: Millis,
    /// How often all of the folder is looked at, for what nobody was told of: file servers tell nothing
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = settle_time)]
    rescan: Millis,
    /// Sign each answer with this key, as `bootgate approve` does
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    policy: PolicyArgs,
    /// How often inconclusive cells are tested again, once what waits has been tested
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(..=100))]
    retry: u32,
    /// Where run directories are made
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
    /// Test what is there now, then end
    #[arg(long)]
    once: bool,
    /// Print the line and the answers so far, and start nothing
    #[arg(long, conflicts_with = "once")]
    status: bool,
    #[command(flatten)]
    room: RoomArgs,
    #[command(flatten)]
    lab: LabArgs,
    #[command(flatten)]
    notify: NotifyArgs,
}

/// Below this, two looks at a file tell nothing: file systems keep its times in steps of up to 10 ms.
const SHORTEST: Millis = Millis(100);
/// Longest that the thread that looks at the folder is waited for: it may be stuck in a file server.
const PATIENCE: Duration = Duration::from_secs(2);

fn settle_time(text: &str) -> Result<Millis, String> {
    let time: Millis = text.parse().map_err(|error: crate::model::ParseUnitError| error.to_string())?;
    if time < SHORTEST { Err(format!("at least {SHORTEST}")) } else { Ok(time) }
}

pub fn run(args: Args, context: &Context) -> anyhow::Result<u8> {
    let place = Place::of(&args.dir, &args.matrix, &context.state);
    if args.status {
        return status::print(&place, context);
    }
    // Whatever can be wrong is told before anything is watched.
    let names = place.leave_out(Names::matching(&args.globs).map_err(anyhow::Error::msg)?, &args);
    let folder = Folder::new(place.dir.clone(), names);
    folder.scan().with_context(|| format!("cannot watch {}", args.dir.display()))?;
    args.notify.check()?;
    let asked = Asked::of(&args);
    let (warnings, plan) = asked.check()?;
    context.print_diagnostics(&warnings);
    check_signing(&args, plan.as_ref())?;
    let mut queue = place.open(&context.state)?;
    forget_inconclusive(&mut queue)?;
    let store = Store::open(place.copies()).context("cannot keep copies of candidates")?;
    let open = queue.queue().entries().iter().filter(|entry| entry.is_open());
    store.sweep(&open.map(|entry| entry.sha256.clone()).collect()).context("cannot tidy up copies of candidates")?;

    let say = Arc::new(Say::new(&args.dir));
    say.begin(&args.dir, &args.matrix, queue.queue());
    let queue = Arc::new(Mutex::new(queue));
    let halt = Arc::new(Halt::new()?);
    let times = (args.settle, args.rescan);
    let looker = Looker::new(folder, store.clone(), queue.clone(), times, halt.clone(), Box::new(asked.clone()));
    stoppable(async |stop: &Stop| {
        let news = Arc::new(Notify::new());
        let mut looking = look(looker, args.once, say.clone(), queue.clone(), news.clone());
        let mut worker = Worker::new(&args, context, &asked, &say, queue.clone(), &store, &news, stop);
        let (there, result) = if args.once {
            let there = tokio::select! {
                there = &mut looking => there.ok(),
                () = stop.interrupt.cancelled() => None,
            };
            (there, worker.work(true).await)
        } else {
            (None, work_while_looking(&mut worker, looking, &halt, stop).await)
        };
        halt.set();
        say.end();
        let code = result?;
        if stop.interrupt.is_cancelled() {
            return Ok(Decision::Cancelled.exit_code());
        }
        let queue = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let question = asked.question();
        // Nobody knows what was there if the one who looked did not come back.
        let there = there.unwrap_or(There { complete: Vec::new(), left: 1 });
        Ok(answer(queue.queue(), &there, question.as_ref()).into_iter().fold(code, worse))
    })
}

/// Whether answers could be signed.
fn check_signing(args: &Args, plan: Option<&Plan>) -> anyhow::Result<()> {
    let Some(key) = &args.key else {
        return match args.policy.is_given() {
            true => bail!("--policy and --ring are about what is signed: give --key FILE"),
            false => Ok(()),
        };
    };
    PrivateKey::read(key, approve::ssh_agent())?;
    let of_matrix = plan.map(|plan| Chosen::of_run(&plan.approval));
    if let Some(chosen) = args.policy.read()?.or(of_matrix) {
        chosen.ring(args.policy.ring.as_deref())?;
    }
    Ok(())
}

/// Whoever starts us again has perhaps mended the lab.
fn forget_inconclusive(queue: &mut QueueFile) -> anyhow::Result<()> {
    let entries = queue.queue().entries().iter();
    let forgotten: Vec<u64> = entries.filter(|entry| entry.may_be_forgotten()).map(|entry| entry.id).collect();
    for entry in forgotten {
        queue.append(&utc_now(), &Record::Forgotten { entry })?;
    }
    Ok(())
}

/// Looks at the folder on a thread of its own, which says when it has ended.
fn look(
    looker: Looker,
    once: bool,
    say: Arc<Say>,
    queue: Arc<Mutex<QueueFile>>,
    news: Arc<Notify>,
) -> oneshot::Receiver<There> {
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || {
        let mut tell = |seen: crate::watch::Seen<'_>| {
            say.seen(&seen, &queue);
            news.notify_one();
        };
        let there = if once {
            looker.run_once(&mut tell)
        } else {
            looker.run(&mut tell);
            There { complete: Vec::new(), left: 0 }
        };
        let _ = sender.send(there);
    });
    receiver
}

/// Works until it is stopped. Without anybody who looks at the folder that would be no watching: whoever started us is to
/// start us again.
async fn work_while_looking(
    worker: &mut Worker<'_>,
    mut looking: oneshot::Receiver<There>,
    halt: &Halt,
    stop: &Stop,
) -> anyhow::Result<u8> {
    let mut working = std::pin::pin!(worker.work(false));
    let result = tokio::select! {
        result = &mut working => result,
        _ = &mut looking => {
            stop.interrupt.cancel();
            working.await?;
            bail!("internal error: the folder is not looked at any more")
        }
    };
    halt.set();
    let _ = tokio::time::timeout(PATIENCE, looking).await;
    result
}

/// What exit codes stand for the files that are there. No answer is no approval.
fn answer(queue: &Queue, there: &There, question: Option<&crate::model::Sha256>) -> Vec<u8> {
    let undecided = Decision::Inconclusive.exit_code();
    let of = |sha256| match queue.known(sha256, question).map(|entry| &entry.state) {
        Some(State::Ended { decision, .. }) => decision.exit_code(),
        Some(State::Refused { .. }) => EXIT_USAGE,
        _ => undecided,
    };
    let left = (there.left > 0).then_some(undecided);
    there.complete.iter().map(of).chain(left).collect()
}

/// Of two exit codes the one that stands when both hold. That of no decision, a usage error, is heavier than any.
fn worse(a: u8, b: u8) -> u8 {
    let decisions = [Decision::Approved, Decision::Rejected, Decision::Inconclusive, Decision::Cancelled];
    let of = |code: u8| decisions.into_iter().find(|decision| decision.exit_code() == code);
    match (of(a), of(b)) {
        (Some(a), Some(b)) => heavier(a, b).exit_code(),
        (None, _) => a,
        (_, None) => b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_answer_stands() {
        assert_eq!([0, 3, 0].into_iter().fold(0, worse), 3);
        assert_eq!([3, 1, 0].into_iter().fold(0, worse), 1);
        assert_eq!([1, 130, 3].into_iter().fold(0, worse), 130);
        assert_eq!([1, 2, 130].into_iter().fold(0, worse), 2);
        let there = There { complete: vec![crate::model::Sha256::of(b"never seen")], left: 0 };
        assert_eq!(answer(&Queue::default(), &there, None), [3]);
        assert_eq!(answer(&Queue::default(), &There { complete: Vec::new(), left: 2 }, None), [3]);
    }

    #[test]
    fn a_time_in_which_nothing_can_be_seen_is_refused() {
        assert_eq!(settle_time("10s"), Ok(Millis(10_000)));
        assert!(settle_time("0s").unwrap_err().contains("at least 100 ms"));
        assert!(settle_time("10").unwrap_err().contains("30s"));
    }
}
