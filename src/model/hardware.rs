//! What a golden image's machine is made of, beside memory and processors.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Sha256;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    #[default]
    Bios,
    Uefi,
    /// UEFI that starts only what a key in its variables has signed.
    UefiSecure,
}

impl Firmware {
    pub fn is_uefi(self) -> bool {
        self != Self::Bios
    }

    /// As in the catalogue.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
            Self::UefiSecure => "uefi-secure",
        }
    }
}

/// What the disk is connected to: the guest's first drivers must know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiskBus {
    #[default]
    Virtio,
    Sata,
}

/// The network card, where a clone has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkModel {
    #[default]
    Virtio,
    E1000e,
}

/// What the machine's own clock shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    #[default]
    Utc,
    /// The host's local time, which Windows expects.
    Localtime,
}

/// A file beside a golden disk that each clone gets a copy of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// Absolute.
    pub file: PathBuf,
    pub sha256: Sha256,
}
