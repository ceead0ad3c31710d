//! However a run ends, it says so and leaves nothing.

use std::{process::Child, thread::sleep, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use super::harness::{Bench, golden, matrix, wait_until};

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Three healthy cells.
fn three(bench: &Bench) -> String {
    let text = matrix(&["a", "b", "c"], "update:\n  - sh: echo ${cell}\nhealth: {watch: 1s}\n");
    bench.file("three.yaml", text).display().to_string()
}

#[test]
fn a_killed_run_is_cleaned_up_by_the_next_and_can_be_finished() {
    let bench = Bench::new();
    let before = golden();
    let mut killed = bench.start(&[&three(&bench), "--jobs", "2"]);
    bench.wait_for_machines(2);
    sleep(Duration::from_secs(2));
    send(&killed, Signal::KILL);
    killed.wait().unwrap();
    assert!(!bench.machines().is_empty(), "the test is void: the machines went with bootgate");

    let run = bench.newest_run();
    let report = bench.command(&["report", run.to_str().unwrap()]).output().unwrap();
    assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stderr));
    let died = bench.finished(run.clone()).verdicts().into_iter().filter(|(_, found)| found == "harness-died");
    assert_eq!(died.count(), 3, "{}", String::from_utf8_lossy(&report.stdout));
    let clean = bench.command(&["clean"]).output().unwrap();
    assert!(clean.status.success(), "{}", String::from_utf8_lossy(&clean.stderr));
    bench.assert_nothing_left();

    let resumed = bench.run(&["--resume", run.to_str().unwrap()]).expect(0);
    assert_eq!(resumed.dir, run, "a resumed run goes on in its own directory");
    assert_eq!(resumed.result()["counts"]["healthy"], 3);
    assert_eq!(golden(), before, "a golden image was touched");
    bench.assert_nothing_left();
}

#[test]
fn an_interrupt_reports_what_is_known_and_a_second_one_ends_at_once() {
    let bench = Bench::new();
    let matrix = three(&bench);
    for presses in [1, 2] {
        let child = bench.start(&[&matrix]);
        bench.wait_for_machines(1);
        for press in 0..presses {
            sleep(Duration::from_millis(300 * press));
            send(&child, Signal::INT);
        }
        let ran = bench.finish(child).expect(130);
        assert_eq!(ran.result()["counts"]["inconclusive"], 3, "{}", ran.out);
        assert!(ran.verdicts().iter().all(|(_, found)| found == "cancelled"), "{}", ran.out);
        assert!(ran.dir.join("junit.xml").exists());
        bench.assert_nothing_left();
    }
}

#[test]
fn a_harness_that_stands_still_while_a_guest_boots_blames_nobody() {
    let bench = Bench::new();
    // Longer without a sign of life than the shortest patience with a hang (20 s), and than a boot may take by the
    // control's; but not without the time in which nobody looks. Read-only, because a file system writes behind one's back.
    let update = "update:\n  - sh: |\n      printf '#!/bin/sh\\nmount -o remount,ro /; echo \"waits in vain\" >/dev/ttyS0\\n' \
                  >/etc/rc.d/40-slow\n      echo 'sleep 42; mount -o remount,rw /' >>/etc/rc.d/40-slow\n      \
                  chmod +x /etc/rc.d/40-slow; sync\n";
    let health = "health: {watch: 1s, compare: {boot: 20}}\n";
    let matrix = bench.file("still.yaml", matrix(&["a"], &format!("{update}{health}")));
    let child = bench.start(&[matrix.to_str().unwrap()]);
    wait_until("the guest waits in its boot", || bench.some_console_says("waits in vain"));
    sleep(Duration::from_secs(8));
    send(&child, Signal::STOP);
    sleep(Duration::from_secs(27));
    send(&child, Signal::CONT);
    let ran = bench.finish(child).expect(0);
    assert_eq!(ran.verdicts(), [("a".to_owned(), "healthy".to_owned())], "{}", ran.out);
    bench.assert_nothing_left();
}

#[test]
fn two_processes_share_one_state_folder_and_neither_disturbs_the_other() {
    let bench = Bench::new();
    let matrix = three(&bench);
    let mut both = [0, 1].map(|_| bench.start(&[&matrix, "--jobs", "2"]));
    let mut most = 0;
    wait_until("both have ended", || {
        most = most.max(bench.machines().len());
        both.iter_mut().all(|child| child.try_wait().unwrap().is_some())
    });
    assert!((1..=2).contains(&most), "{most} machines at once, though there are two places");
    for ran in both.map(|child| bench.finish(child).expect(0)) {
        assert!(ran.out.contains("APPROVED"), "{}", ran.out);
    }
    bench.assert_nothing_left();
}
