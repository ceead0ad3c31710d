//! What is worse on a machine than on its control.

use crate::model::{Activity, Bytes, ControlFacts, DiskState, GuestState, Millis, ReasonId, Tolerances};

/// Less more than this is no growth, whatever the factor: a small guest's memory is all noise.
const MEMORY_NOISE: Bytes = Bytes::mib(32);

/// A boot that is longer by less than this is not slow: a small guest boots in seconds.
const BOOT_NOISE: Millis = Millis::from_secs(10);

/// Most names or texts that a sentence lists.
const NAMED: usize = 3;

/// What a machine showed after its last restart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    /// None: it did not say what it is like.
    pub guest: Option<&'a GuestState>,
    /// How long the restart took, without the time that the lab took from it.
    pub restart: Option<Millis>,
    /// What it did at the end of its watch.
    pub activity: Option<Activity>,
}

/// Every difference that is not tolerated, the most telling first.
pub(super) fn differences(seen: Seen<'_>, control: &ControlFacts, tolerances: &Tolerances) -> Vec<(ReasonId, String)> {
    let mut found = match (seen.guest, &control.guest) {
        (Some(own), Some(there)) => of_guests(own, there, tolerances),
        _ => Vec::new(),
    };
    found.push((ReasonId::SlowBoot, slow(seen.restart, control.restart, tolerances.boot)));
    found.push((ReasonId::BootTimeout, restless(seen.activity, control.activity)));
    let told = found.into_iter().filter_map(|(id, message)| Some((id, message?)));
    told.filter(|(id, message)| !is_ignored(*id, message, &tolerances.ignore)).collect()
}

fn of_guests(own: &GuestState, there: &GuestState, tolerances: &Tolerances) -> Vec<(ReasonId, Option<String>)> {
    vec![
        (ReasonId::DiskReadonly, read_only(own, there)),
        (ReasonId::DiskFull, full(own, there, tolerances.disk_free)),
        (ReasonId::CrashDump, new_dumps(&own.dumps, &there.dumps)),
        (ReasonId::ServiceDown, down(own, there)),
        (ReasonId::ServiceFlapping, flapping(own, there)),
        (ReasonId::NetworkDown, missing("", &there.network, &own.network)),
        (ReasonId::ClockWrong, clock(own, there, tolerances.clock)),
        (ReasonId::MemoryGrowth, memory(own.memory_used, there.memory_used, tolerances.memory)),
        (ReasonId::EventLog, new_errors(own, there).filter(|_| !there.errors_cut)),
    ]
}

/// What nobody knows of the difference between two guests, where more errors were logged than were read. It is no proof of a
/// difference, and no proof that there is none.
pub(super) fn unknown(own: &GuestState, there: &GuestState, tolerances: &Tolerances) -> Option<String> {
    let is_known = match (own.errors_cut, there.errors_cut) {
        (false, false) => true,
        // Those that were read decide.
        (true, false) => new_errors(own, there).is_some(),
        (false, true) => new_errors(own, there).is_none(),
        (true, true) => false,
    };
    let whose = if there.errors_cut { "the control's log has" } else { "the guest's log has" };
    (!is_known && !is_ignored(ReasonId::EventLog, "", &tolerances.ignore)).then(|| {
        format!(
            "{whose} more different errors than are read, so nobody knows whether the update brought one: the golden image \
             needs attention, or `ignore: [event-log]` leaves errors out"
        )
    })
}

fn new_errors(own: &GuestState, there: &GuestState) -> Option<String> {
    new("error", &own.errors, &there.errors)
}

fn is_ignored(id: ReasonId, message: &str, ignore: &[String]) -> bool {
    ignore.iter().any(|entry| match entry.trim().split_once(char::is_whitespace) {
        None => entry.trim() == id.as_str(),
        Some((of, text)) => of == id.as_str() && message.contains(text.trim()),
    })
}

fn read_only(own: &GuestState, there: &GuestState) -> Option<String> {
    let could_write = |mount: &str| there.disks.iter().any(|disk| disk.mount == mount && !disk.read_only);
    let disk = own.disks.iter().find(|disk| disk.read_only && could_write(&disk.mount))?;
    Some(format!("{} is mounted read-only, and in the control it is not", disk.mount))
}

fn full(own: &GuestState, there: &GuestState, percent: f64) -> Option<String> {
    let is_full = |disk: &DiskState| disk.size.0 > 0 && free_percent(disk) < percent;
    let was_full = |mount: &str| there.disks.iter().any(|disk| disk.mount == mount && is_full(disk));
    let disk = own.disks.iter().find(|disk| !disk.read_only && is_full(disk) && !was_full(&disk.mount))?;
    let control = there.disks.iter().find(|other| other.mount == disk.mount);
    let beside = control.map(|control| format!("; {} in the control", control.free)).unwrap_or_default();
    Some(format!("{}: {} of {} free{beside}", disk.mount, disk.free, disk.size))
}

fn free_percent(disk: &DiskState) -> f64 {
    disk.free.0 as f64 * 100.0 / disk.size.0 as f64
}

fn down(own: &GuestState, there: &GuestState) -> Option<String> {
    // What did not even stay in the control is nothing to miss.
    let steady: Vec<String> =
        there.services.iter().filter(|service| !there.restarted.contains(service)).cloned().collect();
    missing("not running: ", &steady, &own.services)
}

fn flapping(own: &GuestState, there: &GuestState) -> Option<String> {
    let steady = |name: &&String| there.services.contains(name) && !there.restarted.contains(name);
    let names: Vec<&String> = own.restarted.iter().filter(steady).collect();
    (!names.is_empty()).then(|| format!("began anew while the settled machine was watched: {}", list(&names)))
}

fn missing(what: &str, there: &[String], own: &[String]) -> Option<String> {
    let names: Vec<&String> = there.iter().filter(|name| !own.contains(name)).collect();
    (!names.is_empty()).then(|| format!("{what}{}{}", list(&names), "; the control has it"))
}

fn new(what: &str, own: &[String], there: &[String]) -> Option<String> {
    let texts: Vec<&String> = own.iter().filter(|text| !there.contains(text)).collect();
    (!texts.is_empty()).then(|| format!("{what} that the control does not have: {}", list(&texts)))
}

/// By their paths: what one tells of its cause (`PATH: CAUSE`) may have been read in one guest and not in the other.
fn new_dumps(own: &[String], there: &[String]) -> Option<String> {
    let path = |dump: &str| dump.split_once(": ").map_or(dump.to_owned(), |(path, _)| path.to_owned());
    let known: Vec<String> = there.iter().map(|dump| path(dump)).collect();
    let (_, new): (Vec<_>, Vec<_>) = own.iter().cloned().partition(|dump| known.contains(&path(dump)));
    self::new("crash dump", &new, &[])
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

fn slow(boot: Option<Millis>, control: Millis, factor: f64) -> Option<String> {
    let boot = boot?;
    let slow = boot >= control.scaled(factor) && boot.since(control) >= BOOT_NOISE;
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
mod tests {
    use super::*;

    fn healthy() -> GuestState {
        GuestState {
            services: ["sensord", "syslogd", "sh"].map(str::to_owned).to_vec(),
            restarted: vec!["sh".into()],
            errors: vec!["ata#: odd".into()],
            memory_used: Bytes::mib(60),
            disks: vec![DiskState {
                mount: "/".into(),
                size: Bytes::mib(200),
                free: Bytes::mib(100),
                read_only: false,
            }],
            clock_ahead_ms: Some(-400),
            network: vec!["eth0 up".into(), "default route".into()],
            dumps: vec!["/var/crash/old".into()],
            ..GuestState::default()
        }
    }

    fn control() -> ControlFacts {
        ControlFacts { restart: Millis::from_secs(8), guest: Some(Box::new(healthy())), ..ControlFacts::default() }
    }

    fn found(change: impl FnOnce(&mut GuestState), boot: u64, ignore: &[&str]) -> Vec<ReasonId> {
        let mut own = healthy();
        change(&mut own);
        let ignore = ignore.iter().map(|&text| text.to_owned()).collect();
        let tolerances = Tolerances { ignore, ..Tolerances::default() };
        let seen = Seen { guest: Some(&own), restart: Some(Millis::from_secs(boot)), activity: None };
        let all = differences(seen, &control(), &tolerances);
        all.into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn a_machine_like_its_control_shows_no_difference() {
        assert_eq!(found(|_| {}, 8, &[]), []);
        // The lab's noise: a little slower, a little more memory, a clock that is a little off, a program that came and went.
        let noise = |own: &mut GuestState| {
            own.memory_used = Bytes::mib(85);
            own.clock_ahead_ms = Some(2500);
            own.services.retain(|name| name != "sh");
            own.disks[0].free = Bytes::mib(60);
        };
        assert_eq!(found(noise, 17, &[]), []);
    }

    #[test]
    fn each_difference_has_its_reason() {
        let one = |change: fn(&mut GuestState)| found(change, 8, &[]);
        assert_eq!(one(|own| own.disks[0].read_only = true), [ReasonId::DiskReadonly]);
        assert_eq!(one(|own| own.disks[0].free = Bytes::mib(9)), [ReasonId::DiskFull]);
        assert_eq!(one(|own| own.dumps.push("/var/crash/new".into())), [ReasonId::CrashDump]);
        assert_eq!(one(|own| own.services.retain(|name| name != "sensord")), [ReasonId::ServiceDown]);
        assert_eq!(one(|own| own.restarted.push("sensord".into())), [ReasonId::ServiceFlapping]);
        assert_eq!(one(|own| own.network.clear()), [ReasonId::NetworkDown]);
        assert_eq!(one(|own| own.clock_ahead_ms = Some(-90_000)), [ReasonId::ClockWrong]);
        assert_eq!(one(|own| own.memory_used = Bytes::mib(100)), [ReasonId::MemoryGrowth]);
        assert_eq!(one(|own| own.errors.push("EXT#-fs error".into())), [ReasonId::EventLog]);
        assert_eq!(found(|_| {}, 19, &[]), [ReasonId::SlowBoot]);
    }

    #[test]
    fn an_error_that_may_be_beyond_what_was_read_is_neither_new_nor_known() {
        let state = |errors: &[&str], errors_cut| GuestState {
            errors: errors.iter().map(|&text| text.to_owned()).collect(),
            errors_cut,
            ..healthy()
        };
        for (own, there, is_new, is_unknown) in [
            (state(&["a"], false), state(&["a"], false), false, false),
            (state(&["a", "b"], true), state(&["a"], false), true, false),
            (state(&["a"], true), state(&["a"], false), false, true),
            (state(&["a"], false), state(&["a"], true), false, false),
            (state(&["a", "b"], false), state(&["a"], true), false, true),
            (state(&["a"], true), state(&["a"], true), false, true),
            (state(&["b"], true), state(&["a"], true), false, true),
        ] {
            let of = of_guests(&own, &there, &Tolerances::default());
            let told = of.iter().any(|(id, message)| *id == ReasonId::EventLog && message.is_some());
            let ignoring = |ignore: &str| Tolerances { ignore: vec![ignore.into()], ..Tolerances::default() };
            let unknown = |ignore: &str| unknown(&own, &there, &ignoring(ignore)).is_some();
            assert_eq!((told, unknown("event-log a")), (is_new, is_unknown), "{own:?} {there:?}");
            assert!(!unknown("event-log"));
        }
    }

    #[test]
    fn what_is_to_be_ignored_is_and_nothing_else() {
        let two = |own: &mut GuestState| {
            own.errors.push("sensor: odd".into());
            own.services.retain(|name| name != "sensord");
        };
        assert_eq!(found(two, 8, &["service-down"]), [ReasonId::EventLog]);
        assert_eq!(found(two, 8, &["event-log sensor", "service-down cron"]), [ReasonId::ServiceDown]);
    }

    #[test]
    fn without_the_guest_of_a_control_nothing_differs() {
        let control = ControlFacts { guest: None, ..control() };
        let seen = Seen { guest: Some(&GuestState::default()), restart: None, activity: None };
        assert_eq!(differences(seen, &control, &Tolerances::default()), []);
    }

    #[test]
    fn a_dump_is_known_by_its_path_whatever_was_read_of_it() {
        let dump = |text: &str| vec![text.to_owned()];
        assert_eq!(new_dumps(&dump(r"C:\Windows\MEMORY.DMP: bugcheck 0x7e"), &dump(r"C:\Windows\MEMORY.DMP")), None);
        assert!(new_dumps(&dump(r"C:\b.dmp"), &dump(r"C:\a.dmp")).is_some());
    }

    #[test]
    fn a_machine_that_never_comes_to_rest_is_worse_only_than_a_control_that_does() {
        let activity = |cpu_percent, disk_per_second| Some(Activity { cpu_percent, disk_per_second });
        assert!(restless(activity(99, 0), activity(3, 0)).is_some());
        assert!(restless(activity(3, 900), activity(3, 10)).is_some());
        assert!(restless(activity(39, 50), activity(1, 0)).is_none());
        assert!(restless(activity(99, 0), activity(60, 0)).is_none());
        assert!(restless(activity(99, 0), None).is_none());
    }
}
