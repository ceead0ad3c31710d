//! The libvirt lab with real guests.

mod daemon;
mod guest;
mod harness;
mod leftovers;
mod lifecycle;
mod seal;
