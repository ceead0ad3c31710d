//! Golden images from installation media, without the installing.

use std::{fs, os::unix::fs::PermissionsExt as _};

use bootgate::{
    lab::{LabRoot, Users},
    model::StateDir,
};

use crate::harness::{Answer, Bench};

/// A bench with two files that begin like media.
fn bench() -> Bench {
    let bench = Bench::new();
    let mut iso = vec![0; 20 * 2048];
    iso[16 * 2048 + 1..][..5].copy_from_slice(b"CD001");
    bench.file("win.iso", &iso);
    bench.file("virtio.iso", &iso);
    bench
}

fn build(bench: &Bench, words: &str) -> Answer {
    bench.run(&format!("images build --iso win.iso --virtio virtio.iso {words}"))
}

#[test]
fn a_dry_run_shows_all_of_it_and_writes_nothing() {
    let bench = bench();
    let out = build(&bench, "server-2025 --dry-run --language de-DE --keyboard 0407:00000407").expect(0).out;
    for expected in
        ["SERVERSTANDARD", "<UILanguage>de-DE", "0407:00000407", "powercfg", "secure-boot", "virsh", "qemu-img create"]
    {
        assert!(out.contains(expected), "{expected}");
    }
    let mut names: Vec<_> = fs::read_dir(bench.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["virtio.iso", "win.iso"]);
}

#[test]
fn answers_can_be_written_for_an_installation_by_hand() {
    let bench = bench();
    let out = build(&bench, "win11-25h2 --answers-only answers").expect(0).out;
    assert!(out.contains("images import") && out.contains("answers/domain.xml"), "{out}");
    let answers = fs::read(bench.path("answers/Autounattend.xml")).unwrap();
    let medium = fs::read(bench.path("answers/answers.iso")).unwrap();
    assert!(medium.windows(answers.len()).any(|window| window == answers));
    for name in ["Autounattend.xml", "answers.iso"] {
        let mode = fs::metadata(bench.path("answers").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name} has the password in it");
    }
    let err = build(&bench, "win11-25h2 --answers-only answers").expect(2).err;
    assert!(err.contains("is there already"), "{err}");
}

#[test]
fn a_build_that_makes_no_sense_is_refused_before_anything_is_written() {
    let bench = bench();
    bench.file("text", "no medium");
    bench.catalog();
    bench.file("there/win11-24h2.nvram.fd", "");
    let digest = "a".repeat(64);
    let image = format!("{{name: x, labels: {{os: x}}, disk: x, sha256: {digest}, memory: 1GiB, family: linux}}");
    bench.file("flow.yaml", format!("images:\n  - {image}\nversion: 1\n"));
    for (words, why) in [
        ("win12 --dry-run", "possible values: win10-22h2"),
        ("win11-24h2 --firmware bios", "Windows 11 requires"),
        ("win11-24h2 --edition standard", "give one of pro, enterprise"),
        ("win11-24h2 --product-key 12345", "five groups of five"),
        ("win11-24h2 --name img-a", "has an image `img-a` already"),
        ("win11-24h2 --label os=a", "has the same labels as"),
        ("win11-24h2 --label os=a --dry-run", "has the same labels as"),
        ("win11-24h2 --label os=", "1 to 200 printable characters"),
        ("win11-24h2 --out there", "win11-24h2.nvram.fd` is there already"),
        ("win11-24h2 --catalog flow.yaml", "cannot take this image"),
        ("win11-24h2 --disk-size 20GiB", "too small a disk"),
        ("win11-24h2 --disk-size 20", "is not a size"),
        ("win11-24h2 --memory 1GiB", "too little memory"),
        ("win11-24h2 --dry-run --answers-only x", "cannot be used with"),
    ] {
        let answer = build(&bench, words).expect(2);
        assert!(answer.err.contains(why), "{words}: {}", answer.err);
    }
    for (media, why) in [
        ("--iso absent.iso --virtio virtio.iso", "the installation medium `absent.iso` cannot be read"),
        ("--iso win.iso --virtio absent.iso", "the virtio-win medium `absent.iso` cannot be read"),
        ("--iso text --virtio virtio.iso", "is no ISO image"),
        ("--iso images --virtio virtio.iso", "is no file"),
        ("--iso win.iso", "--virtio <FILE>"),
    ] {
        let answer = bench.run(&format!("images build win11-24h2 {media}")).expect(2);
        assert!(answer.err.contains(why), "{media}: {}", answer.err);
    }
    assert!(!bench.path("images/golden").exists());
}

#[test]
fn the_machine_of_a_build_that_died_is_ended_and_that_of_one_that_lives_stays() {
    let bench = Bench::new();
    let root = LabRoot::take(&StateDir::new(bench.path("state")), &Users::Ourselves).unwrap();
    let domain = |name: &str, owner: &str| {
        format!(
            "<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><test:runstate>1</test:runstate>\
             <name>bootgate-build-{name}</name><metadata><b:machine xmlns:b='urn:bootgate:machine:1' root='{}' \
             owner='{owner}'/></metadata><memory>9000</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>",
            root.path().display()
        )
    };
    let (dead, alive) = (domain("dead", "1-1"), domain("alive", root.owner()));
    let node =
        bench.file("node.xml", format!("<node><cpu><mhz>1000</mhz></cpu><memory>8000000</memory>{dead}{alive}</node>"));
    // It is ended, and then to be removed with its variables, of which this driver knows nothing.
    let err = bench.run(&format!("clean --connect test://{}", node.display())).expect(1).err;
    assert!(
        err.starts_with("error: bootgate-build-dead: libvirt cannot remove the machine: unsupported flags"),
        "{err}"
    );
    assert!(!err.contains("alive"), "{err}");
}
