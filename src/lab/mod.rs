//! The seam to whatever runs machines: [`Lab`] makes a [`Vm`] from a golden image.
//!
//! Two implementations: `libvirt` (real QEMU machines) and `sim` (scripted guests in virtual time).

mod accelerator;
mod account;
pub mod libvirt;
mod root;
mod seam;
pub mod sim;
mod sweep;

pub use accelerator::{Detected, detect};
pub use account::Account;
pub use root::{LabRoot, MAX_ROOT, Users};
pub use seam::{AgentError, Lab, LabError, LabInfo, Screenshot, Stats, Vm, VmEvent, VmEvents, VmFiles, VmSpec};
pub fn write_iso(_p: &std::path::Path, _f: &[&std::path::Path]) -> std::io::Result<Vec<String>> {
    todo!()
}
pub use sweep::{CleanReport, clean};
