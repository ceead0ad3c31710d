//! The libvirt lab with real guests.

mod guest;
mod harness;
mod leftovers;
mod lifecycle;
