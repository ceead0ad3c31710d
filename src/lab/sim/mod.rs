//! The seam without machines: scripted guests in virtual time.
//!
//! A [`GuestScript`] says what a guest does, boot by boot and command by command; [`SimLab`] plays it behind
//! the same seam as real machines, with the guest agent's own protocol. All waiting is tokio's, so a test that
//! pauses tokio's clock runs hours of guest time at once, and the same script gives the same run every time.
//!
//! ```no_run
//! use std::time::Duration;
//! use bootgate::lab::sim::{GuestScript, SimHost, SimLab};
//!
//! let lab = SimLab::new(SimHost::default(), |spec| {
//!     let guest = GuestScript::healthy(Duration::from_secs(20));
//!     if spec.cell.0.contains("22h2") { guest.panics_after("install-sensor") } else { guest }
//! });
//! // ... run the engine on it ...
//! assert_eq!(lab.census().live, 0);
//! ```
//!
//! `script` and `rule` are what a test writes, `guests` the guests that tests want most. `state` plays a
//! script by its `agenda`, `machine` shares it and keeps time; `agent` with `processes` and `filesystem` is
//! what runs inside, `windows` what a Windows guest's programs print, `event_log` the logs it keeps; `vm` and `lab` are
//! the seam.

mod agenda;
mod agent;
mod census;
mod event_log;
mod filesystem;
mod guests;
mod lab;
mod machine;
mod meter;
mod processes;
mod rule;
mod script;
mod state;
#[cfg(test)]
mod tests;
mod vm;
mod windows;

pub use census::Census;
pub use event_log::{LogEntry, event_log};
pub use lab::{SimHost, SimLab};
pub use rule::{Effect, Outcome, Rule};
pub use script::{Asked, Boot, GuestScript, Happening};
