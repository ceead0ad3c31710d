//! Bootgate proves on real VMs that an update leaves every OS version and patch level booting.
//!
//! The flow, which is also the folders:
//!
//! ```text
//! matrix.yaml + catalog.yaml + update
//!   -> source/   files a user wrote, with places in them
//!   -> matrix/   MatrixFile (raw, with places) -> Matrix (checked)
//!   -> catalog/  golden images, resolved by labels, digests verified
//!   -> candidate/ what the files under test are, by their content
//!   -> plan/     Plan { cells }: pure data
//!   -> run/      admission, one dispatcher, cancel, resume
//!   -> cell/     one cell's life, a file per step
//!        |  talks to   lab/   (seam: hypervisor)     libvirt | sim
//!        |  talks to   guest/ (seam: inside the VM)  agent protocol
//!        |  starts from  seal/ (settled machines, kept)
//!        v  emits signals
//!   -> health/   judge(signals) -> Verdict           the pure core
//!   -> event/    RunEvent stream -> events.jsonl     the journal, written first
//!   -> report/   terminal, junit, json, html, and what CI systems show: folds over events
//!   -> gate/     rules(evidence) -> Decision -> exit code
//!        |  signs with  sign/  (keys, envelopes)
//!        v
//!   -> notify/   webhooks: whoever waits is told the decision
//! ```
//!
//! Around it, where candidates come by themselves:
//!
//! ```text
//! a folder
//!   -> watch/    when a file is complete; the queue of what is tested, which survives a kill
//!   -> a run of each, as above
//! ```
//!
//! Beside it, before there is a catalogue:
//!
//! ```text
//! installation media, a libvirt domain, or an image and what is applied to it
//!   -> image/    golden images being made: answers for Windows Setup, disks taken in, layers, entries written
//!        |  talks to   lab/
//!        v
//!   -> catalog.yaml
//! ```
//!
//! `model/` is the vocabulary all of them share; `files` reads, replaces and adds to files, each whole or not at
//! all; `bytes` reads numbers and texts out of
//! files of Windows, for `candidate/` and `guest/`; `qcow2` reads the headers of disks, for `catalog/` and `lab/`; `clock` says
//! what time it is.

#![deny(unsafe_code)]

pub mod bytes;
pub mod candidate;
pub mod catalog;
pub mod cell;
pub mod cli;
pub mod clock;
pub mod event;
pub mod files;
pub mod gate;
pub mod guest;
pub mod health;
pub mod image;
pub mod lab;
pub mod matrix;
pub mod model;
pub mod notify;
pub mod plan;
pub mod qcow2;
pub mod report;
pub mod run;
pub mod seal;
pub mod sign;
pub mod source;
pub mod watch;
