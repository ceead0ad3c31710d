use super::differ::{Restarted, Seen, differences, unknown};
use crate::model::{
    Activity, Bytes, CellId, ControlFacts, GuestState, Millis, Outcome, Phase, Reason, ReasonId, Tolerances, Verdict,
};

/// What became of the control that a cell is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ControlEnd {
    pub outcome: Outcome,
    pub reason: Option<ReasonId>,
    pub facts: Option<ControlFacts>,
}

/// What a cell showed by itself.
#[derive(Clone, Debug)]
pub(super) struct Own<'a> {
    /// None: health.
    pub reasons: Vec<Reason>,
    /// Checks that prove that the update took effect.
    pub evidence: &'a [String],
    /// What the guest is like, and when it said so.
    pub state: Option<&'a (Millis, Box<GuestState>)>,
    /// What it was like after the restarts before the last.
    pub before: &'a [(Millis, Box<GuestState>)],
    /// How long its last restart took.
    pub restart: Option<Restarted>,
    /// What it did at the end of its last watch.
    pub activity: Option<(Millis, Activity)>,
    /// How far it came.
    pub phase: Phase,
}

/// The verdict on a cell that is compared with a control, from what the cell showed by itself and how the control ended
/// (none: nobody knows). `tolerances`: how much worse it may be; none: the record is from before guests were asked what
/// they are like.
///
/// Without a healthy control nothing is healthy. A control that is not well takes the blame off the update; one that
/// was only lost does not.
pub(super) fn compare(
    cell: Own<'_>,
    control: Option<&(Millis, ControlEnd)>,
    with: &CellId,
    tolerances: Option<&Tolerances>,
) -> Verdict {
    let Own { reasons: mut own, evidence, state, before, restart, activity, phase } = cell;
    if let Some(facts) = control.and_then(|(_, end)| end.facts.as_ref()) {
        let fails_there_too = |reason: &&mut Reason| {
            reason.id == ReasonId::CheckFailed
                && reason.check.as_ref().is_some_and(|check| facts.failing_checks.contains(check))
        };
        own.iter_mut().filter(fails_there_too).for_each(|reason| {
            reason.message.push_str("; it fails without the candidate too");
        });
    }
    let reason = |at, id, message| Reason { id, phase, at, message, check: None };
    let usual = Tolerances::default();
    match control {
        Some((at, ControlEnd { outcome: Outcome::Healthy, reason: None, facts })) => {
            if let Some(facts) = facts
                && let Some(check) = evidence.iter().find(|check| !facts.failing_checks.contains(check))
            {
                let message = format!(
                    "check `{check}` is to prove that the update took effect, and holds on the control {with} without it: \
                     the golden image needs attention, or the check does"
                );
                own.insert(0, reason(*at, ReasonId::ControlUnhealthy, message));
                return verdict(own);
            }
            if let Some(facts) = facts {
                let (is_asked, tolerances) = (tolerances.is_some(), tolerances.unwrap_or(&usual));
                let seen =
                    Seen { guest: state.map(|(_, state)| &**state), restart, activity: activity.map(|(_, of)| of) };
                // What did not come as far as to be asked was to blame for something else before.
                let asked = state.map(|(at, _)| *at).or(activity.map(|(at, _)| at));
                let at = asked.or(own.last().map(|reason| reason.at)).unwrap_or_default();
                let mut found = differences(seen, facts, tolerances);
                // How long it would have taken with a core of the host, nobody knows.
                let is_starved = restart.is_some_and(Restarted::is_starved);
                let unclear = is_starved && found.iter().any(|(id, _)| *id == ReasonId::SlowBoot);
                found.retain(|(id, _)| !is_starved || *id != ReasonId::SlowBoot);
                own.extend(found.into_iter().map(|(id, message)| reason(at, id, message)));
                // The first cause in time leads.
                own.sort_by_key(|reason| reason.at);
                let earlier = differences_before(before, facts, tolerances, &own).map(|(at, id, message)| {
                    let message = format!("{message}; after an earlier restart, and not after the last");
                    Reason { phase: Phase::Watch, ..reason(at, id, message) }
                });
                own.extend(earlier.collect::<Vec<_>>());
                // What is known of only one of the two was not compared; of the control's side that matters only where there
                // would be something to blame.
                let is_slow = restart.is_some_and(|restart| restart.own() >= restart.noise());
                let is_busy = activity.is_some_and(|(_, activity)| !activity.is_rest(Activity::default()));
                let untold = |what: &str| format!("the record lacks {what}, so it cannot be compared with its control");
                let unsaid = |what: &str| format!("{what}; its control's is not known, so the two cannot be compared");
                let slow_lab = "the lab was too slow to tell how long its restart took, so it cannot be compared with its \
                                control's";
                let guests = state.map(|(_, own)| &**own).zip(facts.guest.as_deref());
                let lacks =
                    |does: fn(&GuestState, &GuestState) -> bool| guests.is_some_and(|(own, there)| does(own, there));
                let missing = [
                    (state.is_none() && (is_asked || facts.guest.is_some()), untold("what the guest is like")),
                    (restart.is_none() && (is_asked || !facts.restart.is_zero()), untold("how long its restart took")),
                    (lacks(|own, there| no_disks(own) && !no_disks(there)), untold("the guest's disks")),
                    (lacks(|own, there| no_memory(own) && !no_memory(there)), untold("its memory")),
                    (lacks(|own, there| no_clock(own) && !no_clock(there)), untold("its clock")),
                    (
                        lacks(|own, there| !no_services(own) && no_services(there)),
                        unsaid("the record has what runs in it"),
                    ),
                    (lacks(|own, there| !no_disks(own) && no_disks(there)), unsaid("the record has its disks")),
                    (lacks(|own, there| !no_memory(own) && no_memory(there)), unsaid("the record has its memory")),
                    (lacks(|own, there| !no_clock(own) && no_clock(there)), unsaid("the record has its clock")),
                    (unclear, slow_lab.to_owned()),
                    (activity.is_none() && facts.activity.is_some(), untold("whether it came to rest")),
                    (state.is_some() && facts.guest.is_none(), unsaid("the record has what the guest is like")),
                    (is_slow && facts.restart.is_zero(), unsaid("the record has how long its restart took")),
                    (is_busy && facts.activity.is_none(), unsaid("it did not come to rest")),
                ];
                // What is only slow may be let pass, so all else has to be known of it.
                let is_well_else = own.iter().all(|reason| reason.id == ReasonId::SlowBoot);
                if is_well_else && let Some((_, message)) = missing.into_iter().find(|(is_missing, _)| *is_missing) {
                    own.push(reason(Millis::ZERO, ReasonId::HarnessDied, message));
                }
                if is_well_else
                    && let (Some((at, state)), Some(there)) = (state, &facts.guest)
                    && let Some(message) = unknown(state, there, tolerances)
                {
                    own.push(reason(*at, ReasonId::HarnessDied, message));
                }
            } else if own.is_empty() {
                let message =
                    format!("nothing to compare with: the record does not say what the control {with} is like");
                own.push(reason(*at, ReasonId::HarnessDied, message));
            }
        }
        Some((at, ControlEnd { outcome, reason: id, .. })) => {
            // The lab alone can end a control otherwise; without a name for it nobody knows how it ended.
            let unnamed =
                if *outcome == Outcome::Unhealthy { ReasonId::ControlUnhealthy } else { ReasonId::HarnessDied };
            let id = match id {
                Some(id) if id.outcome() == Outcome::Unhealthy => ReasonId::ControlUnhealthy,
                Some(id) => *id,
                None => unnamed,
            };
            if id == ReasonId::ControlUnhealthy {
                let message =
                    format!("the control {with} is not well without the candidate: the golden image needs attention");
                own.insert(0, reason(*at, id, message));
            } else if own.is_empty() {
                let message = format!("nothing to compare with: the control {with} ended without an answer ({id})");
                own.push(reason(*at, id, message));
            }
        }
        None if own.is_empty() => {
            let message = format!("the record ends before the end of the control {with}");
            own.push(reason(Millis::ZERO, ReasonId::HarnessDied, message));
        }
        None => {}
    }
    verdict(own)
}

/// What an update does once, in its first boot.
const ONCE: [ReasonId; 3] = [ReasonId::MemoryGrowth, ReasonId::EventLog, ReasonId::DiskFull];

/// The first of each kind of difference that no reason tells of already.
fn differences_before<'a>(
    before: &'a [(Millis, Box<GuestState>)],
    control: &'a ControlFacts,
    tolerances: &'a Tolerances,
    told: &'a [Reason],
) -> impl Iterator<Item = (Millis, ReasonId, String)> {
    let mut ids: Vec<ReasonId> = ONCE.into_iter().chain(told.iter().map(|reason| reason.id)).collect();
    let of = move |(at, guest): &'a (Millis, Box<GuestState>)| {
        let seen = Seen { guest: Some(guest), restart: None, activity: None };
        differences(seen, control, tolerances).into_iter().map(move |(id, message)| (*at, id, message))
    };
    before.iter().flat_map(of).filter(move |(_, id, _)| {
        let is_new = !ids.contains(id);
        ids.push(*id);
        is_new
    })
}

fn verdict(reasons: Vec<Reason>) -> Verdict {
    Verdict { outcome: reasons.first().map_or(Outcome::Healthy, |lead| lead.id.outcome()), reasons }
}

/// What a guest did not say of itself.
fn no_services(state: &GuestState) -> bool {
    state.services.is_empty()
}

fn no_disks(state: &GuestState) -> bool {
    state.disks.is_empty()
}

fn no_memory(state: &GuestState) -> bool {
    state.memory_used == Bytes(0)
}

fn no_clock(state: &GuestState) -> bool {
    state.clock_ahead_ms.is_none()
}
