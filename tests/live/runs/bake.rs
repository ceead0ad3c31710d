//! Layers above golden images.

use std::{fs, path::Path};

use super::harness::{Bench, Ran, catalog, golden};

/// A catalogue of the lab with these images behind its own, in the bench's folder.
pub fn with_layers(bench: &Bench, catalog: &str, layers: &str) {
    let text = fs::read_to_string(catalog).unwrap();
    let built = format!("disk: {}/images/built/", env!("CARGO_MANIFEST_DIR"));
    bench.file("catalog.yaml", text.replace("disk: built/", &built) + layers);
}

pub fn bake(bench: &Bench, words: &[&str]) -> Ran {
    let all = [&["images", "bake", "--catalog", "catalog.yaml"], words].concat();
    bench.finish(bench.command(&all).spawn().unwrap())
}

pub fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// `NAME-DIGEST.ENDING` as `NAME.ENDING`.
fn without_digest(file: &str) -> String {
    let (name, ending) = file.split_once('.').unwrap();
    format!("{}.{ending}", name.rsplit_once('-').map_or(name, |(name, _)| name))
}

#[test]
fn layers_are_baked_from_the_bottom_up_and_only_once() {
    let bench = Bench::new();
    let before = golden();
    bench.file("tools.txt", "tools");
    with_layers(
        &bench,
        &catalog(),
        r#"
  - name: second
    labels: {os: lab-os-12, patch: second}
    from: first
    apply:
      - sh: test "$(cat /etc/tools)" = tools && test -e /sys/firmware/efi && test -e /dev/tpm0 && echo more > /etc/more
  - name: first
    labels: {os: lab-os-12, patch: first}
    from: lab-os-12-p1-uefi
    apply:
      - copy: {from: tools.txt, to: /etc/tools}
"#,
    );
    let ran = bake(&bench, &["second"]).expect(0);
    let order: Vec<&str> = ran.out.lines().filter_map(|line| line.split([' ', ':']).nth(2)).collect();
    assert_eq!(order, ["first", "second"], "{}", ran.out);
    let endings = ["nvram.fd", "qcow2", "tpm2", "json"];
    let wanted = ["first", "second"].map(|name| endings.map(|ending| format!("{name}.{ending}"))).concat();
    assert_eq!(files(&bench.path("baked")).iter().map(|file| without_digest(file)).collect::<Vec<_>>(), wanted);
    let verify = ["images", "verify", "--catalog", "catalog.yaml", "--rehash", "first", "second"];
    assert_eq!(bench.finish(bench.command(&verify).spawn().unwrap()).expect(0).out, "ok      first\nok      second\n");

    // An update that has been baked in may be gone.
    fs::remove_file(bench.path("tools.txt")).unwrap();
    let runs = files(&bench.path("runs"));
    assert_eq!(bake(&bench, &[]).expect(0).out, "ok     first is there\nok     second is there\n");
    assert_eq!(files(&bench.path("runs")), runs, "nothing was run");
    // Another one is not the one that was baked in.
    bench.file("tools.txt", "");
    let ran = bake(&bench, &["second"]).expect(1);
    assert!(ran.err.contains("second is not baked: update-failed in phase apply"), "{}", ran.err);
    assert_eq!(golden(), before);
    bench.assert_nothing_left();
}

#[test]
fn a_layer_whose_machine_does_not_come_up_is_not_baked() {
    let bench = Bench::new();
    with_layers(
        &bench,
        &catalog(),
        r#"
  - name: broken
    labels: {os: lab-os-10, patch: broken}
    from: lab-os-10-p1
    apply:
      - sh: printf '#!/bin/sh\necho c > /proc/sysrq-trigger\n' > /etc/rc.d/00-panic && chmod +x /etc/rc.d/00-panic
"#,
    );
    let ran = bake(&bench, &[]).expect(1);
    assert!(ran.err.contains("broken is not baked: stop-error in phase boot"), "{}", ran.err);
    assert_eq!(files(&bench.path("baked")), Vec::<String>::new());
    bench.assert_nothing_left();
}
