//! What a guest left behind: its logs since the update began, and crash dumps.

use std::time::Duration;

use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout},
};

use super::{life::Cellmate, observe::Observer, patience::Deadline, state, step};
use crate::{
    event::Level,
    guest::Look,
    model::{Exit, ReasonId},
};

/// Most that is read of an exported log, in bytes. The newest records may be anywhere in it.
const LOG: usize = 32 << 20;

/// Most that is read of a crash dump: small ones whole, of others the header.
const DUMP: usize = 4 << 20;

/// How long reading one file may take.
const READING: Duration = Duration::from_secs(120);

/// A large dump takes minutes to write; nobody waits longer for one.
const LONGEST: Duration = Duration::from_secs(600);

/// Most dumps that are read.
const DUMPS: usize = 5;

/// Adds what the logs and dumps tell. False: what its logs say is not known, and so not whether anything is wrong. None: the
/// judge is over.
pub(super) async fn add(watcher: &mut Observer, mate: &Cellmate<'_>, look: &mut Look) -> Option<bool> {
    if mate.family.leaves_logs() && !add_logs(watcher, mate, look).await? {
        return Some(false);
    }
    let boot = watcher.boot;
    let dumps = watcher.until(read_dumps(mate, look.dumps())).await?;
    for dump in &dumps {
        if let Some(cause) = &dump.cause {
            look.explain_dump(&dump.path, cause);
        }
    }
    watcher.dumps = Some((boot, dumps));
    Some(true)
}

async fn add_logs(watcher: &mut Observer, mate: &Cellmate<'_>, look: &mut Look) -> Option<bool> {
    let Some((command, files)) = mate.export_logs() else {
        watcher.note(Level::Warning, "the guest did not tell its time, from which on its logs count".to_owned());
        return Some(false);
    };
    let deadline = Deadline::new(&mate.job.lab, state::PATIENCE);
    let (exit, output) = step::execute(watcher, mate, &command, &deadline).await?;
    let is_whole = exit == (Exit::Code { code: 0 }) && !output.truncated;
    if !is_whole {
        look.more_errors();
    }
    for (n, file) in files.iter().enumerate() {
        // The first is on every machine; not every edition has each of the others.
        if n > 0 && is_whole && !output.stdout.lines().any(|there| there.trim() == file) {
            continue;
        }
        match watcher.until(read_log(mate, file)).await? {
            Some((texts, has_more)) => {
                texts.into_iter().for_each(|text| look.error(text));
                if has_more {
                    look.more_errors();
                }
            }
            None if n > 0 => look.more_errors(),
            None => {
                let why = format!("the guest's log {file} cannot be read: {exit:?} {}", output.stderr);
                watcher.note(Level::Warning, mate.job.secrets.mask(&why));
                return Some(false);
            }
        }
    }
    Some(true)
}

/// From here on what the guest logs counts. False: the judge is over.
pub(super) async fn logs_begin(watcher: &mut Observer, mate: &Cellmate<'_>) -> bool {
    if mate.family.leaves_logs()
        && let Some(Ok(now)) = watcher.until(async { mate.agent(state::PATIENCE).time().await }).await
    {
        mate.set_log_start(now / 1_000_000);
    }
    !watcher.judge.is_over()
}

/// A file of the guest, up to `cap` bytes, and whether there was more. None: it is not there, or takes too long: a guest may
/// give it byte by byte.
async fn read(mate: &Cellmate<'_>, path: &str, cap: usize) -> Option<(Vec<u8>, bool)> {
    timeout(READING, mate.agent(state::PATIENCE).read_file(path, cap)).await.ok()?.ok()
}

/// What a log of the guest tells, and whether there is more of it.
async fn read_log(mate: &Cellmate<'_>, path: &str) -> Option<(Vec<String>, bool)> {
    let (content, was_longer) = read(mate, path, LOG).await?;
    let family = mate.family;
    // Seconds of work, for a log of megabytes.
    let (texts, has_more) = spawn_blocking(move || family.read_log(&content)).await.ok()??;
    Some((texts, has_more || was_longer))
}

/// A crash dump in the guest.
pub(super) struct CrashDump {
    pub path: String,
    /// As much of it as is read.
    pub content: Vec<u8>,
    /// What it tells of its cause.
    pub cause: Option<String>,
}

async fn read_dumps(mate: &Cellmate<'_>, paths: &[String]) -> Vec<CrashDump> {
    let mut found = Vec::new();
    for path in paths.iter().take(DUMPS) {
        let Some((content, _)) = read(mate, path, DUMP).await else { continue };
        let family = mate.family;
        let read = spawn_blocking(move || (family.read_dump(&content), content)).await;
        if let Ok((cause, content)) = read {
            found.push(CrashDump { path: path.clone(), content, cause });
        }
    }
    found
}

/// A guest that has stopped with an error writes its dump, restarts by itself, and may come up once more: then the dump can
/// be read. Waits for that, as long as a boot may take. The verdict stands already.
pub(super) async fn await_dump(watcher: &mut Observer, mate: &Cellmate<'_>) {
    let stopped = watcher.judge.own_verdict().reasons.iter().all(|reason| reason.id == ReasonId::StopError);
    if !stopped || !watcher.judge.is_over() || !mate.family.leaves_dumps() {
        return;
    }
    watcher.note(Level::Info, "waiting for the guest to write its crash dump and to come up again".to_owned());
    let deadline = Instant::now() + mate.limits().boot.as_duration().min(LONGEST);
    while Instant::now() < deadline && !watcher.is_cancelled() && !mate.job.hurry.is_cancelled() {
        watcher.next(deadline.min(Instant::now() + Duration::from_secs(1))).await;
        if watcher.channel_open && mate.agent(Duration::from_secs(3)).ping().await.is_ok() {
            return watcher.agent_answered();
        }
    }
}

/// The crash dumps that lie in the guest; those that were read in this boot are not read again.
pub(super) async fn dumps(watcher: &mut Observer, mate: &Cellmate<'_>) -> Vec<CrashDump> {
    if !mate.family.leaves_dumps() {
        return Vec::new();
    }
    match watcher.dumps.take() {
        Some((boot, known)) if boot == watcher.boot => known,
        _ => match mate.ask(&mate.family.inventory(&mate.tag()), state::PATIENCE).await {
            Ok((_, printed)) => read_dumps(mate, mate.family.read_look(&printed).dumps()).await,
            Err(_) => Vec::new(),
        },
    }
}
