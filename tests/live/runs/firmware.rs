use std::path::Path;

use super::harness::{Bench, catalog, golden};

#[test]
fn what_keeps_uefi_from_finding_or_trusting_a_loader_is_no_boot_device() {
    let bench = Bench::new();
    let before = golden();
    let matrix = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/runs/firmware.yaml");
    let ran = bench.run(&[matrix.to_str().unwrap(), "--catalog", &catalog()]).expect(1);
    let expected = [
        ("empties-the-esp", "no-boot-device"),
        ("does-nothing", "healthy"),
        ("breaks-the-loaders-signature", "no-boot-device"),
    ];
    assert_eq!(ran.verdicts(), expected.map(|(fault, found)| (fault.to_owned(), found.to_owned())), "{}", ran.out);
    assert_eq!(ran.starts(), ["live"; 3]);
    assert_eq!(golden(), before, "a golden image was touched");
    bench.assert_nothing_left();
}
