//! The run's event stream and its journal, `events.jsonl`: the truth that everything else is rebuilt from.

mod kinds;

pub use kinds::{CellEnd, Decision, Event, JOURNAL_VERSION, Level, Line, PlannedCell, RunEvent, RunStart};
