//! What the lab or the golden image does wrong is told by its name, and is never the update's.

use std::{fs, process::Command, thread::sleep, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use super::harness::{Bench, Ran, matrix};

fn run(bench: &Bench, body: &str) -> Ran {
    let path = bench.file("matrix.yaml", matrix(&["a"], body));
    bench.run(&[path.to_str().unwrap()]).expect(3)
}

/// The one permutation's leading reason.
#[track_caller]
fn found(ran: &Ran) -> String {
    let verdicts = ran.verdicts();
    assert_eq!(verdicts.len(), 1, "{}", ran.out);
    verdicts[0].1.clone()
}

#[test]
fn a_golden_image_that_is_broken_by_itself_takes_the_blame_off_the_update() {
    let bench = Bench::new();
    let body = "setup:\n  - sh: |\n      printf '#!/bin/sh\\necho c >/proc/sysrq-trigger\\n' >/etc/rc.d/60-fault\n      \
                chmod +x /etc/rc.d/60-fault; sync\nupdate:\n  - sh: \"true\"\nhealth: {watch: 1s}\n";
    let ran = run(&bench, body);
    assert_eq!(found(&ran), "control-unhealthy", "{}", ran.out);
    assert!(ran.out.contains("the golden image needs attention"), "{}", ran.out);
    bench.assert_nothing_left();
}

#[test]
fn a_setup_that_fails_is_no_fault_of_the_update() {
    let bench = Bench::new();
    let ran =
        run(&bench, "setup:\n  - sh: echo no licence >&2; exit 4\nupdate:\n  - sh: \"true\"\nhealth: {watch: 1s}\n");
    assert_eq!(found(&ran), "start-failed", "{}", ran.out);
    assert!(ran.out.contains("no licence"), "{}", ran.out);
    bench.assert_nothing_left();
}

#[test]
fn a_machine_whose_process_is_killed_in_the_update_is_lost_and_not_broken() {
    let bench = Bench::new();
    let body = "control: off\nupdate:\n  - sh: echo it begins >/dev/ttyS0; sleep 300\nhealth: {watch: 1s}\n";
    let path = bench.file("matrix.yaml", matrix(&["a"], body));
    let child = bench.start(&[path.to_str().unwrap()]);
    super::harness::wait_until("the update runs", || bench.some_console_says("it begins"));
    sleep(Duration::from_secs(1));
    for machine in bench.machines() {
        kill_process(Pid::from_raw(i32::try_from(machine).unwrap()).unwrap(), Signal::KILL).unwrap();
    }
    let ran = bench.finish(child).expect(3);
    assert_eq!(found(&ran), "host-lost", "{}", ran.out);
    bench.assert_nothing_left();
}

/// A small file system at a bench's state folder, for as long as it lives.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// None: this account may not mount.
    fn at(bench: &Bench) -> Option<Self> {
        let path = bench.path("s");
        fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=480m,mode=755", "bootgate-test"]).arg(&path);
        mount.output().unwrap().status.success().then(|| Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg(&self.0).status().unwrap().success(), "{} stays mounted", self.0.display());
    }
}

#[test]
fn a_host_whose_disk_fills_up_while_an_update_writes_is_out_of_space() {
    let bench = Bench::new();
    let Some(_disk) = SmallDisk::at(&bench) else {
        assert!(!rustix::process::geteuid().is_root(), "root may not mount here");
        return;
    };
    let body = "control: off\nstart: cold\nupdate:\n  - sh: echo it begins >/dev/ttyS0; sleep 5; dd if=/dev/urandom of=/var/new \
                bs=64k count=300; sync; sleep 60\nhealth: {watch: 1s}\n";
    let path = bench.file("matrix.yaml", matrix(&["a"], body));
    let child = bench.start(&[path.to_str().unwrap()]);
    super::harness::wait_until("the update runs", || bench.some_console_says("it begins"));
    let fill = fs::write(bench.path("s/fill"), vec![1; 480 << 20]);
    assert!(fill.is_err(), "the test is void: the disk is not full");
    let ran = bench.finish(child).expect(3);
    fs::remove_file(bench.path("s/fill")).unwrap();
    assert_eq!(found(&ran), "out-of-space", "{}", ran.out);
    bench.assert_nothing_left();
}
