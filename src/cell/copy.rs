use std::{io, path::Path, time::Duration};

use sha2::Digest as _;
use tokio::io::AsyncReadExt as _;

use super::{
    life::Cellmate,
    observe::Observer,
    patience::Deadline,
    step::{self, refused},
};
use crate::{
    guest::{Placed, WRITE_CHUNK},
    lab::{AgentError, write_iso},
    model::{Bytes, Exit, GuestFile, HostFile, Output, ReasonId, Sha256, SignalKind},
};

/// From this total size on, files go on a medium in the CD drive and not through the agent. Measured on an
/// emulated guest: 1023 KiB took 1.16 s through the agent, 1100 KiB 1.07 s by the medium, 8 MiB 1.5 s.
const MEDIUM_FROM: Bytes = Bytes::mib(1);

/// How many files one command in the guest handles: its argument list is bounded.
const BATCH: usize = 100;

/// How long a piece of a file may take through the agent.
const PIECE: Duration = Duration::from_secs(20);

/// Brings files into the guest. None: the judge is over.
pub(super) async fn copy(
    watcher: &mut Observer,
    mate: &Cellmate<'_>,
    files: &[GuestFile],
    deadline: &Deadline,
) -> Option<(Exit, Output)> {
    let total: u64 = files.iter().map(|file| file.from.size.0).sum();
    for batch in files.chunks(BATCH) {
        let paths: Vec<&str> = batch.iter().map(|file| file.to.as_str()).collect();
        let parents = mate.family.make_parents(&paths, &mate.tag());
        let made = step::execute(watcher, mate, &parents, deadline).await?;
        if made.0 != (Exit::Code { code: 0 }) {
            return Some(made);
        }
    }
    let sent = if Bytes(total) >= MEDIUM_FROM && mate.family.reads_media() {
        by_medium(watcher, mate, files, deadline).await?
    } else {
        by_agent(watcher, mate, files, deadline).await?
    };
    if sent.0 != (Exit::Code { code: 0 }) {
        return Some(sent);
    }
    for batch in files.chunks(BATCH) {
        let placed: Vec<Placed> = batch.iter().map(|file| Placed { to: file.to.clone(), mode: file.mode }).collect();
        let command = mate.family.place(&placed, &mate.tag());
        let moved = step::execute(watcher, mate, &command, deadline).await?;
        if moved.0 != (Exit::Code { code: 0 }) {
            return Some(moved);
        }
    }
    Some(done())
}

fn done() -> (Exit, Output) {
    (Exit::Code { code: 0 }, Output::default())
}

/// Why a file did not get through the agent.
enum Failure {
    /// The host's file is not what the plan pinned, or cannot be read.
    Host(String),
    Agent(AgentError),
    Deadline,
}

async fn by_agent(
    watcher: &mut Observer,
    mate: &Cellmate<'_>,
    files: &[GuestFile],
    deadline: &Deadline,
) -> Option<(Exit, Output)> {
    let boot = watcher.boot;
    for file in files {
        let to = mate.family.beside(&file.to);
        loop {
            let Err(failure) = watcher.until(send(mate, &file.from, &to, deadline)).await? else { break };
            match failure {
                Failure::Host(message) => return host_fault(watcher, message),
                Failure::Deadline => return Some((Exit::Timeout, Output::default())),
                Failure::Agent(AgentError::Refused(message)) => {
                    return Some(refused(mate.job.secrets.mask(&format!("{}: {message}", file.to))));
                }
                // The file beside its place is written anew, from its begin.
                Failure::Agent(_) => step::wait_for_agent(watcher, mate, mate.step_patience()).await?,
            }
            if watcher.boot != boot || deadline.is_over() {
                return Some((Exit::AgentGone, Output::default()));
            }
        }
    }
    Some(done())
}

async fn send(mate: &Cellmate<'_>, from: &HostFile, to: &str, deadline: &Deadline) -> Result<(), Failure> {
    let host = |error: io::Error| Failure::Host(format!("{}: {error}", from.path.display()));
    let mut file = tokio::fs::File::open(&from.path).await.map_err(host)?;
    let agent = mate.agent(PIECE);
    let handle = agent.open(to, "w").await.map_err(Failure::Agent)?;
    let mut digest = sha2::Sha256::new();
    let mut piece = vec![0; WRITE_CHUNK];
    let result = loop {
        let length = file.read(&mut piece).await.map_err(host)?;
        if length == 0 {
            break Ok(());
        }
        digest.update(&piece[..length]);
        if let Err(error) = agent.write(handle, &piece[..length]).await {
            break Err(Failure::Agent(error));
        }
        if deadline.is_over() {
            break Err(Failure::Deadline);
        }
    };
    let closed = agent.close(handle).await.map_err(Failure::Agent);
    result?;
    closed?;
    if Sha256::from_digest(&digest.finalize()) == from.sha256 { Ok(()) } else { Err(Failure::Host(changed(from))) }
}

async fn by_medium(
    watcher: &mut Observer,
    mate: &Cellmate<'_>,
    files: &[GuestFile],
    deadline: &Deadline,
) -> Option<(Exit, Output)> {
    let iso = watcher.vm.files().dir.join(format!("medium-{}.iso", mate.tag()));
    let sources: Vec<HostFile> = files.iter().map(|file| file.from.clone()).collect();
    let made = {
        let iso = iso.clone();
        watcher.until(tokio::task::spawn_blocking(move || make_medium(&iso, &sources))).await?
    };
    let names = match made.unwrap_or_else(|panic| Err(format!("the medium could not be made: {panic}"))) {
        Ok(names) => names,
        Err(message) => return host_fault(watcher, message),
    };
    let vm = watcher.vm.clone();
    if let Err(error) = watcher.until(vm.insert_medium(Some(&iso))).await? {
        return host_fault(watcher, error.to_string());
    }
    let pairs: Vec<(String, String)> = names.into_iter().zip(files.iter().map(|file| file.to.clone())).collect();
    let mut result = done();
    for batch in pairs.chunks(BATCH) {
        let command = mate.family.copy_from_medium(batch, &mate.tag());
        result = step::execute(watcher, mate, &command, deadline).await?;
        if result.0 != (Exit::Code { code: 0 }) {
            break;
        }
    }
    // A drive that the guest keeps locked keeps its medium until the clone goes; nothing depends on it.
    if watcher.until(vm.insert_medium(None)).await?.is_ok() {
        let _ = std::fs::remove_file(&iso);
    }
    Some(result)
}

fn make_medium(iso: &Path, files: &[HostFile]) -> Result<Vec<String>, String> {
    for file in files {
        let mut digest = sha2::Sha256::new();
        let read = std::fs::File::open(&file.path).and_then(|mut from| io::copy(&mut from, &mut digest));
        read.map_err(|error| format!("{}: {error}", file.path.display()))?;
        if Sha256::from_digest(&digest.finalize()) != file.sha256 {
            return Err(changed(file));
        }
    }
    let paths: Vec<&Path> = files.iter().map(|file| file.path.as_path()).collect();
    write_iso(iso, &paths).map_err(|error| format!("cannot write {}: {error}", iso.display()))
}

fn changed(file: &HostFile) -> String {
    format!("{} is not the file that was planned: it has changed since", file.path.display())
}

/// Not the update's fault: the judge is over.
fn host_fault(watcher: &mut Observer, message: String) -> Option<(Exit, Output)> {
    watcher.emit(SignalKind::LabFault { reason: ReasonId::StartFailed, message });
    None
}
