use std::{fmt::Write as _, path::Path};

use super::{Board, Definition, Layer, Layers, markup::path};
use crate::{
    lab::LabError,
    model::{DiskBus, Network, NetworkModel, Sha256, escape_xml},
};

/// The clone's disk.
pub fn disk_xml(d: &Definition) -> Result<String, LabError> {
    // A clone is thrown away: nothing needs to survive a crash of the host. A full host pauses the machine
    // instead of showing the guest a broken disk.
    let driver =
        "<driver name='qemu' type='qcow2' cache='unsafe' discard='unmap' error_policy='stop' rerror_policy='stop'/>";
    let layers = layers_xml(&d.layers);
    let layers = if layers.is_empty() { layers } else { format!("      {layers}\n") };
    let target = match d.image.disk_bus {
        DiskBus::Virtio => "<target dev='vda' bus='virtio'/>",
        DiskBus::Sata => "<target dev='sda' bus='sata'/>",
    };
    // Fixed per image, so that a guest finds the same disk in every clone.
    let serial = Sha256::of(d.image.name.as_bytes());
    Ok(format!(
        "    <disk type='file' device='disk'>\n      {driver}\n      <source file='{}'/>\n{layers}      {target}\n      \
         <serial>{}</serial>\n    </disk>",
        path(d.overlay)?,
        serial.short()
    ))
}

/// The CD drive with this medium or empty, also for `virDomainUpdateDeviceFlags`.
pub fn medium_xml(medium: Option<&Path>, board: Board) -> Result<String, LabError> {
    let source = match medium {
        Some(medium) => format!("<source file='{}'/>", path(medium)?),
        None => String::new(),
    };
    let target = match board {
        Board::Pc => "<target dev='hda' bus='ide'/>",
        // Behind a SATA disk, if there is one.
        Board::Q35 => "<target dev='sdb' bus='sata'/>",
    };
    Ok(format!(
        "    <disk type='file' device='cdrom'><driver name='qemu' type='raw'/>{source}{target}<readonly/></disk>"
    ))
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
            escape_xml(&layer.file)
        );
    }
    xml.push_str("<backingStore/>");
    xml.push_str(&"</backingStore>".repeat(files.len()));
    xml
}

/// The network card, if the machine has one.
pub fn interface_xml(d: &Definition) -> Option<String> {
    // Locally administered. A network of the machine's own has the same card in every clone of an image, so that the
    // guest finds nothing new; on a network shared with other clones each needs an address of its own.
    let digest = match d.network {
        Network::None | Network::User => Sha256::of(d.image.name.as_bytes()),
        Network::Named(_) => Sha256::of(d.uuid.as_bytes()),
    };
    let hex = digest.short();
    let mac = format!("52:54:00:{}:{}:{}", hex.get(0..2)?, hex.get(2..4)?, hex.get(4..6)?);
    let source = match d.network {
        Network::None => return None,
        Network::User => "<interface type='user'>".to_owned(),
        Network::Named(name) => format!("<interface type='network'><source network='{}'/>", escape_xml(name)),
    };
    let model = match d.image.network_model {
        NetworkModel::Virtio => "virtio",
        NetworkModel::E1000e => "e1000e",
    };
    Some(format!("    {source}<mac address='{mac}'/><model type='{model}'/></interface>"))
}

/// A TPM 2.0 that swtpm emulates. libvirt starts swtpm, and keeps its state below its own folders, by the machine's UUID; that
/// of a transient machine it removes when the machine ends, unless told otherwise.
pub fn tpm_xml(stays: bool) -> &'static str {
    if stays {
        "    <tpm model='tpm-crb'><backend type='emulator' version='2.0' persistent_state='yes'/></tpm>"
    } else {
        "    <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
    }
}
