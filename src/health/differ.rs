//! What is worse on a machine than on its control.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Activity, BOOT_NOISE, Bytes, ControlFacts, DiskState, GuestState, LabTime, Millis, ReasonId, Tolerances,
    without_number_words,
};

/// Less more than this is no growth, whatever the factor: a small guest's memory is all noise.
const MEMORY_NOISE: Bytes = Bytes::mib(8);

/// Nor is a disk fuller whose free share is less by no more than this, in percent of its size.
const DISK_NOISE: f64 = 1.0;

/// Most names or texts that a sentence lists.
const NAMED: usize = 3;

/// How the sentences on lists begin.
const NEW_ERRORS: &str = "error that the control does not have: ";
const NEW_DUMPS: &str = "crash dump that the control does not have: ";
const FLAPPING: &str = "began anew while the settled machine was watched: ";

/// Where the lab took next to nothing from a restart, it is known up to so much.
const LEAST_NOISE: Millis = Millis::from_secs(3);

/// What a machine showed after its last restart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    /// None: it did not say what it is like.
    pub guest: Option<&'a GuestState>,
    /// How long the restart took, without the time that the lab took from it.
    pub restart: Option<Restarted>,
    /// What it did at the end of its watch.
    pub activity: Option<Activity>,
}

/// How long a restart took, and how much of that was the lab's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Restarted {
    pub took: Millis,
    pub waited: Millis,
}

impl Restarted {
    /// How long it took the guest.
    pub fn own(self) -> Millis {
        self.took.since(self.waited)
    }

    /// A restart that is longer by less than this is not slow: on an idle lab those of a small guest differ by a second, and the
    /// more the lab took from one, the less is known of what is left.
    pub fn noise(self) -> Millis {
        self.waited.clamp(LEAST_NOISE, BOOT_NOISE)
    }

    /// The guest got next to nothing of the host: its own time may be shorter than it looks.
    pub fn is_starved(self) -> bool {
        LabTime::took_nearly_all(self.took, self.waited)
    }
}

/// Every difference that is not tolerated, the most telling first.
pub(super) fn differences(seen: Seen<'_>, control: &ControlFacts, tolerances: &Tolerances) -> Vec<(ReasonId, String)> {
    let mut found = match (seen.guest, &control.guest) {
        (Some(own), Some(there)) => of_guests(own, there, tolerances),
        _ => Vec::new(),
    };
    let ignore = Ignore(&tolerances.ignore);
    found.push(ignore.first(ReasonId::SlowBoot, slow(seen.restart, control.restart, tolerances.boot)));
    found.push(ignore.first(ReasonId::BootTimeout, restless(seen.activity, control.activity)));
    found.into_iter().filter_map(|(id, message)| Some((id, message?))).collect()
}

fn of_guests(own: &GuestState, there: &GuestState, tolerances: &Tolerances) -> Vec<(ReasonId, Option<String>)> {
    let ignore = Ignore(&tolerances.ignore);
    let (network, has) = (lost(&own.network, &there.network), "; the control has it");
    let (id, errors) = ignore.list(ReasonId::EventLog, NEW_ERRORS, only_in(&own.errors, &there.errors), "");
    vec![
        ignore.first(ReasonId::DiskReadonly, read_only(own, there)),
        ignore.first(ReasonId::DiskFull, full(own, there, tolerances.disk_free)),
        ignore.list(ReasonId::CrashDump, NEW_DUMPS, new_dumps(&own.dumps, &there.dumps), ""),
        ignore.list(ReasonId::ServiceDown, "not running: ", down(own, there), has),
        ignore.list(ReasonId::ServiceFlapping, FLAPPING, flapping(own, there), ""),
        ignore.list(ReasonId::NetworkDown, "", network, has),
        ignore.first(ReasonId::ClockWrong, clock(own, there, tolerances.clock)),
        ignore.first(ReasonId::MemoryGrowth, memory(own.memory_used, there.memory_used, tolerances.memory)),
        (id, errors.filter(|_| !there.errors_cut)),
    ]
}

/// What nobody knows of the difference between two guests, where more errors were logged than were read. It is no proof of a
/// difference, and no proof that there is none.
pub(super) fn unknown(own: &GuestState, there: &GuestState, tolerances: &Tolerances) -> Option<String> {
    let ignore = Ignore(&tolerances.ignore);
    let is_new = only_in(&own.errors, &there.errors).into_iter().any(|text| !ignore.has(ReasonId::EventLog, text));
    let is_known = match (own.errors_cut, there.errors_cut) {
        (false, false) => true,
        // Those that were read decide.
        (true, false) => is_new,
        (false, true) => !is_new,
        (true, true) => false,
    };
    let whose = if there.errors_cut { "the control's log has" } else { "the guest's log has" };
    (!is_known && !ignore.has(ReasonId::EventLog, "")).then(|| {
        format!(
            "{whose} more different errors than are read, so nobody knows whether the update brought one: the golden image \
             needs attention, or `ignore: [event-log]` leaves errors out"
        )
    })
}

/// Differences that the update is meant to make: `ID`, or `ID TEXT` for one thing of many, of which the others count.
#[derive(Clone, Copy)]
struct Ignore<'a>(&'a [String]);

impl Ignore<'_> {
    fn has(self, id: ReasonId, told: &str) -> bool {
        self.0.iter().any(|entry| match entry.trim().split_once(char::is_whitespace) {
            None => entry.trim() == id.as_str(),
            Some((of, text)) => of == id.as_str() && told.contains(text.trim()),
        })
    }

    /// The first of these sentences that counts.
    fn first(self, id: ReasonId, told: impl IntoIterator<Item = String>) -> (ReasonId, Option<String>) {
        (id, told.into_iter().find(|told| !self.has(id, told)))
    }

    /// One sentence on all of these names or texts that count.
    fn list(self, id: ReasonId, before: &str, mut names: Vec<&String>, after: &str) -> (ReasonId, Option<String>) {
        names.retain(|name| !self.has(id, name));
        (id, (!names.is_empty()).then(|| format!("{before}{}{after}", list(&names))))
    }
}

fn read_only(own: &GuestState, there: &GuestState) -> Vec<String> {
    let could_write = |mount: &str| there.disks.iter().any(|disk| disk.mount == mount && !disk.read_only);
    let disks = own.disks.iter().filter(|disk| disk.read_only && could_write(&disk.mount));
    let read_only = disks.map(|disk| format!("{} is mounted read-only, and in the control it is not", disk.mount));
    let is_mounted = |mount: &str| own.disks.iter().any(|disk| disk.mount == mount);
    let gone = there.disks.iter().filter(|disk| !own.disks.is_empty() && !disk.read_only && !is_mounted(&disk.mount));
    read_only.chain(gone.map(|disk| format!("{} is not mounted, and in the control it is", disk.mount))).collect()
}

/// A disk that is as full in the control is none of the update's. Full it is by its bytes, or by the number of its files.
fn full(own: &GuestState, there: &GuestState, percent: f64) -> Vec<String> {
    let space = |disk: &DiskState| share(disk.free.0, disk.size.0);
    let files = |disk: &DiskState| share(disk.files_free, disk.files);
    let is_fuller = |disk: &DiskState, of: &dyn Fn(&DiskState) -> Option<f64>| {
        let control = there.disks.iter().find(|other| other.mount == disk.mount);
        of(disk).is_some_and(|free| {
            // Of one that the control has and does not know this of, nothing is known.
            let is_less = |control: &DiskState| {
                of(control).is_some_and(|control| control - free >= DISK_NOISE.min(percent / 2.0))
            };
            free < percent && control.is_none_or(is_less)
        })
    };
    let mut told = Vec::new();
    for disk in own.disks.iter().filter(|disk| !disk.read_only) {
        let DiskState { mount, size, free, files: many, files_free, .. } = disk;
        let control = there.disks.iter().find(|other| other.mount == *mount);
        if is_fuller(disk, &space) {
            let beside =
                control.filter(|other| other.size.0 > 0).map(|other| format!("; {} in the control", other.free));
            told.push(format!("{mount}: {free} of {size} free{}", beside.unwrap_or_default()));
        }
        if is_fuller(disk, &files) {
            let beside =
                control.filter(|other| other.files > 0).map(|other| format!("; {} in the control", other.files_free));
            told.push(format!("{mount}: room for {files_free} of {many} files{}", beside.unwrap_or_default()));
        }
    }
    told
}

/// What is free, in percent. None: it has no bound.
fn share(free: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| free as f64 * 100.0 / of as f64)
}

/// What did not even stay in the control is nothing to miss.
fn down<'a>(own: &GuestState, there: &'a GuestState) -> Vec<&'a String> {
    let restarted = set(&there.restarted);
    let mut names = only_in(&there.services, &own.services);
    names.retain(|name| !restarted.contains(name.as_str()));
    names
}

/// What stays in the control, and services that only the update has brought. A mere program that the control does not have may
/// be one that is meant to come and go.
fn flapping<'a>(own: &'a GuestState, there: &GuestState) -> Vec<&'a String> {
    let (services, restarted) = (set(&there.services), set(&there.restarted));
    let stays = |name: &str| match services.contains(name) {
        true => !restarted.contains(name),
        false => name.ends_with(".service"),
    };
    own.restarted.iter().filter(|name| stays(name)).collect()
}

/// What these have and the others have not.
fn only_in<'a>(these: &'a [String], others: &[String]) -> Vec<&'a String> {
    let others = set(others);
    these.iter().filter(|name| !others.contains(name.as_str())).collect()
}

fn set(names: &[String]) -> BTreeSet<&str> {
    names.iter().map(String::as_str).collect()
}

/// What the network has no more. An interface of which nothing is left may go by another name: a new one that has all that it
/// had (`eth0 up` and `eth0 address`, `ens3 up` and `ens3 address`) stands for it.
fn lost<'a>(own: &[String], there: &'a [String]) -> Vec<&'a String> {
    let parts = |state: &[String]| {
        let mut parts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, has) in state.iter().filter_map(|what| what.rsplit_once(' ')) {
            parts.entry(name.to_owned()).or_default().insert(has.to_owned());
        }
        parts
    };
    let (before, now) = (parts(there), parts(own));
    let mut new: Vec<_> = now.iter().filter(|(name, _)| !before.contains_key(*name)).map(|(_, has)| has).collect();
    let mut renamed = BTreeSet::new();
    for (name, all) in before.iter().filter(|(name, _)| !now.contains_key(*name)) {
        if let Some(found) = new.iter().position(|has| has.is_superset(all)) {
            new.swap_remove(found);
            renamed.insert(name.as_str());
        }
    }
    let mut gone = only_in(there, own);
    gone.retain(|what| what.rsplit_once(' ').is_none_or(|(name, _)| !renamed.contains(name)));
    // A bridge or a bond takes over the address of an interface that is a part of it now.
    let is_part = |name: &str| now.get(name).is_some_and(|has| has.contains("enslaved"));
    let has_new_address = new.iter().any(|has| has.contains("address"));
    gone.retain(|what| match what.rsplit_once(' ') {
        Some((name, "address")) => !(has_new_address && is_part(name)),
        Some((_, "enslaved")) => false,
        _ => true,
    });
    gone
}

/// By their paths: what one tells of its cause (`PATH: CAUSE`) may have been read in one guest and not in the other. A path
/// with the time, process or boot of the crash in it (`core.NAME.UID.BOOT.PID.TIME`) is another one each time: as many of a
/// kind as the control has are no news. Nor is one that was compressed or rotated (`PATH.gz`, `PATH.1`).
fn new_dumps<'a>(own: &'a [String], there: &[String]) -> Vec<&'a String> {
    let path = |dump: &str| dump.split_once(": ").map_or(dump, |(path, _)| path).to_owned();
    let paths = |dumps: &[String]| dumps.iter().map(|dump| path(dump)).collect::<BTreeSet<_>>();
    let (mine, theirs) = (paths(own), paths(there));
    let mut known: Vec<&String> = theirs.iter().filter(|path| !mine.contains(*path)).collect();
    let mut is_new = |dump: &&String| {
        let path = path(dump);
        if theirs.contains(&path) {
            return false;
        }
        let is_that = |known: &&String| {
            without_number_words(known) == without_number_words(&path)
                || path.starts_with(&format!("{known}."))
                || known.starts_with(&format!("{path}."))
        };
        match known.iter().position(is_that) {
            Some(found) => {
                known.swap_remove(found);
                false
            }
            None => true,
        }
    };
    own.iter().filter(|dump| is_new(dump)).collect()
}

fn clock(own: &GuestState, there: &GuestState, tolerance: Millis) -> Option<String> {
    let (ahead, control) = (own.clock_ahead_ms?, there.clock_ahead_ms?);
    let more = Millis(ahead.saturating_sub(control).unsigned_abs());
    let side = if ahead < control { "behind" } else { "ahead of" };
    (more > tolerance).then(|| format!("the clock is {more} {side} the control's"))
}

fn memory(own: Bytes, control: Bytes, factor: f64) -> Option<String> {
    let grown = own.0.saturating_sub(control.0) >= MEMORY_NOISE.0 && own.0 as f64 > control.0 as f64 * factor;
    (grown && control.0 > 0).then(|| format!("{own} of memory used; {control} in the control"))
}

fn slow(restart: Option<Restarted>, control: Millis, factor: f64) -> Option<String> {
    let restart = restart?;
    let boot = restart.own();
    let slow = boot >= control.scaled(factor) && boot.since(control) >= restart.noise();
    (slow && !control.is_zero()).then(|| format!("a restart took {boot}; {control} in the control"))
}

fn restless(own: Option<Activity>, control: Option<Activity>) -> Option<String> {
    let (own, control) = (own?, control?);
    (!own.is_rest(control)).then(|| format!("settled, and never came to rest: {own}; the control: {control}"))
}

fn list(names: &[&String]) -> String {
    let mut text = names.iter().take(NAMED).map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    if names.len() > NAMED {
        text.push_str(&format!(" and {} more", names.len() - NAMED));
    }
    text
}

#[cfg(test)]
mod tests;
