use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::observe::Observer;
use crate::{
    lab::Lab,
    model::{LabTime, Millis},
};

/// Nobody asks again sooner: what is left of a stretched deadline shrinks little by little.
pub(super) const SOON: Duration = Duration::from_millis(250);

/// A deadline for something the guest has to do: time that the lab took from it does not count.
pub(super) struct Patience {
    began: Instant,
    before: LabTime,
    limit: Duration,
}

impl Patience {
    pub async fn new(watcher: &Observer, limit: Duration) -> Self {
        let before = watcher.lab_time().await;
        Self { began: Instant::now(), before, limit }
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
        let counted = LabTime::counted(elapsed.into(), &self.before, &watcher.lab_time().await).as_duration();
        (counted < self.limit).then(|| (self.limit - counted).max(SOON))
    }
}

/// A deadline that somebody set in hours of the day. Only time in which the harness stood still does not count: nobody
/// knows whether the guest ran then, and nobody asked it.
#[derive(Clone)]
pub(super) struct Deadline {
    lab: Arc<dyn Lab>,
    at: Instant,
    late: Millis,
}

impl Deadline {
    pub fn new(lab: &Arc<dyn Lab>, limit: Duration) -> Self {
        Self { lab: lab.clone(), at: Instant::now() + limit, late: lab.load().timer_late }
    }

    /// When it is over, as far as is known now.
    pub fn at(&self) -> Instant {
        self.at + self.lab.load().timer_late.since(self.late).as_duration()
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.at()
    }
}
