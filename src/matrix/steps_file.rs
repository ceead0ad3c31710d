use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::file::AxisValues;
use crate::source::{Placed, Written};

/// One step: exactly one kind, and how to judge it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "Step", deny_unknown_fields, expecting = "a step such as `sh: command` or `copy: {from: a, to: /b}`")]
pub struct StepEntry {
    /// What the step is called in reports.
    pub name: Option<Placed<String>>,
    /// The longest time the step may take, e.g. `30s`; 5m by default, 30m for packages other than `reg`, 2h for `msu`
    /// and `cab`.
    pub timeout: Option<Placed<String>>,
    /// The exit codes that mean success; `[0]` by default, for packages those of their installer.
    pub success: Option<Placed<Vec<Placed<Written>>>>,
    /// How often the step may restart the machine by itself, until it settles after the restart that bootgate asks for; 0
    /// by default. Only in `update`.
    pub restarts: Option<Placed<u32>>,
    /// Only in the cells whose axes have these values: `{axis: value}` or `{axis: [value, value]}`.
    pub when: Option<AxisValues>,
    /// Brings one file into the guest.
    pub copy: Option<Placed<CopyEntry>>,
    /// Brings a folder and all that is in it into the guest.
    pub files: Option<Placed<FilesEntry>>,
    /// Runs a program without a shell: its path in the guest, then its arguments.
    pub run: Option<Placed<Vec<Placed<Written>>>>,
    /// Runs a script with the guest's `/bin/sh`.
    pub sh: Option<Placed<ScriptEntry>>,
    /// Runs a batch script with the guest's `cmd.exe`. Windows and Wine.
    pub cmd: Option<Placed<ScriptEntry>>,
    /// Runs a script with the guest's Windows PowerShell. Windows.
    pub ps1: Option<Placed<ScriptEntry>>,
    /// Installs a Windows Installer package: `msiexec /i FILE /qn /norestart`. Windows and Wine.
    pub msi: Option<Placed<PackageEntry>>,
    /// Applies a Windows Installer patch: `msiexec /p FILE /qn /norestart`. Windows and Wine.
    pub msp: Option<Placed<PackageEntry>>,
    /// Runs an installer that is a program. Windows and Wine.
    pub exe: Option<Placed<PackageEntry>>,
    /// Installs a Windows Update package, by `wusa` or from build 26100 on by `dism`. Windows.
    pub msu: Option<Placed<PackageEntry>>,
    /// Installs a servicing package, by `dism`. Windows.
    pub cab: Option<Placed<PackageEntry>>,
    /// Installs a driver: `pnputil /add-driver FILE /install`. Windows.
    pub inf: Option<Placed<PackageEntry>>,
    /// Merges a file into the registry: `reg import FILE`. Windows and Wine.
    pub reg: Option<Placed<PackageEntry>>,
}

/// A question about the health of the guest: exactly one of `run`, `sh`, `cmd` and `ps1`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "Check", deny_unknown_fields, expecting = "a check such as `{id: name, sh: command}`")]
pub struct CheckEntry {
    /// `a` to `z`, digits and `-`; every check has its own.
    pub id: Placed<String>,
    /// `true`: the answer proves that the update took effect. It must fail on the control, and where it fails with the
    /// update that was not applied (`update-not-applied`).
    #[serde(default)]
    pub evidence: bool,
    /// The longest time the answer may take, e.g. `30s`; 5m by default.
    pub timeout: Option<Placed<String>>,
    /// The exit codes that mean healthy; `[0]` by default.
    pub success: Option<Placed<Vec<Placed<Written>>>>,
    /// Runs a program without a shell: its path in the guest, then its arguments.
    pub run: Option<Placed<Vec<Placed<Written>>>>,
    /// Runs a script with the guest's `/bin/sh`.
    pub sh: Option<Placed<ScriptEntry>>,
    /// Runs a batch script with the guest's `cmd.exe`. Windows and Wine.
    pub cmd: Option<Placed<ScriptEntry>>,
    /// Runs a script with the guest's Windows PowerShell. Windows.
    pub ps1: Option<Placed<ScriptEntry>>,
}

/// Brings one file into the guest.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "Copy", deny_unknown_fields, expecting = "a mapping such as `{from: file, to: /guest/path}`")]
pub struct CopyEntry {
    /// The file on this host, relative to the matrix; `${candidate}` is the candidate.
    pub from: Placed<String>,
    /// The absolute path in the guest.
    pub to: Placed<String>,
    /// UNIX permission bits in octal, e.g. `"0644"`.
    pub mode: Option<Placed<Written>>,
}

/// Brings a folder and all that is in it into the guest.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "Files", deny_unknown_fields, expecting = "a mapping such as `{from: folder, to: /guest/folder}`")]
pub struct FilesEntry {
    /// The folder on this host, relative to the matrix.
    pub from: Placed<String>,
    /// The absolute path of the folder in the guest.
    pub to: Placed<String>,
}

/// A text, or a mapping that says more.
#[derive(Debug)]
pub enum TextOr<M> {
    Text(String),
    More(M),
}

/// What a [`TextOr`] may be instead of a text.
pub trait InsteadOfText: JsonSchema + for<'de> Deserialize<'de> {
    /// What is expected, text or mapping.
    const EXPECTED: &'static str;
}

/// A package: its file, or the file and what belongs to it.
pub type PackageEntry = TextOr<Packaged>;

/// A script: its text, or the file that has it.
pub type ScriptEntry = TextOr<ScriptFile>;

impl InsteadOfText for Packaged {
    const EXPECTED: &'static str = "a file or `{file: agent.msi, args: [KEY=value]}`";
}

impl InsteadOfText for ScriptFile {
    const EXPECTED: &'static str = "a script or `{file: script.sh}`";
}

/// A package and what belongs to it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{file: agent.msi, args: [KEY=value]}`")]
pub struct Packaged {
    /// The file on this host, relative to the matrix; `${candidate}` is the candidate.
    pub file: Placed<String>,
    /// Further arguments for the installer. `msi`, `msp` and `exe`.
    #[serde(default)]
    pub args: Vec<Placed<Written>>,
    /// A folder on this host, relative to the matrix: its files are put beside the package, as a driver's or a
    /// checkpoint's must be.
    pub beside: Option<Placed<String>>,
}

/// A file whose text is the script.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a mapping such as `{file: script.sh}`")]
pub struct ScriptFile {
    /// Relative to the matrix.
    pub file: Placed<String>,
}

impl<'de, M: InsteadOfText> Deserialize<'de> for TextOr<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrVisitor<M>(PhantomData<M>);
        impl<'de, M: InsteadOfText> Visitor<'de> for TextOrVisitor<M> {
            type Value = TextOr<M>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(M::EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TextOr<M>, E> {
                Ok(TextOr::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextOr<M>, A::Error> {
                M::deserialize(MapAccessDeserializer::new(map)).map(TextOr::More)
            }
        }
        deserializer.deserialize_any(TextOrVisitor(PhantomData))
    }
}

impl<M: InsteadOfText> JsonSchema for TextOr<M> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("TextOr{}", M::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let more = generator.subschema_for::<M>();
        json_schema!({ "anyOf": [{ "type": "string" }, more] })
    }
}
