//! What is left after SIGKILL, and golden images where QEMU's account cannot go.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use bootgate::{
    lab::{Account, Lab as _, VmEvent, clean},
    model::{Firmware, GoldenImage, StateDir},
};

use super::harness::{empty_image, next, temp_dir, until, with_lab};

/// Tells the test in the parent process where its lab is.
const MARK: &str = "lab root: ";
const VICTIM: &str = "BOOTGATE_LIVE_TEST_VICTIM";

#[test]
fn after_sigkill_one_cleaning_leaves_nothing_and_spares_a_living_lab() {
    with_lab(async |living| {
        let images = temp_dir();
        let (neighbour, mut events) = living.create(&empty_image(images.path())).await;
        neighbour.start().await.unwrap();
        assert_eq!(next(&mut events).await, VmEvent::Started);

        let mut victim = Command::new(env::current_exe().unwrap())
            .args(["--exact", "lab::leftovers::a_victim_for_sigkill", "--nocapture", "--test-threads=1"])
            .env(VICTIM, living.state().path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
        let root = said.into_iter().find_map(|line| Some(PathBuf::from(line.split_once(MARK)?.1))).unwrap();
        victim.kill().unwrap();
        victim.wait().unwrap();
        assert_eq!((machines_in(&root), tpms_in(&root)), (1, 1), "QEMU and its TPM outlive their libvirt");

        let report = clean(living.state()).unwrap();
        assert_eq!((report.killed.len(), report.folders.len()), (1, 1), "{report:?}");
        assert!(report.failed.is_empty(), "{report:?}");
        assert_eq!((machines_in(&root), tpms_in(&root)), (0, 0));
        let left: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["cache"]);
        assert!(clean(living.state()).unwrap().is_empty());
        neighbour.stats().await.expect("the living lab's machine still runs");
        neighbour.destroy().await.unwrap();
    });
}

/// No test by itself: the process that the test above kills.
#[test]
fn a_victim_for_sigkill() {
    let Some(state) = env::var_os(VICTIM) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let images = temp_dir();
        let lab = super::harness::open(StateDir::new(state)).await;
        let image = GoldenImage { firmware: Firmware::Uefi, tpm: true, ..empty_image(images.path()) };
        let (vm, _events) = super::harness::create(&lab, &image).await;
        vm.start().await.unwrap();
        // QEMU holds the image open: its folder can go.
        drop(images);
        println!("\n{MARK}{}", lab.info().clones.parent().unwrap().display());
        tokio::time::sleep(Duration::from_secs(600)).await;
    });
}

fn machines_in(root: &Path) -> usize {
    processes_with(&format!("{}/vms/", root.display()))
}

fn tpms_in(root: &Path) -> usize {
    processes_with(&format!("dir={}/lib/swtpm/", root.display()))
}

pub fn processes_with(words: &str) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let command = |path: PathBuf| fs::read(path.join("cmdline")).unwrap_or_default();
    processes.filter(|entry| String::from_utf8_lossy(&command(entry.path())).contains(words)).count()
}

#[test]
fn a_golden_image_in_a_closed_folder_is_cloned_without_being_touched() {
    let Some(account) = Account::for_qemu().unwrap() else { return };
    with_lab(async move |shared| {
        let images = temp_dir();
        let closed = images.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let image = empty_image(&closed);
        assert_eq!(account.blocked_at(&image.disk), Some(closed));
        let before = fs::metadata(&image.disk).unwrap();
        let (vm, mut events) = shared.create(&image).await;
        vm.start().await.unwrap();
        assert_eq!(next(&mut events).await, VmEvent::Started);
        // Needs the disk: it has nothing on it.
        let log = vm.files().firmware_log.unwrap();
        let says = async || fs::read_to_string(&log).unwrap_or_default().contains("not a bootable disk");
        until("the firmware looks at the disk", says).await;
        vm.destroy().await.unwrap();
        let after = fs::metadata(&image.disk).unwrap();
        assert_eq!(
            (before.ctime_nsec(), before.nlink(), before.uid()),
            (after.ctime_nsec(), after.nlink(), after.uid())
        );
    });
}
