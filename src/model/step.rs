use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Bytes, Millis, Package, Sha256, Tolerances};

/// A file on the host that a step brings into the guest, pinned by its content when the plan is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFile {
    /// Absolute.
    pub path: PathBuf,
    pub size: Bytes,
    pub sha256: Sha256,
}

/// One file to bring into the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestFile {
    pub from: HostFile,
    /// Absolute path in the guest.
    pub to: String,
    /// UNIX permission bits, for guests that have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

/// One step of `setup` or `update`, variables already put in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What people call it: given, or made from the kind and its main argument.
    pub name: String,
    pub kind: StepKind,
    /// The deadline for the whole step.
    pub timeout: Millis,
    /// How often the step, or what it leaves behind, may restart the machine by itself.
    #[serde(default, skip_serializing_if = "super::plan::is_default")]
    pub restarts: u32,
    /// Exit codes that mean success.
    pub success: Vec<i32>,
}

/// What a step does. The primitives are `Copy` and `Run`; other kinds are those two with the right
/// arguments built in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum StepKind {
    /// Bring one file into the guest.
    Copy { file: GuestFile },
    /// Bring a tree of files into the guest.
    Files { files: Vec<GuestFile> },
    /// Run a program: no shell, `argv[0]` is its path in the guest.
    Run { argv: Vec<String> },
    /// Run a script with the guest's `/bin/sh` (`sh -e` is the script's own business).
    Sh { script: String },
    /// Run a batch script with the guest's `cmd.exe`.
    Cmd { script: String },
    /// Run a script with the guest's Windows PowerShell.
    Ps1 { script: String },
    /// Install a package for Windows.
    Package { package: Package },
    /// Ask whether Windows' servicing installed what the n-th step of the update, from 0, gave it. Only a check.
    Serviced { step: usize },
}

impl StepKind {
    /// The host's files that it brings into the guest.
    pub fn files(&self) -> &[GuestFile] {
        match self {
            Self::Copy { file } => std::slice::from_ref(file),
            Self::Files { files } | Self::Package { package: Package { files, .. } } => files,
            Self::Run { .. } | Self::Sh { .. } | Self::Cmd { .. } | Self::Ps1 { .. } | Self::Serviced { .. } => &[],
        }
    }

    /// The texts that the guest runs, which secrets may be in.
    pub fn commands(&self) -> Vec<&str> {
        match self {
            Self::Run { argv } => argv.iter().map(String::as_str).collect(),
            Self::Sh { script } | Self::Cmd { script } | Self::Ps1 { script } => vec![script],
            Self::Package { package } => package.args.iter().map(String::as_str).collect(),
            Self::Copy { .. } | Self::Files { .. } | Self::Serviced { .. } => Vec::new(),
        }
    }

    /// The step as it matters to a guest: files by their digests, no path of the host.
    pub fn in_guest(&self) -> Value {
        let file = |file: &GuestFile| json!({ "to": file.to, "mode": file.mode, "sha256": file.from.sha256 });
        match self {
            Self::Copy { file: one } => json!({ "copy": file(one) }),
            Self::Files { files } => json!({ "files": files.iter().map(file).collect::<Value>() }),
            Self::Run { argv } => json!({ "run": argv }),
            Self::Sh { script } => json!({ "sh": script }),
            Self::Cmd { script } => json!({ "cmd": script }),
            Self::Ps1 { script } => json!({ "ps1": script }),
            Self::Package { package } => {
                let files: Value = package.files.iter().map(file).collect();
                json!({ package.kind.as_str(): { "files": files, "args": package.args } })
            }
            Self::Serviced { step } => json!({ "serviced": step }),
        }
    }

    /// The same step with each of these texts replaced.
    #[must_use]
    pub fn map_commands(&self, change: impl Fn(&String) -> String) -> Self {
        let mut kind = self.clone();
        match &mut kind {
            Self::Run { argv: texts } | Self::Package { package: Package { args: texts, .. } } => {
                texts.iter_mut().for_each(|text| *text = change(text));
            }
            Self::Sh { script } | Self::Cmd { script } | Self::Ps1 { script } => *script = change(script),
            Self::Copy { .. } | Self::Files { .. } | Self::Serviced { .. } => {}
        }
        kind
    }
}

/// A question about the health of the guest, asked once it has settled after the update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// `[a-z0-9-]+`, unique in the matrix; the JUnit case is `check:ID`.
    pub id: String,
    /// `Run`, a script, or `Serviced`: exit code in `success` = healthy.
    pub kind: StepKind,
    pub timeout: Millis,
    pub success: Vec<i32>,
    /// It proves that the update took effect, and fails without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evidence: bool,
    /// The kind of a step implies it: where it fails, the update was not applied. It may hold without the update.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub implied: bool,
}

/// What healthy means for a cell, and how long to look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    pub checks: Vec<Check>,
    /// Restarts after the first one.
    pub soak: u32,
    /// How long a settled machine is watched for late crashes.
    pub watch: Millis,
    /// Upper bound for one boot; none: derived from the longest boot that is known without the update.
    pub boot_timeout: Option<Millis>,
    /// How long a request to restart may take to lead to a reset; none: derived likewise.
    pub restart_timeout: Option<Millis>,
    /// How much worse than its control it may be.
    #[serde(default)]
    pub tolerances: Tolerances,
}

/// What to fetch from a guest that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collect {
    /// Absolute paths in the guest.
    pub files: Vec<String>,
}

/// What a step or check belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "of")]
pub enum Subject {
    /// The n-th `setup` step, from 0.
    Setup {
        step: usize,
    },
    /// The n-th `update` step, from 0.
    Update {
        step: usize,
    },
    Check {
        id: String,
    },
}

/// Most restarts after the first one: more are taken for a slip.
pub const MAX_SOAK: u32 = 1000;

/// For a record that may have been edited: each restart becomes a case in a report.
pub(crate) fn soak<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let soak = u32::deserialize(from)?;
    if soak > MAX_SOAK {
        return Err(serde::de::Error::custom(format!("{soak} restarts are more than the {MAX_SOAK} allowed")));
    }
    Ok(soak)
}
