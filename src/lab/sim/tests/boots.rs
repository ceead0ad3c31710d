use super::*;

#[tokio::test(start_paused = true)]
async fn a_healthy_guest_boots_restarts_and_is_another_boot_then() {
    let begun = Instant::now();
    let mut guest = Guest::started(GuestScript::healthy(BOOT)).await;
    guest.up().await;
    assert_eq!(begun.elapsed(), 15 * S);
    assert!(!guest.settled().await);
    tokio::time::sleep(5 * S).await;
    assert!(guest.settled().await);

    let first = guest.boot_id().await;
    assert_eq!(first, guest.boot_id().await);
    let asked = guest.ask("guest-shutdown", json!({"mode": "reboot"})).await;
    assert_eq!(asked, Err(AgentError::Timeout), "success has no reply");
    guest.expect([VmEvent::AgentDisconnected, VmEvent::Reset, VmEvent::AgentConnected]).await;
    assert!(!guest.settled().await);
    assert_ne!(first, guest.boot_id().await);
}

#[tokio::test(start_paused = true)]
async fn the_power_button_restarts_and_the_reset_button_does_at_once() {
    let mut guest = Guest::started(GuestScript::healthy(BOOT)).await;
    guest.up().await;
    let pressed = Instant::now();
    guest.vm.restart_acpi().await.unwrap();
    guest.expect([VmEvent::AgentDisconnected, VmEvent::Reset]).await;
    assert_eq!(pressed.elapsed(), 2 * S);
    guest.vm.reset().await.unwrap();
    guest.expect([VmEvent::Reset]).await;
    assert_eq!(pressed.elapsed(), 2 * S);
}

#[tokio::test(start_paused = true)]
async fn an_update_breaks_the_boots_that_follow_it_and_not_the_running_one() {
    let bugcheck = Bugcheck { code: 0x50, parameters: [1, 2, 3, 4] };
    let mut guest = Guest::started(GuestScript::healthy(BOOT).stops_after("update", bugcheck)).await;
    guest.up().await;
    guest.run(&["/opt/update"]).await.unwrap();
    tokio::time::sleep(60 * S).await;
    assert!(guest.settled().await);
    guest.vm.reset().await.unwrap();
    guest.expect([VmEvent::AgentDisconnected, VmEvent::Reset]).await;
    for _ in 0..3 {
        guest.expect([VmEvent::Panicked { bugcheck: Some(bugcheck) }, VmEvent::Reset]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_nth_boot_is_played_at_the_nth_start_and_the_last_repeats() {
    let crash = Boot::silent().at(3 * S, Happening::Reset);
    let last = Boot::silent().at(S, Happening::AgentUp);
    let mut guest = Guest::started(GuestScript::with_boots(vec![crash.clone(), crash, last])).await;
    guest.expect([VmEvent::Started, VmEvent::Reset, VmEvent::Reset, VmEvent::AgentConnected]).await;
    guest.vm.reset().await.unwrap();
    guest.expect([VmEvent::AgentDisconnected, VmEvent::Reset, VmEvent::AgentConnected]).await;
}

#[tokio::test(start_paused = true)]
async fn each_way_to_go_wrong_is_seen_from_the_host_as_on_a_real_one() {
    let healthy = || GuestScript::healthy(BOOT);
    let off = healthy().powers_off_after("update");
    let looping = healthy().loops_after("update");
    let panicking = healthy().panics_after("update");
    for (script, event) in
        [(off, VmEvent::PoweredOff), (looping, VmEvent::Reset), (panicking, VmEvent::Panicked { bugcheck: None })]
    {
        let mut guest = Guest::started(script).await;
        guest.up().await;
        guest.run(&["/opt/update"]).await.unwrap();
        guest.vm.reset().await.unwrap();
        guest.expect([VmEvent::AgentDisconnected, VmEvent::Reset, event]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_ignores_or_refuses_to_restart_stays_up() {
    let script = GuestScript::healthy(BOOT).refuses_restart_after("update");
    let refuses = Effect::Asked(Asked::Refuses, Asked::Ignores);
    let mut guest = Guest::started(script.after("lock", refuses)).await;
    guest.up().await;
    guest.run(&["/opt/update"]).await.unwrap();
    assert_eq!(guest.ask("guest-shutdown", json!({"mode": "reboot"})).await, Err(AgentError::Timeout));
    guest.run(&["/opt/lock"]).await.unwrap();
    let answer = guest.ask("guest-shutdown", json!({"mode": "reboot"})).await;
    assert!(matches!(answer, Err(AgentError::Refused(_))));
    guest.vm.restart_acpi().await.unwrap();
    tokio::time::sleep(60 * S).await;
    assert!(guest.events.is_empty());
    assert!(guest.ask("guest-ping", json!({})).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_script_plays_the_same_way_every_time() {
    let mut plays = Vec::new();
    for _ in 0..2 {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&seen);
        let script = GuestScript::healthy(BOOT).crashes_late_after("update", 5 * S);
        let mut guest = Guest::started(script.observed(move |line| lines.lock().unwrap().push(line.to_owned()))).await;
        let begun = Instant::now();
        guest.up().await;
        guest.run(&["/opt/update", "now"]).await.unwrap();
        guest.vm.reset().await.unwrap();
        let mut events = Vec::new();
        for _ in 0..6 {
            events.push((guest.event().await.unwrap(), begun.elapsed()));
        }
        let id = guest.boot_id().await;
        let seen = seen.lock().unwrap().clone();
        plays.push((events, id, seen));
    }
    assert_eq!(plays[0], plays[1]);
    assert_eq!(plays[0].2[0], "/opt/update now");
}
