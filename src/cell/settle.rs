use std::time::Duration;

use super::{life::Cellmate, observe::Observer, patience::Patience};
use crate::{guest::BootId, lab::AgentError, model::SignalKind};

/// How long one question to an agent that may be starting may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two questions whether the boot has finished: the guest sends no event for that.
const POLL: Duration = Duration::from_millis(300);

/// How long to wait for the agent's channel before asking anyway, should its event have been lost.
const CHANNEL: Duration = Duration::from_secs(1);

/// A guest that counts its boots somewhere may not have counted this one yet: so often it is asked again.
const STALE: u32 = 30;

/// One round of questions to a booting machine.
struct Answer {
    boot_id: Option<String>,
    settled: bool,
}

/// Waits until the boot has finished. False: the judge is over.
///
/// Resets on the way are signals like any other: the questions begin again with each boot.
pub(super) async fn settle(watcher: &mut Observer, mate: &Cellmate<'_>) -> bool {
    let mut known_boot: Option<u64> = None;
    let mut stale = 0;
    while !watcher.judge.is_over() {
        if watcher.judge.is_settled() {
            return true;
        }
        if !watcher.channel_open && !wait_for_channel(watcher).await {
            continue;
        }
        let asked_in = watcher.boot;
        let wants_id = known_boot != Some(asked_in);
        let Some(there) = watcher.until(async { mate.agent(PATIENCE).ping().await }).await else { break };
        watcher.drain();
        if there.is_err() || watcher.boot != asked_in {
            watcher.pause(POLL).await;
            continue;
        }
        // Noted before the longer questions: an agent that is busy with them is there.
        watcher.agent_answered();
        let Some(answer) = watcher.until(ask(mate, wants_id)).await else { break };
        watcher.drain();
        // An answer from before a reset says nothing about the boot after it.
        if watcher.boot != asked_in || watcher.judge.is_over() {
            continue;
        }
        if let Ok(answer) = answer {
            if let Some(id) = answer.boot_id {
                let is_old = watcher.boot_id.as_ref().is_some_and(|(boot, known)| *boot != asked_in && *known == id);
                if is_old && stale < STALE {
                    stale += 1;
                } else {
                    known_boot = Some(asked_in);
                    watcher.boot_id = Some((asked_in, id.clone()));
                    watcher.emit(SignalKind::BootId { id });
                }
            }
            if answer.settled && known_boot == Some(asked_in) {
                watcher.emit(SignalKind::Settled);
                continue;
            }
        }
        watcher.pause(POLL).await;
    }
    false
}

/// Waits for the reset that ends this boot, as an installer has said, and until the next boot has finished. A reset that does
/// not come in the time that a restart may take is not waited for any longer. False: the judge is over.
pub(super) async fn after_own_restart(watcher: &mut Observer, mate: &Cellmate<'_>, boot: u64) -> bool {
    let patience = Patience::new(watcher, mate.limits().restart.as_duration()).await;
    watcher.drain();
    while watcher.boot == boot && patience.left(watcher).await.is_some() {
        if watcher.pause(POLL).await.is_none() {
            return false;
        }
    }
    settle(watcher, mate).await
}

/// True: there is a channel, or it is time to try without an event.
async fn wait_for_channel(watcher: &mut Observer) -> bool {
    let boot = watcher.boot;
    let deadline = tokio::time::Instant::now() + CHANNEL;
    while !watcher.channel_open && watcher.boot == boot && !watcher.judge.is_over() {
        if tokio::time::Instant::now() >= deadline {
            return true;
        }
        watcher.next(deadline).await;
    }
    watcher.channel_open
}

/// The running boot's identity where the kernel itself tells it. (Others count boots, some time after they began.)
pub(super) async fn boot_id_in_file(mate: &Cellmate<'_>) -> Result<Option<String>, AgentError> {
    match mate.family.boot_id(&mate.tag()) {
        BootId::File(path) => read_id(mate, path).await,
        BootId::Printed(_) => Ok(None),
    }
}

async fn read_id(mate: &Cellmate<'_>, path: &str) -> Result<Option<String>, AgentError> {
    let (text, _) = mate.agent(PATIENCE).read_file(path, 256).await?;
    Ok(Some(String::from_utf8_lossy(&text).trim().to_owned()).filter(|id| !id.is_empty()))
}

async fn ask(mate: &Cellmate<'_>, wants_id: bool) -> Result<Answer, AgentError> {
    let mut boot_id = None;
    if wants_id {
        boot_id = match mate.family.boot_id(&mate.tag()) {
            BootId::File(path) => read_id(mate, path).await?,
            BootId::Printed(command) => mate.family.read_boot_id(&mate.ask(&command, PATIENCE).await?.1),
        };
    }
    let probe = mate.job.image.settled.as_deref();
    let settled = match mate.family.settled(probe, &mate.tag()) {
        None => true,
        Some(command) => {
            let (exit, printed) = mate.ask(&command, PATIENCE).await?;
            mate.family.has_settled(probe, &exit, &printed)
        }
    };
    Ok(Answer { boot_id, settled })
}
