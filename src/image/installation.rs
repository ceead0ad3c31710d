//! The machine in which Windows is installed (libvirt's "Domain XML format"): a pure function.

use std::path::Path;

use super::{
    ImageError, WindowsVersion,
    xml::{Element, leaf, node},
};
use crate::{
    lab::{LabRoot, libvirt::METADATA},
    model::{Accelerator, Bytes, Firmware},
};

/// A machine that starts an installation medium, with answers in another drive.
#[derive(Clone, Debug)]
pub struct Installation<'a> {
    pub name: &'a str,
    pub version: WindowsVersion,
    pub firmware: Firmware,
    pub tpm: bool,
    pub memory: Bytes,
    pub vcpus: u32,
    pub accelerator: Accelerator,
    /// Empty; qcow2.
    pub disk: &'a Path,
    pub windows_iso: &'a Path,
    pub virtio_iso: &'a Path,
    pub answers_iso: &'a Path,
    pub serial_log: &'a Path,
    /// Whose it is: who finds it without its owner ends it. None: the user's own.
    pub root: Option<&'a LabRoot>,
}

impl Installation<'_> {
    /// The domain's XML. libvirt chooses the UEFI firmware and where its variables and the TPM's state are.
    ///
    /// # Errors
    /// A path that is not UTF-8.
    pub fn domain_xml(&self) -> Result<String, ImageError> {
        let kvm = self.accelerator == Accelerator::Kvm;
        let uefi = self.firmware != Firmware::Bios;
        let mut top = vec![
            leaf("name", self.name),
            leaf("memory", self.memory.0).with("unit", "b"),
            leaf("vcpu", self.vcpus),
            self.os(uefi),
            self.features(kvm),
            self.cpu(kvm),
            clock(kvm),
            leaf("on_poweroff", "destroy"),
            leaf("on_reboot", "restart"),
            leaf("on_crash", "destroy"),
        ];
        if let Some(root) = self.root {
            let owner = node("bootgate:machine", []).with("xmlns:bootgate", METADATA);
            let owner = owner.with("root", root.path().display()).with("owner", root.owner());
            top.push(node("metadata", [owner]));
        }
        top.push(node("devices", self.devices(kvm, uefi)?));
        Ok(node("domain", top).with("type", if kvm { "kvm" } else { "qemu" }).fragment())
    }

    fn os(&self, uefi: bool) -> Element {
        let machine = leaf("type", "hvm").with("arch", "x86_64").with("machine", if uefi { "q35" } else { "pc" });
        if !uefi {
            return node("os", [machine]);
        }
        let secure = if self.firmware == Firmware::UefiSecure { "yes" } else { "no" };
        let feature = |name: &str| node("feature", []).with("enabled", secure).with("name", name);
        let mut os = vec![machine, node("firmware", [feature("enrolled-keys"), feature("secure-boot")])];
        if self.firmware == Firmware::UefiSecure {
            os.push(node("loader", []).with("secure", "yes"));
        }
        node("os", os).with("firmware", "efi")
    }

    fn features(&self, kvm: bool) -> Element {
        let mut features = vec![node("acpi", []), node("apic", [])];
        features.extend((self.firmware == Firmware::UefiSecure).then(|| node("smm", []).with("state", "on")));
        if kvm {
            // The same as clones have: see the lab's machines.
            let on = |name: &'static str| node(name, []).with("state", "on");
            let all = [
                on("relaxed"),
                on("vapic"),
                on("spinlocks").with("retries", 8191),
                on("vpindex"),
                on("synic"),
                on("stimer"),
            ];
            features.push(node("hyperv", all).with("mode", "custom"));
        }
        node("features", features)
    }

    fn cpu(&self, kvm: bool) -> Element {
        // One socket: desktop editions use two at most, and QEMU would make a socket of every CPU.
        let topology = node("topology", []).with("sockets", 1).with("cores", self.vcpus).with("threads", 1);
        node("cpu", [topology]).with("mode", if kvm { "host-passthrough" } else { "maximum" })
    }

    fn devices(&self, kvm: bool, uefi: bool) -> Result<Vec<Element>, ImageError> {
        let file = |kind: &str, path: &Path, format: &str| -> Result<[Element; 2], ImageError> {
            Ok([
                node("driver", []).with("name", "qemu").with("type", format),
                node("source", []).with(if kind == "serial" { "path" } else { "file" }, utf8(path)?),
            ])
        };
        let disk =
            |children: Vec<Element>, device: &str| node("disk", children).with("type", "file").with("device", device);
        let target = |name: &str, bus: &str| node("target", []).with("dev", name).with("bus", bus);

        // The disk first: empty, it is passed over, and later starts are its own whether a key is pressed or not.
        let mut golden = file("disk", self.disk, "qcow2")?.to_vec();
        golden.extend([target("vda", "virtio"), node("boot", []).with("order", 1)]);
        let mut devices = vec![disk(golden, "disk")];
        let (bus, letters) = if uefi { ("sata", "sd") } else { ("ide", "hd") };
        for (at, iso) in [self.windows_iso, self.virtio_iso, self.answers_iso].into_iter().enumerate() {
            let letter = ['a', 'b', 'c'][at];
            let mut drive = file("disk", iso, "raw")?.to_vec();
            drive.push(target(&format!("{letters}{letter}"), bus));
            drive.push(node("readonly", []));
            drive.extend((at == 0).then(|| node("boot", []).with("order", 2)));
            devices.push(disk(drive, "cdrom"));
        }
        let [_, log] = file("serial", self.serial_log, "raw")?;
        let serial = [log, node("target", []).with("type", "isa-serial").with("port", 0)];
        devices.push(node("serial", serial).with("type", "file"));
        // So that Windows has drivers for what clones have.
        let agent = node("target", []).with("type", "virtio").with("name", "org.qemu.guest_agent.0");
        devices.push(node("channel", [agent]).with("type", "unix"));
        if self.tpm {
            let backend = node("backend", []).with("type", "emulator").with("version", "2.0");
            devices.push(node("tpm", [backend]).with("model", "tpm-crb"));
        }
        devices.push(node("video", [node("model", []).with("type", "vga")]));
        devices.push(node("memballoon", []).with("model", "none"));
        devices.push(node("panic", []).with("model", "isa"));
        devices.extend(kvm.then(|| node("panic", []).with("model", "hyperv")));
        Ok(devices)
    }
}

/// Windows takes the machine's clock for local time.
fn clock(kvm: bool) -> Element {
    let timer = |name: &str| node("timer", []).with("name", name);
    let mut timers = vec![timer("rtc").with("tickpolicy", "catchup"), timer("pit").with("tickpolicy", "delay")];
    if kvm {
        timers.extend([timer("hpet").with("present", "no"), timer("hypervclock").with("present", "yes")]);
    }
    node("clock", timers).with("offset", "localtime")
}

fn utf8(path: &Path) -> Result<&str, ImageError> {
    path.to_str().ok_or_else(|| {
        ImageError::unfit(format!("`{}` is not UTF-8, which libvirt needs", path.display()), "rename it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation(version: WindowsVersion, firmware: Firmware, accelerator: Accelerator) -> String {
        with_root(version, firmware, accelerator, None)
    }

    fn with_root(
        version: WindowsVersion,
        firmware: Firmware,
        accelerator: Accelerator,
        root: Option<&LabRoot>,
    ) -> String {
        let installation = Installation {
            name: "bootgate-build-x",
            version,
            firmware,
            tpm: firmware == Firmware::UefiSecure,
            memory: Bytes::mib(4096),
            vcpus: 2,
            accelerator,
            disk: Path::new("/golden/x.build/disk.qcow2"),
            windows_iso: Path::new("/iso/Win & more.iso"),
            virtio_iso: Path::new("/iso/virtio-win.iso"),
            answers_iso: Path::new("/golden/x.build/answers.iso"),
            serial_log: Path::new("/golden/x.build/serial.log"),
            root,
        };
        installation.domain_xml().unwrap()
    }

    #[test]
    fn windows_11_is_installed_with_secure_boot_and_a_tpm() {
        insta::assert_snapshot!(installation(WindowsVersion::Win11_24H2, Firmware::UefiSecure, Accelerator::Kvm));
    }

    #[test]
    fn an_old_server_is_installed_on_a_bios() {
        insta::assert_snapshot!(installation(WindowsVersion::Server2016, Firmware::Bios, Accelerator::Tcg));
    }

    #[test]
    fn the_definition_says_whose_machine_it_is() {
        let dir = tempfile::Builder::new().prefix("bg").tempdir_in("/tmp").unwrap();
        let state = crate::model::StateDir::new(dir.path().join("s"));
        let root = LabRoot::take(&state, &crate::lab::Users::Ourselves).unwrap();
        let xml = with_root(WindowsVersion::Server2016, Firmware::Bios, Accelerator::Tcg, Some(&root));
        let words = format!("machine:1\" root=\"{}\" owner=\"{}\"/>", root.path().display(), root.owner());
        assert!(xml.contains(&words), "{xml}");
    }

    #[test]
    fn every_definition_is_xml_and_can_be_imported_afterwards() {
        for version in WindowsVersion::ALL {
            for firmware in [Firmware::Bios, Firmware::Uefi, Firmware::UefiSecure] {
                let xml = installation(version, firmware, Accelerator::Kvm);
                let machine = super::super::Machine::read(&xml).unwrap();
                assert_eq!((machine.firmware, machine.tpm), (firmware, firmware == Firmware::UefiSecure));
                assert_eq!(machine.disk.path, Path::new("/golden/x.build/disk.qcow2"));
            }
        }
    }
}
