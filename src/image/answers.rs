//! The answer file of Windows Setup (Microsoft's "Unattended Windows Setup Reference"): a pure function.

use super::{
    Choice, Edition, WindowsVersion, finish,
    xml::{Element, leaf, node},
};
use crate::model::Firmware;

/// The name under which Setup looks for answers in the root folders of all removable media ("Windows Setup Automation
/// Overview", Implicit answer file search order). Not an 8.3 name.
pub const ANSWER_FILE: &str = "Autounattend.xml";

/// Everything that Setup would ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    pub version: WindowsVersion,
    pub edition: Edition,
    pub firmware: Firmware,
    /// Of Windows and of Setup, e.g. `en-US`. A medium has one, and another makes Setup stop and ask.
    pub language: String,
    /// An input locale, e.g. `0409:00000409` or `de-DE`.
    pub keyboard: String,
    /// As `tzutil /l` lists them, e.g. `UTC`.
    pub time_zone: String,
    /// At most 15 characters (NetBIOS), and not the user's name.
    pub computer: String,
    /// A local administrator, who is signed in once, to run the last commands.
    pub user: String,
    /// It ends up in the golden image, and so in every clone.
    pub password: String,
}

/// Drivers that are there before the first start of Windows: for the disk, the network card, the agent's channel, and
/// the device that a crash is told to.
const DRIVERS: [&str; 5] = ["viostor", "vioscsi", "NetKVM", "vioserial", "pvpanic"];

/// Where the CD drives may be. Letters are given in the order in which Windows PE finds volumes, and an empty disk
/// takes none; a path that does not exist is skipped.
pub(super) const DRIVES: [char; 8] = ['C', 'D', 'E', 'F', 'G', 'H', 'I', 'J'];

/// What is set in the registry before anybody signs in. No text has a quote of its own in it.
const REGISTRY: [(&str, &str, u32); 5] = [
    // 24H2 encrypts by itself what has a TPM and Secure Boot ("BitLocker drive encryption in Windows for OEMs").
    (r"HKLM\SYSTEM\CurrentControlSet\Control\BitLocker", "PreventDeviceEncryption", 1),
    // Fast startup is a hibernation: the next start would be no boot.
    (r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Power", "HiberbootEnabled", 0),
    // A small dump, and the restart after it that production has ("Overview of memory dump file options for Windows").
    (r"HKLM\SYSTEM\CurrentControlSet\Control\CrashControl", "CrashDumpEnabled", 3),
    (r"HKLM\SYSTEM\CurrentControlSet\Control\CrashControl", "AutoReboot", 1),
    // "Configure Automatic Updates" as a policy: disabled.
    (r"HKLM\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU", "NoAutoUpdate", 1),
];

impl Answers {
    /// The file's text.
    pub fn xml(&self) -> String {
        let passes = [
            pass("windowsPE", [self.languages_of_setup(), self.drivers(), self.setup()]),
            pass("specialize", [registry(), self.naming()]),
            pass("oobeSystem", [self.languages(), self.first_use()]),
        ];
        node("unattend", passes)
            .with("xmlns", "urn:schemas-microsoft-com:unattend")
            .with("xmlns:wcm", "http://schemas.microsoft.com/WMIConfig/2002/State")
            .document()
    }

    fn languages_of_setup(&self) -> Element {
        let of_setup = node("SetupUILanguage", [leaf("UILanguage", &self.language)]);
        let all = std::iter::once(of_setup).chain(self.locales());
        component("Microsoft-Windows-International-Core-WinPE", all)
    }

    fn languages(&self) -> Element {
        component("Microsoft-Windows-International-Core", self.locales())
    }

    fn locales(&self) -> [Element; 4] {
        [
            leaf("InputLocale", &self.keyboard),
            leaf("SystemLocale", &self.language),
            leaf("UILanguage", &self.language),
            leaf("UserLocale", &self.language),
        ]
    }

    fn drivers(&self) -> Element {
        let folder = self.version.driver_folder();
        let paths = DRIVERS.iter().flat_map(|driver| DRIVES.map(|drive| format!(r"{drive}:\{driver}\{folder}\amd64")));
        let item = |(at, path): (usize, String)| {
            node("PathAndCredentials", [leaf("Path", path)]).with("wcm:action", "add").with("wcm:keyValue", at + 1)
        };
        let paths = node("DriverPaths", paths.enumerate().map(item));
        component("Microsoft-Windows-PnpCustomizationsWinPE", [paths])
    }

    fn setup(&self) -> Element {
        let mut user_data = vec![leaf("AcceptEula", true)];
        if let Some(key) = &self.edition.key {
            let key = [leaf("Key", key.as_str()), leaf("WillShowUI", "OnError")];
            user_data.push(node("ProductKey", key));
        }
        component(
            "Microsoft-Windows-Setup",
            [
                self.disk(),
                // What Setup downloads differs from day to day.
                node("DynamicUpdate", [leaf("Enable", false), leaf("WillShowUI", "OnError")]),
                node("ImageInstall", [self.image()]),
                node("UserData", user_data),
            ],
        )
    }

    fn image(&self) -> Element {
        let key_and_value = match &self.edition.choice {
            None => None,
            Some(Choice::Index(index)) => Some(("/IMAGE/INDEX", index.to_string())),
            Some(Choice::Name(name)) => Some(("/IMAGE/NAME", name.clone())),
        };
        let from = key_and_value.map(|(key, value)| {
            let item = node("MetaData", [leaf("Key", key), leaf("Value", value)]).with("wcm:action", "add");
            node("InstallFrom", [item])
        });
        let windows = self.partitions().len();
        let to = node("InstallTo", [leaf("DiskID", 0), leaf("PartitionID", windows)]);
        node("OSImage", from.into_iter().chain([to, leaf("WillShowUI", "OnError")]))
    }

    /// The disk's partitions in their order; Windows is on the last. Setup makes its recovery partition itself.
    fn partitions(&self) -> &'static [Partition] {
        use Size::{Mib, Rest};
        // "UEFI/GPT-based hard drive partitions": at least 200 MB for the first, 16 MB for the second.
        const GPT: &[Partition] = &[
            Partition { kind: "EFI", size: Mib(260), format: Some("FAT32"), label: Some("System"), active: false },
            Partition { kind: "MSR", size: Mib(16), format: None, label: None, active: false },
            Partition { kind: "Primary", size: Rest, format: Some("NTFS"), label: Some("Windows"), active: false },
        ];
        // "BIOS/MBR-based hard drive partitions": an active system partition, which BitLocker leaves alone.
        const MBR: &[Partition] = &[
            Partition { kind: "Primary", size: Mib(500), format: Some("NTFS"), label: Some("System"), active: true },
            Partition { kind: "Primary", size: Rest, format: Some("NTFS"), label: Some("Windows"), active: false },
        ];
        if self.firmware == Firmware::Bios { MBR } else { GPT }
    }

    fn disk(&self) -> Element {
        let partitions = self.partitions();
        let create = |(at, partition): (usize, &Partition)| {
            let size = match partition.size {
                Size::Mib(size) => leaf("Size", size),
                Size::Rest => leaf("Extend", true),
            };
            item("CreatePartition", [leaf("Order", at + 1), size, leaf("Type", partition.kind)])
        };
        let modify = |(at, partition): (usize, &Partition)| {
            let mut about = Vec::new();
            about.extend(partition.active.then(|| leaf("Active", true)));
            about.extend(partition.format.map(|format| leaf("Format", format)));
            about.extend(partition.label.map(|label| leaf("Label", label)));
            about.extend((at + 1 == partitions.len()).then(|| leaf("Letter", "C")));
            about.extend([leaf("Order", at + 1), leaf("PartitionID", at + 1)]);
            item("ModifyPartition", about)
        };
        let disk = item(
            "Disk",
            [
                node("CreatePartitions", partitions.iter().enumerate().map(create)),
                leaf("DiskID", 0),
                node("ModifyPartitions", partitions.iter().enumerate().map(modify)),
                leaf("WillWipeDisk", true),
            ],
        );
        node("DiskConfiguration", [disk, leaf("WillShowUI", "OnError")])
    }

    fn naming(&self) -> Element {
        let about = [leaf("ComputerName", &self.computer), leaf("TimeZone", &self.time_zone)];
        component("Microsoft-Windows-Shell-Setup", about)
    }

    fn first_use(&self) -> Element {
        let mut hidden = vec![leaf("HideEULAPage", true)];
        // The reference: "applies only to Windows Server".
        hidden.extend(self.version.is_server().then(|| leaf("HideLocalAccountScreen", true)));
        hidden.extend([
            leaf("HideOEMRegistrationScreen", true),
            // There is a local account, so no Microsoft account is asked for.
            leaf("HideOnlineAccountScreens", true),
            leaf("HideWirelessSetupInOOBE", true),
            leaf("ProtectYourPC", 3),
        ]);
        let administrator = self.version.is_server().then(|| node("AdministratorPassword", self.password()));
        let account = item(
            "LocalAccount",
            [leaf("Group", "Administrators"), leaf("Name", &self.user), node("Password", self.password())],
        );
        let accounts = administrator.into_iter().chain([node("LocalAccounts", [account])]);
        // One command: the reference says of these that all are started at the same time.
        let last = item("SynchronousCommand", [leaf("CommandLine", finish::first_command()), leaf("Order", 1)]);
        component(
            "Microsoft-Windows-Shell-Setup",
            [
                node(
                    "AutoLogon",
                    [
                        leaf("Enabled", true),
                        leaf("LogonCount", 1),
                        node("Password", self.password()),
                        leaf("Username", &self.user),
                    ],
                ),
                node("FirstLogonCommands", [last]),
                node("OOBE", hidden),
                node("UserAccounts", accounts),
            ],
        )
    }

    fn password(&self) -> [Element; 2] {
        [leaf("PlainText", true), leaf("Value", &self.password)]
    }
}

struct Partition {
    kind: &'static str,
    size: Size,
    format: Option<&'static str>,
    label: Option<&'static str>,
    active: bool,
}

enum Size {
    Mib(u32),
    Rest,
}

fn registry() -> Element {
    let command = |(at, (key, value, data)): (usize, &(&str, &str, u32))| {
        let path = format!("reg.exe add \"{key}\" /v {value} /t REG_DWORD /d {data} /f");
        item("RunSynchronousCommand", [leaf("Order", at + 1), leaf("Path", path)])
    };
    component("Microsoft-Windows-Deployment", [node("RunSynchronous", REGISTRY.iter().enumerate().map(command))])
}

fn pass<const N: usize>(name: &str, components: [Element; N]) -> Element {
    node("settings", components).with("pass", name)
}

fn component(name: &str, settings: impl IntoIterator<Item = Element>) -> Element {
    node("component", settings)
        .with("name", name)
        .with("processorArchitecture", "amd64")
        .with("publicKeyToken", "31bf3856ad364e35")
        .with("language", "neutral")
        .with("versionScope", "nonSxS")
}

/// An item of a list.
fn item(name: &'static str, settings: impl IntoIterator<Item = Element>) -> Element {
    node(name, settings).with("wcm:action", "add")
}

#[cfg(test)]
mod rules;
#[cfg(test)]
mod tests;
