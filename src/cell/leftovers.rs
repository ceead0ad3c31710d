//! What a guest left behind: its logs since the update began, and crash dumps.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{life::Cellmate, observe::Observer, patience::Deadline, state, step};
use crate::{event::Level, guest::Look, model::ReasonId};

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
    for path in look.dumps().iter().take(DUMPS).cloned().collect::<Vec<_>>() {
        let content = watcher.until(read(mate, &path, DUMP)).await?;
        if let Some(cause) = content.and_then(|content| mate.family.read_dump(&content)) {
            look.explain_dump(&path, &cause);
        }
    }
    Some(true)
}

async fn add_logs(watcher: &mut Observer, mate: &Cellmate<'_>, look: &mut Look) -> Option<bool> {
    let Some((command, files)) = mate.export_logs() else {
        watcher.note(Level::Warning, "the guest did not tell its time, from which on its logs count".to_owned());
        return Some(false);
    };
    let deadline = Deadline::new(&mate.job.lab, state::PATIENCE);
    let (exit, output) = step::execute(watcher, mate, &command, &deadline).await?;
    for (n, file) in files.iter().enumerate() {
        let told = watcher.until(read(mate, file, LOG)).await?.and_then(|content| mate.family.read_log(&content));
        match told {
            Some(texts) => texts.into_iter().for_each(|text| look.error(text)),
            // The first is on every machine; not every edition has each of the others.
            None if n > 0 => {}
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

/// A file of the guest, up to `cap` bytes. None: it is not there, or takes too long: a guest may give it byte by byte.
async fn read(mate: &Cellmate<'_>, path: &str, cap: usize) -> Option<Vec<u8>> {
    let read = timeout(READING, mate.agent(state::PATIENCE).read_file(path, cap)).await;
    read.ok()?.ok().map(|(content, _)| content)
}

/// A guest that has stopped with an error writes its dump, restarts by itself, and may come up once more: then the dump can
/// be read. Waits for that, as long as a boot may take. The verdict stands already.
pub(super) async fn await_dump(watcher: &mut Observer, mate: &Cellmate<'_>) {
    let stopped = watcher.judge.own_verdict().lead().is_some_and(|lead| lead.id == ReasonId::StopError);
    if !stopped || !mate.family.leaves_dumps() {
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

/// The crash dumps that lie in the guest: their paths and as much of them as is kept.
pub(super) async fn dumps(mate: &Cellmate<'_>) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    if !mate.family.leaves_dumps() {
        return found;
    }
    let Ok((_, printed)) = mate.ask(&mate.family.inventory(&mate.tag()), state::PATIENCE).await else { return found };
    for path in mate.family.read_look(&printed).dumps().iter().take(DUMPS) {
        if let Some(content) = read(mate, path, DUMP).await {
            found.push((path.clone(), content));
        }
    }
    found
}
