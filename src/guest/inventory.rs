use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use crate::model::{Bytes, DiskState, GuestState, without_hex_numbers};

/// Most names, texts and places of one kind that are taken from a guest, and the longest of them.
const MANY: usize = 500;
const LONG: usize = 160;

/// Most different errors that are taken from a guest's logs, and most bytes of them together: they are in the journal twice.
const ERRORS: usize = 400;
const ERROR_BYTES: usize = 64 << 10;

/// The severities of syslog (RFC 5424), by number.
const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// What a kernel says where its host gave it no core for a while (Linux `kernel/rcu/tree_stall.h`, `kernel/watchdog.c`,
/// `kernel/hung_task.c`, `kernel/time/clocksource.c`, `arch/x86/kernel/apic/io_apic.c`): no news of the guest. How such a line
/// begins, and what stands in it: what programs say may have the one or the other.
const HOST_IS_SLOW: [(&str, &str); 13] = [
    ("rcu: ", ""),
    ("rcu_sched", ""),
    ("INFO: rcu_", ""),
    ("watchdog: ", "soft lockup"),
    ("NMI watchdog: ", "soft lockup"),
    ("INFO: task ", "blocked for more than"),
    ("\"echo ", "hung_task_timeout_secs"),
    ("Not tainted ", ""),
    ("Tainted: ", ""),
    ("CPU: ", "ainted"),
    ("clocksource: ", ""),
    ("..MP-BIOS bug", ""),
    ("hrtimer: ", "interrupt took"),
];

/// One look at a guest.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Services, or programs, and their process ids.
    pub services: BTreeMap<String, BTreeSet<u32>>,
    /// The guest's clock, in seconds since 1970.
    pub clock: Option<i64>,
    /// How long the guest has run, in milliseconds, whatever its clock was set to.
    pub uptime_ms: Option<i64>,
    /// How far these two are ahead of the host's clock, in milliseconds, where somebody has compared them.
    pub clock_ahead_ms: Option<i64>,
    pub uptime_ahead_ms: Option<i64>,
    error_bytes: usize,
    /// Processes that were stopped.
    stopped: BTreeSet<u32>,
    state: GuestState,
}

impl Look {
    /// Reads lines as the scripts of a Linux guest print them: `program PID NAME` or the blocks of `systemctl show`, `stopped PID`,
    /// `time SECONDS`, `uptime SECONDS` with a fraction, `error TEXT`, `errors cut`, `log LEVEL COUNT`, `memory TOTAL AVAILABLE` and
    /// `disk SIZE FREE MOUNT` in KiB, `files MANY FREE MOUNT`, `readonly MOUNT`, `automount MOUNT`, `network WHAT`, `dump FILE`. Lines that make no
    /// sense are passed over.
    pub fn read(text: &str) -> Self {
        let mut look = Self::default();
        let mut unit = Unit::default();
        for line in text.lines() {
            let line = line.trim_end();
            if let Some((key, value)) = line.split_once('=').filter(|(key, _)| !key.contains(' ')) {
                unit.set(key, value);
            } else if line.is_empty() {
                look.service(std::mem::take(&mut unit));
            } else if let Some((kind, rest)) = line.split_once(' ') {
                look.line(kind, rest.trim_start());
            }
        }
        look.service(unit);
        let stopped = std::mem::take(&mut look.stopped);
        look.services.retain(|_, processes| !processes.is_subset(&stopped));
        look
    }

    /// The services that have none of the processes that they had at an earlier look.
    pub fn restarted(&self, first: &Self) -> BTreeSet<String> {
        let is_new =
            |name: &String, now: &BTreeSet<u32>| first.services.get(name).is_some_and(|before| before.is_disjoint(now));
        self.services.iter().filter(|(name, now)| is_new(name, now)).map(|(name, _)| name.clone()).collect()
    }

    /// Whether something that runs in another guest, or that its network has, is not there.
    pub fn lacks(&self, there: &GuestState) -> bool {
        let stays = |name: &&String| !there.restarted.contains(*name);
        !there.services.iter().filter(stays).all(|name| self.services.contains_key(name))
            || !there.network.iter().all(|what| self.state.network.contains(what))
    }

    /// What the guest is like now, compared with the look before.
    pub fn since(mut self, first: &Self) -> GuestState {
        self.state.restarted = self.restarted(first).into_iter().collect();
        self.state.services = self.services.into_keys().collect();
        self.state
    }

    /// Takes over services that this look did not find and a later one did: in the middle of beginning anew they are not
    /// there.
    pub fn add_missing(&mut self, later: &Self) {
        for (name, processes) in &later.services {
            self.services.entry(name.clone()).or_insert_with(|| processes.clone());
        }
    }

    /// A crash dump lies in the guest.
    pub fn dump(&mut self, path: &str) {
        keep(&mut self.state.dumps, path);
    }

    /// The crash dumps that were found.
    pub fn dumps(&self) -> &[String] {
        &self.state.dumps
    }

    /// What one of them tells of its cause.
    pub fn explain_dump(&mut self, path: &str, cause: &str) {
        if let Some(dump) = self.state.dumps.iter_mut().find(|dump| *dump == path) {
            *dump = format!("{dump}: {}", short(cause));
        }
    }

    /// An error that the guest's log has.
    pub fn error(&mut self, text: String) {
        if self.state.errors.contains(&text) {
            return;
        }
        self.error_bytes += text.len();
        if self.state.errors.len() < ERRORS && self.error_bytes <= ERROR_BYTES {
            self.state.errors.push(text);
        } else {
            self.more_errors();
        }
    }

    /// The guest's logs have errors that were not read.
    pub fn more_errors(&mut self) {
        self.state.errors_cut = true;
    }

    /// A mounted file system.
    pub fn disk(&mut self, disk: DiskState) {
        if self.state.disks.len() < MANY && self.state.disks.iter().all(|known| known.mount != disk.mount) {
            self.state.disks.push(DiskState { mount: short(&disk.mount), ..disk });
        }
    }

    /// Something that the network has.
    pub fn network(&mut self, what: &str) {
        keep(&mut self.state.network, what);
    }

    fn service(&mut self, unit: Unit) {
        if unit.running && !unit.name.is_empty() && unit.pid != 0 {
            self.program(&unit.name, unit.pid);
        }
    }

    /// A service or program that runs, and its process.
    pub fn program(&mut self, name: &str, pid: u32) {
        if self.services.len() < MANY {
            self.services.entry(short(name)).or_default().insert(pid);
        }
    }

    fn line(&mut self, kind: &str, rest: &str) {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let state = &mut self.state;
        match (kind, &words[..]) {
            ("program", [pid, ..]) => {
                let name = rest[pid.len()..].trim();
                if let (Ok(pid), false) = (pid.parse(), name.is_empty()) {
                    self.program(name, pid);
                }
            }
            // Facility times eight, plus severity.
            ("log", [level, count]) => {
                if let (Ok(level), Ok(count)) = (level.parse::<usize>(), count.parse::<u64>()) {
                    let lines = state.log_lines.entry(LEVELS[level % 8].to_owned()).or_default();
                    *lines = lines.saturating_add(count);
                }
            }
            ("error", [_, ..]) => {
                let text = plain(rest);
                let is_slow = |(begin, has): &(&str, &str)| text.starts_with(begin) && text.contains(has);
                if !text.is_empty() && !HOST_IS_SLOW.iter().any(is_slow) {
                    self.error(text);
                }
            }
            ("errors", ["cut"]) => self.more_errors(),
            ("memory", [total, available]) => {
                if let (Ok(total), Ok(available)) = (total.parse::<u64>(), available.parse::<u64>()) {
                    state.memory_used = kib(total.saturating_sub(available));
                }
            }
            ("disk", [size, free, _, ..]) => {
                let mount = rest.splitn(3, ' ').nth(2).unwrap_or_default();
                if let (Ok(size), Ok(free)) = (size.parse(), free.parse()) {
                    let (size, free) = (kib(size), kib(free));
                    self.disk(DiskState { mount: mount.to_owned(), size, free, ..DiskState::default() });
                }
            }
            ("files", [many, free, _, ..]) => {
                let mount = short(rest.splitn(3, ' ').nth(2).unwrap_or_default());
                if let (Ok(many), Ok(free)) = (many.parse(), free.parse()) {
                    let here = state.disks.iter_mut().filter(|disk| disk.mount == mount);
                    here.for_each(|disk| (disk.files, disk.files_free) = (many, free));
                }
            }
            ("stopped", [pid]) => self.stopped.extend(pid.parse::<u32>()),
            ("uptime", [seconds]) => {
                self.uptime_ms =
                    seconds.parse::<f64>().ok().filter(|s| (0.0..1e12).contains(s)).map(|s| (s * 1e3) as i64);
            }
            ("readonly", [_, ..]) => {
                state.disks.iter_mut().filter(|disk| disk.mount == rest).for_each(|disk| disk.read_only = true);
            }
            // One that is mounted when somebody looks into it, and unmounted later, says nothing.
            ("automount", [_, ..]) => state.disks.retain(|disk| disk.mount != rest),
            ("time", [seconds]) => self.clock = seconds.parse().ok(),
            ("network", ["gateway", hex]) => {
                // As in proc(5)'s `net/route`: a number in the order of the host.
                if let Ok(address) = u32::from_str_radix(hex, 16) {
                    self.network(&format!("gateway {}", Ipv4Addr::from(address.to_le_bytes())));
                }
            }
            ("network", [_, ..]) => self.network(rest),
            ("dump", [_, ..]) => self.dump(rest),
            _ => {}
        }
    }
}

/// A block of `systemctl show`: `Id`, `MainPID`, `SubState`, in any order.
#[derive(Default)]
struct Unit {
    name: String,
    pid: u32,
    running: bool,
}

impl Unit {
    fn set(&mut self, key: &str, value: &str) {
        match key {
            "Id" => self.name = value.to_owned(),
            "MainPID" => self.pid = value.parse().unwrap_or(0),
            "SubState" => self.running = value == "running",
            _ => {}
        }
    }
}

fn keep(list: &mut Vec<String>, text: &str) {
    let text = short(text);
    if list.len() < MANY && !list.contains(&text) {
        list.push(text);
    }
}

fn kib(n: u64) -> Bytes {
    Bytes(n.saturating_mul(1024))
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONG).collect()
}

/// A message without what differs from boot to boot: the kernel's `<3>[   10.636073] `, and numbers, addresses and UUIDs
/// too.
fn plain(text: &str) -> String {
    let text = text.strip_prefix('<').and_then(|text| text.split_once('>')).map_or(text, |(_, rest)| rest);
    let text = text.strip_prefix('[').and_then(|text| text.split_once("] ")).map_or(text, |(_, rest)| rest);
    without_hex_numbers(short(text).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "program 12 sensord\nprogram 30 my tool\nlog 3 2\nlog 11 5\nlog x 1\n\
        error <3>[    1.250] ata1: error 0x51 at 99\nerror <3>[    7.1] ata1: error 0x51 at 7\n\
        error <3>[    7.1] rcu: INFO: rcu_sched self-detected stall\nmemory 200000 150000\n\
        disk 1000 100 /\ndisk 50 50 /data disk\nreadonly /data disk\ntime 1700000000\nnetwork eth0 up\ndump /var/crash/1\n\
        \u{1b}[1m\nlog 6 99999999999999999999\nmemory a b\n";

    #[test]
    fn what_a_guest_says_is_read_and_nonsense_is_passed_over() {
        let look = Look::read(SAID);
        assert_eq!(look.clock, Some(1_700_000_000));
        let state = look.clone().since(&look);
        assert_eq!(state.services, ["my tool", "sensord"]);
        assert!(state.restarted.is_empty());
        assert_eq!(state.log_lines.into_iter().collect::<Vec<_>>(), [("err".to_owned(), 7)]);
        assert_eq!(state.errors, ["ata#: error #x# at #"]);
        assert_eq!(state.memory_used, Bytes(50_000 * 1024));
        assert_eq!(state.disks[0].free, Bytes(100 * 1024));
        assert_eq!((state.disks[1].mount.as_str(), state.disks[1].read_only), ("/data disk", true));
        assert_eq!((state.network, state.dumps), (vec!["eth0 up".to_owned()], vec!["/var/crash/1".to_owned()]));
    }

    #[test]
    fn errors_that_are_too_many_or_too_long_are_known_to_be_cut() {
        let read = |texts: &mut dyn Iterator<Item = String>| {
            let mut look = Look::default();
            texts.for_each(|text| look.error(text));
            look.since(&Look::default())
        };
        let all = read(&mut (0..ERRORS * 2).map(|n| format!("error {}", n % ERRORS)));
        assert_eq!((all.errors.len(), all.errors_cut), (ERRORS, false), "the same one again is no other");
        let many = read(&mut (0..=ERRORS).map(|n| format!("error {n}")));
        assert_eq!((many.errors.len(), many.errors_cut), (ERRORS, true));
        let long = read(&mut (0..100).map(|n| format!("error {n} {}", "x".repeat(1000))));
        assert!(long.errors_cut && long.errors.iter().map(String::len).sum::<usize>() <= ERROR_BYTES);
        assert!(Look::read("error a\nerrors cut\n").since(&Look::default()).errors_cut);
    }

    #[test]
    fn an_error_is_the_same_one_with_another_address_or_uuid_in_it() {
        let of = |text: &str| Look::read(&format!("error {text}\n")).since(&Look::default()).errors;
        let oops = |at: &str, id: &str| of(&format!("sensor[{at}]: at 0x{at}, volume {id} on sda1: bad face"));
        let one = oops("7f3ac0de", "3f2a77c1-abcd-4e1f-9abc-0123456789ab");
        assert_eq!(one, oops("11d0ffee", "00aa77c1-cdef-4aaa-8bcd-ba9876543210"));
        assert_eq!(one, ["sensor[#]: at #x#, volume # on sda#: bad face"]);
        assert_ne!(of("cafe bad"), of("face bad"));
    }

    #[test]
    fn units_of_systemd_are_read_in_any_order_and_only_those_that_run() {
        let look = Look::read(
            "MainPID=7\nId=ssh.service\nSubState=running\n\nSubState=exited\nId=setup.service\nMainPID=0\n\n\
             Id=cron.service\nMainPID=9\nSubState=running\n",
        );
        assert_eq!(look.services.keys().collect::<Vec<_>>(), ["cron.service", "ssh.service"]);
    }

    #[test]
    fn a_service_with_none_of_its_earlier_processes_was_restarted() {
        let first = Look::read("program 1 a\nprogram 2 b\nprogram 3 b\nprogram 4 c\n");
        let state = Look::read("program 9 a\nprogram 3 b\nprogram 8 b\nprogram 7 new\n").since(&first);
        assert_eq!(state.restarted, ["a"]);
        assert_eq!(state.services, ["a", "b", "new"]);
    }

    #[test]
    fn a_service_that_was_between_two_of_its_processes_at_the_first_look_was_restarted_too() {
        let mut first = Look::read("program 1 a\n");
        first.add_missing(&Look::read("program 5 a\nprogram 2 b\n"));
        assert_eq!(Look::read("program 1 a\nprogram 3 b\n").since(&first).restarted, ["b"]);
    }

    #[test]
    fn what_a_kernel_says_of_a_slow_host_is_no_error_and_what_a_program_says_of_slowness_is() {
        let of = |text: &str| Look::read(&format!("error {text}\n")).since(&Look::default()).errors.len();
        for slow in [
            "<3>[  121.250] INFO: task init:1 blocked for more than 60 seconds.",
            "<3>[  121.250]       Not tainted 6.1.0-32-cloud-amd64 #1 Debian 6.1.129-1",
            "<3>[  121.250] \"echo 0 > /proc/sys/kernel/hung_task_timeout_secs\" disables this message.",
            "<0>[   44.1] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [sh:99]",
            "<0>[   44.1] NMI watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [sh:99]",
            "<3>[   21.2] rcu: INFO: rcu_sched self-detected stall on CPU",
            "<3>[   21.2] CPU: 0 PID: 7 Comm: sh Tainted: G        W          6.1.0 #1",
        ] {
            assert_eq!(of(slow), 0, "{slow}");
        }
        assert_eq!(of("<27>sensor: request blocked for more than 30 s"), 1);
        assert_eq!(of("<27>sensor: clocksource 3 is odd"), 1);
    }

    #[test]
    fn what_leads_out_is_told_and_what_is_mounted_now_and_then_is_not() {
        let look = Look::read(
            "network default route\nnetwork gateway 0202000A\nnetwork gateway x\ndisk 9 5 /a\ndisk 9 5 /b c\nautomount /b c\n",
        );
        let state = look.since(&Look::default());
        assert_eq!(state.network, ["default route", "gateway 10.0.2.2"]);
        assert_eq!(state.disks.iter().map(|disk| disk.mount.as_str()).collect::<Vec<_>>(), ["/a"]);
    }

    #[test]
    fn any_text_is_read_without_a_fault() {
        use proptest::prelude::*;
        proptest!(|(text in "(\\PC|[\n\r=<>\\[\\] 0-9]|disk |error |program |readonly ){0,60}")| {
            let look = Look::read(&text);
            let _ = look.clone().since(&look);
        });
    }
}
