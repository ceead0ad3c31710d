use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::sleep};

use super::{
    Args,
    matrix::{Asked, Wrong},
    say::{Say, utc_now},
    turn::Turn,
};
use crate::{
    cli::{
        Context, EXIT_INCONCLUSIVE,
        session::{Session, Stop},
    },
    model::{Millis, one_line},
    source::Diagnostics,
    watch::{Entry, Queue, QueueError, QueueFile, Record, Stamp, Store},
};

/// Pauses after a fault of the lab: the first, doubled each time, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// How often a matrix that is wrong is looked at, whether somebody has mended it.
const LOOK_AT_MATRIX: Duration = Duration::from_secs(2);

/// Tests what is in the queue, one candidate after the other.
pub(super) struct Worker<'a> {
    pub(super) args: &'a Args,
    pub(super) context: &'a Context,
    pub(super) asked: &'a Asked,
    pub(super) say: &'a Say,
    queue: Arc<Mutex<QueueFile>>,
    pub(super) store: &'a Store,
    news: &'a Notify,
    pub(super) stop: &'a Stop,
    /// Open from the first run on: libvirt's driver can be opened on one root only in the life of a process, and another
    /// process may take a root that is given back.
    pub(super) session: Option<Session<'a>>,
    pub(super) wrong: Option<Wrong>,
}

impl<'a> Worker<'a> {
    #[expect(clippy::too_many_arguments, reason = "made in one place, of what that place has")]
    pub fn new(
        args: &'a Args,
        context: &'a Context,
        asked: &'a Asked,
        say: &'a Say,
        queue: Arc<Mutex<QueueFile>>,
        store: &'a Store,
        news: &'a Notify,
        stop: &'a Stop,
    ) -> Self {
        Self { args, context, asked, say, queue, store, news, stop, session: None, wrong: None }
    }

    /// Works until it is stopped, or once the queue is empty. The exit code, answers aside.
    ///
    /// # Errors
    /// With `once`: no candidate can be tested.
    pub async fn work(&mut self, once: bool) -> anyhow::Result<u8> {
        let result = self.work_off(once).await;
        self.close_lab().await;
        result
    }

    async fn work_off(&mut self, once: bool) -> anyhow::Result<u8> {
        let mut faults = 0;
        while !self.stop.interrupt.is_cancelled() {
            let next = self.file().queue().next().cloned();
            let Some(entry) = next else {
                if once {
                    break;
                }
                self.show(None);
                self.wait_for(self.news.notified()).await;
                continue;
            };
            // Before they are read: what is mended meanwhile is news.
            let looks = self.asked.looks();
            match self.turn(&entry).await {
                Ok(Turn::Over) => faults = 0,
                Ok(Turn::Stopped) => break,
                Ok(Turn::Wrong(errors)) if once => return Err(errors.into()),
                Ok(Turn::Wrong(errors)) => self.wait_for_matrix(&errors, looks).await,
                Err(error) => {
                    self.doubt_lab().await;
                    self.say.around(|| self.context.print_error(&error));
                    let is_lost = matches!(error.downcast_ref::<QueueError>(), Some(QueueError::Unusable(_)));
                    if once || is_lost {
                        self.say.line(&format!("{}: not tested, it stays in the queue", entry.name));
                        return Ok(EXIT_INCONCLUSIVE);
                    }
                    let pause = pause(faults);
                    faults += 1;
                    let told = Millis::from(pause);
                    self.say
                        .line(&format!("{}: a fault of the lab, not of the candidate; again in {told}", entry.name));
                    self.wait_for(sleep(pause)).await;
                }
            }
        }
        Ok(0)
    }

    pub(super) fn file(&self) -> MutexGuard<'_, QueueFile> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn record(&self, record: &Record) -> Result<(), QueueError> {
        self.file().append(&utc_now(), record)
    }

    /// Records how an entry ended, and removes its copy. Nobody comes with the same bytes in between.
    pub(super) fn close(&self, entry: &Entry, record: &Record) -> Result<(), QueueError> {
        let mut file = self.file();
        file.append(&utc_now(), record)?;
        let is_open = |queue: &Queue| queue.entries().iter().any(|other| other.id == entry.id && other.is_open());
        if !is_open(file.queue())
            && let Err(error) = self.store.remove(&entry.sha256)
        {
            let name = one_line(&entry.name);
            tell!("warning: the copy of {name} cannot be removed, the next start tries again: {error}");
        }
        Ok(())
    }

    async fn wait_for(&self, what: impl Future<Output = ()>) {
        tokio::select! {
            () = what => {}
            () = self.stop.interrupt.cancelled() => {}
        }
    }

    async fn wait_for_matrix(&mut self, errors: &Diagnostics, looks: Vec<Option<Stamp>>) {
        let wrong = Wrong::new(errors, looks);
        if self.wrong.as_ref().is_none_or(|before| before.text != wrong.text) {
            self.say.around(|| self.context.print_diagnostics(errors));
            self.say.line(&format!("{} cannot be used: what waits goes on waiting", self.asked.path().display()));
            self.show(None);
        }
        while !wrong.may_be_right(self.asked, self.args.rescan) && !self.stop.interrupt.is_cancelled() {
            self.wait_for(sleep(LOOK_AT_MATRIX)).await;
        }
        self.wrong = Some(wrong);
    }

    pub(super) fn show(&self, testing: Option<&Entry>) {
        self.say.status(testing.map(|entry| entry.name.as_str()), self.file().queue());
    }

    async fn close_lab(&mut self) {
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }

    /// Something went wrong: perhaps it was the connection to libvirt.
    pub(super) async fn doubt_lab(&mut self) {
        if !self.args.lab.is_embedded() {
            self.close_lab().await;
        }
    }
}

/// How long to wait after so many faults in a row.
fn pause(faults: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << faults.min(10)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lab_is_tried_again_ever_more_seldom_but_always() {
        let pauses: Vec<u64> = [0, 1, 2, 5, 6, 1000].map(|faults| pause(faults).as_secs()).into();
        assert_eq!(pauses, [10, 20, 40, 320, 600, 600]);
    }
}
