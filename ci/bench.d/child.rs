//! Runs a program to its end, and counts what it, its machines and the whole host used meanwhile.

use std::{
    collections::HashMap,
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::process::{Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use serde_json::{Value, json};

use crate::{
    host::{self, ProcessTime},
    scratch::Scratch,
    stop,
};

const LOOK: Duration = Duration::from_millis(10);
/// Machines and memory are looked at less often: that costs something itself.
const SAMPLE: Duration = Duration::from_millis(500);
/// How long a program that was told to end is given for it.
const PATIENCE: Duration = Duration::from_secs(90);

/// A program that ended by itself.
pub struct Ran {
    pub code: Option<i32>,
    pub took: Duration,
    /// CPU seconds of the program, and of its children where it waited for them.
    pub cpu: ProcessTime,
    pub peak_memory: Option<u64>,
    /// CPU seconds of the machines, sampled: what each used in its last half second is not in it.
    pub machines_cpu: f64,
    /// The share of all cores that was at work, whoever for.
    pub busy: f64,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn seconds(&self) -> f64 {
        self.took.as_secs_f64()
    }

    pub fn json(&self) -> Value {
        json!({
            "exit_code": self.code,
            "took_s": self.seconds(),
            "cpu_s": self.cpu.own,
            "cpu_children_s": self.cpu.children,
            "peak_memory_bytes": self.peak_memory,
            "machines_cpu_s": self.machines_cpu,
            "host_busy": self.busy,
        })
    }

    /// The last lines it wrote, for a message.
    pub fn tail(&self) -> String {
        let all: Vec<&str> = self.out.lines().chain(self.err.lines()).filter(|line| !line.trim().is_empty()).collect();
        all[all.len().saturating_sub(6)..].join("\n")
    }
}

/// # Errors
/// The program cannot be started; somebody asked to stop, and it has ended.
pub fn run(mut command: Command, scratch: &Scratch, name: &str) -> anyhow::Result<Ran> {
    let logs = scratch.folder("logs")?;
    let (out, err) = (logs.join(format!("{name}.out")), logs.join(format!("{name}.err")));
    // A process group of its own: Ctrl-C reaches it through us, once.
    command.process_group(0).stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&err)?);
    let before = host::cpu_time();
    let began = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let mut used = Machines::default();
    let mut peak_memory = None;
    let mut sampled: Option<Instant> = None;
    let mut told: Option<Instant> = None;
    let group = host::pid(child.id()).context("a process id")?;
    while !has_ended(&child)? {
        match told {
            None if stop::asked() => {
                told = Some(Instant::now());
                let _ = kill_process_group(group, Signal::TERM);
            }
            Some(at) if at.elapsed() > PATIENCE => {
                let _ = kill_process_group(group, Signal::KILL);
            }
            _ => {}
        }
        if sampled.is_none_or(|at| at.elapsed() >= SAMPLE) {
            sampled = Some(Instant::now());
            peak_memory = host::peak_memory(child.id()).or(peak_memory);
            used.sample(scratch.path());
        }
        sleep(LOOK);
    }
    let took = began.elapsed();
    let after = host::cpu_time();
    // It is a zombie until it is waited for, and /proc still has what it used.
    let cpu = host::process_time(child.id()).unwrap_or_default();
    let status = child.wait()?;
    if told.is_some() {
        // What a script leaves when it is ended.
        let _ = kill_process_group(group, Signal::KILL);
    }
    stop::check()?;
    Ok(Ran {
        code: status.code(),
        took,
        cpu,
        peak_memory,
        machines_cpu: used.seconds(),
        busy: (after.busy - before.busy) / (after.all - before.all).max(0.01),
        out: String::from_utf8_lossy(&fs::read(&out)?).into_owned(),
        err: String::from_utf8_lossy(&fs::read(&err)?).into_owned(),
    })
}

/// Whether it is a zombie now; it is not waited for.
fn has_ended(child: &Child) -> anyhow::Result<bool> {
    let pid = host::pid(child.id()).context("a process id")?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    Ok(waitid(WaitId::Pid(pid), options)?.is_some())
}

/// Ends a process that runs until it is told: gently, then not.
pub fn end(child: &mut Child) {
    if let Some(pid) = host::pid(child.id()) {
        let _ = kill_process(pid, Signal::TERM);
    }
    let deadline = Instant::now() + PATIENCE;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > deadline {
            let _ = child.kill();
        }
        sleep(LOOK);
    }
}

/// Ends every QEMU whose files are below this folder.
pub fn end_machines(folder: &Path) {
    for pid in host::machines(folder) {
        if let Some(pid) = host::pid(pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// CPU time of machines that come and go.
#[derive(Default)]
struct Machines(HashMap<(u32, u64), f64>);

impl Machines {
    fn sample(&mut self, folder: &Path) {
        for pid in host::machines(folder) {
            if let Some(time) = host::process_time(pid) {
                self.0.insert((pid, time.began), time.own);
            }
        }
    }

    fn seconds(&self) -> f64 {
        self.0.values().sum()
    }
}
