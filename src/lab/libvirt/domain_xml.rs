//! What libvirt is told about a machine (libvirt's "Domain XML format"): a pure function.

use std::{fmt::Write as _, path::Path};

use crate::{
    lab::LabError,
    model::{Accelerator, Bytes, Family, Firmware, GoldenImage, Network, Sha256},
};

/// The namespace of our metadata in the domain's XML.
pub const METADATA: &str = "urn:bootgate:machine:1";

/// Everything that decides a machine's definition.
#[derive(Debug)]
pub struct Definition<'a> {
    pub name: &'a str,
    pub uuid: &'a str,
    pub run: &'a str,
    pub cell: &'a str,
    /// The lab root that the machine belongs to, and who holds it.
    pub root: &'a str,
    pub owner: &'a str,
    pub image: &'a GoldenImage,
    pub accelerator: Accelerator,
    /// None: libvirt's choice.
    pub emulator: Option<&'a Path>,
    pub network: &'a Network,
    pub overlay: &'a Path,
    pub layers: Layers<'a>,
    pub serial_log: &'a Path,
    pub firmware_log: &'a Path,
    pub agent_socket: &'a Path,
    /// The kernel and initrd that QEMU can read, for images with direct boot.
    pub kernel: Option<&'a Path>,
    pub initrd: Option<&'a Path>,
}

/// How QEMU gets at the files below the overlay.
#[derive(Debug)]
pub enum Layers<'a> {
    /// By their paths, which libvirt finds in the files' headers.
    Found,
    /// By their paths, and libvirtd must not change their owner.
    Kept(&'a [Layer]),
    /// Through descriptors that we opened and associated under these names (virDomainFDAssociate).
    Passed(&'a [Layer]),
}

/// A file below the overlay, nearest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub file: String,
    /// `qcow2` or `raw`.
    pub format: &'static str,
}

impl Layer {
    /// The name under which the n-th layer's descriptor is passed.
    pub fn group(n: usize) -> String {
        format!("layer{n}")
    }
}

/// # Errors
/// An image that needs what is not supported; a path that is not UTF-8.
pub fn domain_xml(d: &Definition) -> Result<String, LabError> {
    let unsupported = |what: &str| LabError::ImageUnusable {
        disk: d.image.disk.clone(),
        why: format!("{what} is not supported yet"),
    };
    if d.image.firmware != Firmware::Bios {
        return Err(unsupported("UEFI firmware"));
    }
    if d.image.tpm {
        return Err(unsupported("a TPM"));
    }
    let kvm = d.accelerator == Accelerator::Kvm;
    let windows = d.image.family == Family::Windows;
    let mut xml = String::new();
    let mut line = |text: &str| {
        xml.push_str(text);
        xml.push('\n');
    };
    line(&format!("<domain type='{}'>", if kvm { "kvm" } else { "qemu" }));
    line(&format!("  <name>{}</name>", text(d.name)));
    line(&format!("  <uuid>{}</uuid>", text(d.uuid)));
    line("  <metadata>");
    line(&format!("    {}", metadata_xml(d)));
    line("  </metadata>");
    line(&format!("  <memory unit='b'>{}</memory>", d.image.memory.0));
    line(&format!("  <vcpu>{}</vcpu>", d.image.vcpus));
    line("  <os>");
    line("    <type arch='x86_64' machine='pc'>hvm</type>");
    if let (Some(boot), Some(kernel)) = (&d.image.boot, d.kernel) {
        line(&format!("    <kernel>{}</kernel>", path(kernel)?));
        if let Some(initrd) = d.initrd {
            line(&format!("    <initrd>{}</initrd>", path(initrd)?));
        }
        line(&format!("    <cmdline>{}</cmdline>", text(&boot.cmdline)));
    }
    line("    <boot dev='hd'/>");
    line("  </os>");
    line("  <features>");
    line("    <acpi/>");
    line("    <apic/>");
    if kvm && windows {
        line("    <hyperv mode='custom'><relaxed state='on'/><vapic state='on'/></hyperv>");
    }
    if !kvm {
        let mib = translation_cache(d.image.memory).0 / Bytes::MIB;
        line(&format!("    <tcg><tb-cache unit='MiB'>{mib}</tb-cache></tcg>"));
    }
    line("  </features>");
    line(if kvm {
        "  <cpu mode='host-passthrough'/>"
    } else {
        "  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>"
    });
    line("  <clock offset='utc'/>");
    line("  <on_poweroff>destroy</on_poweroff>");
    line("  <on_reboot>restart</on_reboot>");
    // Pauses at a panic; the lab lets the machine go on once it has seen it.
    line("  <on_crash>preserve</on_crash>");
    line("  <devices>");
    if let Some(emulator) = d.emulator {
        line(&format!("    <emulator>{}</emulator>", path(emulator)?));
    }
    line("    <controller type='usb' model='none'/>");
    line("    <disk type='file' device='disk'>");
    // A clone is thrown away: nothing needs to survive a crash of the host. A full host pauses the machine
    // instead of showing the guest a broken disk.
    line(
        "      <driver name='qemu' type='qcow2' cache='unsafe' discard='unmap' error_policy='stop' rerror_policy='stop'/>",
    );
    line(&format!("      <source file='{}'/>", path(d.overlay)?));
    let layers = layers_xml(&d.layers);
    if !layers.is_empty() {
        line(&format!("      {layers}"));
    }
    line("      <target dev='vda' bus='virtio'/>");
    // Fixed per image, so that a guest finds the same disk in every clone.
    line(&format!("      <serial>{}</serial>", Sha256::of(d.image.name.as_bytes()).short()));
    line("    </disk>");
    line(&medium_xml(None)?);
    line("    <serial type='file'>");
    line(&format!("      <source path='{}'/>", path(d.serial_log)?));
    line("      <target type='isa-serial' port='0'/>");
    line("    </serial>");
    // SeaBIOS and OVMF write their log to this port.
    line("    <serial type='file'>");
    line(&format!("      <source path='{}'/>", path(d.firmware_log)?));
    line("      <target type='isa-debug' port='1'><model name='isa-debugcon'/></target>");
    line("      <address type='isa' iobase='0x402'/>");
    line("    </serial>");
    line("    <channel type='unix'>");
    line(&format!("      <source mode='bind' path='{}'/>", path(d.agent_socket)?));
    line("      <target type='virtio' name='org.qemu.guest_agent.0'/>");
    line("    </channel>");
    if let Some(interface) = interface(d.network, &d.image.name, d.uuid) {
        line(&interface);
    }
    line("    <video><model type='vga'/></video>");
    line("    <memballoon model='none'/>");
    line("    <panic model='isa'/>");
    if kvm && windows {
        line("    <panic model='hyperv'/>");
    }
    line("  </devices>");
    line("</domain>");
    Ok(xml)
}

/// The CD drive with this medium or empty, also for `virDomainUpdateDeviceFlags`.
pub fn medium_xml(medium: Option<&Path>) -> Result<String, LabError> {
    let source = match medium {
        Some(medium) => format!("<source file='{}'/>", path(medium)?),
        None => String::new(),
    };
    Ok(format!(
        "    <disk type='file' device='cdrom'><driver name='qemu' type='raw'/>{source}<target dev='hda' bus='ide'/><readonly/></disk>"
    ))
}

/// The element that says whose machine it is.
pub fn metadata_xml(d: &Definition) -> String {
    format!(
        "<bootgate:machine xmlns:bootgate='{METADATA}' run='{}' cell='{}' root='{}' owner='{}'/>",
        text(d.run),
        text(d.cell),
        text(d.root),
        text(d.owner)
    )
}

/// The files below the overlay, where libvirt is not to find them by itself.
pub fn layers_xml(layers: &Layers) -> String {
    let (files, passed) = match layers {
        Layers::Found => return String::new(),
        Layers::Kept(files) => (files, false),
        Layers::Passed(files) => (files, true),
    };
    let mut xml = String::new();
    for (n, layer) in files.iter().enumerate() {
        let group = if passed { format!(" fdgroup='{}'", Layer::group(n)) } else { String::new() };
        let label = if passed { "" } else { "<seclabel model='dac' relabel='no'/>" };
        let _ = write!(
            xml,
            "<backingStore type='file'><format type='{}'/><source file='{}'{group}>{label}</source>",
            layer.format,
            text(&layer.file)
        );
    }
    xml.push_str("<backingStore/>");
    xml.push_str(&"</backingStore>".repeat(files.len()));
    xml
}

fn interface(network: &Network, image: &str, uuid: &str) -> Option<String> {
    // Locally administered. A network of the machine's own has the same card in every clone of an image, so that the
    // guest finds nothing new; on a network shared with other clones each needs an address of its own.
    let digest = match network {
        Network::None | Network::User => Sha256::of(image.as_bytes()),
        Network::Named(_) => Sha256::of(uuid.as_bytes()),
    };
    let hex = digest.short();
    let mac = format!("52:54:00:{}:{}:{}", hex.get(0..2)?, hex.get(2..4)?, hex.get(4..6)?);
    let source = match network {
        Network::None => return None,
        Network::User => "<interface type='user'>".to_owned(),
        Network::Named(name) => format!("<interface type='network'><source network='{}'/>", text(name)),
    };
    Some(format!("    {source}<mac address='{mac}'/><model type='virtio'/></interface>"))
}

fn path(path: &Path) -> Result<String, LabError> {
    path.to_str()
        .map(text)
        .ok_or_else(|| LabError::Other(format!("{} is not UTF-8, which libvirt needs", path.display())))
}

/// Escaped for XML text and attributes; characters that XML 1.0 does not have become U+FFFD.
fn text(raw: &str) -> String {
    let mut escaped = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&apos;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c if c < ' ' && !matches!(c, '\t' | '\n' | '\r') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// How large a cache of translated code an emulated guest gets; QEMU's own default is a gigabyte.
///
/// Small on purpose: a restarted guest unpacks its kernel over pages whose old translations a large cache
/// still holds, and throwing those away one by one costs more than translating again (measured with QEMU
/// 7.2 and a 256 MiB guest, CPU time of a restart in the mean of six: 6.3 s with 20 MiB, 5.8 s with 24, 6.0 s with 28,
/// 7.4 s with 32; with 12 the guest's working set does not fit, 13 s; with the default 12 to 15 s).
fn translation_cache(memory: Bytes) -> Bytes {
    Bytes((memory.0 / 32 * 3).clamp(24 * Bytes::MIB, 256 * Bytes::MIB))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DirectBoot;

    fn image() -> GoldenImage {
        GoldenImage::plain("lab-os", "/golden/lab-os.qcow2")
    }

    fn definition<'a>(image: &'a GoldenImage, network: &'a Network) -> Definition<'a> {
        Definition {
            name: "bootgate-0a1b2c",
            uuid: "0a1b2c3d-0000-4000-8000-000000000000",
            run: "20260102T030405Z-demo",
            cell: "os-10.p1",
            root: "/s/lab/0",
            owner: "12-345",
            image,
            accelerator: Accelerator::Tcg,
            emulator: None,
            network,
            overlay: Path::new("/s/lab/0/vms/0a1b2c/disk.qcow2"),
            layers: Layers::Found,
            serial_log: Path::new("/s/lab/0/vms/0a1b2c/serial.log"),
            firmware_log: Path::new("/s/lab/0/vms/0a1b2c/firmware.log"),
            agent_socket: Path::new("/s/lab/0/vms/0a1b2c/agent.sock"),
            kernel: None,
            initrd: None,
        }
    }

    #[test]
    fn a_linux_machine_under_emulation() {
        insta::assert_snapshot!(domain_xml(&definition(&image(), &Network::None)).unwrap());
    }

    #[test]
    fn a_windows_machine_under_kvm_with_everything() {
        let boot = DirectBoot { kernel: "/k".into(), initrd: Some("/i".into()), cmdline: "quiet <&>'\"\u{1}".into() };
        let image = GoldenImage { family: Family::Windows, boot: Some(boot), ..image() };
        let layers = ["/golden/lab-os.qcow2", "/golden/base.img"]
            .map(|file| Layer { file: file.to_owned(), format: if file.ends_with("img") { "raw" } else { "qcow2" } });
        let network = Network::Named("isolated".into());
        let all = Definition {
            accelerator: Accelerator::Kvm,
            emulator: Some(Path::new("/s/lab/0/cache/emulator/qemu")),
            layers: Layers::Passed(&layers),
            kernel: Some(Path::new("/k")),
            initrd: Some(Path::new("/i")),
            ..definition(&image, &network)
        };
        insta::assert_snapshot!(domain_xml(&all).unwrap());
        let kept = Definition { layers: Layers::Kept(&layers), ..definition(&image, &network) };
        assert_eq!(domain_xml(&kept).unwrap().matches("<seclabel model='dac' relabel='no'/>").count(), 2);
    }

    #[test]
    fn clones_of_one_image_share_a_card_only_where_they_cannot_meet() {
        let mac = |network: Network, uuid| {
            let image = image();
            let xml = domain_xml(&Definition { uuid, ..definition(&image, &network) }).unwrap();
            xml.split("<mac address='").nth(1).unwrap().split('\'').next().unwrap().to_owned()
        };
        assert_eq!(mac(Network::User, "a"), mac(Network::User, "b"));
        let named = || Network::Named("isolated".into());
        assert_ne!(mac(named(), "a"), mac(named(), "b"));
        assert_eq!(mac(named(), "a"), mac(named(), "a"), "a machine keeps its card");
    }

    #[test]
    fn what_is_not_supported_yet_is_refused() {
        for image in [GoldenImage { firmware: Firmware::Uefi, ..image() }, GoldenImage { tpm: true, ..image() }] {
            let refused = domain_xml(&definition(&image, &Network::None)).unwrap_err();
            assert!(matches!(refused, LabError::ImageUnusable { .. }), "{refused}");
        }
    }
}
