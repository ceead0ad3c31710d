//! The terminal: a run while it goes on ([`Live`]), and what it came to ([`summary`]).

mod fitness;
mod grid;
mod live;
mod look;
mod summary;

pub use fitness::fitness;
pub(super) use grid::{place, shape};
pub use live::{Live, LiveOptions};
pub use look::Look;
pub(super) use look::Mark;
pub use summary::summary;
pub(super) use summary::{advice, decided};
