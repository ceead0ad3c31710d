use std::path::Path;

use super::*;

/// As virt-install makes them for Windows 11, with what libvirt fills in.
const SECURE: &str = include_str!("xml/secure.xml");
/// An old server under BIOS.
const BIOS: &str = include_str!("xml/bios.xml");
/// UEFI without Secure Boot, a SATA disk, an Intel card.
const SATA: &str = include_str!("xml/sata.xml");

#[test]
fn a_windows_11_with_secure_boot_and_a_tpm_is_read_whole() {
    let machine = Machine::read(SECURE).unwrap();
    assert_eq!(
        machine,
        Machine {
            name: "win11".into(),
            uuid: Some("2d0f8d4e-3a5e-4e4f-9d53-0f3c51b4f4c1".into()),
            memory: Bytes(8 * Bytes::GIB),
            vcpus: 4,
            firmware: Firmware::UefiSecure,
            nvram: Some(Nvram { path: "/var/lib/libvirt/qemu/nvram/win11_VARS.fd".into(), format: "raw".into() }),
            tpm: true,
            disk: Disk {
                path: "/var/lib/libvirt/images/win11.qcow2".into(),
                format: "qcow2".into(),
                target: "vda".into()
            },
            disk_bus: "virtio",
            card: Card::Virtio,
            clock: Some("localtime"),
            family: Some(Family::Windows),
            notes: vec![],
        }
    );
}

#[test]
fn an_old_server_under_bios_is_read_with_what_its_clones_lack() {
    let machine = Machine::read(BIOS).unwrap();
    assert_eq!((machine.firmware, machine.nvram, machine.tpm), (Firmware::Bios, None, false));
    assert_eq!((machine.memory, machine.vcpus), (Bytes::mib(4096), 2));
    assert_eq!((machine.disk.format.as_str(), machine.disk_bus), ("raw", "virtio"));
    assert_eq!((machine.family, machine.clock, machine.card), (None, None, Card::Other));
    assert_eq!(machine.notes.len(), 3, "{:?}", machine.notes);
    assert!(machine.notes.iter().any(|note| note.contains("rtl8139")));
    assert!(machine.notes.iter().any(|note| note.contains("variable")));
}

#[test]
fn a_machine_with_sata_and_another_format_of_nvram_is_read() {
    let machine = Machine::read(SATA).unwrap();
    assert_eq!((machine.firmware, machine.disk_bus, machine.card), (Firmware::Uefi, "sata", Card::E1000e));
    let nvram = machine.nvram.unwrap();
    assert_eq!((nvram.path.as_path(), nvram.format.as_str()), (Path::new("/vm/srv_VARS.qcow2"), "qcow2"));
    assert_eq!((machine.family, machine.clock), (Some(Family::Linux), Some("utc")));
}

#[test]
fn what_clones_would_not_be_like_is_refused_with_what_to_do() {
    let second = "<disk type='file' device='disk'><source file='/b'/><target dev='vdb' bus='virtio'/></disk></devices>";
    for (from, to, what, hint) in [
        ("</devices>", second, "it has 2 disks", "detach"),
        (
            "<disk type='file' device='disk'>",
            "<disk type='block' device='disk'>",
            "of the type `block`",
            "qemu-img convert",
        ),
        (
            "<disk type='file' device='disk'>",
            "<disk type='network' device='disk'>",
            "of the type `network`",
            "qemu-img convert",
        ),
        ("<disk type='file' device='disk'>", "<disk type='file' device='cdrom'>", "it has no disk", "a disk"),
        (
            "<disk type='file' device='disk'>",
            "<disk type='file' device='disk'><encryption format='luks'/>",
            "<encryption/>",
            "none",
        ),
        (
            "<source file='/var/lib/libvirt/images/win11.qcow2'/>",
            "<source file='/x'><encryption/></source>",
            "<encryption/>",
            "none",
        ),
        ("<target dev='vda' bus='virtio'/>", "<target dev='sda' bus='scsi'/>", "connected to `scsi`", "virtio or SATA"),
        ("<target dev='vda' bus='virtio'/>", "<target dev='hda' bus='ide'/>", "connected to `ide`", "virtio or SATA"),
        ("type='emulator' version='2.0'", "type='passthrough'", "its TPM is `passthrough`", "TPM 2.0"),
        ("type='emulator' version='2.0'", "type='emulator' version='1.2'", "of version 1.2", "TPM 2.0"),
        ("arch='x86_64'", "arch='aarch64'", "aarch64", "x86-64"),
        (">hvm<", ">exe<", "no x86-64 machine", "x86-64"),
        ("</os>", "<kernel>/boot/vmlinuz</kernel></os>", "<kernel>", "`boot:`"),
        (">4</vcpu>", ">0</vcpu>", "`0` CPUs", "1 to 256"),
    ] {
        let xml = SECURE.replacen(from, to, 1);
        assert_ne!(xml, SECURE, "{from}");
        let error = Machine::read(&xml).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains(hint), "{what}: {error}");
    }
}

#[test]
fn secure_boot_counts_only_with_keys() {
    let without_keys =
        SECURE.replace("<feature enabled='yes' name='enrolled-keys'/>", "<feature enabled='no' name='enrolled-keys'/>");
    assert_eq!(Machine::read(&without_keys).unwrap().firmware, Firmware::Uefi);
    let only_loader = SECURE.replace("<firmware>", "<smbios>").replace("</firmware>", "</smbios>");
    assert_eq!(Machine::read(&only_loader).unwrap().firmware, Firmware::UefiSecure);
}

#[test]
fn the_unit_of_memory_counts() {
    let memory = |text: &str| {
        let xml = SECURE.replace("<memory unit='KiB'>8388608</memory>", text);
        Machine::read(&xml).map(|machine| machine.memory.0).ok()
    };
    assert_eq!(memory("<memory>1048576</memory>"), Some(1 << 30));
    assert_eq!(memory("<memory unit='GiB'>2</memory>"), Some(2 << 30));
    assert_eq!(memory("<memory unit='MB'>100</memory>"), Some(100_000_000));
    for wrong in
        ["<memory unit='x'>1</memory>", "<memory>-1</memory>", "<memory unit='TiB'>99999999999999</memory>", ""]
    {
        assert_eq!(memory(wrong), None, "{wrong}");
    }
}

proptest::proptest! {
    #[test]
    fn hostile_definitions_do_no_harm(at in 0..3000_usize, len in 0..200_usize, with in "\\PC{0,20}") {
        for xml in [SECURE, BIOS, SATA] {
            let at = at.min(xml.len());
            let end = (at + len).min(xml.len());
            let _ = Machine::read(&format!("{}{with}{}", &xml[..at], &xml[end..]));
            let _ = Machine::read(&xml[..at]);
        }
    }
}
