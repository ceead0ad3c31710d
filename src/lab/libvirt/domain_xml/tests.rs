use super::*;
use crate::model::{DirectBoot, Firmware, NetworkModel};

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
        uefi: None,
        agent_socket: Path::new("/s/lab/0/vms/0a1b2c/agent.sock"),
        kernel: None,
        initrd: None,
        tpm_stays: false,
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
fn a_windows_machine_with_secure_boot_and_a_tpm() {
    let image = GoldenImage {
        family: Family::Windows,
        firmware: Firmware::UefiSecure,
        tpm: true,
        disk_bus: DiskBus::Sata,
        network_model: NetworkModel::E1000e,
        clock: Clock::Localtime,
        vcpus: 4,
        ..image()
    };
    let uefi = Uefi {
        code: Path::new("/usr/share/OVMF/OVMF_CODE_4M.ms.fd"),
        variables: Path::new("/s/lab/0/vms/0a1b2c/nvram.fd"),
        needs_smm: true,
    };
    let definition = Definition { uefi: Some(uefi), ..definition(&image, &Network::User) };
    insta::assert_snapshot!(domain_xml(&Definition { accelerator: Accelerator::Kvm, ..definition }).unwrap());
}

#[test]
fn an_emulated_machine_has_no_hypervisor_to_talk_to() {
    let image = GoldenImage { family: Family::Windows, clock: Clock::Localtime, ..image() };
    let xml = domain_xml(&definition(&image, &Network::None)).unwrap();
    assert!(!xml.contains("hyperv") && xml.contains("<clock offset='localtime'/>"), "{xml}");
}

#[test]
fn the_board_is_the_plain_one_unless_firmware_or_disk_need_another() {
    let of = |firmware, disk_bus| Board::of(&GoldenImage { firmware, disk_bus, ..image() });
    assert_eq!(of(Firmware::Bios, DiskBus::Virtio), Board::Pc, "seals and verdicts of such machines are kept");
    assert_eq!(of(Firmware::Bios, DiskBus::Sata), Board::Q35);
    assert_eq!(of(Firmware::Uefi, DiskBus::Virtio), Board::Q35);
    assert_eq!(medium_xml(None, Board::Pc).unwrap().matches("ide").count(), 1);
    assert_eq!(medium_xml(None, Board::Q35).unwrap().matches("sata").count(), 1);
}
