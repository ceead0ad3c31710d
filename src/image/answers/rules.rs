//! The rules of answer files that could be found in Microsoft's "Unattended Windows Setup Reference" for what we write:
//! which settings there are, where, in which passes, with which values.

use std::collections::{BTreeMap, BTreeSet};

use roxmltree::Node;

const UNATTEND: &str = "urn:schemas-microsoft-com:unattend";
const WCM: &str = "http://schemas.microsoft.com/WMIConfig/2002/State";

/// "How Configuration Passes Work", in the order in which they run.
const PASSES: [&str; 7] =
    ["windowsPE", "offlineServicing", "generalize", "specialize", "auditSystem", "auditUser", "oobeSystem"];

/// A component's settings by their paths.
type Settings = [(&'static str, Kind)];

/// Each component's settings, `/` before each level, with what is in them, and the passes that the reference has for all
/// of those that are listed here.
const COMPONENTS: &[(&str, &[&str], &Settings)] = &[
    (
        "Microsoft-Windows-International-Core-WinPE",
        &["windowsPE"],
        &[
            ("SetupUILanguage", Kind::Group),
            ("SetupUILanguage/UILanguage", Kind::Text(80)),
            ("SetupUILanguage/WillShowUI", WILL_SHOW_UI),
            ("InputLocale", Kind::Text(80)),
            ("SystemLocale", Kind::Text(80)),
            ("UILanguage", Kind::Text(80)),
            ("UserLocale", Kind::Text(80)),
        ],
    ),
    (
        "Microsoft-Windows-International-Core",
        &["specialize", "oobeSystem"],
        &[
            ("InputLocale", Kind::Text(80)),
            ("SystemLocale", Kind::Text(80)),
            ("UILanguage", Kind::Text(80)),
            ("UserLocale", Kind::Text(80)),
        ],
    ),
    (
        "Microsoft-Windows-PnpCustomizationsWinPE",
        &["windowsPE"],
        &[
            ("DriverPaths", Kind::Group),
            ("DriverPaths/PathAndCredentials", Kind::Keyed),
            ("DriverPaths/PathAndCredentials/Path", Kind::Text(259)),
        ],
    ),
    (
        "Microsoft-Windows-Setup",
        &["windowsPE"],
        &[
            ("DiskConfiguration", Kind::Group),
            ("DiskConfiguration/Disk", Kind::Item),
            ("DiskConfiguration/Disk/CreatePartitions", Kind::Group),
            ("DiskConfiguration/Disk/CreatePartitions/CreatePartition", Kind::Ordered),
            ("DiskConfiguration/Disk/CreatePartitions/CreatePartition/Extend", BOOL),
            ("DiskConfiguration/Disk/CreatePartitions/CreatePartition/Order", Kind::Number),
            ("DiskConfiguration/Disk/CreatePartitions/CreatePartition/Size", Kind::Number),
            (
                "DiskConfiguration/Disk/CreatePartitions/CreatePartition/Type",
                Kind::OneOf(&["Primary", "EFI", "Extended", "Logical", "MSR"]),
            ),
            ("DiskConfiguration/Disk/DiskID", Kind::Number),
            ("DiskConfiguration/Disk/ModifyPartitions", Kind::Group),
            ("DiskConfiguration/Disk/ModifyPartitions/ModifyPartition", Kind::Ordered),
            ("DiskConfiguration/Disk/ModifyPartitions/ModifyPartition/Active", BOOL),
            ("DiskConfiguration/Disk/ModifyPartitions/ModifyPartition/Format", Kind::OneOf(&["NTFS", "FAT32"])),
            ("DiskConfiguration/Disk/ModifyPartitions/ModifyPartition/Label", Kind::Text(32)),
            ("DiskConfiguration/Disk/ModifyPartitions/ModifyPartition/Letter", Kind::Text(1)),
            ("DiskConfiguration/Disk/ModifyPartitions/ModifyPartition/Order", Kind::Number),
            ("DiskConfiguration/Disk/ModifyPartitions/ModifyPartition/PartitionID", Kind::Number),
            ("DiskConfiguration/Disk/WillWipeDisk", BOOL),
            ("DiskConfiguration/WillShowUI", WILL_SHOW_UI),
            ("DynamicUpdate", Kind::Group),
            ("DynamicUpdate/Enable", BOOL),
            ("DynamicUpdate/WillShowUI", WILL_SHOW_UI),
            ("ImageInstall", Kind::Group),
            ("ImageInstall/OSImage", Kind::Group),
            ("ImageInstall/OSImage/InstallFrom", Kind::Group),
            ("ImageInstall/OSImage/InstallFrom/MetaData", Kind::Item),
            (
                "ImageInstall/OSImage/InstallFrom/MetaData/Key",
                Kind::OneOf(&["/IMAGE/INDEX", "/IMAGE/NAME", "/IMAGE/DESCRIPTION"]),
            ),
            ("ImageInstall/OSImage/InstallFrom/MetaData/Value", Kind::Text(255)),
            ("ImageInstall/OSImage/InstallTo", Kind::Group),
            ("ImageInstall/OSImage/InstallTo/DiskID", Kind::Number),
            ("ImageInstall/OSImage/InstallTo/PartitionID", Kind::Number),
            ("ImageInstall/OSImage/WillShowUI", WILL_SHOW_UI),
            ("UserData", Kind::Group),
            ("UserData/AcceptEula", BOOL),
            ("UserData/ProductKey", Kind::Group),
            ("UserData/ProductKey/Key", Kind::Text(29)),
            ("UserData/ProductKey/WillShowUI", WILL_SHOW_UI),
        ],
    ),
    (
        "Microsoft-Windows-Deployment",
        &["specialize", "auditUser"],
        &[
            ("RunSynchronous", Kind::Group),
            ("RunSynchronous/RunSynchronousCommand", Kind::Ordered),
            ("RunSynchronous/RunSynchronousCommand/Order", Kind::Number),
            ("RunSynchronous/RunSynchronousCommand/Path", Kind::Text(259)),
        ],
    ),
    (
        "Microsoft-Windows-Shell-Setup",
        &["specialize", "oobeSystem"],
        &[
            // Only in specialize; the next four groups only in oobeSystem: see `ONLY_IN`.
            ("ComputerName", Kind::Text(15)),
            ("TimeZone", Kind::Text(256)),
            ("AutoLogon", Kind::Group),
            ("AutoLogon/Enabled", BOOL),
            ("AutoLogon/LogonCount", Kind::Number),
            ("AutoLogon/Password", Kind::Group),
            ("AutoLogon/Password/PlainText", BOOL),
            ("AutoLogon/Password/Value", Kind::Text(127)),
            ("AutoLogon/Username", Kind::Text(256)),
            ("FirstLogonCommands", Kind::Group),
            ("FirstLogonCommands/SynchronousCommand", Kind::Ordered),
            ("FirstLogonCommands/SynchronousCommand/CommandLine", Kind::Text(1024)),
            ("FirstLogonCommands/SynchronousCommand/Order", Kind::Number),
            ("OOBE", Kind::Group),
            ("OOBE/HideEULAPage", BOOL),
            ("OOBE/HideLocalAccountScreen", BOOL),
            ("OOBE/HideOEMRegistrationScreen", BOOL),
            ("OOBE/HideOnlineAccountScreens", BOOL),
            ("OOBE/HideWirelessSetupInOOBE", BOOL),
            ("OOBE/ProtectYourPC", Kind::OneOf(&["1", "2", "3"])),
            ("UserAccounts", Kind::Group),
            ("UserAccounts/AdministratorPassword", Kind::Group),
            ("UserAccounts/AdministratorPassword/PlainText", BOOL),
            ("UserAccounts/AdministratorPassword/Value", Kind::Text(127)),
            ("UserAccounts/LocalAccounts", Kind::Group),
            ("UserAccounts/LocalAccounts/LocalAccount", Kind::Item),
            ("UserAccounts/LocalAccounts/LocalAccount/Group", Kind::Text(256)),
            ("UserAccounts/LocalAccounts/LocalAccount/Name", Kind::Text(256)),
            ("UserAccounts/LocalAccounts/LocalAccount/Password", Kind::Group),
            ("UserAccounts/LocalAccounts/LocalAccount/Password/PlainText", BOOL),
            ("UserAccounts/LocalAccounts/LocalAccount/Password/Value", Kind::Text(127)),
        ],
    ),
];

/// Settings of a component with several passes that are for one of those alone.
const ONLY_IN: &[(&str, &str)] = &[
    ("ComputerName", "specialize"),
    ("FirstLogonCommands", "oobeSystem"),
    ("OOBE", "oobeSystem"),
    ("UserAccounts", "oobeSystem"),
];

const BOOL: Kind = Kind::OneOf(&["true", "false"]);
const WILL_SHOW_UI: Kind = Kind::OneOf(&["Always", "Never", "OnError"]);

#[derive(Clone, Copy)]
enum Kind {
    Group,
    /// `wcm:action="add"`, any number of them.
    Item,
    /// An item with an `Order` from 1, without gaps.
    Ordered,
    /// An item with a `wcm:keyValue` of its own.
    Keyed,
    Number,
    OneOf(&'static [&'static str]),
    /// Not empty; at most so many characters.
    Text(usize),
}

/// What in the answer file is against the rules.
pub fn violations(xml: &str) -> Vec<String> {
    let document = match roxmltree::Document::parse(xml) {
        Ok(document) => document,
        Err(error) => return vec![error.to_string()],
    };
    let root = document.root_element();
    let mut found = Vec::new();
    if !root.has_tag_name((UNATTEND, "unattend")) {
        found.push("the root is no unattend".to_owned());
    }
    let mut last = 0;
    let mut seen = BTreeSet::new();
    for settings in root.children().filter(Node::is_element) {
        let pass = settings.attribute("pass").unwrap_or_default();
        let Some(at) = PASSES.iter().position(|known| *known == pass) else {
            found.push(format!("no pass {pass}"));
            continue;
        };
        if !seen.insert(pass) {
            found.push(format!("{pass} is there twice"));
        } else if at < last {
            found.push(format!("{pass} is out of order"));
        }
        last = at;
        let mut components = BTreeSet::new();
        for component in settings.children().filter(Node::is_element) {
            let name = component.attribute("name").unwrap_or_default();
            if !components.insert(name) {
                found.push(format!("{name} is there twice in {pass}"));
            }
            check_component(component, name, pass, &mut found);
        }
    }
    check_disk(root, &mut found);
    check_values(root, &mut found);
    found
}

fn check_component(component: Node, name: &str, pass: &str, found: &mut Vec<String>) {
    for (attribute, value) in [
        ("processorArchitecture", "amd64"),
        ("publicKeyToken", "31bf3856ad364e35"),
        ("language", "neutral"),
        ("versionScope", "nonSxS"),
    ] {
        let given = component.attribute(attribute).unwrap_or_default();
        if given != value {
            found.push(format!("{name}: {attribute} is {given}"));
        }
    }
    let Some((_, passes, settings)) = COMPONENTS.iter().find(|(known, ..)| *known == name) else {
        found.push(format!("no component {name}"));
        return;
    };
    if !passes.contains(&pass) {
        found.push(format!("{name} is not for {pass}"));
    }
    for setting in component.children().filter(Node::is_element) {
        let top = setting.tag_name().name();
        if ONLY_IN.iter().any(|(only, of)| *only == top && *of != pass) {
            found.push(format!("{top} is not for {pass}"));
        }
    }
    check_children(component, "", settings, found);
}

fn check_children(parent: Node, path: &str, settings: &Settings, found: &mut Vec<String>) {
    let mut orders: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    let (mut once, mut keys) = (BTreeSet::new(), BTreeSet::new());
    for node in parent.children().filter(Node::is_element) {
        let name = node.tag_name().name();
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        let Some((_, kind)) = settings.iter().find(|(known, _)| *known == path) else {
            found.push(format!("no setting {path}"));
            continue;
        };
        let is_added = node.attribute((WCM, "action")) == Some("add");
        let is_item = matches!(kind, Kind::Item | Kind::Ordered | Kind::Keyed);
        if is_item && !is_added {
            found.push(format!("{path} without wcm:action"));
        } else if !is_item && is_added {
            found.push(format!("{path} is no item of a list"));
        } else if !is_item && !once.insert(name) {
            found.push(format!("{path} is there twice"));
        }
        if node.tag_name().namespace() != Some(UNATTEND) {
            found.push(format!("{path} is in another namespace"));
        }
        let text = node.text().unwrap_or_default();
        match kind {
            Kind::Group | Kind::Item => check_children(node, &path, settings, found),
            Kind::Ordered => {
                orders
                    .entry(name)
                    .or_default()
                    .extend(child(node, "Order").and_then(|order| order.parse::<u32>().ok()));
                check_children(node, &path, settings, found);
            }
            Kind::Keyed => {
                let key = node.attribute((WCM, "keyValue")).unwrap_or_default();
                if !keys.insert(key) {
                    found.push(format!("{path}: keyValue is there twice: {key}"));
                }
                check_children(node, &path, settings, found);
            }
            Kind::Number if text.parse::<u32>().is_err() => found.push(format!("{path} is {text}")),
            Kind::OneOf(values) if !values.contains(&text) => found.push(format!("{path} is {text}")),
            Kind::Text(_) if text.is_empty() => found.push(format!("{path} is empty")),
            Kind::Text(longest) if text.chars().count() > *longest => found.push(format!("{path} is {text}")),
            Kind::Number | Kind::OneOf(_) | Kind::Text(_) => {}
        }
    }
    for (name, orders) in orders {
        let expected: Vec<u32> =
            (1..).take(parent.children().filter(|child| child.has_tag_name(name)).count()).collect();
        let expected = if expected.is_empty() { (1..).take(orders.len()).collect() } else { expected };
        if orders != expected {
            found.push(format!("{path}/{name}: Order is {orders:?}"));
        }
    }
}

/// "UEFI/GPT-based hard drive partitions" and "BIOS/MBR-based hard drive partitions".
fn check_disk(root: Node, found: &mut Vec<String>) {
    let all = |name: &str| root.descendants().filter(move |node| node.tag_name().name() == name).collect::<Vec<_>>();
    let created = all("CreatePartition");
    for partition in &created {
        match (child(*partition, "Extend"), child(*partition, "Size")) {
            (Some("true"), Some(_)) => found.push("a partition has Extend and Size".to_owned()),
            (None | Some("false"), None) => found.push("a partition has neither Extend nor Size".to_owned()),
            _ => {}
        }
    }
    let kinds: Vec<&str> = created.iter().filter_map(|partition| child(*partition, "Type")).collect();
    if kinds.contains(&"EFI") != kinds.contains(&"MSR") {
        found.push(format!("partitions of a GPT disk are {kinds:?}"));
    }
    for modified in all("ModifyPartition") {
        let id: usize = child(modified, "PartitionID").and_then(|id| id.parse().ok()).unwrap_or_default();
        let format = child(modified, "Format");
        match id.checked_sub(1).and_then(|at| kinds.get(at)) {
            None => found.push(format!("no partition {id} to modify")),
            Some(&"EFI") if format != Some("FAT32") => found.push("the EFI partition is not FAT32".to_owned()),
            Some(&"MSR") if format.is_some() => found.push("the MSR partition has a format".to_owned()),
            Some(_) => {}
        }
    }
    for target in all("InstallTo") {
        let id: usize = child(target, "PartitionID").and_then(|id| id.parse().ok()).unwrap_or_default();
        if id != kinds.len() || kinds.last() != Some(&"Primary") {
            found.push(format!("no partition {id} for Windows"));
        }
    }
    let active = all("Active").iter().filter(|node| node.text() == Some("true")).count();
    if active != usize::from(!kinds.contains(&"EFI")) {
        found.push(format!("{active} active partitions"));
    }
}

fn check_values(root: Node, found: &mut Vec<String>) {
    let all = |name: &str| root.descendants().filter(move |node| node.tag_name().name() == name).collect::<Vec<_>>();
    for key in all("ProductKey").iter().filter_map(|key| child(*key, "Key")) {
        if key.parse::<super::super::ProductKey>().is_err() {
            found.push(format!("Key is {key}"));
        }
    }
    let users = |parent: &str, name: &str| -> Vec<String> {
        all(parent).iter().filter_map(|node| child(*node, name)).map(str::to_owned).collect()
    };
    // Not in the reference; Windows' own dialogs refuse such an account.
    for computer in users("component", "ComputerName") {
        if users("LocalAccount", "Name").iter().any(|user| user.eq_ignore_ascii_case(&computer)) {
            found.push(format!("the computer and a user are both {computer}"));
        }
    }
    if !users("AutoLogon", "Username").iter().all(|user| users("LocalAccount", "Name").contains(user)) {
        found.push("AutoLogon is for nobody".to_owned());
    }
}

fn child<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.children().find(|child| child.tag_name().name() == name).map(|child| child.text().unwrap_or_default())
}
