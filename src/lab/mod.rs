//! The seam to whatever runs machines: [`Lab`] makes a [`Vm`] from a golden image.
//!
//! Two implementations: `libvirt` (real QEMU machines) and `sim` (scripted guests in virtual time).

mod accelerator;
mod account;
mod boot_sector;
mod host;
pub mod libvirt;
mod medium;
mod root;
mod seam;
pub mod sim;
mod sweep;

pub use accelerator::{Detected, detect};
pub use account::Account;
pub use host::{find_program, host_memory, program_version};
pub use medium::{MAX_FILE, write_iso};
pub use root::{LabRoot, MAX_ROOT, Users, for_each_free};
pub use seam::{AgentError, Lab, LabError, LabInfo, Screenshot, Stats, Vm, VmEvent, VmEvents, VmFiles, VmSpec};
pub use sweep::{CleanReport, clean};
