use std::time::Duration;

use tokio::time::Instant;

use super::{boot_place::Restart, life::Cellmate, observe::Observer, patience::Patience, rest, settle, watch};
use crate::{
    event::Level,
    health::Judge,
    lab::AgentError,
    model::{Phase, RestartVia, SignalKind},
};

/// How long the agent may take to pass on the request, which it does not answer. Longer than libvirt waits for a sign of the
/// agent before it asks (5 s).
const REQUEST: Duration = Duration::from_secs(6);

/// Between two looks for an agent that is away.
const LOOK: Duration = Duration::from_millis(250);

/// A reset button works at once, or the lab is broken.
const FORCED: Duration = Duration::from_secs(20);

/// Restarts the machine with the update in place and waits for the new boot. False: the judge is over.
pub(super) async fn first(watcher: &mut Observer, mate: &Cellmate<'_>) -> bool {
    if !agent_is_back(watcher, mate).await {
        return false;
    }
    let Some(mut restart) = Restart::begin(watcher, mate).await else { return false };
    watcher.enter(Phase::Restart);
    if !ask(watcher, mate, &mut restart).await {
        return false;
    }
    watcher.leave(Phase::Restart);
    watcher.enter(Phase::Boot);
    if !settle::settle(watcher, mate).await {
        return false;
    }
    restart.settled(watcher).await;
    left(watcher, mate, Phase::Boot).await
}

/// Restarts the machine for a setup step that wants it: no restart may be pending when the machine is sealed, or when the
/// update begins. One that the step did by itself is enough. False: the judge is over.
pub(super) async fn in_setup(watcher: &mut Observer, mate: &Cellmate<'_>) -> bool {
    let boot = watcher.boot;
    if !rest::before_restart(watcher, mate).await {
        return false;
    }
    if watcher.boot != boot {
        return true;
    }
    if !agent_is_back(watcher, mate).await {
        return false;
    }
    let Some(mut restart) = Restart::begin(watcher, mate).await else { return false };
    ask(watcher, mate, &mut restart).await && settle::settle(watcher, mate).await
}

/// Restarts once more, as the `n`-th soak. False: the judge is over.
pub(super) async fn soak(watcher: &mut Observer, mate: &Cellmate<'_>, n: u32) -> bool {
    if !agent_is_back(watcher, mate).await {
        return false;
    }
    let Some(mut restart) = Restart::begin(watcher, mate).await else { return false };
    watcher.enter(Phase::Soak(n));
    if !(ask(watcher, mate, &mut restart).await && settle::settle(watcher, mate).await) {
        return false;
    }
    restart.settled(watcher).await;
    left(watcher, mate, Phase::Soak(n)).await
}

/// Leaves a boot that has settled; one that came back from a crash has to stay up first. False: the judge is over.
async fn left(watcher: &mut Observer, mate: &Cellmate<'_>, phase: Phase) -> bool {
    watch::stays(watcher, mate, Duration::ZERO).await;
    if !watcher.judge.is_over() {
        watcher.leave(phase);
    }
    !watcher.judge.is_over()
}

/// Waits for an agent that is away or silent, as one that its update restarts: what is asked of nobody is lost, and the time
/// until the power button is pressed would be the update's. One that stays away is not lost, as long as nobody knows whether the
/// restart brings it back. False: the judge is over.
async fn agent_is_back(watcher: &mut Observer, mate: &Cellmate<'_>) -> bool {
    let patience = Patience::new(watcher, mate.quiet().as_duration()).await;
    watcher.drain();
    let longest = mate.quiet().as_duration() / 2;
    while watcher.judge.agent_away().as_duration() < longest {
        match watcher.until(async { mate.agent(REQUEST).ping().await }).await {
            None => return false,
            Some(Ok(()) | Err(AgentError::Refused(_))) => {
                // The event that says so may have been lost.
                watcher.channel_open = true;
                break;
            }
            Some(Err(_)) if patience.left(watcher).await.is_none() => break,
            Some(Err(_)) if watcher.pause(LOOK).await.is_none() => return false,
            Some(Err(_)) => {}
        }
    }
    !watcher.judge.is_over()
}

/// Asks for a restart, gently first, until the host sees a reset. False: the judge is over.
async fn ask(watcher: &mut Observer, mate: &Cellmate<'_>, restart: &mut Restart) -> bool {
    let (mut lost, was_open) = (false, watcher.channel_open);
    for via in [RestartVia::Agent, RestartVia::Acpi] {
        if via == RestartVia::Agent && !watcher.channel_open {
            watcher.note(Level::Info, "the agent is away: the power button is pressed".to_owned());
            continue;
        }
        // An agent that refused, or that began anew and is there, has lost the request: the wait for it is no time that the
        // machine took. One that took it, or has gone away, shuts down, however slowly.
        if via == RestartVia::Acpi && watcher.channel_open && lost {
            restart.asked_again(watcher).await;
        }
        // What the console says from then on counts.
        watcher.read_serial();
        watcher.emit(SignalKind::RestartAsked { via });
        let patience = Patience::new(watcher, mate.limits().restart.as_duration()).await;
        let closed = watcher.channel_closed;
        let taken = request(watcher, mate, via).await;
        let seen = |judge: &Judge| judge.is_over() || !judge.awaits_reset();
        while let Some(left) = patience.left(watcher).await {
            let deadline = Instant::now() + left;
            if watcher.watch(deadline, seen).await || Instant::now() < deadline {
                break;
            }
        }
        watcher.drain();
        if watcher.judge.is_over() {
            return false;
        }
        if !watcher.judge.awaits_reset() {
            return true;
        }
        lost = !taken || watcher.channel_closed != closed;
    }
    if was_open {
        shuts_down(watcher, mate).await;
    }
    if watcher.judge.is_over() || (watcher.judge.awaits_reset() && !watcher.is_told_of().await) {
        return false;
    }
    if !watcher.judge.awaits_reset() {
        return true;
    }
    force(watcher, mate).await;
    false
}

/// A machine whose agent has gone and which still does something has taken the request, and is slow: it has as long as a boot may
/// take.
async fn shuts_down(watcher: &mut Observer, mate: &Cellmate<'_>) {
    let patience = Patience::new(watcher, mate.limits().boot.as_duration()).await;
    let goes_on = |watcher: &Observer| {
        let judge = &watcher.judge;
        !judge.is_over() && judge.awaits_reset() && !watcher.channel_open && judge.is_moving()
    };
    while goes_on(watcher) && !watcher.is_cancelled() && patience.left(watcher).await.is_some() {
        watcher.next(Instant::now() + LOOK).await;
    }
}

/// False: it was refused.
async fn request(watcher: &mut Observer, mate: &Cellmate<'_>, via: RestartVia) -> bool {
    let vm = watcher.vm.clone();
    let asking = async {
        match via {
            RestartVia::Agent => mate.agent(REQUEST).restart().await.map_err(|error| error.to_string()),
            RestartVia::Acpi => vm.restart_acpi().await.map_err(|error| error.to_string()),
            RestartVia::Forced => vm.reset().await.map_err(|error| error.to_string()),
        }
    };
    let asking = tokio::time::timeout(REQUEST * 2, asking);
    let Some(Ok(Err(why))) = watcher.until(asking).await else { return true };
    watcher.note(Level::Info, format!("the request to restart ({via:?}) was not taken: {why}"));
    false
}

/// The machine refused: the verdict stands. The reset button then shows what it would have booted into.
async fn force(watcher: &mut Observer, mate: &Cellmate<'_>) {
    watcher.emit(SignalKind::RestartAsked { via: RestartVia::Forced });
    let vm = watcher.vm.clone();
    let why = match tokio::time::timeout(FORCED, vm.reset()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the lab does not answer".to_owned()),
    };
    if let Some(why) = why {
        watcher.note(Level::Warning, format!("the machine could not be reset to gather evidence: {why}"));
        return;
    }
    watcher.watch(Instant::now() + FORCED, |judge| !judge.awaits_reset()).await;
    let deadline = Instant::now() + mate.first_boot().as_duration() * 2;
    let reasons = watcher.judge.own_verdict().reasons.len();
    watcher.watch(deadline, |judge| judge.own_verdict().reasons.len() > reasons).await;
}
