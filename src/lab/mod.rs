//! The seam to whatever runs machines: [`Lab`] makes a [`Vm`] from a golden image.
//!
//! Two implementations: `libvirt` (real QEMU machines) and `sim` (scripted guests in virtual time).

mod medium;
mod seam;
pub mod sim;

pub use medium::{MAX_FILE, write_iso};
pub use seam::{AgentError, Lab, LabError, LabInfo, Screenshot, Stats, Vm, VmEvent, VmEvents, VmFiles, VmSpec};
