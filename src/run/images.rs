use std::{
    collections::HashMap,
    ops::ControlFlow,
    sync::{Arc, Mutex},
};

use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::{DigestCache, ImageProblem, verify},
    model::GoldenImage,
};

/// What is found of an image, once.
type Answer = Arc<OnceCell<Result<(), ImageProblem>>>;

/// Verifies each golden image once in a run, when its first cell needs it.
pub struct Images {
    cache: Arc<DigestCache>,
    rehash: bool,
    known: Mutex<HashMap<String, Answer>>,
}

impl Images {
    /// `rehash`: read every byte, whatever the cache says.
    pub fn new(cache: Arc<DigestCache>, rehash: bool) -> Self {
        Self { cache, rehash, known: Mutex::default() }
    }

    /// Whether the image is what the catalogue says. Cells that ask for the same one wait for one answer.
    ///
    /// # Errors
    /// [`ImageProblem`], the same for every cell.
    pub async fn verify(&self, image: &GoldenImage, cancel: &CancellationToken) -> Result<(), ImageProblem> {
        let known = {
            let mut all = self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            all.entry(image.name.clone()).or_default().clone()
        };
        known.get_or_init(|| self.read(image.clone(), cancel.clone())).await.clone()
    }

    async fn read(&self, image: GoldenImage, cancel: CancellationToken) -> Result<(), ImageProblem> {
        let (cache, rehash) = (self.cache.clone(), self.rehash);
        let disk = image.disk.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let mut go_on = |_| if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            verify(&image, &cache, rehash, &mut go_on)
        });
        reading.await.unwrap_or_else(|panic| Err(ImageProblem::Unreadable { path: disk, why: panic.to_string() }))
    }
}
