//! The catalogue of golden images: read, resolved by labels, digests verified.
//!
//! Reading checks only the file itself, and for layers (`from`, `apply`) what is remembered of how they were baked. Whether a
//! disk is there and unchanged is [`verify`]'s question, asked by the run right before an image is used: an absent or changed
//! disk makes the image's own cells inconclusive and nothing else.

mod baked;
mod check;
mod digest;
mod file;
mod layers;
mod resolve;
mod verify;

pub use baked::{Baked, BakedFiles, baked_folder};
pub use check::{Catalog, is_image_name};
pub use digest::{DigestCache, OnBytes, sha256_file, sha256_watched};
pub use file::CatalogFile;
pub use layers::Recipe;
pub use resolve::NoImage;
pub use verify::{ImageProblem, verify};
