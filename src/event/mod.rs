//! The run's event stream and its journal, `events.jsonl`: the truth that everything else is rebuilt from.
//!
//! [`JournalWriter`] writes it, [`read`] checks and reads it, and [`RunState`] folds events into what
//! they add up to. The same events always fold into the same state: reports, the gate and the live
//! display all look at that state and at nothing else.

mod fold;
mod journal;
mod kinds;
mod read;
mod state;
#[cfg(test)]
pub mod testing;

pub use journal::JournalWriter;
pub use kinds::{CellEnd, Decision, Event, JOURNAL_VERSION, Level, Line, PlannedCell, RunEvent, RunStart, StopCause};
pub use read::{Journal, JournalError, MAX_LINE, Tail, in_line, read};
pub use state::{Attempt, CellState, Counts, Note, PhaseSpan, RunState, StepSpan};
