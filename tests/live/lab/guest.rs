//! Real guests: the lab images.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use bootgate::{
    lab::{AgentError, Vm, VmEvent, VmEvents},
    model::Sha256,
};

use super::harness::{lab_image, next, until, wait_for, with_lab};

pub const PING: &str = r#"{"execute":"guest-ping"}"#;

/// Waits until the guest has booted.
pub async fn booted(vm: &dyn Vm, events: &mut VmEvents) {
    wait_for(events, &VmEvent::AgentConnected).await;
    let ready = r#"{"execute":"guest-file-open","arguments":{"path":"/run/lab/ready"}}"#;
    until("the guest is ready", async || vm.agent(ready, Duration::from_secs(10)).await.is_ok()).await;
}

/// Starts a program in the guest without waiting for it.
pub async fn run(vm: &dyn Vm, script: &str) -> Result<String, AgentError> {
    let request = serde_json::json!({
        "execute": "guest-exec",
        "arguments": {"path": "/bin/sh", "arg": ["-c", script], "capture-output": true},
    });
    vm.agent(&request.to_string(), Duration::from_secs(20)).await
}

/// What a script in the guest writes to its standard output.
pub async fn says(vm: &dyn Vm, script: &str) -> String {
    let field = |reply: &str, name: &str| serde_json::from_str::<serde_json::Value>(reply).unwrap()[name].clone();
    let mut pid = serde_json::Value::Null;
    // A machine that goes on from a seal takes a moment.
    until("the agent answers", async || match run(vm, script).await {
        Ok(reply) => {
            pid = field(&reply, "pid");
            true
        }
        Err(_) => false,
    })
    .await;
    let request = serde_json::json!({"execute": "guest-exec-status", "arguments": {"pid": pid}}).to_string();
    let mut said = String::new();
    until("the script ends", async || {
        let reply = vm.agent(&request, Duration::from_secs(20)).await.unwrap();
        said = field(&reply, "out-data").as_str().unwrap_or("").to_owned();
        field(&reply, "exited") == true
    })
    .await;
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, said).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Has the guest restart.
pub async fn reboot(vm: &dyn Vm, events: &mut VmEvents) {
    // libvirt has no answer to this from a guest that goes down.
    let _ = vm.agent(r#"{"execute":"guest-shutdown","arguments":{"mode":"reboot"}}"#, Duration::from_secs(2)).await;
    wait_for(events, &VmEvent::Reset).await;
}

#[test]
fn a_clone_boots_restarts_in_every_way_and_leaves_its_golden_image_untouched() {
    with_lab(async |shared| {
        let image = lab_image("lab-os-11-p1");
        let seen = |path: &Path| {
            let meta = fs::metadata(path).unwrap();
            let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
            (times, meta.uid(), meta.gid(), meta.mode(), meta.nlink(), Sha256::of(&fs::read(path).unwrap()))
        };
        let base = image.backing[0].disk.clone();
        let before = (seen(&image.disk), seen(&base));

        let begun = Instant::now();
        let (vm, mut events) = shared.create(&image).await;
        println!("create {:?}", begun.elapsed());
        vm.start().await.unwrap();
        println!("started {:?}", begun.elapsed());
        booted(&*vm, &mut events).await;
        println!("booted {:?}", begun.elapsed());
        let begun = Instant::now();
        for _ in 0..20 {
            assert_eq!(vm.agent(PING, Duration::from_secs(10)).await.unwrap(), "{}");
        }
        println!("agent round trip {:?}", begun.elapsed() / 20);
        let refused = vm.agent(r#"{"execute":"guest-nonsense"}"#, Duration::from_secs(10)).await;
        println!("{refused:?}");
        assert!(matches!(refused, Err(AgentError::Refused(_))));
        run(&*vm, "echo something > /root/written; sync").await.unwrap();
        let stats = vm.stats().await.unwrap();
        println!("{stats:?}");
        assert!(stats.cpu.0 > 500 && stats.disk_reads > 100);

        // libvirt has no answer to these from a guest that goes down.
        let _ = vm.agent(r#"{"execute":"guest-shutdown","arguments":{"mode":"reboot"}}"#, Duration::from_secs(2)).await;
        assert_eq!(next(&mut events).await, VmEvent::Reset);
        println!("reset by the guest");
        booted(&*vm, &mut events).await;

        vm.restart_acpi().await.unwrap();
        assert_eq!(next(&mut events).await, VmEvent::Reset);
        println!("reset by the power button");
        booted(&*vm, &mut events).await;

        vm.reset().await.unwrap();
        assert_eq!(next(&mut events).await, VmEvent::Reset);
        println!("reset by the reset button");
        booted(&*vm, &mut events).await;

        let _ =
            vm.agent(r#"{"execute":"guest-shutdown","arguments":{"mode":"powerdown"}}"#, Duration::from_secs(2)).await;
        assert_eq!(next(&mut events).await, VmEvent::PoweredOff);
        assert_eq!(vm.agent(PING, Duration::from_secs(5)).await, Err(AgentError::VmGone));
        let serial = fs::read_to_string(&vm.files().serial_log).unwrap();
        assert!(serial.lines().count() > 10, "{serial}");
        vm.destroy().await.unwrap();
        assert_eq!((seen(&image.disk), seen(&base)), before);
    });
}

#[test]
fn a_panic_is_told_and_the_guest_then_restarts_by_itself() {
    with_lab(async |shared| {
        // Configured with panic=5.
        let (vm, mut events) = shared.create(&lab_image("lab-server-p1")).await;
        vm.start().await.unwrap();
        booted(&*vm, &mut events).await;
        let begun = Instant::now();
        let _ = run(&*vm, "echo c > /proc/sysrq-trigger").await;
        assert_eq!(next(&mut events).await, VmEvent::Panicked { bugcheck: None });
        println!("panic told after {:?}", begun.elapsed());
        assert_eq!(next(&mut events).await, VmEvent::Reset);
        println!("reset after {:?}", begun.elapsed());
        booted(&*vm, &mut events).await;

        let _ = run(&*vm, "echo c > /proc/sysrq-trigger").await;
        assert_eq!(next(&mut events).await, VmEvent::Panicked { bugcheck: None });
        vm.reset().await.unwrap();
        assert_eq!(next(&mut events).await, VmEvent::Reset);
        booted(&*vm, &mut events).await;
        // Dropped without a farewell: the lab removes it all the same.
        let dir = vm.files().dir;
        drop(vm);
        until("the dropped machine's folder goes", async || !dir.exists()).await;
    });
}

#[test]
fn an_agent_that_hangs_times_out_and_blocks_nothing_else() {
    with_lab(async |shared| {
        let (vm, mut events) = shared.create(&lab_image("lab-os-11-p1")).await;
        vm.start().await.unwrap();
        booted(&*vm, &mut events).await;
        // Stops the agent itself, a little later than it answers this.
        run(&*vm, "sleep 1; kill -STOP $(pidof qemu-ga)").await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let begun = Instant::now();
        assert_eq!(vm.agent(PING, Duration::from_secs(2)).await, Err(AgentError::Timeout));
        assert_eq!(vm.agent(PING, Duration::from_secs(2)).await, Err(AgentError::Timeout));
        assert!(begun.elapsed() < Duration::from_secs(5));
        let begun = Instant::now();
        vm.stats().await.unwrap();
        vm.screenshot().await.unwrap().unwrap();
        println!("stats and screenshot beside a hanging agent: {:?}", begun.elapsed());
        vm.destroy().await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10));
    });
}
