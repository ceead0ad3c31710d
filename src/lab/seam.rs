use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::Load;
use crate::model::{Accelerator, Bugcheck, CellId, GoldenImage, Millis, Network, RunId};

/// Where machines run.
#[async_trait]
pub trait Lab: Send + Sync + 'static {
    /// What the lab is, for reports and for admission.
    fn info(&self) -> &LabInfo;

    /// How slow the lab itself is. Cheap.
    fn load(&self) -> Load;

    /// Clones the golden image (copy-on-write) and defines a machine on it, without starting it.
    ///
    /// The events come on the returned receiver from here on, in order, none lost.
    ///
    /// # Errors
    /// [`LabError`]; nothing is left behind then.
    async fn create(&self, spec: VmSpec) -> Result<(Arc<dyn Vm>, VmEvents), LabError>;

    /// All that a seal of such a machine depends on beside the golden image's content and what was done in the guest:
    /// its definition, the host's CPU, the hypervisor. Two machines with equal answers can start from one seal.
    ///
    /// # Errors
    /// Why such a machine cannot be sealed here.
    fn seal_subject(&self, spec: &VmSpec) -> Result<String, LabError>;

    /// Makes the folder for a seal, or puts right who may read it and its files: [`Vm::seal`] fills it.
    ///
    /// # Errors
    /// It cannot be made.
    fn seal_folder(&self, dir: &Path) -> Result<(), LabError>;
}

/// The events of one machine, in the order in which the host saw them.
pub type VmEvents = mpsc::UnboundedReceiver<VmEvent>;

/// What a lab is and how much it can hold.
#[derive(Clone, Debug)]
pub struct LabInfo {
    /// Such as `libvirt 9.0.0, qemu 7.2.22 (qemu:///embed)`.
    pub name: String,
    pub accelerator: Accelerator,
    /// Cores of the host.
    pub cpus: u32,
    /// Where clones are written: its free space bounds how many may run.
    pub clones: PathBuf,
}

/// The machine a cell needs.
#[derive(Clone, Debug)]
pub struct VmSpec {
    pub run: RunId,
    pub cell: CellId,
    pub image: GoldenImage,
    pub network: Network,
    /// The folder of a seal from which the machine begins, instead of from power-on.
    pub seal: Option<PathBuf>,
}

/// One machine. All calls may be made at any time in its life and from several tasks.
#[async_trait]
pub trait Vm: Send + Sync {
    async fn start(&self) -> Result<(), LabError>;

    /// Sends one request of the QEMU guest agent protocol, JSON, and waits for its reply's `return`
    /// value, JSON (docs: QEMU "Guest Agent Protocol Reference"). The lab does the synchronising.
    ///
    /// # Errors
    /// [`AgentError`]: an agent that is not there answers at once, one that is silent after `timeout`.
    async fn agent(&self, request: &str, timeout: Duration) -> Result<String, AgentError>;

    /// Presses the ACPI power button and turns the guest's power-off into a reset.
    async fn restart_acpi(&self) -> Result<(), LabError>;

    /// Presses the reset button.
    async fn reset(&self) -> Result<(), LabError>;

    /// Presses a key on the machine's keyboard that does no harm: Enter.
    async fn press_key(&self) -> Result<(), LabError>;

    /// What the machine's screen shows now; none if it has no picture.
    async fn screenshot(&self) -> Result<Option<Screenshot>, LabError>;

    async fn stats(&self) -> Result<Stats, LabError>;

    /// Puts a read-only medium (a file on the host) into the CD drive; none: takes it out.
    async fn insert_medium(&self, medium: Option<&Path>) -> Result<(), LabError>;

    /// Where the serial console's log and the firmware's log are written on the host, and the folder in
    /// which this cell may keep files that the machine reads.
    fn files(&self) -> VmFiles;

    /// The machine's definition (libvirt's domain XML), as evidence.
    async fn definition(&self) -> Result<String, LabError>;

    /// Saves the memory of the running machine, and its disk, into this folder. The machine has ended then; whether it
    /// worked or not, it still is to be destroyed.
    ///
    /// # Errors
    /// What is in the folder is no seal.
    async fn seal(&self, dir: &Path) -> Result<(), LabError>;

    /// Moves the disk of the machine, which has turned itself off, into this folder, and copies what its firmware and its
    /// TPM remember there: [`KEPT_DISK`], [`KEPT_NVRAM`], [`KEPT_TPM_STATE`]. The disk still is a layer above what it was a
    /// clone of. The machine still is to be destroyed.
    ///
    /// # Errors
    /// It is not off, or something cannot be moved.
    async fn keep_disk(&self, dir: &Path) -> Result<(), LabError>;

    /// Ends the machine and removes everything it had on the host. May be called again after a failure.
    ///
    /// # Errors
    /// The first thing that could not be removed; everything else was still tried.
    async fn destroy(&self) -> Result<(), LabError>;
}

/// What [`Vm::keep_disk`] leaves in its folder: the disk.
pub const KEPT_DISK: &str = "disk.qcow2";
/// The UEFI variables, where the machine has some.
pub const KEPT_NVRAM: &str = "nvram.fd";
/// The TPM's state, where the machine has one whose state we know.
pub const KEPT_TPM_STATE: &str = "tpm2-00.permall";

/// Files of one machine on the host. They are gone after [`Vm::destroy`]. QEMU writes them: read them through
/// [`super::open_guest_written`].
#[derive(Clone, Debug)]
pub struct VmFiles {
    pub serial_log: PathBuf,
    /// The firmware's debug log, where the firmware writes one.
    pub firmware_log: Option<PathBuf>,
    /// What QEMU itself and libvirt said about the machine's process, where we can read it.
    pub qemu_log: Option<PathBuf>,
    /// Readable by the machine.
    pub dir: PathBuf,
}

/// What the host saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmEvent {
    Started,
    AgentConnected,
    AgentDisconnected,
    /// The machine was reset, by whomever; events that libvirt repeats are joined.
    Reset,
    Panicked {
        bugcheck: Option<Bugcheck>,
    },
    /// The guest turned itself off.
    PoweredOff,
    /// The machine's process is gone and nobody asked for it.
    Lost {
        detail: String,
    },
    /// Paused by a disk error.
    DiskError {
        host_is_full: bool,
    },
}

/// Counters since the machine's process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Of the guest's CPUs.
    pub cpu: Millis,
    /// Of the machine's whole process, emulation of disks and the like included.
    pub process_cpu: Millis,
    /// Time that the guest waited for a core, as long as its virtual CPU that waited most; zero where the host does not tell.
    pub cpu_wait: Millis,
    /// Somebody else has paused the machine.
    pub paused: bool,
    pub disk_reads: u64,
    pub disk_writes: u64,
    /// Bytes received from networks of the host and sent to them; zero where the host does not tell.
    pub net_rx: u64,
    pub net_tx: u64,
}

/// A picture: RGB, 8 bits each, rows from the top.
#[derive(Clone, PartialEq, Eq)]
pub struct Screenshot {
    pub width: u32,
    pub height: u32,
    pub rgb: Vec<u8>,
}

/// The lab could not do what it was asked: never the update's fault.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error("golden image {} is missing", .0.display())]
    ImageMissing(PathBuf),
    #[error("golden image {} cannot be used: {why}", .disk.display())]
    ImageUnusable { disk: PathBuf, why: String },
    #[error("no space left on the host in {}", .0.display())]
    OutOfSpace(PathBuf),
    #[error("cannot {action} {}: {source}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    /// libvirt's own words.
    #[error("libvirt cannot {action}: {message}")]
    Libvirt { action: &'static str, message: String },
    #[error("{0}")]
    Other(String),
}

impl LabError {
    /// For `map_err`: adds what was being done and to which file; a full disk keeps its own kind.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::OutOfSpace(path),
            _ => Self::Io { action, path, source },
        }
    }
}

/// Why a request to the agent has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    #[error("the agent is not connected")]
    NotConnected,
    /// It is connected and silent: it was not asked at all.
    #[error("the agent does not answer, and was not asked")]
    NotAsked,
    /// It may have taken what it was asked, and may not.
    #[error("the agent did not answer in time")]
    Timeout,
    /// The agent answered with an error: the guest's own words.
    #[error("the agent refused: {0}")]
    Refused(String),
    #[error("the machine is not running")]
    VmGone,
    #[error("the lab cannot reach the agent: {0}")]
    Lab(String),
}
