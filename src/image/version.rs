use std::{fmt, str::FromStr};

use crate::model::{Bytes, Firmware};

/// A version of Windows that `images build` installs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowsVersion {
    Win10_22H2,
    Win11_23H2,
    Win11_24H2,
    Win11_25H2,
    Server2016,
    Server2019,
    Server2022,
    Server2025,
}

impl WindowsVersion {
    pub const ALL: [Self; 8] = [
        Self::Win10_22H2,
        Self::Win11_23H2,
        Self::Win11_24H2,
        Self::Win11_25H2,
        Self::Server2016,
        Self::Server2019,
        Self::Server2022,
        Self::Server2025,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Win10_22H2 => "win10-22h2",
            Self::Win11_23H2 => "win11-23h2",
            Self::Win11_24H2 => "win11-24h2",
            Self::Win11_25H2 => "win11-25h2",
            Self::Server2016 => "server-2016",
            Self::Server2019 => "server-2019",
            Self::Server2022 => "server-2022",
            Self::Server2025 => "server-2025",
        }
    }

    pub fn is_server(self) -> bool {
        matches!(self, Self::Server2016 | Self::Server2019 | Self::Server2022 | Self::Server2025)
    }

    pub fn is_windows_11(self) -> bool {
        matches!(self, Self::Win11_23H2 | Self::Win11_24H2 | Self::Win11_25H2)
    }

    /// The folder of this version in each driver's folder on the virtio-win ISO (virtio-win-pkg-scripts, "README.md").
    pub fn driver_folder(self) -> &'static str {
        match self {
            Self::Win10_22H2 => "w10",
            Self::Win11_23H2 | Self::Win11_24H2 | Self::Win11_25H2 => "w11",
            Self::Server2016 => "2k16",
            Self::Server2019 => "2k19",
            Self::Server2022 => "2k22",
            Self::Server2025 => "2k25",
        }
    }

    /// As these versions usually come: Windows 11 requires UEFI with Secure Boot and a TPM 2.0 ("Windows 11 system
    /// requirements"), and a certified server of 2025 has both.
    pub fn usual_firmware(self) -> Firmware {
        match self {
            Self::Win11_23H2 | Self::Win11_24H2 | Self::Win11_25H2 | Self::Server2025 => Firmware::UefiSecure,
            Self::Win10_22H2 | Self::Server2016 | Self::Server2019 | Self::Server2022 => Firmware::Uefi,
        }
    }

    /// The smallest disk: Windows 11 requires 64 GB ("Windows 11 system requirements"), the others 32 GB ("Windows minimum
    /// hardware requirements", "Hardware requirements for Windows Server").
    pub fn least_disk(self) -> Bytes {
        Bytes(if self.is_windows_11() { 64 } else { 32 } * Bytes::GIB)
    }
}

impl fmt::Display for WindowsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for WindowsVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or_else(|| format!("`{text}` is none of {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_read_by_its_name() {
        for version in WindowsVersion::ALL {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        assert!("win12".parse::<WindowsVersion>().unwrap_err().contains("win11-25h2"));
    }
}
