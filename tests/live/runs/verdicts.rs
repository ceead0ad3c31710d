use std::{fs, path::Path};

use super::harness::{Bench, catalog, golden, matrix};

/// What each real fault of a matrix must be found to be.
fn expected(pairs: &str) -> Vec<(String, String)> {
    let pairs = pairs.lines().filter(|line| !line.starts_with('#'));
    pairs.map(|line| line.split_once(' ').unwrap()).map(|(fault, found)| (fault.into(), found.into())).collect()
}

#[test]
fn every_real_fault_gets_its_name_and_what_only_looks_like_one_stays_healthy() {
    let bench = Bench::new();
    let before = golden();
    for (name, pairs) in [("faults", include_str!("faults.txt")), ("soaked", include_str!("soaked.txt"))] {
        let matrix = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/live/runs/{name}.yaml"));
        // A host that stalls leaves a cell without an answer, which is no wrong one; ci/truth counts those, too.
        let tried_again = format!("{}\npolicy: {{retry_inconclusive: 1}}\n", fs::read_to_string(matrix).unwrap());
        let matrix = bench.file(&format!("{name}.yaml"), tried_again);
        let ran = bench.run(&[matrix.to_str().unwrap(), "--catalog", &catalog()]).expect(1);
        let (expected, found) = (expected(pairs), ran.verdicts());
        assert_eq!(found.len(), expected.len(), "{}", ran.out);
        let wrong: Vec<_> = expected.iter().zip(&found).filter(|(expected, found)| expected != found).collect();
        assert!(wrong.is_empty(), "expected and found: {wrong:#?}\n{}\n{}", ran.err, ran.out);
    }
    assert_eq!(golden(), before, "a golden image was touched");
    bench.assert_nothing_left();
}

#[test]
fn a_cell_that_is_run_again_and_again_shows_how_stable_it_is() {
    let bench = Bench::new();
    let body = "update:\n  - sh: \"true\"\n  - {sh: exit 5, when: {cell: breaks}}\nhealth: {watch: 1s}\n";
    let path = bench.file("repeat.yaml", matrix(&["holds", "breaks"], body));
    let ran = bench.run(&[path.to_str().unwrap(), "--repeat", "2"]).expect(1);
    let row = |cell: &str| {
        let row = ran.out.lines().rev().find(|line| line.contains(cell)).unwrap_or_else(|| panic!("{}", ran.out));
        row.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert!(ran.out.contains("2 runs"), "{}", ran.out);
    assert_eq!(row("lab-os-10.p1.holds"), "2 0 0 0.0 to 65.8 %");
    assert_eq!(row("lab-os-10.p1.breaks"), "0 2 0 34.2 to 100.0 % update-failed 2");
    assert_eq!(fs::read_dir(bench.path("runs")).unwrap().count(), 2);
    bench.assert_nothing_left();
}
