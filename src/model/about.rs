use std::fmt;

use serde::{Deserialize, Serialize};

/// What a file is, by its content and not by its name. Names and versions in it are the file's own claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct About {
    #[serde(flatten)]
    pub content: Content,
    /// The Authenticode signature inside the file. Drivers and INFs may be signed by a catalogue beside them instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// Why some of it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
}

impl About {
    pub fn of(content: Content) -> Self {
        Self { content, signature: None, unread: None }
    }

    /// Whether there is more to tell than that it is some text or some data.
    pub fn is_telling(&self) -> bool {
        !matches!(self.content, Content::Text | Content::Unknown)
    }
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Content {
    /// A Windows Installer package.
    Msi(Msi),
    /// A Windows Installer patch.
    Msp(Msp),
    /// Another OLE compound file, such as a transform (MST).
    Ole,
    /// A Windows program, library or driver.
    Pe(Pe),
    /// A program that begins like a Windows one and has no PE header.
    Dos,
    /// A cabinet.
    Cab(Cabinet),
    /// A cabinet with the files of a Windows update in it (`.msu` before Windows 11 24H2).
    Msu(Cabinet),
    /// A Windows image archive. Newer `.msu` files are such.
    Wim,
    /// Instructions for the installation of a driver.
    Inf(Inf),
    /// A security catalogue (`.cat`).
    Catalog,
    /// Registry entries in Regedit's format.
    Reg,
    /// A script that names what runs it.
    Script {
        /// Such as `sh`, `powershell`, `cmd`.
        interpreter: String,
    },
    /// A program for Linux or another UNIX.
    Elf,
    /// A Debian package.
    Deb,
    /// An RPM package.
    Rpm,
    Zip,
    Text,
    #[serde(other)]
    Unknown,
}

/// From the tables `Property` and the summary information of a package (Windows Installer, "Property Reference" and
/// "Summary Property Descriptions").
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Msi {
    /// `ProductName`.
    pub name: Option<String>,
    /// `ProductVersion`.
    pub version: Option<String>,
    pub manufacturer: Option<String>,
    /// With braces.
    pub product_code: Option<String>,
    /// With braces.
    pub upgrade_code: Option<String>,
    /// With braces; another one for each build.
    pub package_code: Option<String>,
    pub machine: Option<Machine>,
}

/// From the summary information of a patch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Msp {
    /// Its subject, or else its title.
    pub name: Option<String>,
    /// With braces.
    pub patch_code: Option<String>,
    /// The product codes that it is for, with braces; no more than [`MAX_LISTED`].
    pub targets: Vec<String>,
}

/// From the headers and the version resource of a portable executable ("PE Format" and `VS_VERSIONINFO`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Pe {
    pub role: PeRole,
    pub machine: Machine,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company: Option<String>,
    /// The binary one, as four numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_version: Option<String>,
    /// The text, or else the binary one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_version: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PeRole {
    Exe,
    Dll,
    /// Of the native subsystem: a driver, or one of the few programs that run before Windows does.
    Driver,
    /// Runs in UEFI firmware.
    Efi,
}

/// What a cabinet lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Cabinet {
    /// How many files are in it.
    pub files: usize,
    /// It has a manifest for DISM (`*.mum`).
    pub package: bool,
    /// The cabinets in it, no more than [`MAX_LISTED`]: what a Windows update brings, beside its scan data.
    pub packages: Vec<String>,
}

/// From an INF ("INF Version Section", "INF Manufacturer Section").
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Inf {
    pub class: Option<String>,
    pub provider: Option<String>,
    /// `mm/dd/yyyy`.
    pub driver_date: Option<String>,
    pub driver_version: Option<String>,
    /// `CatalogFile`, of the 64-bit systems if there are several.
    pub catalog: Option<String>,
    /// What it installs on; empty: it does not say.
    pub machines: Vec<Machine>,
}

/// An architecture of processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Machine {
    X86,
    X64,
    Arm,
    Arm64,
    Ia64,
    #[serde(other)]
    Other,
}

/// Who says to have signed a file. Nothing of it is verified: neither the chain of certificates nor that the file is
/// what was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Signature {
    /// The common name in the signer's certificate.
    pub signer: Option<String>,
    /// The common name of who issued it.
    pub issuer: Option<String>,
    /// A time-stamping authority has countersigned: it stays good when the certificate expires.
    pub timestamped: bool,
    /// Always false, and here so that nobody takes it for more.
    pub verified: bool,
}

/// Most names that are kept of any list in a file.
pub const MAX_LISTED: usize = 20;

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86 => "x86",
            Self::X64 => "x64",
            Self::Arm => "arm",
            Self::Arm64 => "arm64",
            Self::Ia64 => "ia64",
            Self::Other => "an unknown machine",
        })
    }
}

/// One line for people.
impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.content)?;
        match &self.signature {
            Some(signature) => {
                let signer = signature.signer.as_deref().unwrap_or("somebody without a name");
                write!(f, ", signed by \"{signer}\" (not verified)")?;
            }
            None if matches!(self.content, Content::Msi(_) | Content::Msp(_) | Content::Pe(_)) => {
                write!(f, ", no signature in it")?;
            }
            None => {}
        }
        match &self.unread {
            Some(why) => write!(f, "; {why}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Msi(msi) => {
                write!(f, "MSI")?;
                quoted(f, " ", msi.name.as_ref())?;
                more(f, " ", msi.version.as_ref())?;
                more(f, " ", msi.machine.as_ref())?;
                more(f, ", product ", msi.product_code.as_ref())?;
                more(f, ", upgrade ", msi.upgrade_code.as_ref())
            }
            Self::Msp(msp) => {
                write!(f, "MSP")?;
                quoted(f, " ", msp.name.as_ref())?;
                more(f, ", patch ", msp.patch_code.as_ref())?;
                let targets = (!msp.targets.is_empty()).then(|| msp.targets.join(", "));
                more(f, " for ", targets.as_ref())
            }
            Self::Pe(pe) => {
                let role = match pe.role {
                    PeRole::Exe => "program",
                    PeRole::Dll => "DLL",
                    PeRole::Driver => "driver",
                    PeRole::Efi => "UEFI program",
                };
                write!(f, "Windows {role} for {}", pe.machine)?;
                quoted(f, ", ", pe.product.as_ref())?;
                let lead = if pe.product.is_some() { " " } else { ", version " };
                more(f, lead, pe.file_version.as_ref())
            }
            Self::Cab(cab) if cab.package => write!(f, "cabinet of an update, {} files", cab.files),
            Self::Cab(cab) => write!(f, "cabinet of {} files", cab.files),
            Self::Msu(cab) => {
                write!(f, "MSU")?;
                let packages = (!cab.packages.is_empty()).then(|| cab.packages.join(", "));
                more(f, " with ", packages.as_ref())
            }
            Self::Inf(inf) => {
                write!(f, "INF")?;
                more(f, " of class ", inf.class.as_ref())?;
                more(f, " ", inf.driver_version.as_ref())?;
                let machines: Vec<String> = inf.machines.iter().map(ToString::to_string).collect();
                more(f, " for ", (!machines.is_empty()).then(|| machines.join(", ")).as_ref())?;
                more(f, ", catalogue ", inf.catalog.as_ref())
            }
            Self::Script { interpreter } => write!(f, "script for {interpreter}"),
            Self::Ole => f.write_str("OLE compound file, neither MSI nor MSP"),
            Self::Dos => f.write_str("program for DOS or 16-bit Windows"),
            Self::Wim => f.write_str("Windows image archive (WIM)"),
            Self::Catalog => f.write_str("security catalogue"),
            Self::Reg => f.write_str("registry entries"),
            Self::Elf => f.write_str("ELF program"),
            Self::Deb => f.write_str("Debian package"),
            Self::Rpm => f.write_str("RPM package"),
            Self::Zip => f.write_str("ZIP archive"),
            Self::Text => f.write_str("text"),
            Self::Unknown => f.write_str("data of no known kind"),
        }
    }
}

fn more(f: &mut fmt::Formatter<'_>, lead: &str, value: Option<&impl fmt::Display>) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, "{lead}{value}"))
}

fn quoted(f: &mut fmt::Formatter<'_>, lead: &str, value: Option<&String>) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, "{lead}\"{value}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_is_fits_on_one_line_and_says_that_no_signature_was_verified() {
        let msi = Msi {
            name: Some("Sensor".into()),
            version: Some("7.2.0".into()),
            machine: Some(Machine::X64),
            product_code: Some("{A}".into()),
            ..Msi::default()
        };
        let mut about = About::of(Content::Msi(msi));
        assert_eq!(about.to_string(), r#"MSI "Sensor" 7.2.0 x64, product {A}, no signature in it"#);
        // What a file or an edited record claims about it changes nothing.
        let signature = Signature { signer: Some("Vendor".into()), issuer: None, timestamped: true, verified: true };
        about.signature = Some(signature);
        assert_eq!(about.to_string(), r#"MSI "Sensor" 7.2.0 x64, product {A}, signed by "Vendor" (not verified)"#);
        let back: About = serde_json::from_str(&serde_json::to_string(&about).unwrap()).unwrap();
        assert_eq!(back, about);
    }

    #[test]
    fn kinds_of_a_later_version_are_unknown_and_no_error() {
        let about: About = serde_json::from_str(r#"{"kind":"flatpak","size":3}"#).unwrap();
        assert_eq!(about, About::of(Content::Unknown));
        let about: About = serde_json::from_str(r#"{"kind":"inf","machines":["riscv"]}"#).unwrap();
        assert_eq!(about.content, Content::Inf(Inf { machines: vec![Machine::Other], ..Inf::default() }));
    }
}
