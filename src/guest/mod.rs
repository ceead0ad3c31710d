//! The seam to the inside of a machine: the agent's protocol and what each OS family needs.
//!
//! Everything a guest says is hostile: replies are parsed tolerantly, output is capped and made safe.

mod agent;
mod family;
mod inventory;
mod linux;
mod transcript;
mod windows;

pub use agent::{Agent, ExecStatus, WRITE_CHUNK};
pub use family::{BootId, Command, Facts, GuestFamily, Placed, Script, family};
pub use inventory::Look;
pub use transcript::Transcript;
pub use windows::{Installation, Packages};
