//! What a libvirt domain is, as far as a golden image has to know it (libvirt's "Domain XML format").

use std::path::PathBuf;

use roxmltree::{Document, Node};

use super::ImageError;
use crate::model::{Bytes, Family, Firmware};

/// A domain that a golden image can be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub name: String,
    pub uuid: Option<String>,
    pub memory: Bytes,
    pub vcpus: u32,
    pub firmware: Firmware,
    pub nvram: Option<Nvram>,
    pub tpm: bool,
    pub disk: Disk,
    /// `virtio` or `sata`, as in the catalogue.
    pub disk_bus: &'static str,
    pub card: Card,
    /// `utc` or `localtime`, as in the catalogue; none: another, or not said.
    pub clock: Option<&'static str>,
    /// By libosinfo's metadata, which virt-install and virt-manager write.
    pub family: Option<Family>,
    /// What its clones will not have, or have otherwise.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    pub path: PathBuf,
    /// `qcow2`, `raw` and the like: what libvirt tells QEMU.
    pub format: String,
    /// `vda` and the like, by which snapshots name it.
    pub target: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nvram {
    pub path: PathBuf,
    pub format: String,
}

/// The first network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Card {
    Absent,
    Virtio,
    E1000e,
    /// One that clones cannot have.
    Other,
}

impl Machine {
    /// From a domain's XML, or from the `<domain>` in a snapshot's.
    ///
    /// # Errors
    /// Text that is no domain, or a domain that clones would not be like.
    pub fn read(xml: &str) -> Result<Self, ImageError> {
        Self::from_node(parse(xml, "the domain's definition")?.root_element())
    }

    pub(super) fn from_node(domain: Node) -> Result<Self, ImageError> {
        if !domain.has_tag_name("domain") {
            return Err(unreadable("it is no <domain>"));
        }
        let name = text(domain, "name").ok_or_else(|| unreadable("it has no name"))?;
        let os = child(domain, "os").ok_or_else(|| unreadable("it has no <os>"))?;
        check_kind(os)?;
        let devices = child(domain, "devices").ok_or_else(|| unreadable("it has no <devices>"))?;
        let (disk, disk_bus) = only_disk(devices)?;
        let mut notes = Vec::new();
        let firmware = firmware(os);
        Ok(Self {
            uuid: text(domain, "uuid"),
            memory: memory(domain)?,
            vcpus: vcpus(domain)?,
            nvram: nvram(os, firmware)?,
            firmware,
            tpm: tpm(devices)?,
            disk,
            disk_bus,
            card: card(devices, &mut notes),
            clock: clock(domain, &mut notes),
            family: family(domain),
            notes,
            name,
        })
    }
}

/// Reads XML that libvirt printed.
pub(super) fn parse<'a>(xml: &'a str, what: &str) -> Result<Document<'a>, ImageError> {
    Document::parse(xml).map_err(|error| ImageError::Unreadable { what: what.to_owned(), why: error.to_string() })
}

pub(super) fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn text(node: Node, name: &str) -> Option<String> {
    child(node, name)?.text().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn unreadable(why: &str) -> ImageError {
    ImageError::Unreadable { what: "the domain's definition".to_owned(), why: why.to_owned() }
}

fn check_kind(os: Node) -> Result<(), ImageError> {
    let kind = child(os, "type");
    let arch = kind.and_then(|kind| kind.attribute("arch"));
    if kind.and_then(|kind| kind.text()).map(str::trim) != Some("hvm") || arch.is_some_and(|arch| arch != "x86_64") {
        let what = format!("it is no x86-64 machine but {}", arch.unwrap_or("no full virtualisation"));
        return Err(ImageError::unfit(what, "clones are x86-64 machines of QEMU"));
    }
    if child(os, "kernel").is_some() {
        let hint = "write the entry by hand, with `boot:`, or have the machine start from its disk";
        return Err(ImageError::unfit("it starts a kernel that is given from outside (<kernel>)", hint));
    }
    Ok(())
}

fn memory(domain: Node) -> Result<Bytes, ImageError> {
    let memory = child(domain, "memory").ok_or_else(|| unreadable("it has no <memory>"))?;
    // Without a unit: KiB.
    let factor: u64 = match memory.attribute("unit").unwrap_or("KiB") {
        "b" | "bytes" => 1,
        "KB" => 1000,
        "k" | "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "M" | "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "G" | "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "T" | "TiB" => 1 << 40,
        unit => return Err(unreadable(&format!("its memory has the unit {unit}"))),
    };
    let number: Option<u64> = memory.text().and_then(|text| text.trim().parse().ok());
    let bytes = number.and_then(|number| number.checked_mul(factor)).filter(|bytes| *bytes >= 16 * Bytes::MIB);
    bytes.map(Bytes).ok_or_else(|| unreadable("its <memory> is no size for a machine"))
}

fn vcpus(domain: Node) -> Result<u32, ImageError> {
    let Some(vcpu) = child(domain, "vcpu") else { return Ok(1) };
    // What it starts with, where more can be added.
    let given = vcpu.attribute("current").or_else(|| vcpu.text()).unwrap_or_default();
    let vcpus = given.trim().parse().ok().filter(|vcpus| (1..=256).contains(vcpus));
    vcpus.ok_or_else(|| ImageError::unfit(format!("it has `{given}` CPUs"), "clones have 1 to 256"))
}

fn firmware(os: Node) -> Firmware {
    let loader = child(os, "loader");
    let is_uefi = os.attribute("firmware") == Some("efi")
        || loader.is_some_and(|loader| loader.attribute("type") == Some("pflash"));
    if !is_uefi {
        return Firmware::Bios;
    }
    let is_enabled = |name: &str| {
        let features = child(os, "firmware").into_iter().flat_map(|firmware| firmware.children());
        features
            .filter(|feature| feature.attribute("name") == Some(name))
            .map(|feature| feature.attribute("enabled") == Some("yes"))
            .next_back()
    };
    // `secure` alone says that the firmware can; without keys of its owner it starts everything.
    let secure = loader.is_some_and(|loader| loader.attribute("secure") == Some("yes"));
    let enforces = is_enabled("secure-boot").unwrap_or(secure) && is_enabled("enrolled-keys").unwrap_or(true);
    if enforces { Firmware::UefiSecure } else { Firmware::Uefi }
}

fn nvram(os: Node, firmware: Firmware) -> Result<Option<Nvram>, ImageError> {
    let Some(nvram) = child(os, "nvram").filter(|_| firmware != Firmware::Bios) else { return Ok(None) };
    let source = child(nvram, "source");
    if nvram.attribute("type").is_some_and(|kind| kind != "file") {
        return Err(ImageError::unfit("its NVRAM is no file", "have libvirt keep it in a file"));
    }
    let path = source.and_then(|source| source.attribute("file")).or_else(|| nvram.text()).map(str::trim);
    let format = nvram.attribute("format").unwrap_or("raw").to_owned();
    Ok(path.filter(|path| !path.is_empty()).map(|path| Nvram { path: path.into(), format }))
}

fn tpm(devices: Node) -> Result<bool, ImageError> {
    let Some(tpm) = child(devices, "tpm") else { return Ok(false) };
    let backend = child(tpm, "backend");
    let attribute = |name: &str| backend.and_then(|backend| backend.attribute(name));
    match (attribute("type"), attribute("version")) {
        // Without a version: 2.0 for all models but the oldest (libvirt's "Domain XML format", TPM device).
        (Some("emulator"), Some("2.0") | None) => Ok(true),
        (kind, version) => {
            let what = format!("its TPM is `{}` of version {}", kind.unwrap_or("?"), version.unwrap_or("?"));
            Err(ImageError::unfit(what, "clones have an emulated TPM 2.0, or none"))
        }
    }
}

fn only_disk(devices: Node) -> Result<(Disk, &'static str), ImageError> {
    let is_disk =
        |node: &Node| node.has_tag_name("disk") && matches!(node.attribute("device"), None | Some("disk" | "lun"));
    let mut disks = devices.children().filter(is_disk);
    let disk = disks.next().ok_or_else(|| ImageError::unfit("it has no disk", "a golden image is a disk"))?;
    let others = disks.count();
    if others > 0 {
        let hint = "detach those that hold no system, or import a domain with the system's disk alone";
        return Err(ImageError::unfit(format!("it has {} disks, and a golden image is one", others + 1), hint));
    }
    let convert = "copy it into a file: qemu-img convert -O qcow2 DISK FILE.qcow2, and have the domain use that";
    match disk.attribute("type") {
        Some("file") => {}
        Some(kind) => return Err(ImageError::unfit(format!("its disk is of the type `{kind}`, no file"), convert)),
        None => return Err(unreadable("its disk has no type")),
    }
    if disk.attribute("device") == Some("lun") {
        return Err(ImageError::unfit("its disk is a device of the host (lun)", convert));
    }
    for part in ["encryption", "shareable", "transient"] {
        let in_source = child(disk, "source").and_then(|source| child(source, part));
        if child(disk, part).or(in_source).is_some() {
            return Err(ImageError::unfit(format!("its disk has <{part}/>"), "import a domain whose disk has none"));
        }
    }
    let path = child(disk, "source").and_then(|source| source.attribute("file")).filter(|path| path.starts_with('/'));
    let path = path.ok_or_else(|| unreadable("its disk has no file"))?;
    let target = child(disk, "target");
    let target_is = |name: &str| target.and_then(|target| target.attribute(name));
    let bus = match target_is("bus") {
        Some("virtio") => "virtio",
        Some("sata") => "sata",
        bus => {
            let what = format!("its disk is connected to `{}`", bus.unwrap_or("?"));
            let hint =
                "clones' disks are on virtio or SATA: change the domain's bus, start it once, and import it then";
            return Err(ImageError::unfit(what, hint));
        }
    };
    // libvirt does not guess formats: without one, it is raw.
    let format = child(disk, "driver").and_then(|driver| driver.attribute("type")).unwrap_or("raw");
    Ok((
        Disk { path: path.into(), format: format.to_owned(), target: target_is("dev").unwrap_or_default().to_owned() },
        bus,
    ))
}

fn card(devices: Node, notes: &mut Vec<String>) -> Card {
    let mut cards = devices.children().filter(|node| node.has_tag_name("interface"));
    let Some(first) = cards.next() else { return Card::Absent };
    if cards.next().is_some() {
        notes.push("it has several network cards; clones have one at most, like the first".to_owned());
    }
    let model = child(first, "model").and_then(|model| model.attribute("type"));
    match model {
        Some("virtio" | "virtio-non-transitional" | "virtio-transitional") => Card::Virtio,
        Some("e1000e") => Card::E1000e,
        model => {
            let model = model.unwrap_or("not said");
            notes
                .push(format!("its network card is {model}; clones have virtio or e1000e, where the matrix wants one"));
            Card::Other
        }
    }
}

fn clock(domain: Node, notes: &mut Vec<String>) -> Option<&'static str> {
    match child(domain, "clock").and_then(|clock| clock.attribute("offset")) {
        Some("utc") => Some("utc"),
        Some("localtime") => Some("localtime"),
        None => None,
        Some(other) => {
            notes.push(format!("its clock's offset is `{other}`; clones show UTC or the host's local time"));
            None
        }
    }
}

/// libosinfo's ids begin with the maker's domain: `http://microsoft.com/win/11`, `http://debian.org/debian/12`.
fn family(domain: Node) -> Option<Family> {
    let metadata = child(domain, "metadata")?;
    let os = metadata.descendants().find(|node| node.tag_name().name() == "os" && node.attribute("id").is_some())?;
    let id = os.attribute("id")?;
    let id = id.split_once("://").map_or(id, |(_, id)| id);
    let maker = id.split('/').next().unwrap_or_default();
    match maker {
        "microsoft.com" => Some(Family::Windows),
        // Makers of other systems than Linux, as osinfo-db has them; unknown ones are asked for.
        "debian.org" | "ubuntu.com" | "fedoraproject.org" | "redhat.com" | "centos.org" | "almalinux.org"
        | "rockylinux.org" | "oracle.com" | "opensuse.org" | "suse.com" | "archlinux.org" | "alpinelinux.org"
        | "libosinfo.org"
            if !id.contains("solaris") && !id.contains("unknown") =>
        {
            Some(Family::Linux)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
