//! What goes into a machine, and images that are not what the catalogue says.

use std::fs;

use super::harness::{Bench, catalog, matrix};

#[test]
fn big_and_small_files_arrive_whole_and_a_secret_stays_one() {
    let bench = Bench::new();
    // Over the size from which files go on a medium, and not a multiple of anything.
    let big: Vec<u8> = (0..3_333_333_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let digest = bootgate::model::Sha256::of(&big);
    bench.file("big.bin", &big);
    bench.file("small.txt", "small\n");
    let body = format!(
        "update:\n  - copy: {{from: big.bin, to: /opt/new/big.bin, mode: \"0600\"}}\n  \
         - copy: {{from: small.txt, to: /opt/new/sub/small.txt}}\n  \
         - sh: |\n      set -e\n      [ \"$(sha256sum </opt/new/big.bin)\" = \"{digest}  -\" ]\n      \
         [ \"$(stat -c %a /opt/new/big.bin)\" = 600 ]\n      [ \"$(cat /opt/new/sub/small.txt)\" = small ]\n      \
         echo key: ${{env:LIVE_TEST_KEY}}; echo ${{env:LIVE_TEST_KEY}} >/var/log/messages\n\
         health:\n  watch: 1s\n  checks:\n    - {{id: persists, sh: 'test -s /opt/new/big.bin && exit 7'}}\n\
         collect: [/var/log/messages]\n"
    );
    let path = bench.file("inputs.yaml", matrix(&["one"], &body));
    let mut command = bench.command(&["run", path.to_str().unwrap()]);
    let child = command.env("LIVE_TEST_KEY", "tr0ub4dor-and-3").spawn().unwrap();
    // The check fails on purpose: only then are files fetched from the guest.
    let ran = bench.finish(child).expect(1);
    assert_eq!(ran.verdicts(), [("one".to_owned(), "check-failed".to_owned())], "{}", ran.out);
    let journal = fs::read_to_string(ran.dir.join("events.jsonl")).unwrap();
    assert!(journal.contains("key: ***"), "the step's output is in the journal, masked");
    assert!(ran.dir.join("cells/lab-os-10.p1.one/guest/var_log_messages").exists());
    let mut folders = vec![ran.dir.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let content = fs::read(&path).unwrap();
                let leaked = content.windows(15).any(|window| window == b"tr0ub4dor-and-3");
                assert!(!leaked, "the secret is in {}", path.display());
            }
        }
    }
    bench.assert_nothing_left();
}

#[test]
fn a_golden_disk_that_is_absent_or_changed_makes_only_its_own_cells_inconclusive() {
    let bench = Bench::new();
    let text = fs::read_to_string(catalog()).unwrap();
    let built = catalog().replace("catalog.yaml", "built/");
    let mut text = text.replace("disk: built/", &format!("disk: {built}"));
    // p2 is gone, p3 is not what its digest says.
    text = text.replace("lab-os-10-p2.qcow2", "absent.qcow2");
    let p3 = text.find("lab-os-10-p3.qcow2").unwrap();
    let digest = p3 + text[p3..].find("sha256: ").unwrap() + "sha256: ".len();
    text.replace_range(digest..digest + 8, "00000000");
    let catalog = bench.file("catalog.yaml", text);
    let body = "version: 1\nname: test\naxes:\n  os: [lab-os-10]\n  patch: [p1, p2, p3]\n\
                update:\n  - sh: \"true\"\nhealth: {watch: 1s}\n";
    let matrix = bench.file("matrix.yaml", body);
    let ran = bench.run(&[matrix.to_str().unwrap(), "--catalog", catalog.to_str().unwrap()]).expect(3);
    let expected = [("p1", "healthy"), ("p2", "image-missing"), ("p3", "image-changed")];
    assert_eq!(ran.verdicts(), expected.map(|(cell, found)| (cell.to_owned(), found.to_owned())), "{}", ran.out);
    bench.assert_nothing_left();
}
