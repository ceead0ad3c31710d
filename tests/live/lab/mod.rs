//! The libvirt lab with real guests.

mod harness;
mod lifecycle;
