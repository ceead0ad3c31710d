//! Golden images made by the real binary, with libvirt's driver in its process.

mod medium;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A folder, with a root for libvirt and media in it.
struct Bench {
    folder: tempfile::TempDir,
}

struct Answer {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("bg-").tempdir_in("/tmp").unwrap();
        let bench = Self { folder };
        // As the lab has it, but that QEMU runs as we do: only so it may read what is in this folder.
        let mut config = "stdio_handler = \"file\"\nnamespaces = []\nsecurity_driver = \"none\"\n".to_owned();
        if rustix::process::geteuid().is_root() {
            config += "user = \"+0\"\ngroup = \"+0\"\ndynamic_ownership = 0\nremember_owner = 0\n";
        }
        fs::create_dir_all(bench.path("r/etc")).unwrap();
        fs::write(bench.path("r/etc/qemu.conf"), config).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `bootgate images` with these words, and the libvirt of this bench.
    fn images(&self, words: &str) -> Answer {
        let output = Command::new(env!("CARGO_BIN_EXE_bootgate"))
            .arg("images")
            .args(words.split_whitespace())
            .arg(format!("--connect=qemu:///embed?root={}", self.path("r").display()))
            .current_dir(self.folder.path())
            .env("BOOTGATE_STATE", self.path("state"))
            .env("HOME", self.folder.path())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Answer { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Media of which the first one tells this when a key is pressed.
    fn media(&self, told: &str) {
        medium::write(&self.path("win.iso"), told);
        medium::write(&self.path("virtio.iso"), "");
    }

    /// What libvirt still knows of, below its root.
    fn defined(&self) -> Vec<String> {
        let files = fs::read_dir(self.path("r/etc/qemu")).into_iter().flatten().flatten();
        let names = files.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.ends_with(".xml")).collect()
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

const BUILD: &str =
    "build server-2016 --firmware bios --iso win.iso --virtio virtio.iso --catalog c.yaml --label os=s16";

#[test]
fn an_installation_that_tells_that_it_is_ready_becomes_a_golden_image() {
    let bench = Bench::new();
    bench.media("bootgate: first sign-in\r\nbootgate: ready\r\n");
    let answer = bench.images(&format!("{BUILD} --timeout 5m"));
    assert_eq!(answer.code, Some(0), "{}\n{}", answer.out, answer.err);
    assert_eq!(names(&bench.path("golden")), ["server-2016.qcow2"]);
    let catalog = fs::read_to_string(bench.path("c.yaml")).unwrap();
    assert!(catalog.contains("- name: server-2016") && catalog.contains("family: windows"), "{catalog}");
    assert_eq!(bench.defined(), Vec::<String>::new());
    let again = bench.images(BUILD);
    assert_eq!(again.code, Some(2));
    assert!(again.err.contains("has an image `server-2016` already"), "{}", again.err);
}

#[test]
fn an_installation_that_failed_leaves_no_image_and_no_machine_and_says_what_it_told() {
    let bench = Bench::new();
    for (told, why) in [
        ("bootgate: failed: msiexec agent: 1603\r\n", "the last commands failed: msiexec agent: 1603"),
        ("something of Windows' own\r\n", "turned itself off before the last commands"),
    ] {
        bench.media(told);
        let answer = bench.images(&format!("{BUILD} --timeout 5m"));
        assert_eq!(answer.code, Some(2), "{}\n{}", answer.out, answer.err);
        assert!(answer.err.contains(why), "{}", answer.err);
        assert_eq!(names(&bench.path("golden")), ["server-2016.build"]);
        assert!(!bench.path("c.yaml").exists());
        assert_eq!(bench.defined(), Vec::<String>::new());
        fs::remove_dir_all(bench.path("golden")).unwrap();
    }
}

#[test]
fn an_installation_that_never_ends_is_ended() {
    let bench = Bench::new();
    bench.media("");
    // Nothing on it starts under UEFI: the firmware waits.
    let words = "build server-2022 --iso win.iso --virtio virtio.iso --catalog c.yaml --timeout 5s";
    let answer = bench.images(words);
    assert_eq!(answer.code, Some(2), "{}\n{}", answer.out, answer.err);
    assert!(answer.err.contains("--timeout gives it more"), "{}", answer.err);
    assert_eq!(bench.defined(), Vec::<String>::new());
}

/// Runs `qemu-img` or `qemu-io`.
fn qemu(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Fills the first sectors of a disk.
fn fill(disk: &Path, pattern: u8) {
    qemu("qemu-io", &["-f", "qcow2", "-c", &format!("write -P {pattern} 0 4k"), disk.to_str().unwrap()]);
}

fn is_filled(disk: &Path, pattern: u8) -> bool {
    let read = format!("read -P {pattern} 0 4k");
    let output = Command::new("qemu-io").args(["-f", "qcow2", "-c", &read]).arg(disk).output().unwrap();
    output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("failed")
}

const UUID: &str = "2d0f8d4e-3a5e-4e4f-9d53-0f3c51b4f4c1";

fn domain(os: &str, disk: &Path, devices: &str) -> String {
    format!(
        "<domain type='qemu'><name>dom</name><uuid>{UUID}</uuid><memory unit='MiB'>2048</memory><vcpu>2</vcpu>{os}\
         <clock offset='localtime'/><devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/>\
         <source file='{}'/><target dev='vda' bus='virtio'/></disk>{devices}</devices></domain>",
        disk.display()
    )
}

impl Bench {
    /// Definitions that libvirt finds when it is connected to.
    fn define(&self, domain: &str, snapshots: &[(&str, String)]) {
        fs::create_dir_all(self.path("r/etc/qemu")).unwrap();
        fs::write(self.path("r/etc/qemu/dom.xml"), domain).unwrap();
        fs::create_dir_all(self.path("r/lib/qemu/snapshot/dom")).unwrap();
        for (name, xml) in snapshots {
            fs::write(self.path(&format!("r/lib/qemu/snapshot/dom/{name}.xml")), xml).unwrap();
        }
    }

    fn disk(&self, name: &str, below: Option<&Path>) -> PathBuf {
        let disk = self.path(name);
        let mut words = vec!["create", "-q", "-f", "qcow2"];
        if let Some(below) = below {
            words.extend(["-F", "qcow2", "-b", below.to_str().unwrap()]);
        }
        qemu("qemu-img", &[words, vec![disk.to_str().unwrap(), "1M"]].concat());
        disk
    }
}

#[test]
fn a_domain_and_both_kinds_of_its_snapshots_are_taken_as_they_were() {
    const BIOS: &str = "<os><type arch='x86_64' machine='pc'>hvm</type></os>";
    let bench = Bench::new();
    // Three states of one disk: in a snapshot within the first file, in that file, in the file above it.
    let first = bench.disk("first.qcow2", None);
    fill(&first, 1);
    qemu("qemu-img", &["snapshot", "-c", "inside", first.to_str().unwrap()]);
    fill(&first, 2);
    let above = bench.disk("above.qcow2", Some(&first));
    fill(&above, 3);
    let snapshot = |name: &str, disk: &str, is_current: u8| {
        let xml = format!(
            "<domainsnapshot><name>{name}</name><state>shutoff</state><creationTime>1760000000</creationTime>\
             <memory snapshot='no'/><disks>{disk}</disks>{}<active>{is_current}</active></domainsnapshot>",
            domain(BIOS, &first, "")
        );
        xml
    };
    let external = format!(
        "<disk name='vda' snapshot='external' type='file'><driver type='qcow2'/><source file='{}'/></disk>",
        above.display()
    );
    bench.define(
        &domain(BIOS, &above, ""),
        &[
            ("inside", snapshot("inside", "<disk name='vda' snapshot='internal'/>", 0)),
            ("outside", snapshot("outside", &external, 1)),
        ],
    );
    for (words, name, pattern) in
        [("--snapshot inside", "inside", 1), ("--snapshot outside", "outside", 2), ("", "dom", 3)]
    {
        let answer = bench.images(&format!("import --domain dom --family windows --catalog c.yaml {words}"));
        assert_eq!(answer.code, Some(0), "{}\n{}", answer.out, answer.err);
        assert!(is_filled(&bench.path(&format!("golden/{name}.qcow2")), pattern), "{name}");
    }
    assert!(is_filled(&first, 2) && is_filled(&above, 3), "the domain's own files are as they were");
}

#[test]
fn variables_and_tpm_state_come_along() {
    let bench = Bench::new();
    let disk = bench.disk("disk.qcow2", None);
    // Where libvirt 9.0 has them for a definition that leaves the firmware to it, and does not name them.
    fs::create_dir_all(bench.path("r/lib/qemu/nvram")).unwrap();
    fs::write(bench.path("r/lib/qemu/nvram/dom_VARS.fd"), "variables").unwrap();
    let state = bench.path(&format!("r/lib/swtpm/{UUID}/tpm2"));
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("tpm2-00.permall"), "state").unwrap();
    let os = "<os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type></os>";
    let tpm = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>";
    bench.define(&domain(os, &disk, tpm), &[]);
    let answer = bench.images("import --domain dom --family windows --catalog c.yaml --name win11");
    assert_eq!(answer.code, Some(0), "{}\n{}", answer.out, answer.err);
    assert_eq!(names(&bench.path("golden")), ["win11.nvram.fd", "win11.qcow2", "win11.tpm2"]);
    assert_eq!(fs::read(bench.path("golden/win11.tpm2")).unwrap(), b"state");
    let verify = Command::new(env!("CARGO_BIN_EXE_bootgate"))
        .args(["images", "verify", "--catalog", "c.yaml"])
        .current_dir(bench.folder.path())
        .env("BOOTGATE_STATE", bench.path("state"))
        .output()
        .unwrap();
    assert!(verify.status.success(), "{verify:?}");
}
