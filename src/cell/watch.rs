use std::time::Duration;

use tokio::time::Instant;

use super::{life::Cellmate, observe::Observer, rest, settle, step};
use crate::model::{Millis, Phase};

/// How long a machine that came back from a crash has to stay up.
const STABLE: Duration = Duration::from_secs(10);

/// Looks at the settled machine for a while: late crashes, an agent that dies; and for longer while it is still
/// busy. False: the judge is over.
pub(super) async fn watch(watcher: &mut Observer, mate: &Cellmate<'_>, length: Millis) -> bool {
    watcher.enter(Phase::Watch);
    let deadline = Instant::now() + length.as_duration().saturating_sub(rest::LOOKING);
    watcher.watch(deadline, |judge| judge.is_over() || judge.is_recovering()).await;
    rest::wait(watcher, mate).await;
    if !watcher.judge.is_over() && !watcher.judge.is_recovering() {
        still_there(watcher, mate).await;
    }
    // Whether it comes back, and stays, decides between a crash and a loop.
    while watcher.judge.is_recovering() && settle::settle(watcher, mate).await {
        let deadline = Instant::now() + length.as_duration().max(STABLE);
        watcher.watch(deadline, |judge| judge.is_over() || judge.is_recovering()).await;
        if watcher.is_cancelled() {
            break;
        }
    }
    if watcher.judge.is_over() {
        return false;
    }
    watcher.leave(Phase::Watch);
    !watcher.judge.is_over()
}

/// The watch ends with an agent that answers.
async fn still_there(watcher: &mut Observer, mate: &Cellmate<'_>) {
    let ping = async { mate.agent(Duration::from_secs(10)).ping().await };
    if let Some(Err(_)) = watcher.until(ping).await {
        step::wait_for_agent(watcher, mate, mate.quiet().as_duration()).await;
    }
}
