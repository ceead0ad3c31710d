//! Machines with UEFI firmware, a TPM, and a disk and a card that are not virtio.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use bootgate::{
    catalog::sha256_file,
    lab::{Lab as _, Vm, VmEvent, VmEvents, VmSpec, find_uefi},
    model::{Clock, DiskBus, Family, Firmware, GoldenImage, Network, NetworkModel, StateFile},
};

use super::{
    guest::{booted, reboot, says},
    harness::{TestLab, empty_image, lab_image, next, temp_dir, until, with_lab},
    leftovers::processes_with,
};

/// Whether the firmware checks signatures, and which TPM there is.
const ABOUT: &str = "tail -c 1 /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c | od -An -tu1; \
    cat /sys/class/tpm/tpm0/tpm_version_major";

/// Makes a variable that the firmware keeps and does not know. Linux guards those against a second write.
fn write(name: &str) -> String {
    // Its attributes (kept, for boot and runtime), then what it says.
    format!(r"printf '\007\000\000\000{name}' >{}; sync; echo done", variable(name))
}

fn read(name: &str) -> String {
    format!("tail -c +5 {} || echo none", variable(name))
}

fn variable(name: &str) -> String {
    format!("/sys/firmware/efi/efivars/{name}-6b6f7274-0001-4c61-8b00-6e7672616d00")
}

/// Where libvirt keeps the states of TPMs, a folder for each machine.
fn tpms(shared: &TestLab) -> PathBuf {
    shared.lab.info().clones.parent().unwrap().join("lib/swtpm")
}

/// All states of TPMs that there are.
fn tpm_states(shared: &TestLab) -> Vec<PathBuf> {
    let machines = fs::read_dir(tpms(shared)).into_iter().flatten().flatten();
    machines.map(|machine| machine.path().join("tpm2/tpm2-00.permall")).collect()
}

async fn power_on(shared: &TestLab, image: &GoldenImage) -> (Arc<dyn Vm>, VmEvents) {
    let (vm, mut events) = shared.create(image).await;
    vm.start().await.unwrap();
    assert_eq!(next(&mut events).await, VmEvent::Started);
    (vm, events)
}

async fn with_seal(
    shared: &TestLab,
    image: &GoldenImage,
    network: Network,
    seal: Option<&Path>,
) -> (Arc<dyn Vm>, VmEvents) {
    let (run, cell, seal) = ("test".into(), "cell".into(), seal.map(Path::to_owned));
    let spec = VmSpec { run, cell, image: image.clone(), network, seal };
    let (vm, events) = shared.lab.create(spec).await.unwrap();
    vm.start().await.unwrap();
    (vm, events)
}

#[test]
fn each_clone_has_firmware_variables_and_a_tpm_of_its_own() {
    with_lab(async |shared| {
        let folder = temp_dir();
        let file = folder.path().join("nvram.fd");
        fs::copy(find_uefi(Firmware::UefiSecure, None).unwrap().template, &file).unwrap();
        let golden = || (sha256_file(&file).unwrap(), fs::metadata(&file).unwrap().ctime_nsec());
        let before = golden();
        let nvram = Some(StateFile { file: file.clone(), sha256: before.0.clone() });
        let image = GoldenImage { nvram, ..lab_image("lab-os-12-p1-secure") };
        let begun = Instant::now();
        let (one, mut one_events) = power_on(shared, &image).await;
        let (two, mut two_events) = power_on(shared, &image).await;
        booted(&*one, &mut one_events).await;
        booted(&*two, &mut two_events).await;
        println!("two booted with Secure Boot after {:?}", begun.elapsed());
        assert_eq!(says(&*one, ABOUT).await.split_whitespace().collect::<Vec<_>>(), ["1", "2"]);

        assert_eq!(says(&*one, &write("Mine")).await, "done\n");
        assert_eq!(says(&*two, &read("Mine")).await, "none\n", "another machine's variable");
        let variables = |vm: &dyn Vm| fs::read(vm.files().dir.join("nvram.fd")).unwrap();
        assert_ne!(variables(&*one), variables(&*two));
        let states = tpm_states(shared);
        assert_eq!(states.len(), 2);
        assert_ne!(fs::read(&states[0]).unwrap(), fs::read(&states[1]).unwrap(), "new TPMs are not the same one");
        two.destroy().await.unwrap();

        reboot(&*one, &mut one_events).await;
        booted(&*one, &mut one_events).await;
        assert_eq!(says(&*one, &read("Mine")).await, "Mine", "a restart keeps it");
        // A TPM's state as an image may bring it.
        let kept = folder.path().join("tpm2-00.permall");
        fs::copy(&tpm_states(shared)[0], &kept).unwrap();
        one.destroy().await.unwrap();
        assert!(fs::read_dir(tpms(shared)).unwrap().next().is_none(), "states of TPMs are left");

        let tpm_state = Some(StateFile { sha256: sha256_file(&kept).unwrap(), file: kept.clone() });
        let image = GoldenImage { tpm_state, ..image };
        let (three, _events) = shared.create(&image).await;
        assert_eq!(fs::read(&tpm_states(shared)[0]).unwrap(), fs::read(&kept).unwrap());
        three.start().await.expect("swtpm takes the state");
        three.destroy().await.unwrap();
        assert_eq!(golden(), before);
        assert_eq!(processes_with(&tpms(shared).display().to_string()), 0, "a swtpm is left");
    });
}

#[test]
fn a_sealed_machine_with_uefi_and_a_tpm_goes_on_in_each_of_its_clones() {
    with_lab(async |shared| {
        let image = lab_image("lab-os-12-p1-uefi");
        let seal = shared.state().path().join("seals/test");
        shared.lab.seal_folder(&seal).unwrap();
        let (vm, mut events) = power_on(shared, &image).await;
        booted(&*vm, &mut events).await;
        assert_eq!(says(&*vm, &write("Mine")).await, "done\n");
        vm.seal(&seal).await.unwrap();
        vm.destroy().await.unwrap();
        let before = sha256_file(&seal.join("nvram.fd")).unwrap();

        let begun = Instant::now();
        let (one, mut one_events) = with_seal(shared, &image, Network::None, Some(&seal)).await;
        let (two, _two_events) = with_seal(shared, &image, Network::None, Some(&seal)).await;
        for vm in [&one, &two] {
            assert_eq!(says(&**vm, &read("Mine")).await, "Mine");
            assert_eq!(says(&**vm, "cat /sys/class/tpm/tpm0/tpm_version_major").await, "2\n");
        }
        println!("two clones answer after {:?}", begun.elapsed());
        assert_eq!(says(&*one, &write("Other")).await, "done\n");
        assert_eq!(says(&*two, &read("Other")).await, "none\n", "another clone's variable");
        reboot(&*one, &mut one_events).await;
        booted(&*one, &mut one_events).await;
        assert_eq!(says(&*one, &read("Mine")).await + &says(&*one, &read("Other")).await, "MineOther");
        assert_eq!(says(&*one, "cat /sys/class/tpm/tpm0/tpm_version_major").await, "2\n");
        one.destroy().await.unwrap();
        two.destroy().await.unwrap();
        assert_eq!(sha256_file(&seal.join("nvram.fd")).unwrap(), before);
    });
}

#[test]
fn a_machine_with_a_sata_disk_and_an_e1000e_card_boots_is_sealed_and_reads_media() {
    with_lab(async |shared| {
        let image = lab_image("lab-os-12-p1-sata");
        let seal = shared.state().path().join("seals/test");
        shared.lab.seal_folder(&seal).unwrap();
        let begun = Instant::now();
        let (vm, mut events) = with_seal(shared, &image, Network::User, None).await;
        booted(&*vm, &mut events).await;
        println!("booted from SATA after {:?}", begun.elapsed());
        let about = "cat /sys/block/sda/device/model; basename $(readlink /sys/class/net/eth0/device/driver)";
        assert_eq!(says(&*vm, about).await.split_whitespace().collect::<Vec<_>>(), ["QEMU", "HARDDISK", "e1000e"]);
        vm.seal(&seal).await.unwrap();
        vm.destroy().await.unwrap();

        let (clone, mut events) = with_seal(shared, &image, Network::User, Some(&seal)).await;
        assert_eq!(says(&*clone, "echo here").await, "here\n");
        let medium = clone.files().dir.join("medium.iso");
        fs::write(&medium, [b"medium".as_slice(), &vec![0; 1 << 16]].concat()).unwrap();
        clone.insert_medium(Some(&medium)).await.unwrap();
        let read = async || says(&*clone, "head -c 6 /dev/sr0").await == "medium";
        until("the guest reads the medium", read).await;
        clone.insert_medium(None).await.unwrap();
        reboot(&*clone, &mut events).await;
        booted(&*clone, &mut events).await;
        clone.destroy().await.unwrap();
    });
}

#[test]
fn libvirt_takes_the_machine_that_windows_would_get_from_a_closed_folder_too() {
    with_lab(async |shared| {
        let images = temp_dir();
        let closed = images.path().join("closed");
        fs::create_dir(&closed).unwrap();
        for mode in [0o755, 0o700] {
            fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).unwrap();
            let image = GoldenImage {
                family: Family::Windows,
                firmware: Firmware::UefiSecure,
                tpm: true,
                disk_bus: DiskBus::Sata,
                network_model: NetworkModel::E1000e,
                clock: Clock::Localtime,
                vcpus: 2,
                ..empty_image(&closed)
            };
            let (vm, mut events) = with_seal(shared, &image, Network::User, None).await;
            assert_eq!(next(&mut events).await, VmEvent::Started);
            let definition = vm.definition().await.unwrap();
            assert!(definition.contains("<smm state='on'/>") && definition.contains("e1000e"), "{definition}");
            assert!(tpm_states(shared)[0].exists(), "it is the running TPM's");
            let dir = vm.files().dir;
            vm.destroy().await.unwrap();
            assert!(!dir.exists());
            assert_eq!(tpm_states(shared), Vec::<PathBuf>::new());
            until("no swtpm is left, dead or alive", async || swtpms_of_this_process() == 0).await;
        }
    });
}

/// Those that have this process as their parent, as all that its libvirt starts have in the end.
fn swtpms_of_this_process() -> usize {
    let parent = std::process::id().to_string();
    let ours = |stat: String| {
        let mut words = stat.rsplit_once(") ").unwrap().1.split(' ');
        stat.contains("(swtpm)") && words.nth(1) == Some(parent.as_str())
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter(|process| fs::read_to_string(process.path().join("stat")).is_ok_and(ours)).count()
}
