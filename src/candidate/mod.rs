//! What the files under test are, read on the host before any machine starts.
//!
//! [`inspect`] looks at a file's content, never at its name. Files come from wherever a build put them and may be damaged
//! or hostile: what is read of one is bounded, and what cannot be read is said in [`About::unread`] and is no error.
//!
//! [`fits`] says whether a file is what a kind of step needs, [`foreign`] whether Windows on a machine can use it at all.
//!
//! [`About::unread`]: crate::model::About::unread

mod cab;
mod der_sets;
mod fits;
#[cfg(test)]
mod hostile;
mod inf;
mod inspect;
mod msi;
mod ole;
mod pe;
mod resource;
mod signature;
mod source;
mod summary;
#[cfg(test)]
mod testing;
mod text;
mod words;

pub use fits::{fits, foreign};
pub use inspect::{InspectError, inspect, inspect_reader};
