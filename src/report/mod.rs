//! Reports: folds over events that never run anything.
//!
//! [`write_all`] makes the files of a run directory; [`terminal`] shows a run while it goes on and what
//! it came to. All of them look at a [`RunState`](crate::event::RunState), the page for people at the run's pictures
//! too, and at nothing else, so `bootgate report` gives the same bytes as the run itself did.

mod annotations;
mod causes;
mod common;
mod files;
mod fitness;
mod html;
mod json;
mod junit;
mod markdown;
mod metrics;
mod rates;
mod story;
pub mod terminal;

pub use files::{Document, ReportFile, Written, write_all};
pub use fitness::{Finding, Fit, fitness};
pub use json::{RuleResult, result_schema};
pub use rates::{Rate, Rates, interval};
pub use story::{Detail, story, told};
