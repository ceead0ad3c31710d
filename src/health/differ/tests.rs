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
            files: 2000,
            files_free: 1600,
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
    let restart = Restarted { took: Millis::from_secs(boot), waited: Millis::ZERO };
    let seen = Seen { guest: Some(&own), restart: Some(restart), activity: None };
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
    assert_eq!(found(noise, 10, &[]), []);
}

#[test]
fn a_restart_of_twice_its_controls_is_slow_where_the_lab_took_little_of_it_and_chance_where_it_took_more() {
    let slow = |took, waited| {
        let restart = Restarted { took: Millis::from_secs(took), waited: Millis::from_secs(waited) };
        slow(Some(restart), Millis::from_secs(5), 2.0).is_some()
    };
    assert!(slow(10, 0) && !slow(9, 0), "2 times");
    assert!(!slow(18, 7), "11 s, and 7 s that nobody knows more of");
    assert!(slow(20, 7) && slow(50, 30) && !slow(40, 30));
}

#[test]
fn each_difference_has_its_reason() {
    let one = |change: fn(&mut GuestState)| found(change, 8, &[]);
    assert_eq!(one(|own| own.disks[0].read_only = true), [ReasonId::DiskReadonly]);
    assert_eq!(one(|own| own.disks[0].free = Bytes::mib(9)), [ReasonId::DiskFull]);
    assert_eq!(one(|own| own.disks[0].files_free = 3), [ReasonId::DiskFull]);
    assert_eq!(one(|own| own.dumps.push("/var/crash/new".into())), [ReasonId::CrashDump]);
    assert_eq!(one(|own| own.services.retain(|name| name != "sensord")), [ReasonId::ServiceDown]);
    assert_eq!(one(|own| own.restarted.push("sensord".into())), [ReasonId::ServiceFlapping]);
    assert_eq!(one(|own| own.disks[0].mount = "/mnt".into()), [ReasonId::DiskReadonly], "it is not mounted");
    assert_eq!(one(|own| own.network.clear()), [ReasonId::NetworkDown]);
    assert_eq!(one(|own| own.clock_ahead_ms = Some(-90_000)), [ReasonId::ClockWrong]);
    assert_eq!(one(|own| own.memory_used = Bytes::mib(100)), [ReasonId::MemoryGrowth]);
    assert_eq!(one(|own| own.errors.push("EXT#-fs error".into())), [ReasonId::EventLog]);
    assert_eq!(found(|_| {}, 19, &[]), [ReasonId::SlowBoot]);
}

#[test]
fn an_address_may_go_to_the_bridge_that_its_interface_is_a_part_of_and_to_no_other() {
    let lost = |own: &[&str]| {
        let [own, there] = [own, &["eth0 up", "eth0 address", "default route", "gateway 10.0.0.1", "dns"]]
            .map(|list| list.iter().map(|&what| what.to_owned()).collect::<Vec<_>>());
        lost(&own, &there).into_iter().cloned().collect::<Vec<_>>().join(", ")
    };
    let bridge = ["eth0 up", "eth0 enslaved", "br0 up", "br0 address", "default route", "gateway 10.0.0.1", "dns"];
    assert_eq!(lost(&bridge), "");
    assert_eq!(
        lost(&["eth0 up", "tun0 up", "tun0 address", "default route", "gateway 10.0.0.1", "dns"]),
        "eth0 address"
    );
    assert_eq!(lost(&["eth0 up", "eth0 address", "default route", "gateway 10.0.0.9"]), "gateway 10.0.0.1, dns");
}

#[test]
fn a_crash_dump_that_was_compressed_or_rotated_is_no_new_one() {
    let dumps = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect::<Vec<_>>();
    let new = |own: &[&str]| new_dumps(&dumps(own), &dumps(&["/var/crash/core.a"])).len();
    assert_eq!((new(&["/var/crash/core.a.gz"]), new(&["/var/crash/core.a.1"])), (0, 0));
    assert_eq!(new(&["/var/crash/core.a.gz", "/var/crash/core.a"]), 1, "two, where one was");
    assert_eq!(new(&["/var/crash/core.ab"]), 1);
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
fn a_text_to_be_ignored_leaves_out_what_has_it_and_nothing_beside_it() {
    let lead = |change: &dyn Fn(&mut GuestState), ignore: &[&str]| {
        let mut own = healthy();
        change(&mut own);
        let ignore = ignore.iter().map(|&text| text.to_owned()).collect();
        let tolerances = Tolerances { ignore, ..Tolerances::default() };
        let seen = Seen { guest: Some(&own), restart: None, activity: None };
        differences(seen, &control(), &tolerances).into_iter().next().map(|(_, message)| message)
    };
    let errors = |own: &mut GuestState| own.errors.extend(["a", "b", "c", "d"].map(str::to_owned));
    let told = |texts: &str| Some(format!("error that the control does not have: {texts}"));
    assert_eq!(lead(&errors, &["event-log a"]), told("b, c, d"));
    assert_eq!(lead(&errors, &["event-log d"]), told("a, b, c"), "also what the sentence would not name");
    assert_eq!(lead(&errors, &["event-log a", "event-log b", "event-log c", "event-log d"]), None);
    assert_eq!(lead(&errors, &["event-log control", "event-log more"]), told("a, b, c and 1 more"));
    let stopped = |own: &mut GuestState| own.services.clear();
    let down = Some("not running: syslogd; the control has it".to_owned());
    assert_eq!(lead(&stopped, &["service-down sensord"]), down);
    let flaps = |own: &mut GuestState| own.restarted = own.services.clone();
    let flapping = lead(&flaps, &["service-flapping sensord"]).unwrap();
    assert!(flapping.ends_with("watched: syslogd"), "{flapping}");
    let gone = |own: &mut GuestState| own.network.clear();
    let down = Some("default route; the control has it".to_owned());
    assert_eq!(lead(&gone, &["network-down eth0"]), down);
    let dumps = |own: &mut GuestState| own.dumps = ["/a", "/b: cause"].map(str::to_owned).to_vec();
    assert!(lead(&dumps, &["crash-dump cause"]).unwrap().ends_with(": /a"));
    // Disks are told one at a time.
    let (mut there, disk) = (control(), healthy().disks[0].clone());
    let more = DiskState { mount: "/data".into(), ..disk };
    there.guest.as_mut().unwrap().disks.push(more.clone());
    for (id, bad) in [
        (ReasonId::DiskReadonly, (|disk| disk.read_only = true) as fn(&mut DiskState)),
        (ReasonId::DiskFull, |disk| disk.free = Bytes::mib(1)),
    ] {
        let mut own = healthy();
        own.disks.push(more.clone());
        own.disks.iter_mut().for_each(bad);
        own.disks.reverse();
        let tolerances = Tolerances { ignore: vec![format!("{id} /data")], ..Tolerances::default() };
        let seen = Seen { guest: Some(&own), restart: None, activity: None };
        let found = differences(seen, &there, &tolerances);
        assert!(matches!(&found[..], [(of, told)] if *of == id && !told.contains("/data")), "{found:?}");
    }
}

#[test]
fn a_cut_list_whose_only_new_error_is_ignored_is_not_known() {
    let state = |errors: &[&str], errors_cut| GuestState {
        errors: errors.iter().map(|&text| text.to_owned()).collect(),
        errors_cut,
        ..healthy()
    };
    let tolerances = Tolerances { ignore: vec!["event-log new".into()], ..Tolerances::default() };
    let is_unknown = |own: &GuestState, there: &GuestState| unknown(own, there, &tolerances).is_some();
    assert!(is_unknown(&state(&["a", "new"], true), &state(&["a"], false)));
    assert!(!is_unknown(&state(&["a", "new", "b"], true), &state(&["a"], false)));
    assert!(!is_unknown(&state(&["a", "new"], false), &state(&["a"], true)));
    assert!(is_unknown(&state(&["a", "new", "b"], false), &state(&["a"], true)));
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
    let (told, untold) = (dump(r"C:\Windows\MEMORY.DMP: bugcheck 0x7e"), dump(r"C:\Windows\MEMORY.DMP"));
    assert!(new_dumps(&told, &untold).is_empty());
    assert_eq!(new_dumps(&dump(r"C:\b.dmp"), &dump(r"C:\a.dmp")), [r"C:\b.dmp"]);
}

#[test]
fn a_dump_that_every_boot_leaves_under_a_name_of_its_own_is_no_news_and_one_more_is() {
    let core =
        |name: &str, boot: &str, pid: u32| format!("/var/lib/systemd/coredump/core.{name}.0.{boot}.{pid}.17000000.zst");
    let there = [core("odd", "0123456789abcdef0123456789abcdef", 300)];
    let again = core("odd", "fedcba9876543210fedcba9876543210", 299);
    assert!(new_dumps(std::slice::from_ref(&again), &there).is_empty());
    let more = core("odd", "fedcba9876543210fedcba9876543210", 412);
    assert_eq!(new_dumps(&[again.clone(), more.clone()], &there), [&more]);
    let other = core("sensord", "fedcba9876543210fedcba9876543210", 300);
    assert_eq!(new_dumps(&[again, other.clone()], &there), [&other]);
}

#[test]
fn a_service_that_the_update_brought_flaps_too_and_a_program_comes_and_goes() {
    let flaps = |name: &str| found(|own| own.restarted.push(name.to_owned()), 8, &[]);
    assert_eq!(flaps("vendor-new.service"), [ReasonId::ServiceFlapping]);
    assert_eq!(flaps("sleep"), []);
    assert_eq!(flaps("sh"), []);
}

#[test]
fn an_interface_with_another_name_is_not_gone_and_one_that_lost_its_address_has() {
    let network = |what: &[&str]| what.iter().map(|&what| what.to_owned()).collect::<Vec<_>>();
    let there = network(&["eth0 up", "eth0 address", "default route"]);
    assert!(lost(&network(&["ens3 up", "ens3 address", "default route"]), &there).is_empty());
    assert_eq!(lost(&network(&["ens3 up", "default route"]), &there), ["eth0 up", "eth0 address"]);
    let tunnel = network(&["eth0 up", "tun0 up", "tun0 address", "default route"]);
    assert_eq!(lost(&tunnel, &there), ["eth0 address"]);
    assert_eq!(lost(&network(&["eth0 up", "eth1 up", "eth0 address"]), &there), ["default route"]);
}

#[test]
fn a_disk_is_full_by_the_update_only_if_it_is_fuller_than_the_controls() {
    let disk = |free_tenths: u64| GuestState {
        disks: vec![DiskState {
            mount: "/".into(),
            size: Bytes::mib(1000),
            free: Bytes::mib(free_tenths),
            ..DiskState::default()
        }],
        ..GuestState::default()
    };
    let is_full = |own, there| !full(&disk(own), &disk(there), 5.0).is_empty();
    assert!(!is_full(49, 51), "a hair below the limit");
    assert!(is_full(10, 40), "full before, and as good as nothing left now");
    assert!(!is_full(35, 40) && is_full(35, 500) && !is_full(60, 500));
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
