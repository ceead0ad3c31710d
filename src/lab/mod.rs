//! The seam to whatever runs machines: [`Lab`] makes a [`Vm`] from a golden image.
//!
//! Two implementations: `libvirt` (real QEMU machines) and `sim` (scripted guests in virtual time).

mod accelerator;
mod account;
mod adopted;
mod boot_sector;
mod boots;
mod emulation;
mod firmware;
mod guest_written;
mod host;
mod joliet;
// Only here is libvirt called, a C library.
#[allow(unsafe_code)]
pub mod libvirt;
mod load;
mod medium;
mod orphans;
mod root;
mod seam;
pub mod sim;
mod sweep;
mod users;

pub use accelerator::{Detected, detect};
pub use account::Account;
pub use boots::{BootKind, BootPermit, Boots, LEAST_SHARE, boot_places};
pub use emulation::translation_cache;
pub use firmware::{UefiFirmware, find_uefi};
pub use guest_written::{end_of_guest_written, open_guest_written};
pub use host::{HostMemory, host_memory, program_version};
pub use joliet::named_iso;
pub use load::Load;
pub use medium::write_iso;
pub use root::{LabRoot, MAX_ROOT, for_each_free, make_dir, make_passage, make_state_dir};
pub use seam::{
    AgentError, KEPT_DISK, KEPT_NVRAM, KEPT_TPM_STATE, Lab, LabError, LabInfo, Screenshot, Stats, Vm, VmEvent,
    VmEvents, VmFiles, VmSpec,
};
pub use sweep::{CleanReport, clean};
pub use users::Users;
