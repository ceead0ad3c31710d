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

/// The bench's catalogue with these images behind its own.
fn layered(bench: &Bench, layers: &str) {
    let text = fs::read_to_string(bench.path("images/catalog.yaml")).unwrap();
    bench.file("images/catalog.yaml", text + layers);
}

const LAYERS: &str = "  - {name: three, labels: {os: c}, from: two, apply: [{sh: two}]}
  - {name: two, labels: {os: b}, from: one, apply: [{msu: kb.msu}, {sh: one}]}
";

#[test]
fn layers_that_nobody_baked_are_listed_and_refused_and_named_by_the_plan() {
    let bench = bench();
    layered(&bench, LAYERS);
    let list = bench.run("images list").expect(0).out;
    assert_eq!(list.matches("not baked").count(), 2, "{list}");
    assert_eq!(list.lines().nth(2).unwrap().split_whitespace().next(), Some("three"), "the file's order: {list}");
    let verified = bench.run("images verify").expect(1).out;
    assert!(verified.contains("image-missing  two: `two` has to be baked: it is not baked yet"), "{verified}");
    assert!(
        verified.contains("three: `three` has to be baked: `two`, which it is a layer above, is not"),
        "{verified}"
    );
    bench.file("m.yaml", "version: 1\nname: m\naxes: {os: [b]}\nupdate: [{sh: x}]\n");
    let planned = bench.run("plan m.yaml").expect(0);
    assert!(planned.out.contains("not baked"), "{}", planned.out);
    assert!(planned.err.contains("`bootgate images bake two` makes its disk"), "{}", planned.err);
}

#[test]
fn a_layer_that_was_baked_is_there_until_something_below_it_changes() {
    let bench = bench();
    layered(&bench, "  - {name: two, labels: {os: b}, from: one, apply: [{sh: one}]}\n");
    let read = || bootgate::catalog::Catalog::read(&bench.path("images/catalog.yaml")).unwrap();
    let catalog = read();
    let recipe = catalog.recipe("two").unwrap().asks(catalog.image("one").unwrap());
    let disk = qcow2("../built/top.qcow2");
    let digest = bootgate::model::Sha256(hex(&disk));
    bench.file(&format!("images/baked/two-{}.qcow2", digest.short()), &disk);
    let baked = bootgate::catalog::Baked::new(recipe, digest, "t".into(), "run".into());
    baked.write(&bench.path("images/baked/two.json")).unwrap();
    assert!(bench.run("images verify two").expect(0).out.starts_with("ok"));
    // No lab is opened for it.
    assert_eq!(bench.run("images bake").expect(0).out, "ok     two is there\n");

    let text = fs::read_to_string(bench.path("images/catalog.yaml")).unwrap();
    let states =
        [text.replace("sh: one", "sh: other"), text.replace("256MiB", "512MiB"), text.replace("- sh:", "-  sh:")];
    let told = states.map(|text| {
        bench.file("images/catalog.yaml", text);
        read().image("two").unwrap().unbaked.clone()
    });
    assert_eq!(told, [Some("`one` or `apply` was changed since it was baked".to_owned()), None, None]);
    for damaged in ["", "{}", "[1]", "{\"version\": 9}", "\u{0}"] {
        bench.file("images/baked/two.json", damaged);
        assert_eq!(read().image("two").unwrap().unbaked.as_deref(), Some("it is not baked yet"));
    }
}

#[test]
fn what_a_layer_brings_in_is_named_relative_to_the_catalogue() {
    let bench = bench();
    let step = "{copy: {from: nothing, to: /x}}, {sh: {file: none.sh}}";
    layered(&bench, &format!("  - {{name: two, labels: {{os: b}}, from: one, apply: [{step}]}}\n"));
    let err = bench.run("images bake").expect(2).err;
    assert!(err.contains("relative to this file") && !err.contains("matrix"), "{err}");
}

#[test]
fn layers_that_make_no_sense_are_refused_where_they_stand() {
    for (layer, told) in [
        ("{name: two, labels: {os: b}, from: oen, apply: [{sh: x}]}", "did you mean `one`?"),
        ("{name: two, labels: {os: b}, from: two, apply: [{sh: x}]}", "stand on each other"),
        ("{name: two, labels: {os: b}, from: one}", "needs both `from` and `apply`"),
        ("{name: two, labels: {os: b}, apply: [{sh: x}]}", "needs both `from` and `apply`"),
        ("{name: two, labels: {os: b}, from: one, apply: []}", "`apply` has no step"),
        (
            "{name: two, labels: {os: b}, from: one, apply: [{sh: x}], memory: 1GiB}",
            "a layer has `memory` from the image",
        ),
        ("{name: two, labels: {os: b}, from: one, apply: [{sh: x, when: {os: b}}]}", "there is no axis `os`"),
        ("{name: two, labels: {os: b}, disk: x}", "the image `two` has no `sha256`, `memory`, `family`"),
    ] {
        let bench = bench();
        layered(&bench, &format!("  - {layer}\n"));
        let err = bench.run("images list").expect(2).err;
        assert!(err.contains(told) && err.contains("catalog.yaml:"), "{layer}: {err}");
    }
}

#[test]
fn only_layers_are_baked_and_their_steps_must_suit_the_image_below() {
    let bench = bench();
    assert!(bench.run("images bake").expect(0).err.contains("the catalogue has no layer"));
    layered(&bench, LAYERS);
    assert!(bench.run("images bake one").expect(2).err.contains("there is nothing to bake"));
    assert!(bench.run("images bake twoo").expect(2).err.contains("did you mean `two`?"));
    let err = bench.run("images bake").expect(2).err;
    assert!(
        err.contains("`msu` cannot be done in a guest of the family linux") && err.contains("catalog.yaml:"),
        "{err}"
    );
    assert!(!bench.path("images/baked").exists(), "nothing was put into it");
    fs::create_dir(bench.path("images/baked")).unwrap();
    bench.run("images bake").expect(2);
    assert!(bench.path("images/baked").exists(), "it was there before");
    fs::remove_dir(bench.path("images/baked")).unwrap();
    bench.file("images/baked", "");
    let err = bench.run("images bake").expect(2).err;
    assert!(err.contains("images/baked is no folder, and layers are kept in one of that name: move it away"), "{err}");
    // The layer outlives the run.
    let secret = self::bench();
    layered(&secret, "  - {name: two, labels: {os: b}, from: one, apply: [{sh: 'echo ${env:HOME}'}]}\n");
    let err = secret.run("images bake").expect(2).err;
    assert!(err.contains("a secret is in what makes the layer `two`") && err.contains("catalog.yaml:"), "{err}");
}
