//! Webhooks: whoever waits for a decision is told it.
//!
//! Telling changes nothing: it begins when the decision is made, ends by its deadline, and what cannot be told is a warning.
//! A webhook's URL may be a secret, and often is the only one: it comes from the environment, and no more of it is ever
//! shown than scheme and host.

mod deliver;
mod message;
mod post;
mod target;

pub use deliver::{Patience, Telling, Told};
pub use message::Decided;
pub use target::{Shape, TOKEN, Target, TargetError};
