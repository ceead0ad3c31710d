use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::oneshot;

use crate::model::Accelerator;

/// How often places that other processes hold are tried: their release is no event here.
const POLL: Duration = Duration::from_millis(250);

/// How much of a core a boot uses where nothing is known of it: on KVM it mostly waits for its disk, emulation is busy.
const ON_KVM: f64 = 0.5;
const EMULATED: f64 = 1.0;

/// It is taken to use at least so much, whatever was measured.
pub const LEAST_SHARE: f64 = 0.1;
const LEAST_EMULATED: f64 = 0.5;

/// Places for machines that boot at the same time. A machine that runs costs memory, one that boots costs cores:
/// without a bound a hundred that restart together all run into their deadlines.
///
/// A place is a locked file, shared by every bootgate process of the host; one that dies gives its places back.
#[derive(Clone, Debug)]
pub struct Boots(Arc<Shared>);

/// Who asks for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootKind {
    /// A machine that runs already: it goes first, because it holds memory while it waits.
    Restart,
    /// A new machine.
    Start,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub struct BootPermit {
    #[expect(dead_code, reason = "held for its place; none: there is no bound")]
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    shared: Arc<Shared>,
    place: u32,
}

#[derive(Debug)]
struct Shared {
    /// None: there is no bound.
    dir: Option<PathBuf>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    places: u32,
    /// What this process holds; a file that could not be opened locks nothing.
    held: BTreeMap<u32, Option<File>>,
    restarts: VecDeque<oneshot::Sender<BootPermit>>,
    starts: VecDeque<oneshot::Sender<BootPermit>>,
    polling: bool,
}

/// How many machines may boot at the same time; none: any number. `share`: how many cores a boot really uses, as far as
/// that is known.
///
/// Rounded up: a boot also waits, for its disk and for timers, and no core is idle where another one goes on meanwhile.
pub fn boot_places(accelerator: Accelerator, cores: u32, share: Option<f64>) -> Option<u32> {
    let share = match accelerator {
        Accelerator::Sim => return None,
        Accelerator::Tcg => share.unwrap_or(EMULATED).max(LEAST_EMULATED),
        Accelerator::Kvm => share.unwrap_or(ON_KVM).max(LEAST_SHARE),
    };
    Some(((f64::from(cores) / share).ceil() as u32).max(1))
}

impl Boots {
    /// Every machine boots when it likes.
    pub fn unbounded() -> Self {
        Self(Arc::new(Shared { dir: None, inner: Mutex::default() }))
    }

    /// So many places, as files in this folder; none: [`Self::unbounded`].
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(dir: &Path, places: Option<u32>) -> io::Result<Self> {
        let Some(places) = places else { return Ok(Self::unbounded()) };
        fs::create_dir_all(dir)?;
        let inner = Inner { places: places.max(1), ..Inner::default() };
        Ok(Self(Arc::new(Shared { dir: Some(dir.to_owned()), inner: Mutex::new(inner) })))
    }

    /// None: any number.
    pub fn places(&self) -> Option<u32> {
        self.0.dir.as_ref().map(|_| self.0.lock().places)
    }

    /// From here on there are so many places. Machines that boot keep theirs.
    pub fn resize(&self, places: u32) {
        if self.places().is_some_and(|before| before != places.max(1)) {
            self.0.lock().places = places.max(1);
            Shared::grant(&self.0);
        }
    }

    /// Waits for a place. Restarts go before starts, and each kind in the order of asking.
    ///
    /// Cancel-safe: whoever stops waiting leaves the row, and a place that was on its way to them goes on to the next.
    pub async fn acquire(&self, kind: BootKind) -> BootPermit {
        if self.0.dir.is_none() {
            return BootPermit { held: None };
        }
        let (sender, permit) = oneshot::channel();
        {
            let mut inner = self.0.lock();
            match kind {
                BootKind::Restart => inner.restarts.push_back(sender),
                BootKind::Start => inner.starts.push_back(sender),
            }
        }
        Shared::grant(&self.0);
        // The sender stays in the row until a permit is sent with it.
        permit.await.unwrap_or(BootPermit { held: None })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let file = self.shared.lock().held.remove(&self.place);
        drop(file);
        Shared::grant(&self.shared);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives free places to those who wait.
    fn grant(shared: &Arc<Self>) {
        loop {
            let mut inner = shared.lock();
            if !inner.somebody_waits() {
                return;
            }
            let Some(place) = shared.take(&mut inner) else {
                // Our own places come back by themselves.
                if inner.held.len() < inner.places as usize && !inner.polling {
                    // Outside of a runtime, where permits are dropped last of all, nobody waits any more.
                    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                        inner.polling = true;
                        runtime.spawn(poll(Arc::downgrade(shared)));
                    }
                }
                return;
            };
            let next = inner.restarts.pop_front().or_else(|| inner.starts.pop_front());
            drop(inner);
            let permit = BootPermit { held: Some(Held { shared: Arc::clone(shared), place }) };
            // Whoever has left in this moment gives the place back by dropping it, which is why nothing is locked here.
            drop(next.map(|sender| sender.send(permit)));
        }
    }

    /// Takes a place that nobody holds.
    fn take(&self, inner: &mut Inner) -> Option<u32> {
        let dir = self.dir.as_ref()?;
        // After a resize more may be held than there are places.
        if inner.held.len() >= inner.places as usize {
            return None;
        }
        let free = (0..inner.places).filter(|place| !inner.held.contains_key(place));
        let (place, file) = free.into_iter().find_map(|place| Some((place, lock_file(dir, place)?)))?;
        inner.held.insert(place, file);
        Some(place)
    }
}

/// Locks a place's file; none: another process holds it. A folder that cannot be written bounds this process alone.
fn lock_file(dir: &Path, place: u32) -> Option<Option<File>> {
    let path = dir.join(format!("{place}.lock"));
    match OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path) {
        Ok(file) => match file.try_lock() {
            Err(TryLockError::WouldBlock) => None,
            _ => Some(Some(file)),
        },
        Err(error) => {
            tracing::debug!("cannot open {}: {error}", path.display());
            Some(None)
        }
    }
}

/// Looks for places that other processes give back, for as long as somebody waits.
async fn poll(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(POLL).await;
        let Some(shared) = shared.upgrade() else { return };
        Shared::grant(&shared);
        let mut inner = shared.lock();
        if !inner.somebody_waits() {
            inner.polling = false;
            return;
        }
    }
}

impl Inner {
    /// Whether a permit would be taken by anyone; those who have left are struck off.
    fn somebody_waits(&mut self) -> bool {
        let mut waits = false;
        for row in [&mut self.restarts, &mut self.starts] {
            while row.front().is_some_and(oneshot::Sender::is_closed) {
                row.pop_front();
            }
            waits |= !row.is_empty();
        }
        waits
    }
}

#[cfg(test)]
mod tests;
