use serde::{Deserialize, Serialize};

use super::{GuestFile, Millis};

/// A package for Windows and what its installer is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    pub kind: PackageKind,
    /// The package, and behind it what must lie in the same folder.
    pub files: Vec<GuestFile>,
    /// Further arguments for its installer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}

impl Package {
    /// Where the package itself is in the guest.
    pub fn path(&self) -> &str {
        self.files.first().map_or("", |file| &file.to)
    }
}

/// What a package is, and so what installs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackageKind {
    /// Windows Installer package.
    Msi,
    /// Windows Installer patch.
    Msp,
    /// An installer that is a program.
    Exe,
    /// Windows Update stand-alone package.
    Msu,
    /// A servicing package in a cabinet file.
    Cab,
    /// A driver's setup information file.
    Inf,
    /// Registration entries.
    Reg,
}

/// What an installer's exit code says beside yes and no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Says {
    /// It changed nothing: installed already, or not for this machine.
    NotApplied,
    /// It is done once the machine has restarted.
    RestartNeeded,
    /// It is restarting the machine by itself.
    Restarting,
    /// Another installation goes on: to be tried again.
    Busy,
}

/// `ERROR_INSTALL_ALREADY_RUNNING`.
const ALREADY_RUNNING: i32 = 1618;
/// `ERROR_SUCCESS_REBOOT_INITIATED`.
const REBOOT_INITIATED: i32 = 1641;
/// `ERROR_SUCCESS_REBOOT_REQUIRED`.
const REBOOT_REQUIRED: i32 = 3010;
/// `ERROR_NO_MORE_ITEMS`: no device got the driver, or all have it already.
const NO_MORE_ITEMS: i32 = 259;
/// `WU_S_REBOOT_REQUIRED`, 0x00240005.
const WU_REBOOT_REQUIRED: i32 = 2_359_301;
/// `WU_S_ALREADY_INSTALLED`, 0x00240006.
const WU_ALREADY_INSTALLED: i32 = 2_359_302;
/// `WU_E_NOT_APPLICABLE`.
const WU_NOT_APPLICABLE: i32 = 0x8024_0017_u32.cast_signed();
/// `CBS_E_NOT_APPLICABLE`.
const CBS_NOT_APPLICABLE: i32 = 0x800f_081e_u32.cast_signed();

impl PackageKind {
    pub const ALL: [Self; 7] = [Self::Msi, Self::Msp, Self::Exe, Self::Msu, Self::Cab, Self::Inf, Self::Reg];

    /// Its name as a step's key.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Msi => "msi",
            Self::Msp => "msp",
            Self::Exe => "exe",
            Self::Msu => "msu",
            Self::Cab => "cab",
            Self::Inf => "inf",
            Self::Reg => "reg",
        }
    }

    /// The exit codes that mean success (Microsoft: "MsiExec.exe and InstMsi.exe error messages", "Windows Update
    /// error codes", "PnPUtil return values").
    pub fn success(self) -> &'static [i32] {
        match self {
            Self::Msi | Self::Msp => &[0, REBOOT_REQUIRED, REBOOT_INITIATED],
            Self::Exe | Self::Inf => &[0, REBOOT_REQUIRED],
            Self::Msu | Self::Cab => &[0, REBOOT_REQUIRED, WU_REBOOT_REQUIRED],
            Self::Reg => &[0],
        }
    }

    /// What an exit code says of the machine.
    pub fn says(self, code: i32) -> Option<Says> {
        match (self, code) {
            (Self::Msi | Self::Msp | Self::Exe, ALREADY_RUNNING) => Some(Says::Busy),
            (Self::Msi | Self::Msp | Self::Exe, REBOOT_INITIATED) => Some(Says::Restarting),
            (Self::Reg, _) => None,
            (_, REBOOT_REQUIRED) => Some(Says::RestartNeeded),
            (Self::Inf, NO_MORE_ITEMS) => Some(Says::NotApplied),
            (Self::Msu | Self::Cab, WU_REBOOT_REQUIRED) => Some(Says::RestartNeeded),
            (Self::Msu | Self::Cab, WU_ALREADY_INSTALLED | WU_NOT_APPLICABLE | CBS_NOT_APPLICABLE) => {
                Some(Says::NotApplied)
            }
            _ => None,
        }
    }

    /// The deadline of a step that names none. Servicing an operating system takes its time.
    pub fn timeout(self) -> Millis {
        match self {
            Self::Msu | Self::Cab => Millis::from_secs(2 * 3600),
            Self::Msi | Self::Msp | Self::Exe | Self::Inf => Millis::from_secs(1800),
            Self::Reg => Millis::from_secs(300),
        }
    }

    /// Whether its installer takes arguments.
    pub fn takes_args(self) -> bool {
        matches!(self, Self::Msi | Self::Msp | Self::Exe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installer_that_changed_nothing_or_waits_for_a_restart_says_so_by_its_code() {
        for (kind, code, says) in [
            (PackageKind::Msi, 0, None),
            (PackageKind::Msi, 3010, Some(Says::RestartNeeded)),
            (PackageKind::Msi, 1641, Some(Says::Restarting)),
            (PackageKind::Msp, 1618, Some(Says::Busy)),
            (PackageKind::Msu, 0x0024_0005, Some(Says::RestartNeeded)),
            (PackageKind::Msu, 0x0024_0006, Some(Says::NotApplied)),
            (PackageKind::Msu, -2_145_124_329, Some(Says::NotApplied)),
            (PackageKind::Cab, -2_146_498_530, Some(Says::NotApplied)),
            (PackageKind::Inf, 259, Some(Says::NotApplied)),
            (PackageKind::Exe, 259, None),
            (PackageKind::Reg, 3010, None),
        ] {
            assert_eq!(kind.says(code), says, "{kind:?} {code}");
        }
        for kind in PackageKind::ALL {
            let unclear = |code: &&i32| matches!(kind.says(**code), Some(Says::NotApplied | Says::Busy));
            assert_eq!(kind.success().iter().find(unclear), None, "{kind:?}");
        }
    }
}
