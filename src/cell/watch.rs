use std::time::Duration;

use super::{life::Cellmate, observe::Observer, patience::Deadline, rest, settle, state, step};
use crate::model::{Millis, Phase, SignalKind};

/// How long a machine that came back from a crash has to stay up.
const STABLE: Duration = Duration::from_secs(10);

/// How long one small request to the agent may take.
const REQUEST: Duration = Duration::from_secs(10);

/// Looks at the settled machine for a while: late crashes, an agent that dies; and for longer while it is still
/// busy. False: the judge is over.
pub(super) async fn watch(watcher: &mut Observer, mate: &Cellmate<'_>, length: Millis) -> bool {
    watcher.enter(Phase::Watch);
    loop {
        look(watcher, mate, length.as_duration().saturating_sub(rest::LOOKING)).await;
        rest::wait(watcher, mate).await;
        if !watcher.judge.is_over() && watcher.judge.is_settled() {
            still_there(watcher, mate).await;
        }
        if watcher.judge.is_over() || watcher.judge.is_recovering() || watcher.judge.is_settled() {
            break;
        }
        // It restarts by itself, as it may: the boot that follows is what is watched.
        if !settle::settle(watcher, mate).await || !state::first_look(watcher, mate).await {
            return false;
        }
    }
    while watcher.judge.is_recovering() && settle::settle(watcher, mate).await {
        stays(watcher, mate, length.as_duration()).await;
    }
    if watcher.judge.is_over() {
        return false;
    }
    watcher.leave(Phase::Watch);
    !watcher.judge.is_over()
}

/// Whether a machine that came back from a crash stays up decides between a crash and a loop. Looks so long, or longer.
pub(super) async fn stays(watcher: &mut Observer, mate: &Cellmate<'_>, length: Duration) {
    while watcher.judge.came_back() && !watcher.is_cancelled() {
        look(watcher, mate, length.max(STABLE)).await;
        if !watcher.judge.is_recovering() || !settle::settle(watcher, mate).await {
            break;
        }
    }
}

/// A time in which bootgate stood still is none in which it looked.
async fn look(watcher: &mut Observer, mate: &Cellmate<'_>, length: Duration) {
    let deadline = Deadline::new(&mate.job.lab, length);
    while !watcher.watch(deadline.at(), |judge| judge.is_over() || !judge.is_settled()).await
        && !deadline.is_over()
        && !watcher.is_cancelled()
    {}
}

/// The watch ends with an agent that answers, in the same boot: a kernel that starts another one (kexec) resets no machine.
async fn still_there(watcher: &mut Observer, mate: &Cellmate<'_>) {
    let ping = async { mate.agent(REQUEST).ping().await };
    if let Some(Err(_)) = watcher.until_unsampled(ping).await {
        step::wait_for_agent(watcher, mate, mate.quiet().as_duration()).await;
    }
    let boot = watcher.boot;
    if let Some(Ok(Some(id))) = watcher.until_unsampled(settle::boot_id_in_file(mate)).await
        && watcher.boot == boot
        && watcher.boot_id.as_ref().is_some_and(|(of, known)| *of == boot && *known != id)
    {
        watcher.emit(SignalKind::BootId { id });
    }
}
