//! What libvirt is told about a machine (libvirt's "Domain XML format"): a pure function.

mod devices;
mod markup;

use std::path::Path;

use devices::{disk_xml, interface_xml, tpm_xml};
pub use devices::{layers_xml, medium_xml};
use markup::path;

use crate::{
    lab::{LabError, translation_cache},
    model::{Accelerator, Bytes, Clock, DiskBus, Family, GoldenImage, Network, escape_xml},
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
    /// None: BIOS.
    pub uefi: Option<Uefi<'a>>,
    pub agent_socket: &'a Path,
    /// The kernel and initrd that QEMU can read, for images with direct boot.
    pub kernel: Option<&'a Path>,
    pub initrd: Option<&'a Path>,
    /// The TPM's state is still there when the machine has ended, and ours to remove.
    pub tpm_stays: bool,
}

/// UEFI firmware and what it remembers.
#[derive(Clone, Copy, Debug)]
pub struct Uefi<'a> {
    pub code: &'a Path,
    /// The machine's own variables, raw.
    pub variables: &'a Path,
    pub needs_smm: bool,
}

/// The board that a machine is built on, which decides what else it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Board {
    /// QEMU's `pc`: BIOS, a virtio disk, IDE.
    Pc,
    /// QEMU's `q35`: SATA, and SMM for Secure Boot.
    Q35,
}

impl Board {
    pub fn of(image: &GoldenImage) -> Self {
        if image.firmware.is_uefi() || image.disk_bus == DiskBus::Sata { Self::Q35 } else { Self::Pc }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Pc => "pc",
            Self::Q35 => "q35",
        }
    }
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
/// A path that is not UTF-8.
pub fn domain_xml(d: &Definition) -> Result<String, LabError> {
    let kvm = d.accelerator == Accelerator::Kvm;
    let windows = d.image.family == Family::Windows;
    let board = Board::of(d.image);
    let mut xml = String::new();
    let mut line = |text: &str| {
        xml.push_str(text);
        xml.push('\n');
    };
    line(&format!("<domain type='{}'>", if kvm { "kvm" } else { "qemu" }));
    line(&format!("  <name>{}</name>", escape_xml(d.name)));
    line(&format!("  <uuid>{}</uuid>", escape_xml(d.uuid)));
    line("  <metadata>");
    line(&format!("    {}", metadata_xml(d)));
    line("  </metadata>");
    line(&format!("  <memory unit='b'>{}</memory>", d.image.memory.0));
    line(&format!("  <vcpu>{}</vcpu>", d.image.vcpus));
    line("  <os>");
    line(&format!("    <type arch='x86_64' machine='{}'>hvm</type>", board.name()));
    if let Some(uefi) = d.uefi {
        let secure = if uefi.needs_smm { " secure='yes'" } else { "" };
        line(&format!("    <loader readonly='yes'{secure} type='pflash'>{}</loader>", path(uefi.code)?));
        line(&format!("    <nvram>{}</nvram>", path(uefi.variables)?));
    }
    if let (Some(boot), Some(kernel)) = (&d.image.boot, d.kernel) {
        line(&format!("    <kernel>{}</kernel>", path(kernel)?));
        if let Some(initrd) = d.initrd {
            line(&format!("    <initrd>{}</initrd>", path(initrd)?));
        }
        line(&format!("    <cmdline>{}</cmdline>", escape_xml(&boot.cmdline)));
    }
    line("    <boot dev='hd'/>");
    line("  </os>");
    line("  <features>");
    line("    <acpi/>");
    line("    <apic/>");
    if d.uefi.is_some_and(|uefi| uefi.needs_smm) {
        line("    <smm state='on'/>");
    }
    if kvm && windows {
        line(ENLIGHTENMENTS);
    }
    if !kvm {
        let mib = translation_cache(d.image.memory).0 / Bytes::MIB;
        line(&format!("    <tcg><tb-cache unit='MiB'>{mib}</tb-cache></tcg>"));
    }
    line("  </features>");
    line(&cpu_xml(kvm, windows, d.image.vcpus));
    line(&clock_xml(d.image.clock, kvm && windows));
    line("  <on_poweroff>destroy</on_poweroff>");
    line("  <on_reboot>restart</on_reboot>");
    // Pauses at a panic; the lab lets the machine go on once it has seen it.
    line("  <on_crash>preserve</on_crash>");
    line("  <devices>");
    if let Some(emulator) = d.emulator {
        line(&format!("    <emulator>{}</emulator>", path(emulator)?));
    }
    line("    <controller type='usb' model='none'/>");
    line(&disk_xml(d)?);
    line(&medium_xml(None, board)?);
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
    if let Some(interface) = interface_xml(d) {
        line(&interface);
    }
    if d.image.tpm {
        line(tpm_xml(d.tpm_stays));
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

/// The element that says whose machine it is.
pub fn metadata_xml(d: &Definition) -> String {
    format!(
        "<bootgate:machine xmlns:bootgate='{METADATA}' run='{}' cell='{}' root='{}' owner='{}'/>",
        escape_xml(d.run),
        escape_xml(d.cell),
        escape_xml(d.root),
        escape_xml(d.owner)
    )
}

/// What a Windows kernel asks of a hypervisor that it knows ("Hypervisor Top Level Functional Specification"; libvirt's
/// "Domain XML format", Hypervisor features): without them it polls timers, and takes a busy host for a broken machine.
const ENLIGHTENMENTS: &str = "    <hyperv mode='custom'><relaxed state='on'/><vapic state='on'/>\
    <spinlocks state='on' retries='8191'/><vpindex state='on'/><runtime state='on'/><synic state='on'/>\
    <stimer state='on'><direct state='on'/></stimer><frequencies state='on'/><tlbflush state='on'/><ipi state='on'/></hyperv>";

fn cpu_xml(kvm: bool, windows: bool, vcpus: u32) -> String {
    // One socket: desktop editions of Windows use two at most, and QEMU would make a socket of every CPU.
    let inside = if windows { format!("<topology sockets='1' cores='{vcpus}' threads='1'/>") } else { String::new() };
    let (attributes, inside) = match (kvm, windows) {
        (true, _) => ("mode='host-passthrough'", inside),
        // Windows 11 needs instructions that qemu64 lacks.
        (false, true) => ("mode='maximum'", inside),
        (false, false) => ("mode='custom' match='exact'", "<model>qemu64</model>".to_owned()),
    };
    if inside.is_empty() { format!("  <cpu {attributes}/>") } else { format!("  <cpu {attributes}>{inside}</cpu>") }
}

fn clock_xml(clock: Clock, hypervclock: bool) -> String {
    let offset = match clock {
        Clock::Utc => "utc",
        Clock::Localtime => "localtime",
    };
    if !hypervclock {
        return format!("  <clock offset='{offset}'/>");
    }
    // Ticks that the host was late with are made up for, and time is read from the hypervisor instead of the HPET.
    format!(
        "  <clock offset='{offset}'><timer name='rtc' tickpolicy='catchup'/><timer name='pit' tickpolicy='delay'/>\
         <timer name='hpet' present='no'/><timer name='hypervclock' present='yes'/></clock>"
    )
}

#[cfg(test)]
mod tests;
