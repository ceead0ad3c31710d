//! The terminal: a run while it goes on ([`Live`]), and what it came to ([`summary`]).

mod blame;
mod grid;
mod live;
mod look;
mod summary;

pub use live::{Live, LiveOptions};
pub use look::Look;
pub use summary::summary;
