use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use time::Date;

use super::{
    About, ApprovalPolicy, Bytes, CellId, Clock, Collect, DiskBus, Firmware, Health, NetworkModel, Sha256, StateFile,
    Step,
};

/// The version `plan.json` carries.
pub const PLAN_VERSION: u32 = 1;

/// What a run will do: pure data, no handles, printable and serialisable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub version: u32,
    /// The matrix's name, `[a-z0-9-]+`.
    pub name: String,
    /// The matrix file, absolute.
    pub matrix: PathBuf,
    /// The catalogue file, absolute.
    pub catalog: PathBuf,
    /// What the two files were when they were read; none in a plan from before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix_sha256: Option<Sha256>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog_sha256: Option<Sha256>,
    /// The file given with `--candidate` or by the matrix.
    pub candidate: Option<Candidate>,
    /// What the other files are that updates bring into guests, by their paths on the host; those that are merely text or
    /// data are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<PathBuf, About>,
    /// The digest of everything under test: the candidate, every file the update copies, its steps.
    pub update_sha256: Sha256,
    /// The golden images used, by name.
    pub images: BTreeMap<String, GoldenImage>,
    pub cells: Vec<Cell>,
    pub policy: Policy,
    /// By what is decided where nobody says otherwise.
    #[serde(default, skip_serializing_if = "ApprovalPolicy::is_usual")]
    pub approval: ApprovalPolicy,
    pub collect: Collect,
}

/// The update under test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Absolute.
    pub path: PathBuf,
    pub size: Bytes,
    pub sha256: Sha256,
    /// What it is, by its content; none in a plan from before this was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<About>,
}

/// One permutation: a golden image and what is done to its clone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    pub id: CellId,
    /// In the matrix's order.
    pub axes: Vec<AxisValue>,
    /// A key of [`Plan::images`].
    pub image: String,
    pub setup: Vec<Step>,
    pub update: Vec<Step>,
    pub health: Health,
    pub network: Network,
    /// What it is to its image's control.
    #[serde(default, skip_serializing_if = "Role::is_alone")]
    pub role: Role,
    #[serde(default)]
    pub start: Start,
    /// How many of the first `setup` steps all cells of the image have in common: they run before the machine is
    /// sealed, and so only once.
    #[serde(default)]
    pub sealed_setup: usize,
    /// The folder, absolute, in which the disk of a healthy machine is kept, which is turned off at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_in: Option<PathBuf>,
}

/// What a cell is to the control of its golden image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Role {
    /// A permutation that is judged by itself.
    #[default]
    Alone,
    /// A permutation that is compared with this control.
    Compared { with: CellId },
    /// The control: the same path, without the candidate.
    Control,
}

impl Role {
    pub fn is_alone(&self) -> bool {
        *self == Self::Alone
    }

    pub fn is_control(&self) -> bool {
        *self == Self::Control
    }
}

/// How a cell's machine begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// As a clone of a settled machine's memory and disk, where that is possible.
    #[default]
    Live,
    /// From power-on.
    Cold,
}

impl Start {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Cold => "cold",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AxisValue {
    pub axis: String,
    pub value: String,
}

/// A golden image, as the catalogue describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoldenImage {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Absolute; qcow2.
    pub disk: PathBuf,
    pub sha256: Sha256,
    /// The files below the disk, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backing: Vec<BackingFile>,
    pub firmware: Firmware,
    /// The machine's UEFI variables as they are to be when a clone starts, raw; none: the firmware's own template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nvram: Option<StateFile>,
    pub tpm: bool,
    /// The TPM's state as it is to be when a clone starts (swtpm's `tpm2-00.permall`); none: a new TPM for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm_state: Option<StateFile>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub disk_bus: DiskBus,
    #[serde(default, skip_serializing_if = "is_default")]
    pub network_model: NetworkModel,
    #[serde(default, skip_serializing_if = "is_default")]
    pub clock: Clock,
    pub memory: Bytes,
    pub vcpus: u32,
    pub family: Family,
    /// Direct kernel boot, instead of the disk's own boot loader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<DirectBoot>,
    /// A shell command in the guest whose exit code 0 says that the boot has finished; none: the family's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<String>,
    pub quirks: Quirks,
    /// The day on which its disk was made, as the catalogue says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Date>,
    /// Why its disk is not the one that the catalogue asks for, where it is a layer above another image; none: it is, as far as
    /// the catalogue can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unbaked: Option<String>,
}

impl GoldenImage {
    /// The disk's files, nearest first.
    pub fn chain(&self) -> impl Iterator<Item = (&Path, &Sha256)> {
        let below = self.backing.iter().map(|file| (file.disk.as_path(), &file.sha256));
        std::iter::once((self.disk.as_path(), &self.sha256)).chain(below)
    }

    /// Files that each clone gets a copy of: what its firmware and its TPM remember.
    pub fn states(&self) -> impl Iterator<Item = &StateFile> {
        self.nvram.iter().chain(&self.tpm_state)
    }

    /// A small Linux image with nothing special: BIOS, 256 MiB of memory, one CPU. What is, is set on it.
    pub fn plain(name: &str, disk: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            labels: BTreeMap::new(),
            disk: disk.into(),
            sha256: Sha256::of(b""),
            backing: Vec::new(),
            firmware: Firmware::Bios,
            nvram: None,
            tpm: false,
            tpm_state: None,
            disk_bus: DiskBus::default(),
            network_model: NetworkModel::default(),
            clock: Clock::default(),
            memory: Bytes::mib(256),
            vcpus: 1,
            family: Family::Linux,
            boot: None,
            settled: None,
            quirks: Quirks::default(),
            made: None,
            unbaked: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackingFile {
    /// Absolute.
    pub disk: PathBuf,
    pub sha256: Sha256,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    Linux,
    Windows,
    /// Linux that carries Wine, and an agent that is a program for Windows.
    Wine,
}

impl Family {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Windows => "windows",
            Self::Wine => "wine",
        }
    }

    /// Whether its guests run programs for Windows.
    pub fn runs_windows_programs(self) -> bool {
        matches!(self, Self::Windows | Self::Wine)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectBoot {
    /// Absolute.
    pub kernel: PathBuf,
    /// Absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<PathBuf>,
    #[serde(default)]
    pub cmdline: String,
}

/// What an OS does that would look like a fault in another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Quirks {
    /// Restarts that the OS does by itself in its first boot after an update.
    pub extra_restarts: u32,
}

/// What a clone's network card is connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// No network card.
    #[default]
    None,
    /// QEMU's user-mode network.
    User,
    /// The libvirt network of this name.
    Named(String),
}

/// How often cells are tried, and with what they are compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// How often a cell that was inconclusive is tried again.
    pub retry_inconclusive: u32,
    /// How often one that was unhealthy is.
    #[serde(default)]
    pub retries: u32,
    /// Whether each golden image gets a control; without one nothing is approved.
    #[serde(default = "yes")]
    pub control: bool,
}

fn yes() -> bool {
    true
}

/// For what is not written where it says no more than its absence.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_from_before_there_were_controls_is_read_and_its_cells_are_judged_by_themselves() {
        let health = r#"{"checks":[],"soak":0,"watch":5000,"boot_timeout":null,"restart_timeout":null}"#;
        let cell =
            format!(r#"{{"id":"a","axes":[],"image":"i","setup":[],"update":[],"health":{health},"network":"none"}}"#);
        let cell: Cell = serde_json::from_str(&cell).unwrap();
        assert_eq!((cell.role, cell.start, cell.sealed_setup), (Role::Alone, Start::Live, 0));
        let policy: Policy = serde_json::from_str(r#"{"retry_inconclusive":1}"#).unwrap();
        assert!(policy.control);
        let candidate = format!(r#"{{"path":"/x","size":3,"sha256":"{}"}}"#, Sha256::of(b""));
        let candidate: Candidate = serde_json::from_str(&candidate).unwrap();
        assert_eq!(candidate.about, None);
    }
}
