use std::sync::{Arc, Mutex};

use tokio::{sync::mpsc, time::Instant};

use crate::{
    event::{Event, RunEvent},
    model::{CellId, Millis},
};

/// Stamps events with the run's clock and hands them to the run's dispatcher, in one order for all cells.
#[derive(Clone, Debug)]
pub struct Emitter {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    began: Instant,
    /// What a resumed run's clock had reached.
    offset: Millis,
    events: mpsc::UnboundedSender<Event>,
}

impl Emitter {
    pub fn new(offset: Millis, events: mpsc::UnboundedSender<Event>) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { began: Instant::now(), offset, events })) }
    }

    /// Sends an event and answers with its moment.
    pub fn emit(&self, cell: Option<&CellId>, what: RunEvent) -> Millis {
        // Stamped and sent under one lock: the journal's moments never run backwards.
        let inner = self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let at = inner.now();
        // A dispatcher that is gone has already told why the run ended.
        let _ = inner.events.send(Event { at, cell: cell.cloned(), what });
        at
    }

    pub fn now(&self) -> Millis {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).now()
    }
}

impl Inner {
    fn now(&self) -> Millis {
        self.offset + Millis::from(self.began.elapsed())
    }
}
