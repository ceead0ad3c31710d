use std::sync::Mutex;

use crate::model::Bytes;

/// What machines a lab has and had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Ever created.
    pub created: usize,
    /// Created and not destroyed: zero when nothing was left behind.
    pub live: usize,
    /// The most that were live at once.
    pub peak: usize,
    /// Memory of the live ones.
    pub memory: Bytes,
    /// The most memory that live ones had at once.
    pub peak_memory: Bytes,
}

#[derive(Default)]
pub(super) struct Registry(Mutex<Census>);

impl Registry {
    pub fn read(&self) -> Census {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Answers with how many had been created before.
    pub fn add(&self, memory: Bytes) -> usize {
        let mut census = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        census.created += 1;
        census.live += 1;
        census.peak = census.peak.max(census.live);
        census.memory.0 += memory.0;
        census.peak_memory.0 = census.peak_memory.0.max(census.memory.0);
        census.created - 1
    }

    pub fn remove(&self, memory: Bytes) {
        let mut census = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        census.live -= 1;
        census.memory.0 -= memory.0;
    }
}
