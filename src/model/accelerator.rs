use std::fmt;

use serde::{Deserialize, Serialize};

/// What executes a guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Accelerator {
    Kvm,
    /// Pure emulation by QEMU.
    Tcg,
    /// Scripted guests, no VM at all.
    Sim,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
            Accelerator::Sim => "sim",
        })
    }
}
