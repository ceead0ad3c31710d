//! The real binary, as a user meets it: arguments and files in; text, files and exit codes out.

mod approval;
mod build;
mod candidate;
mod fixtures;
mod harness;
mod images;
mod import;
mod judge;
mod mistakes;
mod notify;
mod output;
mod pipelines;
mod plan;
mod policy;
mod schema;
mod seals;
mod watch;
mod windows;
