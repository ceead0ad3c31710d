use std::fs;

use sha2::{Digest as _, Sha256};

use crate::harness::Bench;

/// A qcow2 header without content.
fn qcow2(backing: &str) -> Vec<u8> {
    let mut head = vec![0; 512];
    head[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    head[103] = 104;
    if !backing.is_empty() {
        (head[15], head[19]) = (200, u8::try_from(backing.len()).unwrap());
        head[200..200 + backing.len()].copy_from_slice(backing.as_bytes());
    }
    head
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bench() -> Bench {
    let bench = Bench::new();
    let (top, base) = (qcow2("base.qcow2"), qcow2(""));
    bench.file("images/built/top.qcow2", &top);
    bench.file("images/built/base.qcow2", &base);
    let catalog = format!(
        "version: 1\nimages:\n  - name: one\n    labels: {{os: a}}\n    disk: built/top.qcow2\n    sha256: {}\n    \
         backing: [{{disk: built/base.qcow2, sha256: {}}}]\n    memory: 256MiB\n    family: linux\n",
        hex(&top),
        hex(&base)
    );
    bench.file("images/catalog.yaml", catalog);
    bench
}

#[test]
fn images_are_listed_with_their_state() {
    let bench = bench();
    let answer = bench.run("images list").expect(0);
    assert!(answer.out.lines().nth(1).unwrap().starts_with("one   os=a    images/built/top.qcow2"), "{}", answer.out);
    assert!(answer.out.contains("present"));
    fs::remove_file(bench.path("images/built/base.qcow2")).unwrap();
    assert!(bench.run("images list --format json").expect(0).out.contains("\"state\": \"missing\""));
}

#[test]
fn verify_answers_with_its_exit_code() {
    let bench = bench();
    assert_eq!(bench.run("images verify").expect(0).out, "ok      one\n");
    let mut changed = qcow2("");
    changed[511] = 1;
    bench.file("images/built/base.qcow2", changed);
    let answer = bench.run("images verify one").expect(1);
    assert!(answer.out.starts_with("image-changed  one: "), "{}", answer.out);
    fs::remove_file(bench.path("images/built/top.qcow2")).unwrap();
    assert!(bench.run("images verify --rehash").expect(1).out.starts_with("image-missing"));
    assert!(bench.run("images verify onne").expect(2).err.contains("did you mean `one`?"));
    bench.file("images/catalog.yaml", "version: 1\nimages: []\n");
    bench.run("images verify").expect(2);
}

#[test]
fn a_catalogue_with_mistakes_is_refused_with_all_of_them() {
    let bench = Bench::new();
    bench.file(
        "images/catalog.yaml",
        "version: 1\nimages:\n  - {name: A, labels: {}, disk: x, sha256: 12, memory: 5, family: linux}\n  - {name: b, \
         labels: {os: x}, disk: y, sha256: 12, memory: 1GiB, family: mac}\n",
    );
    assert!(bench.run("images list").expect(2).err.contains("unknown value `mac`"));
    bench.file(
        "images/catalog.yaml",
        "version: 1\nimages:\n  - {name: A, labels: {}, disk: x, sha256: 12, memory: 5, family: linux}\n",
    );
    let err = bench.run("images list").expect(2).err;
    for expected in ["no name for an image", "has no label", "no SHA-256 digest", "is not a size"] {
        assert!(err.contains(expected), "{expected}: {err}");
    }
}

#[test]
fn labels_that_cannot_be_shown_are_refused() {
    let bench = Bench::new();
    for (labels, what) in [
        (format!("{{os: {}}}", "x".repeat(10_000)), "no value of a label"),
        (r#"{os: "a\nb"}"#.to_owned(), "no value of a label"),
        (r#"{"os\u202e": a}"#.to_owned(), "no key of a label"),
        (r#"{os: "\u200b"}"#.to_owned(), "no value of a label"),
        (r#"{os: " "}"#.to_owned(), "no value of a label"),
    ] {
        let image =
            format!("{{name: a, labels: {labels}, disk: x, sha256: {}, memory: 1GiB, family: linux}}", "a".repeat(64));
        bench.file("images/catalog.yaml", format!("version: 1\nimages:\n  - {image}\n"));
        let err = bench.run("images list").expect(2).err;
        assert!(err.contains(what) && err.contains("printable characters") && err.len() < 1000, "{labels:.50}: {err}");
    }
}

#[test]
fn no_catalogue_is_an_error_that_says_how_to_get_one() {
    let err = Bench::new().run("images list").expect(2).err;
    assert!(err.contains("--catalog FILE") && err.contains("images/build"), "{err}");
}

#[test]
fn what_firmware_and_tpm_remember_needs_them_and_a_digest() {
    let bench = bench();
    let catalog = std::fs::read_to_string(bench.path("images/catalog.yaml")).unwrap();
    let digest = hex(b"state");
    let with = |keys: &str| bench.file("images/catalog.yaml", format!("{catalog}{keys}"));
    for (keys, expected) in [
        (format!("    nvram: n.fd\n    nvram_sha256: {digest}\n"), "`nvram` without `firmware: uefi`"),
        ("    firmware: uefi\n    nvram: n.fd\n".to_owned(), "`nvram` without `nvram_sha256`"),
        (format!("    firmware: uefi\n    nvram_sha256: {digest}\n"), "`nvram_sha256` without `nvram`"),
        (format!("    tpm_state: t\n    tpm_state_sha256: {digest}\n"), "`tpm_state` without `tpm: true`"),
        ("    tpm: true\n    tpm_state: t\n    tpm_state_sha256: x\n".to_owned(), "no SHA-256 digest"),
        ("    disk_bus: scsi\n".to_owned(), "unknown value `scsi`"),
    ] {
        with(&keys);
        let err = bench.run("images list").expect(2).err;
        assert!(err.contains(expected), "{keys}: {err}");
    }

    with(&format!(
        "    firmware: uefi-secure\n    nvram: n.fd\n    nvram_sha256: {digest}\n    network_model: e1000e\n"
    ));
    assert!(bench.run("images list").expect(0).out.contains("missing"));
    assert!(bench.run("images verify").expect(1).out.starts_with("image-missing"));
    bench.file("images/n.fd", "state");
    bench.run("images verify").expect(0);
    bench.file("images/n.fd", "other");
    assert!(bench.run("images verify").expect(1).out.starts_with("image-changed"));
}

#[test]
fn the_clock_is_the_familys_unless_the_catalogue_says() {
    let bench = bench();
    let catalog = std::fs::read_to_string(bench.path("images/catalog.yaml")).unwrap();
    let clock = |catalog: String| {
        bench.file("images/catalog.yaml", catalog);
        bench.run("images list --format json").expect(0).out.contains(r#""clock": "localtime""#)
    };
    let windows = catalog.replace("family: linux", "family: windows");
    assert!(!clock(catalog) && clock(windows.clone()) && !clock(windows + "    clock: utc\n"));
}

#[test]
fn an_image_to_check_that_is_not_there_is_refused_before_the_lab_is_touched() {
    let bench = Bench::new();
    bench.catalog();
    let answer = bench.run("images check img-c").expect(2);
    assert!(answer.err.contains("has no image `img-c`") && answer.err.contains("did you mean"), "{}", answer.err);
    bench.file("seen.jsonl", "");
    let answer = bench.run("images check img-a --record seen.jsonl").expect(2);
    assert!(answer.err.contains("a trace is never written over"), "{}", answer.err);
    assert!(!bench.path("state").join("lab").exists());
}
