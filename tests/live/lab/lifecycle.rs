//! Machines without an operating system: what the firmware and eleven bytes of code can show.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    time::{Duration, Instant},
};

use bootgate::{
    lab::{AgentError, Lab as _, VmEvent, VmSpec},
    model::{CellId, Network, RunId},
};

use super::harness::{empty_image, next, sector_image, temp_dir, until, with_lab};

#[test]
fn a_machine_with_nothing_to_boot_says_so_and_leaves_nothing() {
    with_lab(async |shared| {
        let images = temp_dir();
        let begun = Instant::now();
        let (vm, mut events) = shared.create(&empty_image(images.path())).await;
        println!("create {:?}", begun.elapsed());
        let begun = Instant::now();
        vm.start().await.unwrap();
        println!("start {:?}", begun.elapsed());
        assert_eq!(next(&mut events).await, VmEvent::Started);

        let files = vm.files();
        let said = fs::read_to_string(files.qemu_log.as_ref().unwrap()).unwrap();
        assert!(said.contains("qemu"), "{said}");
        assert_eq!(fs::metadata(&files.dir).unwrap().mode() & 0o777, 0o700);
        let log = files.firmware_log.clone().unwrap();
        let says = async || fs::read_to_string(&log).unwrap_or_default().contains("No bootable device.");
        until("the firmware finds nothing", says).await;
        let begun = Instant::now();
        let screen = vm.screenshot().await.unwrap().unwrap();
        println!("screenshot {:?} {}x{}", begun.elapsed(), screen.width, screen.height);
        let begun = Instant::now();
        let stats = vm.stats().await.unwrap();
        println!("stats {:?} {stats:?}", begun.elapsed());
        assert!(stats.cpu.0 > 0);
        assert_eq!(
            vm.agent(r#"{"execute":"guest-ping"}"#, Duration::from_secs(2)).await,
            Err(AgentError::NotConnected)
        );

        vm.reset().await.unwrap();
        assert_eq!(next(&mut events).await, VmEvent::Reset);
        let medium = files.dir.join("medium.iso");
        fs::write(&medium, vec![0; 4096]).unwrap();
        vm.insert_medium(Some(&medium)).await.unwrap();
        vm.insert_medium(None).await.unwrap();

        let begun = Instant::now();
        vm.destroy().await.unwrap();
        println!("destroy {:?}", begun.elapsed());
        vm.destroy().await.unwrap();
        assert!(!files.dir.exists());
        assert!(events.try_recv().is_err(), "our own end is no event");
    });
}

#[test]
fn a_named_network_without_a_libvirtd_is_refused_and_leaves_nothing() {
    with_lab(async |shared| {
        let images = temp_dir();
        let (run, cell) = (RunId::from("test"), CellId::from("cell"));
        let network = Network::Named("isolated".to_owned());
        let spec = VmSpec { run, cell, image: empty_image(images.path()), network, seal: None };
        let Err(refused) = shared.lab.create(spec).await else { panic!("it was created") };
        assert!(refused.to_string().contains("--connect"), "{refused}");
        assert_eq!(fs::read_dir(&shared.lab.info().clones).unwrap().count(), 0);
    });
}

#[test]
fn every_turn_of_a_boot_loop_is_one_reset() {
    with_lab(async |shared| {
        let images = temp_dir();
        // mov al, 0xfe; out 0x64, al: the keyboard controller pulls the reset line.
        let image = sector_image(images.path(), &[0xb0, 0xfe, 0xe6, 0x64, 0xf4]);
        let (vm, mut events) = shared.create(&image).await;
        vm.start().await.unwrap();
        assert_eq!(next(&mut events).await, VmEvent::Started);
        for _ in 0..4 {
            let begun = Instant::now();
            assert_eq!(next(&mut events).await, VmEvent::Reset);
            println!("reset after {:?}", begun.elapsed());
        }
        vm.destroy().await.unwrap();
    });
}

#[test]
fn a_machine_that_somebody_kills_is_lost() {
    with_lab(async |shared| {
        let images = temp_dir();
        let (vm, mut events) = shared.create(&empty_image(images.path())).await;
        vm.start().await.unwrap();
        assert_eq!(next(&mut events).await, VmEvent::Started);
        let root = shared.lab.info().clones.parent().unwrap().join("run/qemu");
        let name = vm.definition().await.unwrap();
        let name = name.split("<name>").nth(1).unwrap().split('<').next().unwrap();
        let pid = fs::read_to_string(root.join(format!("{name}.pid"))).unwrap().trim().parse().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL)
            .unwrap();
        assert!(matches!(next(&mut events).await, VmEvent::Lost { .. }));
        assert_eq!(vm.agent("{}", Duration::from_secs(1)).await, Err(AgentError::VmGone));
        vm.destroy().await.unwrap();
    });
}
