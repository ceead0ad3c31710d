//! Reports: folds over events that never run anything.
//!
//! [`write_all`] makes the files of a run directory; [`terminal`] shows a run while it goes on and what
//! it came to. All of them look at a [`RunState`](crate::event::RunState) and nothing else, so
//! `bootgate report` gives the same bytes as the run itself did.

mod files;
mod fitness;
mod json;
mod junit;
mod rates;
mod story;
pub mod terminal;

pub use files::{ReportFile, Written, write_all};
pub use fitness::{Finding, Fit, fitness};
pub use json::RESULT_VERSION;
pub use rates::{Rate, Rates, interval};
pub use story::{Detail, story, told};
