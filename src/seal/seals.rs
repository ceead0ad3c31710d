use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{About, Builder, Seal, SealCache, SealError, SealKey, Taken};
use crate::{
    files::free_space,
    lab::{Lab, VmSpec},
    model::{Bytes, Cell, CellId, Millis, Start},
};

/// How often to look whether another process has made a seal: its lock sends no event.
const LOOK: Duration = Duration::from_millis(250);

/// Disk space beyond the machine's memory that must be free for a seal.
const ROOM: Bytes = Bytes::mib(512);

/// A seal from which so many machines of one run did not start is not tried again in that run.
const FAILURES: u32 = 2;

/// The seals of one run: one per golden image, found in the cache or made by the first cell that needs it.
pub struct Seals {
    cache: SealCache,
    lab: Arc<dyn Lab>,
    states: Mutex<HashMap<String, State>>,
}

#[derive(Default)]
enum State {
    #[default]
    Unknown,
    /// This cell has been started, and will look for it.
    Promised(CellId),
    /// A cell looks for it, or makes it.
    Claimed,
    Ready {
        seal: Arc<Seal>,
        /// So many machines did not start from it.
        failures: u32,
    },
    /// Cells start from power-on, for this reason.
    Never(String),
}

/// How a cell is to start.
pub enum Offer {
    /// As a clone of this seal.
    Live(Arc<Seal>),
    /// From power-on; it is to make the seal when it has settled.
    Make(Claim),
    /// From power-on; why not live, if that was asked for.
    Cold(Option<String>),
    /// Nobody knows yet: to be [resolved](Claim::resolve).
    Find(Claim),
}

/// The right to settle what becomes of an image's seal. Dropped unsettled, it means that there is none.
pub struct Claim {
    seals: Arc<Seals>,
    image: String,
    builder: Option<Builder>,
    settled: bool,
}

impl Seals {
    /// `lab`: says what a seal depends on there.
    pub fn new(cache: SealCache, lab: Arc<dyn Lab>) -> Arc<Self> {
        Arc::new(Self { cache, lab, states: Mutex::default() })
    }

    fn states(&self) -> MutexGuard<'_, HashMap<String, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the cell can start now, and need not wait for the seal of its image.
    pub fn may_start(&self, cell: &Cell) -> bool {
        let waits = |state: &State| matches!(state, State::Promised(_) | State::Claimed);
        cell.start == Start::Cold || !self.states().get(&cell.image).is_some_and(waits)
    }

    /// The cell is being started: it finds or makes its image's seal, if nobody has yet.
    pub fn promise(&self, cell: &Cell) {
        if cell.start == Start::Live
            && let state @ State::Unknown = self.states().entry(cell.image.clone()).or_default()
        {
            *state = State::Promised(cell.id.clone());
        }
    }

    /// The cell has ended; a promise that it did not keep is another one's to make.
    pub fn release(&self, cell: &Cell) {
        if let Some(state) = self.states().get_mut(&cell.image)
            && matches!(state, State::Promised(by) if *by == cell.id)
        {
            *state = State::Unknown;
        }
    }

    /// How a cell that starts now is to start.
    pub fn offer(self: &Arc<Self>, cell: &Cell) -> Offer {
        if cell.start == Start::Cold {
            return Offer::Cold(None);
        }
        let mut states = self.states();
        let state = states.entry(cell.image.clone()).or_default();
        match state {
            State::Promised(by) if *by != cell.id => Offer::Cold(Some("its image's seal is being made".to_owned())),
            State::Unknown | State::Promised(_) => {
                *state = State::Claimed;
                let (seals, image) = (Arc::clone(self), cell.image.clone());
                Offer::Find(Claim { seals, image, builder: None, settled: false })
            }
            State::Claimed => Offer::Cold(Some("its image's seal is being made".to_owned())),
            State::Ready { seal, .. } => Offer::Live(Arc::clone(seal)),
            State::Never(why) => Offer::Cold(Some(why.clone())),
        }
    }

    /// The seal from which this cell could start, if there is one already; nothing is made or waited for.
    pub async fn find(self: &Arc<Self>, cell: &Cell, spec: &VmSpec) -> Option<Seal> {
        let key = self.key(cell, spec).ok()?;
        let cache = self.cache.clone();
        tokio::task::spawn_blocking(move || cache.find(&key)).await.ok()?
    }

    /// A machine did not start from this seal.
    pub fn failed(&self, seal: &Seal, why: &str) {
        seal.reject(why);
        if let Some(state) = self.states().get_mut(&seal.about.image)
            && let State::Ready { failures, .. } = state
        {
            *failures += 1;
            if *failures >= FAILURES {
                *state = State::Never(format!("machines do not start from its seal: {why}"));
            }
        }
    }

    fn key(&self, cell: &Cell, spec: &VmSpec) -> Result<SealKey, SealError> {
        let setup = cell.setup.get(..cell.sealed_setup).unwrap_or(&cell.setup);
        Ok(SealKey::new(&spec.image, setup, &self.lab.seal_subject(spec)?))
    }

    fn no_room(&self, spec: &VmSpec) -> Option<String> {
        let free = free_space(&self.lab.info().clones).ok()?;
        let needed = Bytes(spec.image.memory.0 + ROOM.0);
        (free < needed).then(|| format!("a seal may need {needed} of disk space, {free} is free"))
    }
}

impl Claim {
    /// Looks for the seal, waiting while another process makes it. Never [`Offer::Find`].
    pub async fn resolve(mut self, cell: &Cell, spec: &VmSpec, cancel: &CancellationToken) -> Offer {
        match self.look(cell, spec, cancel).await {
            Ok(Taken::Ready(seal)) => Offer::Live(self.ready(seal)),
            Ok(Taken::Absent(builder)) => match self.seals.no_room(spec) {
                Some(why) => Offer::Cold(Some(self.never(why))),
                None => {
                    self.builder = Some(builder);
                    Offer::Make(self)
                }
            },
            Ok(Taken::Busy) => Offer::Cold(Some(self.never(SealError::Cancelled.to_string()))),
            Err(error) => Offer::Cold(Some(self.never(error.to_string()))),
        }
    }

    async fn look(&self, cell: &Cell, spec: &VmSpec, cancel: &CancellationToken) -> Result<Taken, SealError> {
        let key = self.seals.key(cell, spec)?;
        loop {
            let (cache, wanted) = (self.seals.cache.clone(), key.clone());
            let taken = tokio::task::spawn_blocking(move || cache.take(&wanted)).await;
            let path = || self.seals.lab.info().clones.clone();
            match taken.map_err(|panic| SealError::Unusable { path: path(), why: panic.to_string() })?? {
                Taken::Busy => {}
                taken => return Ok(taken),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = cancel.cancelled() => return Ok(Taken::Busy),
            }
        }
    }

    /// Why a seal that is there is made anew; none: there is none.
    pub fn why_anew(&self) -> Option<&str> {
        self.builder.as_ref()?.problem()
    }

    /// The folder to seal a machine into. None: it is not this claim's to make.
    pub fn folder(&self) -> Option<&std::path::Path> {
        self.builder.as_ref().map(Builder::dir)
    }

    /// The seal is in its folder.
    ///
    /// # Errors
    /// It could not be completed; nothing is left of it, and cells start from power-on.
    pub async fn finish(mut self, cell: &Cell, settle: Millis) -> Result<Arc<Seal>, SealError> {
        let Some(builder) = self.builder.take() else { return Err(SealError::Cancelled) };
        let setup = cell.setup.iter().take(cell.sealed_setup).map(|step| step.name.clone()).collect();
        let about = About::new(builder.key(), &self.image, settle, setup);
        let path = builder.dir().to_owned();
        let finished = tokio::task::spawn_blocking(move || builder.finish(about)).await;
        let finished = finished.unwrap_or_else(|panic| Err(SealError::Unusable { path, why: panic.to_string() }));
        match finished {
            Ok(seal) => Ok(self.ready(seal)),
            Err(error) => {
                self.never(error.to_string());
                Err(error)
            }
        }
    }

    fn ready(&mut self, seal: Seal) -> Arc<Seal> {
        let seal = Arc::new(seal);
        self.settle(State::Ready { seal: Arc::clone(&seal), failures: 0 });
        seal
    }

    /// There will be no seal of this image in this run.
    pub fn never(&mut self, why: String) -> String {
        self.settle(State::Never(why.clone()));
        why
    }

    fn settle(&mut self, state: State) {
        self.settled = true;
        self.seals.states().insert(self.image.clone(), state);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.settled {
            self.never("the cell that was to make its seal did not come so far".to_owned());
        }
    }
}
