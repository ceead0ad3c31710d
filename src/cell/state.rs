//! What the guest is like after a restart, for the comparison with the control.

use std::{collections::BTreeSet, time::Duration};

use super::{
    leftovers,
    life::{self, Cellmate},
    observe::Observer,
    patience::Deadline,
    step,
};
use crate::{
    clock,
    event::Level,
    guest::{Command, Look},
    model::{Exit, LabTime, Millis, ReasonId, Role, SignalKind},
};

/// How long the guest may take to answer one look.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How long its agent may take to answer by itself.
const REQUEST: Duration = Duration::from_secs(10);

/// A guest in which services still come and go is looked at again, so often and after such a pause: on a busy host some
/// start later than others.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// How much a clock may gain or lose between two looks. It is told in whole seconds, the answer takes a while, and a guest that
/// gets no core may lose some.
const MOST_DRIFT: Millis = Millis::from_secs(10);

/// A clock that has moved farther in a guest that does not tell how long it has run is looked at again after this long: one that
/// was set runs right since, and gains or loses no more than this.
const SET: Duration = Duration::from_secs(10);
const SET_DRIFT: Millis = Millis::from_secs(3);

/// Looks at what runs now that the last boot has settled. False: the judge is over.
pub(super) async fn first_look(watcher: &mut Observer, mate: &Cellmate<'_>) -> bool {
    let command = mate.family.services(&mate.tag());
    let before = watcher.lab_time().await;
    watcher.first_look = look(watcher, mate, &command).await.map(|look| (look, before));
    !watcher.judge.is_over()
}

/// Which of a cell's restarts the guest is asked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// One of those before the last: its logs hold what they hold then, too.
    Between,
    Last,
}

/// Tells what the guest is like. False: the judge is over.
pub(super) async fn tell(watcher: &mut Observer, mate: &Cellmate<'_>, when: Told) -> bool {
    let (mut before, begin) = watcher.first_look.take().unzip();
    let mut first = before.clone().unwrap_or_default();
    for turn in 1..=LOOKS {
        let Some(mut now) = look(watcher, mate, &mate.family.inventory(&mate.tag())).await else {
            // Once more: a busy guest may be too slow for one of them.
            if turn > 1 || watcher.pause(PAUSE).await.is_none() {
                break;
            }
            continue;
        };
        let there = mate.control.as_ref().and_then(|control| control.guest.as_deref());
        let is_steady = before.as_ref().is_some_and(|before| before.services.keys().eq(now.services.keys()))
            && there.is_none_or(|there| !now.lacks(there));
        if is_steady || turn == LOOKS {
            let taken = LabTime::taken(&begin.unwrap_or_default(), &watcher.lab_time().await);
            if let Some(why) = runs_wild(&first, &now, taken)
                && !was_set(watcher, mate, &now).await
            {
                watcher.emit(SignalKind::LabFault { reason: ReasonId::HostLost, message: why });
                break;
            }
            // A guest whose logs nobody could read is not known to be well.
            if when == Told::Last && leftovers::add(watcher, mate, &mut now).await != Some(true) {
                break;
            }
            let ahead = now.clock_ahead_ms.map(|ahead| without_set(ahead, watcher.host_clock_set_by()));
            let again = began_anew_again(watcher, mate, &first, &now).await;
            let mut state = now.since(&first);
            state.restarted.retain(|name| again.contains(name));
            state.clock_ahead_ms = ahead;
            for text in state.errors.iter_mut().chain(&mut state.services).chain(&mut state.restarted) {
                *text = mate.job.secrets.mask(text);
            }
            watcher.emit(SignalKind::GuestState { state: Box::new(state) });
            break;
        }
        first.add_missing(&now);
        before = Some(now);
        if watcher.pause(PAUSE).await.is_none() {
            break;
        }
    }
    !watcher.judge.is_over()
}

/// Which of the services that began anew while they were watched do so again: one that is restarted once does not flap. What did
/// so in a control is all that need not stay in its cells.
async fn began_anew_again(watcher: &mut Observer, mate: &Cellmate<'_>, first: &Look, now: &Look) -> BTreeSet<String> {
    let mut names = now.restarted(first);
    if names.is_empty()
        || mate.job.cell.role == Role::Control
        || watcher.pause(mate.quiet().as_duration()).await.is_none()
    {
        return names;
    }
    if let Some(later) = look(watcher, mate, &mate.family.services(&mate.tag())).await {
        let again = later.restarted(now);
        names.retain(|name| again.contains(name) || !later.services.contains_key(name));
    }
    names
}

/// How far a guest's clock is ahead, where the host's was set by so much since the guest was asked to restart: the guest had
/// it from the host as it was then, unless it reads another one's since.
fn without_set(ahead: i64, set_by: i64) -> i64 {
    let before = ahead.saturating_add(set_by);
    if before.unsigned_abs() < ahead.unsigned_abs() { before } else { ahead }
}

/// Why a guest whose clock does not run as fast as the host's tells nothing, if it is one: where a busy host gives an emulated
/// guest no core while its kernel measures the processor's clock, time in it runs many times too fast from then on, and
/// all that waits in it gives up too soon.
fn runs_wild(first: &Look, now: &Look, taken: Millis) -> Option<String> {
    let drift = drift_beyond(MOST_DRIFT, first, now, taken)?;
    Some(format!(
        "the guest's clock moved by {drift} ms against the host's while it was watched: its kernel could not measure it"
    ))
}

/// Whether a clock that has moved runs as fast as the host's now: then somebody in the guest has set it.
async fn was_set(watcher: &mut Observer, mate: &Cellmate<'_>, now: &Look) -> bool {
    let before = watcher.lab_time().await;
    if watcher.pause(SET).await.is_none() {
        return false;
    }
    let Some(later) = look(watcher, mate, &mate.family.services(&mate.tag())).await else { return false };
    let taken = LabTime::taken(&before, &watcher.lab_time().await);
    drift_beyond(SET_DRIFT, now, &later, taken).is_none()
}

/// How far the guest's time moved against the host's between two looks, in milliseconds, if that is more than `most`. One that stands
/// still while its machine gets no core, for no longer than that, is only late.
fn drift_beyond(most: Millis, first: &Look, now: &Look, taken: Millis) -> Option<i64> {
    // A clock that somebody sets, however often, does not change for how long the guest has run.
    let (now, first) = match (now.uptime_ahead_ms, first.uptime_ahead_ms) {
        (Some(now), Some(first)) => (now, first),
        _ => (now.clock_ahead_ms?, first.clock_ahead_ms?),
    };
    let drift = now.saturating_sub(first);
    let most = most.0 + if drift < 0 { taken.0 } else { 0 };
    (drift.unsigned_abs() > most).then_some(drift)
}

/// What no program in the guest tells. An agent that does not know it either is no fault.
async fn ask_agent(mate: &Cellmate<'_>, look: &mut Look) {
    let agent = mate.agent(REQUEST);
    for disk in agent.file_systems().await.unwrap_or_default() {
        look.disk(disk);
    }
    for what in agent.network().await.unwrap_or_default() {
        look.network(&what);
    }
    look.clock = agent.time().await.ok().map(|ns| ns / 1_000_000_000);
}

/// None: the guest could not tell, or the judge is over.
async fn look(watcher: &mut Observer, mate: &Cellmate<'_>, command: &Command) -> Option<Look> {
    let deadline = Deadline::new(&mate.job.lab, PATIENCE);
    match step::execute_up_to(watcher, mate, command, &deadline, life::PRINTED).await? {
        (Exit::Code { code: 0 }, output) => {
            let mut look = mate.family.read_look(&output.stdout);
            if output.truncated {
                look.more_errors();
            }
            // No guest is without one: it did not understand the question, and none can be missed.
            if look.services.is_empty() {
                watcher.note(Level::Warning, "the guest lists nothing that runs: it cannot be compared".to_owned());
                return None;
            }
            if mate.family.asks_agent() {
                watcher.until(ask_agent(mate, &mut look)).await?;
            }
            // How long both have run does not change when somebody sets the host's clock.
            let since = i64::try_from(watcher.now().0).unwrap_or(i64::MAX);
            let ahead = |guest: i64| guest.saturating_sub(clock::unix_ms());
            look.clock_ahead_ms = look.clock.map(|guest| ahead(guest.saturating_mul(1000)));
            look.uptime_ahead_ms = look.uptime_ms.map(|guest| guest.saturating_sub(since));
            Some(look)
        }
        (exit, _) => {
            watcher.note(Level::Info, format!("what the guest is like is not known: {exit:?}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_not_blamed_for_what_its_hosts_clock_was_set_by() {
        assert_eq!(without_set(-3_600_000, 3_600_400), 400, "it has the time of before");
        assert_eq!(without_set(300, 3_600_000), 300, "it reads another clock");
        assert_eq!(without_set(-7_200_000, 5), -7_199_995, "its own is wrong");
    }

    #[test]
    fn a_clock_may_lose_what_the_lab_took_and_never_run_away() {
        let look = |ahead| {
            let mut look = Look::default();
            look.clock_ahead_ms = Some(ahead);
            look
        };
        let wild = |drift: i64, taken| runs_wild(&look(500), &look(500 + drift), Millis(taken)).is_some();
        assert!(!wild(9_000, 0) && !wild(-9_000, 0));
        assert!(wild(-11_000, 0) && !wild(-11_000, 5_000));
        assert!(wild(11_000, 0) && wild(11_000, 5_000));
    }
}
