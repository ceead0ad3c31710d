//! The seam to whatever runs machines: [`Lab`] makes a [`Vm`] from a golden image.
//!
//! Two implementations: `libvirt` (real QEMU machines) and `sim` (scripted guests in virtual time).

mod seam;
pub mod sim;

pub use seam::{AgentError, Lab, LabError, LabInfo, Screenshot, Stats, Vm, VmEvent, VmEvents, VmFiles, VmSpec};
pub fn write_iso(_p: &std::path::Path, _f: &[&std::path::Path]) -> std::io::Result<Vec<String>> {
    todo!()
}
