//! Measurement 4: from a fault in the guest to its verdict.
//!
//! Each guest says on its serial console that it is about to break. That line's arrival in the console's log is
//! seen here, by the host's clock: a guest's own clock starts with whole seconds (QEMU's RTC), or older than it is
//! where a machine's memory was saved. The verdict's moment is the journal's.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use bootgate::{
    event::CellState,
    model::{ReasonId, SignalKind},
};
use serde_json::json;

use crate::{
    Bench, child,
    inputs::{self, OS},
    record::{Cost, Record, seconds, signals},
    restarts, say,
    table::Row,
};

/// A fault, what the guest does, and the verdict it must get.
const FAULTS: [(&str, &str, ReasonId); 4] = [
    ("panic", "echo c >/proc/sysrq-trigger", ReasonId::StopError),
    ("loop", "reboot -f", ReasonId::BootLoop),
    ("power-off", "poweroff -f", ReasonId::PoweredOff),
    ("hang", "sleep 100000", ReasonId::BootHang),
];
/// A cell without a fault: how long a boot takes where there is no control to tell.
const NONE: &str = "none";
const MARK: &str = "[fault] ";
const PATCH: &str = "p1";

pub fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    say("a panic, a loop, a power-off and a hang, two cells at once");
    let matrix = write(bench)?;
    let watcher = Watcher::start(bench.scratch.path().join("s"));
    let mut command = restarts::command(bench, &matrix, "faults");
    command.args(["--jobs", "2"]);
    let ran = child::run(command, &bench.scratch, "faults");
    let marks = watcher.stop();
    let ran = ran?;
    let record = Record::read(&bench.scratch.path().join("runs/faults"))
        .map_err(|error| error.context(format!("bootgate said:\n{}", ran.tail())))?;
    let epoch = record.epoch()?;
    let boot = boot(&record);
    if let Some(boot) = &boot {
        bench.rows.push(Row::new(4, format!("one restart of {}", boot.of)).value(boot.took, "s"));
    }
    let mut found = serde_json::Map::new();
    for (fault, _, expected) in FAULTS {
        let cell = record.cells().find(|cell| cell.planned.axes.iter().any(|axis| axis.value == fault));
        let cell = cell.with_context(|| format!("no cell for the fault {fault}"))?;
        let verdict = record.state.verdict(cell);
        let lead = verdict.lead();
        if lead.map(|lead| lead.id) != Some(expected) {
            let id = lead.map_or("no reason", |lead| lead.id.as_str());
            bench.problem(format!("the fault {fault} was found to be {id}, not {}", expected.as_str()));
        }
        // In a loop every boot says so: the first is the fault.
        let mark = marks.get(fault).copied();
        let verdict_at = lead.map(|lead| epoch + seconds(lead.at));
        let latency = mark.zip(verdict_at).map(|(mark, verdict)| verdict - mark);
        let resets = mark.zip(lead).map(|(mark, lead)| resets(cell, mark - epoch, seconds(lead.at)));
        let in_boots = latency.zip(boot.as_ref()).map(|(latency, boot)| latency / boot.took);
        let row = Row::new(4, format!("{fault}: fault to verdict"));
        match fault {
            "loop" => {
                bench.rows.push(row.maybe(latency, "s"));
                bench.rows.push(Row::new(4, "loop: boots to verdict").maybe(resets.map(f64::from), "").at_most(3.0));
            }
            "hang" => {
                bench.rows.push(row.maybe(latency, "s"));
                bench.rows.push(Row::new(4, "hang: in restarts of the control").maybe(in_boots, "").at_most(3.0));
            }
            _ => bench.rows.push(row.maybe(latency, "s").at_most(1.0)),
        }
        let about = json!({
            "fault_at": mark, "verdict_at": verdict_at, "latency_s": latency, "resets": resets,
            "latency_in_restarts": in_boots, "reason": lead.map(|lead| lead.id.as_str()),
        });
        found.insert(fault.to_owned(), about);
    }
    found.insert("restart".into(), json!(boot.map(|boot| boot.json())));
    found.insert("run".into(), ran.json());
    bench.raw.insert("detection".into(), found.into());
    Ok(())
}

/// What one restart takes without a fault: the control's, or the healthy cell's.
fn boot(record: &Record) -> Option<Cost> {
    let healthy = record.cells().find(|cell| cell.planned.axes.iter().any(|axis| axis.value == NONE))?;
    record.control(&healthy.planned.image).or_else(|| record.restarts_of(healthy))
}

/// How often the host saw the machine reset in this span of the run.
fn resets(cell: &CellState, from: f64, until: f64) -> u32 {
    let is_one = |what: &SignalKind| matches!(what, SignalKind::Reset);
    let within = |at: f64| at > from && at <= until;
    let count = signals(cell).filter(|signal| is_one(&signal.what) && within(seconds(signal.at))).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn write(bench: &Bench) -> anyhow::Result<PathBuf> {
    let names: Vec<&str> = FAULTS.iter().map(|(name, ..)| *name).collect();
    let mut text = format!(
        "version: 1\nname: bench-faults\ncatalog: {}\naxes:\n  os: [{OS}]\n  patch: [{PATCH}]\n  \
         fault: [{}, {NONE}]\nupdate:\n  - sh: \"true\"\n    when: {{fault: {NONE}}}\n",
        inputs::catalog()?.display(),
        names.join(", ")
    );
    for (name, action, _) in FAULTS {
        text += &format!(
            "  - sh: |\n      cat >/etc/rc.d/55-fault <<'END'\n      #!/bin/sh\n      read -r up _ </proc/uptime\n      \
             echo \"{MARK}{name} $up\" >/dev/ttyS0\n      {action}\n      END\n      chmod +x /etc/rc.d/55-fault; sync\n    \
             when: {{fault: {name}}}\n"
        );
    }
    text += "health:\n  soak: 0\n  watch: 1s\n";
    let path = bench.scratch.folder("in")?.join("faults.yaml");
    fs::write(&path, text)?;
    Ok(path)
}

/// Looks at all serial logs below a folder, and notes when each fault was first announced.
struct Watcher {
    done: Arc<AtomicBool>,
    thread: thread::JoinHandle<HashMap<String, f64>>,
}

impl Watcher {
    const LOOK: Duration = Duration::from_millis(5);
    /// Between two looks for further logs, in looks.
    const NEW_LOGS: u32 = 40;

    fn start(folder: PathBuf) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let told = done.clone();
        let thread = thread::spawn(move || {
            let (mut logs, mut marks) = (HashMap::new(), HashMap::new());
            let mut look = 0;
            while !told.load(Ordering::Relaxed) {
                if look % Self::NEW_LOGS == 0 {
                    let mut found = Vec::new();
                    serial_logs(&folder, 6, &mut found);
                    logs.retain(|path: &PathBuf, _| path.exists());
                    for path in found {
                        logs.entry(path).or_insert_with(Log::default);
                    }
                }
                for (path, log) in &mut logs {
                    log.read(path, &mut marks);
                }
                look += 1;
                sleep(Self::LOOK);
            }
            marks
        });
        Self { done, thread }
    }

    /// Each fault with the second since 1970 in which it was announced.
    fn stop(self) -> HashMap<String, f64> {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

/// A serial log, and what of it was not read yet or is no whole line.
#[derive(Default)]
struct Log {
    read: u64,
    rest: Vec<u8>,
}

impl Log {
    fn read(&mut self, path: &Path, marks: &mut HashMap<String, f64>) {
        let length = fs::metadata(path).map_or(0, |about| about.len());
        if length <= self.read {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let Ok(mut file) = File::open(path) else { return };
        let begun = self.rest.len();
        if file.seek(SeekFrom::Start(self.read)).is_err() || file.read_to_end(&mut self.rest).is_err() {
            return;
        }
        self.read += (self.rest.len() - begun) as u64;
        let text = String::from_utf8_lossy(&self.rest);
        let Some((lines, _)) = text.rsplit_once('\n') else { return };
        for line in lines.lines() {
            if let Some((_, mark)) = line.split_once(MARK) {
                let fault = mark.split_whitespace().next().unwrap_or_default();
                marks.entry(fault.to_owned()).or_insert(now);
            }
        }
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.rest.drain(..whole);
    }
}

fn serial_logs(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && depth > 0 {
            serial_logs(&entry.path(), depth - 1, found);
        } else if entry.file_name() == "serial.log" {
            found.push(entry.path());
        }
    }
}
