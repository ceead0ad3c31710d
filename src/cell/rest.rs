//! Whether a settled machine is really done, seen from outside: an agent answers, and services say that they have begun,
//! while an update is still being applied.

use std::time::Duration;

use super::{life::Cellmate, observe::Observer, patience::Patience, settle, step};
use crate::event::Level;

/// Between two looks at what the samples say.
const SPAN: Duration = Duration::from_secs(1);

/// How long looking takes at least, of a machine that is at rest.
pub(super) const LOOKING: Duration = Duration::from_secs(2);

/// The agent of a busy machine is asked after every so many samples.
const ASKED: u32 = 5;

/// A machine that is busy for longer is told of.
const TELL: Duration = Duration::from_secs(5);

/// Waits until the settled machine is at rest, for as long as a boot may take: then it goes on all the same, and the
/// comparison with the control says what that means. Ends early when the machine resets itself, or
/// the judge is over.
pub(super) async fn wait(watcher: &mut Observer, mate: &Cellmate<'_>) {
    let patience = Patience::new(watcher, mate.limits().boot.as_duration()).await;
    let (mut told, mut asked) = (false, 0);
    while watcher.judge.is_settled() && patience.left(watcher).await.is_some() {
        if watcher.pause(SPAN).await.is_none() || watcher.is_cancelled() {
            return;
        }
        if watcher.judge.is_at_rest() && patience.elapsed() >= LOOKING {
            return;
        }
        asked += 1;
        if asked % ASKED == 0 && !answers(watcher, mate).await {
            return;
        }
        if !told && patience.elapsed() >= TELL {
            told = true;
            let doing = watcher.judge.doing().map(|activity| format!(" ({activity})")).unwrap_or_default();
            watcher.note(Level::Info, format!("the machine has settled and is still busy{doing}: waiting for it"));
        }
    }
}

/// Whether the agent answers, sooner or later: what spins may be all that is left of the machine. Not: the judge is over, or
/// the machine has reset itself.
async fn answers(watcher: &mut Observer, mate: &Cellmate<'_>) -> bool {
    match watcher.until(async { mate.agent(SPAN * 5).ping().await }).await {
        Some(Ok(())) => true,
        Some(Err(_)) => step::wait_for_agent(watcher, mate, mate.quiet().as_duration()).await.is_some(),
        None => false,
    }
}

/// The same before a restart is asked for, which would interrupt what is still being applied; a machine that resets
/// itself meanwhile settles first. False: the judge is over.
pub(super) async fn before_restart(watcher: &mut Observer, mate: &Cellmate<'_>) -> bool {
    loop {
        wait(watcher, mate).await;
        if watcher.judge.is_over() {
            return false;
        }
        if watcher.judge.is_settled() {
            return true;
        }
        if !settle::settle(watcher, mate).await {
            return false;
        }
    }
}
