//! The libvirt lab with real guests.

mod daemon;
mod firmware;
mod guest;
mod harness;
mod leftovers;
mod lifecycle;
mod seal;
