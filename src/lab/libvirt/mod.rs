//! The lab of real machines: libvirt's QEMU driver, inside this process (`qemu:///embed`) or behind a libvirtd.
//!
//! ```text
//! LibvirtLab::open -> Connection   the default event loop on its own thread, then the connection
//!   .create(spec)  -> overlay      copy-on-write child of the golden image
//!   (Maker)        -> Machine      its folder, its events; LibvirtVm is the handle
//!   .start()       -> domain_xml   what libvirt is told, a transient domain
//! ```
//!
//! Only here is libvirt called, and only here is there `unsafe` code: `deny(unsafe_code)` holds elsewhere.

mod agent;
mod connection;
mod domain_xml;
mod emulator;
mod events;
mod feeder;
mod inspect;
mod install;
mod lab;
mod leftovers;
mod machine;
mod maker;
mod nvram;
mod overlay;
mod panic_log;
mod patience;
mod save_image;
mod screenshot;
mod seal;
mod stats;
mod tpm;
mod vm;

pub use connection::{library_version, quiet};
pub use domain_xml::METADATA;
pub use inspect::{Described, describe};
pub use install::{Ended, Installing};
pub use lab::{LibvirtLab, OpenOptions};
pub use leftovers::clean_domains;
pub use tpm::check_host as check_tpm_host;
