use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::timeout;

use super::{
    leftovers::{self, CrashDump},
    life::Cellmate,
    observe::Observer,
    pictures,
};
use crate::{
    event::Level,
    lab::{AgentError, Screenshot, Vm, end_of_guest_written},
    model::{Outcome, Phase, Secrets},
};

/// How long any one piece of evidence may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an agent may take to show that it is there at all: after a panic its channel is still open.
const AGENT: Duration = Duration::from_secs(3);

/// Most that is kept of a console's log, of which it is the end, or of a guest's file, of which it is the beginning; in bytes.
const FILE_CAP: usize = 4 << 20;

/// Fetches the evidence. Whatever cannot be fetched is noted and left out; nothing here changes a verdict.
pub(super) async fn collect(watcher: &mut Observer, mate: &Cellmate<'_>) -> Vec<PathBuf> {
    leftovers::await_dump(watcher, mate).await;
    let agent_answers = watcher.judge.agent_answered() && watcher.channel_open;
    let well = watcher.judge.own_verdict().outcome == Outcome::Healthy;
    watcher.enter(Phase::Collect);
    let mut kept =
        Kept { dir: mate.job.dir.clone(), files: watcher.frames.clone(), found: Vec::new(), problems: Vec::new() };
    let vm = watcher.vm.clone();
    let last = timeout(PATIENCE, vm.screenshot()).await.ok().and_then(Result::ok).flatten();
    kept.screen("settled.png", watcher.settled_screen.as_ref().map(|reference| &reference.screen));
    kept.screen("last.png", last.as_ref().or(watcher.screen.as_ref()));
    let files = vm.files();
    kept.log("serial.log", &files.serial_log, &mate.job.secrets);
    if let Some(log) = &files.firmware_log {
        kept.log("firmware.log", log, &mate.job.secrets);
    }
    if let Some(log) = &files.qemu_log {
        kept.log("qemu.log", log, &mate.job.secrets);
    }
    if let Ok(Ok(xml)) = timeout(PATIENCE, vm.definition()).await {
        kept.bytes("domain.xml", xml.as_bytes());
    }
    if !well && agent_answers && !mate.job.hurry.is_cancelled() {
        guest_files(watcher, mate, &mut kept).await;
    }
    kept.bytes("agent.jsonl", mate.transcript.text().as_bytes());
    for found in kept.found {
        watcher.note(Level::Info, found);
    }
    for problem in kept.problems {
        watcher.note(Level::Warning, problem);
    }
    watcher.leave(Phase::Collect);
    kept.files
}

async fn guest_files(watcher: &mut Observer, mate: &Cellmate<'_>, kept: &mut Kept) {
    if mate.agent(AGENT).ping().await.is_err() {
        return;
    }
    for CrashDump { path, content, cause } in leftovers::dumps(watcher, mate).await {
        if let Some(cause) = cause {
            kept.found.push(format!("{path}: {cause}"));
        }
        kept.bytes(&format!("guest/{}", flat(&path)), &mate.job.secrets.mask_bytes(&content));
    }
    let steps = mate.job.cell.setup.iter().chain(&mate.job.cell.update);
    let logs: Vec<String> = steps.filter_map(|step| mate.family.log_of(&step.kind)).collect();
    let asked = mate.job.collect.files.iter().chain(&logs).map(String::as_str);
    for path in asked.chain(mate.family.evidence().iter().copied()) {
        let secrets = &mate.job.secrets;
        // Who cancelled waits.
        let patience = if mate.job.cancel.is_cancelled() { AGENT } else { PATIENCE };
        match timeout(patience, mate.agent(patience).read_file(path, FILE_CAP + secrets.longest())).await {
            Ok(Ok((content, _))) => {
                let mut masked = secrets.mask_bytes(&content);
                masked.truncate(FILE_CAP);
                kept.bytes(&format!("guest/{}", flat(path)), &masked);
            }
            // A file that is not there is the usual case.
            Ok(Err(AgentError::Refused(_))) => {}
            // An agent that is gone is not asked for every file.
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// A path in the guest as one file name: the guest has no say in where on the host it lands.
fn flat(path: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    path.trim_start_matches('/').chars().map(safe).take(120).collect::<String>().replace("..", "__")
}

struct Kept {
    dir: PathBuf,
    files: Vec<PathBuf>,
    /// What the evidence says, for people.
    found: Vec<String>,
    problems: Vec<String>,
}

impl Kept {
    fn screen(&mut self, name: &str, screen: Option<&Screenshot>) {
        let Some(screen) = screen else { return };
        self.keep(&format!("screens/{name}"), |path| pictures::write_png(screen, path));
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        self.keep(name, |path| fs::write(path, bytes));
    }

    fn log(&mut self, name: &str, from: &Path, secrets: &Secrets) {
        // A machine that never started has no logs.
        if from.exists() {
            self.keep(name, |path| {
                let end = end_of_guest_written(from, (FILE_CAP + secrets.longest()) as u64)?;
                let masked = secrets.mask_bytes(&end);
                fs::write(path, &masked[masked.len().saturating_sub(FILE_CAP)..])
            });
        }
    }

    fn keep(&mut self, name: &str, write: impl FnOnce(&Path) -> io::Result<()>) {
        let path = self.dir.join(name);
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        match folder.and_then(|()| write(&path)) {
            Ok(()) => self.files.push(path),
            Err(error) => self.problems.push(format!("{name} could not be kept: {error}")),
        }
    }
}

/// Ends the machine, trying again where the host was slow.
pub(super) async fn destroy(vm: &dyn Vm) -> Result<(), String> {
    let mut result = vm.destroy().await;
    for pause in [1, 3] {
        if result.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(pause)).await;
        result = vm.destroy().await;
    }
    result.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_path_never_leaves_its_folder() {
        assert_eq!(flat("/var/log/messages"), "var_log_messages");
        for path in ["/../../etc/passwd", "..", "/a/../../b", "/x\0\n/y"] {
            let name = flat(path);
            assert!(!name.contains('/') && !name.contains("..") && !name.contains('\0'), "{name}");
        }
    }
}
