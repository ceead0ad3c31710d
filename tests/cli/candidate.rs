//! What the files under test are is told and judged before anything starts.

use serde_json::{Value, json};

use crate::{
    fixtures::{inf, msi, pe},
    harness::Bench,
};

const MATRIX: &str = "\
version: 1
name: test
axes: {os: [a, b]}
candidate: agent
update:
  - {copy: {from: '${candidate}', to: 'C:\\x\\agent'}, when: {os: b}}
  - {copy: {from: '${candidate}', to: /x/agent}, when: {os: a}}
health:
  checks: [{id: up, run: [status]}]
";

/// `os=a` is Linux, `os=b` Windows.
fn bench(candidate: impl AsRef<[u8]>) -> Bench {
    let bench = Bench::new();
    let image = |name: &str, family: &str| {
        format!(
            "  - {{name: img-{name}, labels: {{os: {name}}}, disk: x.qcow2, sha256: {}, memory: 1GiB, family: {family}}}\n",
            "a".repeat(64)
        )
    };
    let images = image("a", "linux") + &image("b", "windows");
    bench.file("images/catalog.yaml", format!("version: 1\nimages:\n{images}"));
    bench.file("m/test.yaml", MATRIX);
    bench.file("m/agent", candidate);
    bench
}

const X86_DRIVER: (u16, u16) = (0x14c, 1);

fn plan(bench: &Bench) -> Value {
    serde_json::from_str(&bench.run("plan m/test.yaml --format json").expect(0).out).unwrap()
}

#[test]
fn the_table_says_what_is_tested_by_its_content() {
    let answer = bench(msi("x64")).run("plan m/test.yaml").expect(0);
    let shown: Vec<&str> = answer.out.lines().skip(1).take(3).collect();
    assert!(shown[0].starts_with("candidate  DIR/m/agent, "), "{shown:?}");
    let told =
        r#"           MSI "Sensor" 7.2.0 x64, product {11111111-2222-3333-4444-AAAAAAAAAAAA}, no signature in it"#;
    assert_eq!(shown[1], told);
    assert!(shown[2].starts_with("           sha256 "), "{shown:?}");
}

#[test]
fn the_plan_for_programs_has_each_fact_by_itself() {
    let about = &plan(&bench(msi("Intel")))["candidate"]["about"];
    assert_eq!((&about["kind"], &about["machine"], &about["version"]), (&json!("msi"), &json!("x86"), &json!("7.2.0")));
    let about = &plan(&bench(pe(0x8664, 1)))["candidate"]["about"];
    assert_eq!(*about, json!({"kind": "pe", "role": "driver", "machine": "x64"}));
    let about = &plan(&bench(inf(", NTamd64")))["candidate"]["about"];
    assert_eq!(
        (&about["kind"], &about["driver_version"], &about["machines"]),
        (&json!("inf"), &json!("1.2.3.4"), &json!(["x64"]))
    );
    assert_eq!(plan(&bench("content 1"))["candidate"]["about"], json!({"kind": "text"}));
}

#[test]
fn other_files_of_the_update_are_told_too() {
    let bench = bench(pe(0x8664, 3));
    bench.file("m/drivers/a.sys", pe(0x8664, 1));
    bench.file("m/drivers/a.txt", "text");
    bench.file(
        "m/test.yaml",
        MATRIX.replace("health:", "  - {files: {from: drivers, to: 'C:\\x'}, when: {os: b}}\nhealth:"),
    );
    let plan = plan(&bench);
    let files = plan["files"].as_object().unwrap();
    assert_eq!((files.len(), &files["DIR/m/drivers/a.sys"]["role"]), (1, &json!("driver")));
    let table = bench.run("plan m/test.yaml").expect(0).out;
    assert!(table.contains("\nfile       a.sys: Windows driver for x64, no signature in it\n"), "{table}");
}

#[test]
fn a_driver_for_another_machine_is_refused_where_windows_is_tested() {
    let bench = bench(pe(0x14c, 1));
    let answer = bench.run("plan m/test.yaml").expect(2);
    insta::assert_snapshot!(answer.err, @"
    error: `DIR/m/agent` is of no use on x64 Windows: it is a driver for x86, and Windows loads only drivers of its own architecture
     --> m/test.yaml:6:19
      |
    6 |   - {copy: {from: '${candidate}', to: 'C:\\x\\agent'}, when: {os: b}}
      |                   ^^^^^^^^^^^^^^
    hint: give the build for x64, or leave the step out for these images with `when`
    ");
    // The run refuses it as early, and on Linux it is a file like any other.
    assert_eq!(bench.run("run m/test.yaml").expect(2).err, answer.err);
    bench.run("plan m/test.yaml --only os=a").expect(0);
}

#[test]
fn what_64_bit_windows_takes_is_not_refused() {
    for (name, content) in [
        ("32-bit program", pe(0x14c, 3)),
        ("32-bit package", msi("Intel")),
        ("arm64 program", pe(0xaa64, 3)),
        ("x64 driver", pe(0x8664, 1)),
        ("INF for x64 and more", inf(", NTx86, NTamd64.10.0, NTamd64").into()),
        ("INF that says nothing", "[Version]\nSignature=\"$Windows NT$\"\n[DefaultInstall]\na=b\n".into()),
    ] {
        let answer = bench(content).run("plan m/test.yaml");
        assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""), "{name}");
    }
}

#[test]
fn infs_and_packages_for_other_machines_are_refused() {
    for (content, why) in [
        (inf("").into_bytes(), "it is an INF for x86: it has no models for NTamd64"),
        (inf(", NTarm64").into_bytes(), "it is an INF for arm64: it has no models for NTamd64"),
        (msi("Arm64"), "it is an MSI package for arm64"),
        (msi("Intel64"), "it is an MSI package for ia64"),
        (pe(0xaa64, 1), "it is a driver for arm64, and Windows loads only drivers of its own architecture"),
    ] {
        let answer = bench(content).run("plan m/test.yaml").expect(2);
        assert!(answer.err.contains(&format!("`DIR/m/agent` is of no use on x64 Windows: {why}\n")), "{}", answer.err);
    }
}

#[test]
fn a_folder_with_builds_for_several_machines_is_taken_and_one_with_wrong_ones_only_is_not() {
    let (machine, subsystem) = X86_DRIVER;
    let bench = bench("content");
    bench.file(
        "m/test.yaml",
        MATRIX.replace("health:", "  - {files: {from: drivers, to: 'C:\\x'}, when: {os: b}}\nhealth:"),
    );
    bench.file("m/drivers/x86/a.sys", pe(machine, subsystem));
    bench.file("m/drivers/x86/lib.dll", pe(0x8664, 2));
    let answer = bench.run("plan m/test.yaml").expect(2);
    assert!(
        answer.err.contains("drivers/x86/a.sys` is of no use on x64 Windows: it is a driver for x86"),
        "{}",
        answer.err
    );
    // Another driver fits, but it is not the same one.
    bench.file("m/drivers/x64/b.sys", pe(0x8664, 1));
    let answer = bench.run("plan m/test.yaml").expect(0);
    assert!(answer.err.starts_with("warning: `DIR/m/drivers/x86/a.sys` is of no use"), "{}", answer.err);
    bench.file("m/drivers/x64/a.sys", pe(0x8664, 1));
    assert_eq!(bench.run("plan m/test.yaml").expect(0).err, "");
}
