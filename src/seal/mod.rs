//! Seals: settled machines, kept for others to start from.
//!
//! A seal is a folder with a machine's memory and disk, named by a digest of everything that makes it valid
//! ([`SealKey`]): what differs has another name, so nothing is ever out of date. [`SealCache`] keeps them below the state
//! folder, shared by every bootgate process of the host; [`Seals`] is what one run knows of them.

mod about;
mod cache;
mod controls;
mod key;
mod lock;
mod record;
mod seals;
#[cfg(test)]
mod tests;

pub use about::{About, SealedFile};
pub use cache::{Builder, Listed, Seal, SealCache, Taken};
pub use controls::{KnownControl, control_key};
pub use key::SealKey;
pub use seals::{Claim, Offer, Seals};

/// Why the cache of seals cannot be used. Never more than a reason to start from power-on.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("cannot {action} {}: {source}", .path.display())]
    Io { action: &'static str, path: std::path::PathBuf, source: std::io::Error },
    #[error("the seal {} cannot be used: {why}", .path.display())]
    Unusable { path: std::path::PathBuf, why: String },
    #[error(transparent)]
    Lab(#[from] crate::lab::LabError),
    #[error("the run is stopping")]
    Cancelled,
}

/// For `map_err`: adds what was being done and to which file.
fn io<'a>(action: &'static str, path: &'a std::path::Path) -> impl FnOnce(std::io::Error) -> SealError + 'a {
    move |source| SealError::Io { action, path: path.to_owned(), source }
}
