//! Packages for Windows, installed on real machines by real programs for Windows: Wine's.

use std::{fs, path::Path, process::Command};

use super::{
    bake::{bake, files, with_layers},
    harness::{Bench, golden},
};

/// Where what the tests are made of is.
const PARTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/live/wine");

const CATALOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/images/wine.catalog.yaml");

/// The service that is installed everywhere before the update, and what the updates do.
const MATRIX: &str = r#"
version: 1
name: wine
axes:
  os: [wine-8]
  patch: [p1]
  update:
    - brings-a-service
    - wants-a-restart
    - is-for-another-machine
    - exits-with-5
    - is-a-program
    - turns-a-service-off
    - panics-at-boot
    - asks-a-stub
setup:
  - msi: sensor.msi
update:
  - msi: agent.msi
    when: {update: brings-a-service}
  - msi: restarts.msi
    when: {update: wants-a-restart}
  - msi: fails.msi
    when: {update: is-for-another-machine}
  - exe: {file: service.exe, args: [exit, "5", 'C:\applied.txt']}
    when: {update: exits-with-5}
  - exe: {file: service.exe, args: [exit, "0", 'C:\Program Files\a b.txt']}
    when: {update: is-a-program}
  - files: {from: content, to: 'C:\ProgramData\Sensor'}
    when: {update: is-a-program}
  - reg: off.reg
    when: {update: turns-a-service-off}
  - msi: {file: panics.msi}
    when: {update: panics-at-boot}
  - run: ['C:\windows\system32\wevtutil.exe', el]
    when: {update: asks-a-stub}
health:
  checks:
    # What each update brings, or the sensor where it brings nothing.
    - {id: sensor-is-installed, cmd: 'if exist "C:\Program Files\sensor\service.exe" (exit 0) else (exit 1)'}
"#;

fn tool(program: &str, words: &[&str], folder: &Path) {
    let output = Command::new(program).args(words).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error} (ci/setup installs it)"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The installation starts its service, too.
const STARTS: (&str, &str) =
    ("@CONTROL@", "<ServiceControl Id='c' Name='@NAME@' Start='install' Stop='both' Remove='uninstall' Wait='yes'/>");
/// It ends with 1603.
const FAILS: (&str, &str) =
    ("@CONDITION@", "<Condition Message='This product is for another machine.'>NEVER</Condition>");
/// It ends with 3010.
const WANTS_RESTART: (&str, &str) =
    ("@SEQUENCE@", "<InstallExecuteSequence><ScheduleReboot After='InstallFinalize'/></InstallExecuteSequence>");

/// An MSI package with the service of this name; `n` makes its codes unique.
fn msi(bench: &Bench, name: &str, n: u8, arguments: &str, more: &[(&str, &str)]) {
    let guid = |kind: u8| format!("5E501700-{n:04X}-4000-8000-0000000000{kind:02X}");
    let mut text = fs::read_to_string(Path::new(PARTS).join("package.wxs")).unwrap();
    let rest = ["@CONTROL@", "@CONDITION@", "@SEQUENCE@"].map(|key| (key, ""));
    for (key, value) in more.iter().copied().chain(rest) {
        text = text.replace(key, value);
    }
    for (key, value) in [
        ("@NAME@", name),
        ("@CODE@", &guid(1)),
        ("@UPGRADE@", &guid(2)),
        ("@FILES@", &guid(3)),
        ("@ARGUMENTS@", arguments),
    ] {
        text = text.replace(key, value);
    }
    let source = bench.file(&format!("{name}.wxs"), text);
    tool("wixl", &["-a", "x64", "-o", &format!("{name}.msi"), source.to_str().unwrap()], &bench.path(""));
}

/// What the packages install.
fn program(bench: &Bench) {
    let service = Path::new(PARTS).join("service.c");
    let compile = ["-O2", "-s", "-o", "service.exe", service.to_str().unwrap()];
    tool("x86_64-w64-mingw32-gcc", &compile, &bench.path(""));
}

#[test]
fn packages_for_windows_are_judged_by_what_becomes_of_them_on_wine() {
    let bench = Bench::new();
    let before = golden();
    program(&bench);
    msi(&bench, "sensor", 1, "sensor", &[STARTS]);
    msi(&bench, "agent", 2, "agent", &[STARTS]);
    msi(&bench, "fails", 3, "fails", &[FAILS]);
    msi(&bench, "restarts", 4, "restarts", &[WANTS_RESTART]);
    // Not started yet: what is told to start at boot is enough.
    msi(&bench, "panics", 5, "panics panic", &[]);
    let key = r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\sensor";
    bench.file("off.reg", format!("REGEDIT4\r\n\r\n[{key}]\r\n\"Start\"=dword:00000004\r\n\r\n"));
    fs::create_dir(bench.path("content")).unwrap();
    bench.file("content/rules.dat", "21 fields");
    let matrix = bench.file("wine.yaml", MATRIX);
    let ran = bench.run(&[matrix.to_str().unwrap(), "--catalog", CATALOG]).expect(1);
    let found: Vec<(String, String)> = ran.verdicts();
    let found: Vec<(&str, &str)> = found.iter().map(|(update, found)| (update.as_str(), found.as_str())).collect();
    let expected = [
        ("brings-a-service", "healthy"),
        ("wants-a-restart", "healthy"),
        ("is-for-another-machine", "update-failed"),
        ("exits-with-5", "update-failed"),
        ("is-a-program", "healthy"),
        ("turns-a-service-off", "service-down"),
        ("panics-at-boot", "stop-error"),
        ("asks-a-stub", "update-failed"),
    ];
    assert_eq!(found, expected, "{}\n{}", ran.out, ran.err);
    assert!(ran.out.contains("1603 (ERROR_INSTALL_FAILURE)"), "{}", ran.out);
    assert!(ran.out.contains("stub"), "a program that does nothing says so: {}", ran.out);
    assert!(!ran.out.contains("Windows"), "Wine is not called Windows: {}", ran.out);
    assert_eq!(golden(), before);
    bench.assert_nothing_left();
}

#[test]
fn a_package_that_wants_a_restart_is_baked_into_a_layer_of_wine() {
    let bench = Bench::new();
    program(&bench);
    msi(&bench, "restarts", 4, "restarts", &[WANTS_RESTART]);
    let layer = "  - {name: wine-p2, labels: {os: wine-8, patch: p2}, from: wine-p1, apply: [{msi: restarts.msi}]}\n";
    with_layers(&bench, CATALOG, layer);
    let ran = bake(&bench, &[]).expect(0);
    assert!(ran.out.contains("baked  wine-p2: "), "{}", ran.out);
    let made = files(&bench.path("baked"));
    assert!(
        matches!(&made[..], [disk, record] if disk.starts_with("wine-p2-") && record == "wine-p2.json"),
        "{made:?}"
    );
    // The product is there after the restarts.
    let journal = fs::read_to_string(ran.dir.join("events.jsonl")).unwrap();
    assert!(journal.contains("\"id\":\"installed-1\"") && journal.contains("3010"), "{journal}");
    bench.assert_nothing_left();
}
