//! Whole runs of the real binary on real machines, one at a time: each already uses every core.

mod bake;
mod endings;
mod firmware;
mod harness;
mod images;
mod inputs;
mod lab_faults;
mod notify;
mod seals;
mod verdicts;
mod watch;
mod wine;
