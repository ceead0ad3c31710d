//! Golden images of domains, with libvirt's test driver, which keeps domains that a file describes.

use std::{fs, process::Command};

use crate::harness::{Answer, Bench};

/// A bench whose libvirt knows the domain `d`, with the disk `d.qcow2` and an internal snapshot of that, `clean`.
fn bench(state: u8, clock: &str) -> Bench {
    let bench = Bench::new();
    let disk = bench.path("d.qcow2");
    for words in [vec!["create", "-q", "-f", "qcow2"], vec!["snapshot", "-c", "clean"]] {
        let size = (words[0] == "create").then_some("1M");
        let done = Command::new("qemu-img").args(words).arg(&disk).args(size).status().expect("qemu-img is needed");
        assert!(done.success());
    }
    let domain = |extra: &str| {
        format!(
            "<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>{extra}<name>d</name>\
             <uuid>7f1b52fb-0b9e-4b35-8f0a-3a1e6c1d5a10</uuid><memory unit='MiB'>2048</memory><vcpu>2</vcpu>\
             <os><type arch='x86_64'>hvm</type></os><clock offset='{clock}'/><devices><disk type='file' device='disk'>\
             <driver name='qemu' type='qcow2'/><source file='{}'/><target dev='vda' bus='virtio'/></disk></devices></domain>",
            disk.display()
        )
    };
    let snapshot = format!(
        "<test:runstate>{state}</test:runstate><test:domainsnapshot><name>clean</name><state>shutoff</state>\
         <creationTime>1</creationTime><memory snapshot='no'/><disks><disk name='vda' snapshot='internal'/></disks><active>1</active>{}\
         </test:domainsnapshot>",
        domain("")
    );
    bench.file(
        "node.xml",
        format!("<node><cpu><mhz>1000</mhz></cpu><memory>8000000</memory>{}</node>", domain(&snapshot)),
    );
    bench
}

const SHUTOFF: u8 = 5;
const RUNNING: u8 = 1;

fn import(bench: &Bench, words: &str) -> Answer {
    bench.run(&format!("images import --connect test://{} {words}", bench.path("node.xml").display()))
}

#[test]
fn a_domain_becomes_an_image_that_holds() {
    let bench = bench(SHUTOFF, "localtime");
    let words = "--domain d --name win10-p1 --family windows --label os=win10 --label patch=1 --compress";
    let answer = import(&bench, words).expect(0);
    assert!(answer.out.contains("labels: {os: win10, patch: \"1\"}"), "{}", answer.out);
    assert!(bench.path("images/golden/win10-p1.qcow2").exists());
    assert_eq!(bench.run("images verify").expect(0).out, "ok      win10-p1\n");
}

#[test]
fn a_snapshot_becomes_an_image_below_the_others() {
    let bench = bench(SHUTOFF, "utc");
    bench.catalog();
    let before = fs::read_to_string(bench.path("images/catalog.yaml")).unwrap();
    import(&bench, "--domain d --snapshot clean --family linux --out elsewhere").expect(0);
    let after = fs::read_to_string(bench.path("images/catalog.yaml")).unwrap();
    assert!(after.starts_with(&before) && after.contains("- name: clean\n"), "{after}");
    assert!(bench.path("elsewhere/clean.qcow2").exists());
    assert!(bench.run("images list").expect(0).out.lines().count() == 4);
}

#[test]
fn what_cannot_be_imported_is_refused_and_changes_nothing() {
    let bench = bench(SHUTOFF, "utc");
    bench.catalog();
    let before = fs::read_to_string(bench.path("images/catalog.yaml")).unwrap();
    for (words, why) in [
        ("--domain e --family linux", "there is d"),
        ("--domain d --snapshot dirty --family linux", "there is clean"),
        ("--domain d", "give --family linux or --family windows"),
        ("--domain d --family linux --name img-a", "has an image `img-a` already"),
        ("--domain d --family linux --label os=a", "has the same labels as"),
        ("--domain d --family linux --label os=a --label os=b", "given twice"),
        ("--domain d --family linux --label os", "joined by `=`"),
        ("--domain d --family linux --label os=\u{202e}a", "printable characters"),
        ("--domain d --family linux --name ../x", "no name for an image"),
        ("--domain d --family beos", "possible values: linux, windows"),
    ] {
        let answer = import(&bench, words).expect(2);
        assert!(answer.err.contains(why), "{words}: {}", answer.err);
    }
    for uri in ["qemu+ssh://host/system", "qemu://host/system", "nonsense"] {
        let answer = bench.run(&format!("images import --domain d --connect {uri}")).expect(2);
        assert!(answer.err.contains("is no libvirt of this host"), "{uri}: {}", answer.err);
    }
    assert_eq!(fs::read_to_string(bench.path("images/catalog.yaml")).unwrap(), before);
    assert!(!bench.path("images/golden").exists());
}

#[test]
fn a_domain_that_runs_is_not_imported() {
    let bench = bench(RUNNING, "utc");
    let err = import(&bench, "--domain d --family linux").expect(2).err;
    assert!(err.contains("the domain runs; shut it down"), "{err}");
    let err = import(&bench, "--domain d --snapshot clean --family linux").expect(2).err;
    assert!(err.contains("the snapshot is an internal one"), "{err}");
}
