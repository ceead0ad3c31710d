//! Machines in a libvirtd instead of in this process.

use std::{
    env, fs,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use bootgate::{
    lab::{VmEvent, libvirt::clean_domains},
    model::{Firmware, GoldenImage, StateDir},
};

use super::harness::{create, empty_image, next, open_at, temp_dir, until};

/// In the process that runs the test: the folder it may use.
const HOME: &str = "BOOTGATE_LIVE_TEST_HOME";
/// `nobody`, on every distribution.
const NOBODY: u32 = 65534;

#[test]
fn machines_run_in_a_session_libvirtd_and_are_lost_with_it() {
    if let Some(home) = env::var_os(HOME) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(in_a_session(Path::new(&home)));
    }
    // In a process of its own, because root has no session libvirtd worth testing: as root it runs as nobody.
    let home = temp_dir();
    let program = home.path().join("live");
    fs::copy(env::current_exe().unwrap(), &program).unwrap();
    let mut test = Command::new(&program);
    test.args(["--exact", "lab::daemon::machines_run_in_a_session_libvirtd_and_are_lost_with_it"])
        .args(["--nocapture", "--test-threads=1"])
        .current_dir("/")
        .env(HOME, home.path())
        .env("HOME", home.path())
        .env("TMPDIR", home.path());
    if rustix::process::geteuid().is_root() {
        chown(home.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        test.uid(NOBODY).gid(NOBODY);
    }
    assert!(test.status().unwrap().success(), "failed in its own process: see above");
}

async fn in_a_session(home: &Path) {
    let (daemon, uri) = start_libvirtd(home).await;
    let state = StateDir::new(home.join("s"));
    let lab = open_at(state.clone(), Some(uri.clone())).await;
    let image = GoldenImage { firmware: Firmware::Uefi, tpm: true, ..empty_image(home) };
    let (vm, mut events) = create(&lab, &image).await;
    vm.start().await.unwrap();
    assert_eq!(next(&mut events).await, VmEvent::Started);
    assert!(vm.screenshot().await.unwrap().is_some());
    assert!(vm.definition().await.unwrap().contains("urn:bootgate:machine:1"));
    vm.reset().await.unwrap();
    assert_eq!(next(&mut events).await, VmEvent::Reset);
    assert!(!vm.stats().await.unwrap().paused);
    let connection = virt::connect::Connect::open(Some(uri.as_str())).unwrap();
    let [machine] = &connection.list_all_domains(0).unwrap()[..] else { panic!("one machine") };
    machine.suspend().unwrap();
    assert!(vm.stats().await.unwrap().paused, "somebody else paused it");
    machine.resume().unwrap();
    assert!(!vm.stats().await.unwrap().paused);
    assert!(clean_domains(&uri, &state).unwrap().is_empty(), "a living lab's machine is no leftover");

    let (doomed, mut doomed_events) = create(&lab, &image).await;
    doomed.start().await.unwrap();
    assert_eq!(next(&mut doomed_events).await, VmEvent::Started);
    vm.destroy().await.unwrap();
    drop(daemon);
    assert!(matches!(next(&mut doomed_events).await, VmEvent::Lost { .. }));
    assert!(doomed.stats().await.is_err());
    let dir = doomed.files().dir;
    doomed.destroy().await.expect("QEMU ends and its files go, without libvirt");
    assert!(!dir.exists());
    lab.close().await.unwrap();
}

/// Killed when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A session libvirtd with all its folders below `home`.
async fn start_libvirtd(home: &Path) -> (Daemon, String) {
    let dir = |name: &str| {
        let dir = home.join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    };
    let (config, runtime) = (dir("c"), dir("r"));
    fs::create_dir_all(config.join("libvirt")).unwrap();
    // The other handler is virtlogd, one more daemon.
    fs::write(config.join("libvirt/qemu.conf"), "stdio_handler = \"file\"\n").unwrap();
    let program = ["/usr/sbin/libvirtd", "/sbin/libvirtd"].map(PathBuf::from).into_iter().find(|path| path.exists());
    let daemon = Command::new(program.expect("libvirtd is installed (Debian: apt install libvirt-daemon)"))
        .env("XDG_CONFIG_HOME", &config)
        .env("XDG_RUNTIME_DIR", &runtime)
        .env("XDG_CACHE_HOME", dir("k"))
        .env("XDG_DATA_HOME", dir("d"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let daemon = Daemon(daemon.unwrap());
    let socket = runtime.join("libvirt/libvirt-sock");
    until("libvirtd's socket", async || socket.exists()).await;
    (daemon, format!("qemu:///session?socket={}", socket.display()))
}
