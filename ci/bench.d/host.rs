//! The host: what it is, and how busy.

use std::{fs, path::Path, process::Command};

use rustix::process::Pid;
use serde_json::{Value, json};

pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1))
}

/// Now, RFC 3339.
pub fn utc() -> String {
    let now = time::OffsetDateTime::now_utc().replace_nanosecond(0);
    now.ok().and_then(|now| now.format(&time::format_description::well_known::Rfc3339).ok()).unwrap_or_default()
}

/// What a reader of the numbers must know of the host they come from.
pub fn facts() -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let os = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or_default();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!({
        "cores": cores(),
        "cpu": model.trim_start_matches([' ', '\t', ':']),
        "memory": memory.trim(),
        "os": os.trim_matches('"'),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "qemu": first_line("qemu-system-x86_64", "--version"),
        "libvirt": first_line("virsh", "--version"),
        "load_at_the_end": load.trim(),
    })
}

pub fn first_line(program: &str, argument: &str) -> Option<String> {
    let out = Command::new(program).arg(argument).output().ok()?;
    String::from_utf8_lossy(&out.stdout).lines().next().map(str::to_owned)
}

/// Seconds that all cores together were at work, and that there were in all (proc(5), `/proc/stat`).
#[derive(Clone, Copy, Default)]
pub struct CpuTime {
    pub busy: f64,
    pub all: f64,
}

pub fn cpu_time() -> CpuTime {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    // user nice system idle iowait irq softirq steal; what guests use is part of user and nice.
    let ticks: Vec<f64> = line.split_whitespace().skip(1).take(8).filter_map(|word| word.parse().ok()).collect();
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    let all: f64 = ticks.iter().sum();
    CpuTime { busy: seconds(all - idle), all: seconds(all) }
}

/// What a process used so far, itself and the children that it waited for; also while it is a zombie.
#[derive(Clone, Copy, Default)]
pub struct ProcessTime {
    pub own: f64,
    pub children: f64,
    /// When it started, to tell it from another of the same number.
    pub began: u64,
}

pub fn process_time(pid: u32) -> Option<ProcessTime> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, which may hold anything.
    let (_, rest) = text.rsplit_once(") ")?;
    let field = |number: usize| rest.split_whitespace().nth(number - 3)?.parse::<f64>().ok();
    Some(ProcessTime {
        own: seconds(field(14)? + field(15)?),
        children: seconds(field(16)? + field(17)?),
        began: field(22)? as u64,
    })
}

/// The most memory that a process had at once, in bytes; none for a zombie.
pub fn peak_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}

/// The QEMU processes whose files are below this folder.
pub fn machines(folder: &Path) -> Vec<u32> {
    let ours = format!("{}/", folder.display());
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_ours = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        words.split('\0').next().is_some_and(|program| program.contains("qemu-system")) && words.contains(&ours)
    };
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_ours).collect()
}

pub fn pid(number: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number).ok()?)
}

fn seconds(ticks: f64) -> f64 {
    // The kernel's clock tick in /proc: USER_HZ, 100 on x86.
    ticks / 100.0
}
