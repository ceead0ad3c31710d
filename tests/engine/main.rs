//! The engine on scripted guests in virtual time: a cell's life and whole runs.

mod breaks;
mod compared;
mod guests;
mod harness;
mod hostile;
mod runs;
mod scale;
mod seals;
mod stops;
mod waits;
mod windows;
mod yard;
