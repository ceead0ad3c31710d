//! The catalogue as it is written: raw values with their places, nothing checked.
//!
//! The doc comments here are what `bootgate schema catalog` shows in an editor.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    matrix::StepEntry,
    model::{Clock, DiskBus, Family, Firmware, NetworkModel, Quirks},
    source::{Entries, Placed, Written},
};

/// A bootgate catalogue: the golden images that clones are made of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "Catalog", deny_unknown_fields, expecting = "a mapping with the keys `version` and `images`")]
pub struct CatalogFile {
    /// The version of this format: 1.
    pub version: Placed<u32>,
    /// The golden images.
    pub images: Placed<Vec<Placed<ImageEntry>>>,
}

/// A golden image: a disk that is never written, and the machine it belongs to. Or a layer above another image, which has all
/// else from it.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(extend("anyOf" = [{"required": ["disk", "sha256", "memory", "family"]}, {"required": ["from", "apply"]}]))]
#[serde(rename = "Image", deny_unknown_fields, expecting = "a mapping that describes an image")]
pub struct ImageEntry {
    /// The image's name: `a` to `z`, digits, `.`, `_` and `-`.
    pub name: Placed<String>,
    /// Free keys and values, e.g. `{os: debian-12, patch: "5"}`. Axes of a matrix with these names pick the image.
    pub labels: Placed<Entries<Placed<Written>>>,
    /// The image that this one is a layer above: `bootgate images bake` makes its disk.
    pub from: Option<Placed<String>>,
    /// What is done to a clone of that image to make this one: steps as a matrix's `update` has them.
    pub apply: Option<Placed<Vec<Placed<StepEntry>>>>,
    /// The qcow2 file, relative to this file.
    pub disk: Option<Placed<String>>,
    /// The SHA-256 of the disk's file, 64 hexadecimal digits (`sha256sum FILE`).
    pub sha256: Option<Placed<String>>,
    /// The files below the disk, nearest first, if it has a backing file.
    #[serde(default)]
    pub backing: Vec<Placed<BackingEntry>>,
    /// `bios` (the default), `uefi` or `uefi-secure`.
    pub firmware: Option<Firmware>,
    /// The machine's UEFI variables, such as its boot entries and keys: a raw file, relative to this file. Every clone
    /// gets a copy. By default the firmware's own.
    pub nvram: Option<Placed<String>>,
    /// The SHA-256 of that file, 64 hexadecimal digits.
    pub nvram_sha256: Option<Placed<String>>,
    /// Whether the machine has a TPM 2.0.
    pub tpm: Option<bool>,
    /// The TPM's state: the file `tpm2-00.permall` of swtpm, relative to this file. Every clone gets a copy. By default
    /// every clone has a new TPM.
    pub tpm_state: Option<Placed<String>>,
    /// The SHA-256 of that file, 64 hexadecimal digits.
    pub tpm_state_sha256: Option<Placed<String>>,
    /// What the disk is connected to: `virtio` (the default) or `sata`.
    pub disk_bus: Option<DiskBus>,
    /// The network card, where the matrix asks for one: `virtio` (the default) or `e1000e`.
    pub network_model: Option<NetworkModel>,
    /// What the machine's clock shows: `utc`, the default for Linux, or `localtime`, the default for Windows.
    pub clock: Option<Clock>,
    /// RAM with its unit, e.g. `4GiB`.
    pub memory: Option<Placed<String>>,
    /// Number of virtual CPUs; 1 by default.
    pub vcpus: Option<Placed<u32>>,
    /// `linux`, `windows` or `wine`.
    pub family: Option<Family>,
    /// The agent in the guest.
    pub agent: Option<AgentEntry>,
    /// Direct kernel boot, instead of the disk's own boot loader.
    pub boot: Option<BootEntry>,
    /// A shell command in the guest that succeeds once a boot has finished. By default the family's own question.
    pub settled: Option<Placed<String>>,
    /// The day on which the disk was made, e.g. `2026-11-25`: a policy may refuse old ones.
    pub made: Option<Placed<String>>,
    /// What this OS does that would look like a fault in another.
    pub quirks: Option<Quirks>,
}

/// A file below a disk.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "Backing", deny_unknown_fields, expecting = "a mapping with the keys `disk` and `sha256`")]
pub struct BackingEntry {
    /// The file, relative to the catalogue.
    pub disk: Placed<String>,
    /// The SHA-256 of the file, 64 hexadecimal digits.
    pub sha256: Placed<String>,
}

/// Direct kernel boot. An update of the boot loader cannot break such a machine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "Boot", deny_unknown_fields, expecting = "a mapping with the key `kernel`")]
pub struct BootEntry {
    /// The kernel's file, relative to the catalogue.
    pub kernel: Placed<String>,
    /// The initial RAM disk's file, relative to the catalogue.
    pub initrd: Option<Placed<String>>,
    /// The kernel's command line.
    #[serde(default)]
    pub cmdline: String,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename = "Agent", rename_all = "kebab-case")]
pub enum AgentEntry {
    /// The QEMU guest agent, which is the default.
    QemuGa,
}
