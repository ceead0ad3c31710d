use std::sync::{Arc, Mutex, PoisonError};

use tokio::{sync::watch, time::Instant};

use super::state::State;

/// A machine that plays its script.
///
/// Whoever looks at it first makes it do all that is due, so what is seen at a moment does not depend on
/// which task tokio runs first; [`Machine::play`] looks whenever something falls due.
pub(super) struct Machine {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

impl Machine {
    pub fn new(state: State) -> Self {
        Self { state: Mutex::new(state), changed: watch::Sender::new(()) }
    }

    /// Brings the machine up to now and works on it.
    pub fn with<R>(&self, work: impl FnOnce(&mut State, Instant) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.revision;
        let now = Instant::now();
        state.run_until(now);
        let result = work(&mut state, now);
        state.run_until(now);
        if state.revision != before {
            self.changed.send_replace(());
        }
        result
    }

    /// Tells of every change from here on.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Does what falls due, when it falls due, until the machine is gone.
    pub async fn play(self: Arc<Self>) {
        let mut changed = self.watch();
        loop {
            changed.mark_unchanged();
            let (gone, next) = self.with(|state, _| (state.is_gone(), state.next_due()));
            if gone {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                _ = changed.changed() => {}
            }
        }
    }
}
