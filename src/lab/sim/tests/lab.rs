use super::*;

#[tokio::test(start_paused = true)]
async fn counters_follow_the_virtual_time() {
    let boot = Boot::silent()
        .at(10 * S, Happening::CpuSpin(true))
        .at(20 * S, Happening::DiskRate(3))
        .at(20 * S, Happening::DiskBusy(100));
    let guest = Guest::started(GuestScript::with_boots(vec![boot])).await;
    tokio::time::sleep(10 * S).await;
    assert_eq!(guest.vm.stats().await.unwrap().cpu.0, 100);
    tokio::time::sleep(20 * S).await;
    let stats = guest.vm.stats().await.unwrap();
    assert_eq!((stats.cpu.0, stats.disk_reads, stats.disk_writes), (20_100, 130, 130));
}

#[tokio::test(start_paused = true)]
async fn pictures_and_consoles_show_what_the_script_says() {
    let says = Rule::on("speak").happens(Happening::Serial("SYSLINUX\r\n".to_owned()));
    let script = GuestScript::healthy(BOOT).rule(says).no_boot_device_after("update");
    let mut guest = Guest::started(script).await;
    guest.up().await;
    let booting = guest.vm.screenshot().await.unwrap().unwrap();
    tokio::time::sleep(10 * S).await;
    let settled = guest.vm.screenshot().await.unwrap().unwrap();
    assert_eq!(booting.rgb.len(), (booting.width * booting.height * 3) as usize);
    assert!(booting.rgb.iter().zip(&settled.rgb).all(|(a, b)| a != b));

    let files = guest.vm.files();
    assert!(!files.serial_log.exists(), "no text, no file");
    guest.run(&["/bin/speak"]).await.unwrap();
    guest.run(&["/opt/update"]).await.unwrap();
    guest.vm.reset().await.unwrap();
    tokio::time::sleep(10 * S).await;
    assert_eq!(std::fs::read_to_string(&files.serial_log).unwrap(), "SYSLINUX\r\n");
    assert!(std::fs::read_to_string(files.firmware_log.unwrap()).unwrap().contains("No bootable device."));
    guest.vm.destroy().await.unwrap();
    assert!(!files.dir.exists());
}

#[tokio::test(start_paused = true)]
async fn a_lost_or_paused_machine_says_so_and_answers_no_more() {
    let script = |what| GuestScript::with_boots(vec![Boot::silent().at(S, Happening::AgentUp).at(2 * S, what)]);
    let mut paused = Guest::started(script(Happening::DiskError { host_is_full: true })).await;
    paused.up().await;
    paused.expect([VmEvent::DiskError { host_is_full: true }]).await;
    assert_eq!(paused.ask("guest-ping", json!({})).await, Err(AgentError::Timeout));

    let mut lost = Guest::started(script(Happening::HostLost)).await;
    lost.up().await;
    lost.expect([VmEvent::AgentDisconnected]).await;
    assert!(matches!(lost.event().await, Some(VmEvent::Lost { .. })));
    assert_eq!(lost.ask("guest-ping", json!({})).await, Err(AgentError::VmGone));
    assert!(lost.vm.stats().await.is_err());
    lost.vm.destroy().await.unwrap();
    assert_eq!(lost.lab.census().live, 0);
}

#[tokio::test(start_paused = true)]
async fn a_destroyed_machine_is_gone_for_good_and_may_be_destroyed_again() {
    let mut guest = Guest::started(GuestScript::healthy(BOOT).resists_destruction(1)).await;
    guest.up().await;
    assert!(guest.vm.destroy().await.is_err());
    assert_eq!(guest.lab.census().live, 1);
    for _ in 0..2 {
        guest.vm.destroy().await.unwrap();
    }
    assert_eq!(guest.event().await, None);
    assert_eq!(guest.ask("guest-ping", json!({})).await, Err(AgentError::VmGone));
    assert!(guest.vm.start().await.is_err());
    assert!(guest.vm.reset().await.is_err());
    assert!(guest.vm.screenshot().await.is_err());
    assert!(guest.vm.definition().await.is_err());
    assert!(!guest.vm.files().dir.exists());
    let census = guest.lab.census();
    assert_eq!((census.created, census.live, census.peak, census.memory), (1, 0, 1, Bytes(0)));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_ends_when_the_machine_is_destroyed() {
    let mut guest = Guest::started(GuestScript::with_boots(vec![Boot::silent().at(S, Happening::AgentMute)])).await;
    guest.up().await;
    let vm = Arc::clone(&guest.vm);
    let waiting = tokio::spawn(async move { vm.agent(r#"{"execute":"guest-ping"}"#, 600 * S).await });
    tokio::time::sleep(10 * S).await;
    guest.vm.destroy().await.unwrap();
    assert_eq!(waiting.await.unwrap(), Err(AgentError::VmGone));
}

#[tokio::test(start_paused = true)]
async fn a_lab_that_cannot_create_or_start_leaves_nothing_behind() {
    let lab = SimLab::new(SimHost::default(), |spec| match spec.cell.0.as_str() {
        "full" => GuestScript::healthy(BOOT).cannot_be_created(|| LabError::OutOfSpace("/clones".into())),
        _ => GuestScript::healthy(BOOT).cannot_be_started(|| LabError::Other("no".to_owned())),
    });
    assert!(matches!(lab.create(spec("full")).await, Err(LabError::OutOfSpace(_))));
    assert_eq!(lab.census().created, 0);
    let (vm, _events) = lab.create(spec("other")).await.unwrap();
    assert!(vm.start().await.is_err());
    vm.destroy().await.unwrap();
    assert_eq!(lab.census().live, 0);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_machines_boot_in_a_moment() {
    let lab = SimLab::new(SimHost::default(), |_| GuestScript::healthy(BOOT));
    let mut machines = Vec::new();
    for n in 0..10_000 {
        let (vm, events) = lab.create(spec(&n.to_string())).await.unwrap();
        vm.start().await.unwrap();
        machines.push((vm, events));
    }
    for (vm, events) in &mut machines {
        assert_eq!(events.recv().await, Some(VmEvent::Started));
        assert_eq!(events.recv().await, Some(VmEvent::AgentConnected));
        vm.destroy().await.unwrap();
    }
    let census = lab.census();
    assert_eq!((census.live, census.peak, census.peak_memory), (0, 10_000, Bytes::mib(256 * 10_000)));
}
