//! The terminal: a run while it goes on ([`Live`]), and what it came to ([`summary`]).

mod blame;
mod fitness;
mod grid;
mod live;
mod look;
mod summary;

pub use fitness::fitness;
pub use live::{Live, LiveOptions};
pub use look::Look;
pub use summary::summary;
