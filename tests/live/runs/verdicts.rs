use std::path::Path;

use super::harness::{Bench, catalog, golden};

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
        let ran = bench.run(&[matrix.to_str().unwrap(), "--catalog", &catalog()]).expect(1);
        assert_eq!(ran.verdicts(), expected(pairs), "{}", ran.out);
    }
    assert_eq!(golden(), before, "a golden image was touched");
    bench.assert_nothing_left();
}
