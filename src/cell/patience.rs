use std::time::Duration;

use tokio::time::Instant;

use super::observe::Observer;
use crate::model::Millis;

/// Waiting for one of the host's cores stretches a deadline at most so many times.
const MOST_STRETCH: u32 = 8;

/// A deadline for something the guest has to do: time in which the host had no core for it does not count.
pub(super) struct Patience {
    began: Instant,
    waited_before: Millis,
    limit: Duration,
}

impl Patience {
    pub async fn new(watcher: &Observer, limit: Duration) -> Self {
        Self { began: Instant::now(), waited_before: watcher.cpu_wait().await, limit }
    }

    /// Since this patience began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// None: it is at its end. Else how much longer to wait before asking again.
    pub async fn left(&self, watcher: &Observer) -> Option<Duration> {
        let elapsed = self.began.elapsed();
        if elapsed < self.limit {
            return Some(self.limit - elapsed);
        }
        let waited = watcher.cpu_wait().await.since(self.waited_before).as_duration();
        let counted = elapsed.saturating_sub(waited).max(elapsed / MOST_STRETCH);
        (counted < self.limit).then(|| self.limit - counted)
    }
}
