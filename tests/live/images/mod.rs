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
