//! One cell's life, a file per step:
//!
//! ```text
//! start -> settle -> setup, apply -> (restart, boot, watch) x (1 + soak) -> check -> collect -> destroy
//! ```
//!
//! A cell only produces signals. `observe::Observer` turns what the lab and the guest do into them and
//! shows each to the judge; every wait ends when the judge is over, so each wait ends on the event it
//! waits for, its deadline, the machine's death, or a cancel.

mod begin;
mod boot_place;
mod caught;
mod check;
mod collect;
mod compare;
mod console;
mod control;
mod copy;
mod emit;
mod keep;
mod lab_clock;
mod leftovers;
mod life;
mod limits;
mod observe;
mod patience;
mod pictures;
mod rest;
mod restart;
mod serviced;
mod settle;
mod state;
mod step;
mod watch;

pub use compare::{ControlEnd, compare};
pub use emit::Emitter;
pub use life::{Job, Lived, ended_early, live, not_started};
