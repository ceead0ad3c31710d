//! Steps for guests that run programs for Windows.

use serde_json::Value;

use crate::{
    fixtures::{inf, msi, pe},
    harness::{Answer, Bench},
};

fn bench(family: &str) -> Bench {
    let bench = Bench::new();
    let image = format!(
        "version: 1\nimages:\n  - name: img\n    labels: {{os: w}}\n    disk: w.qcow2\n    sha256: {}\n    memory: 2GiB\n    \
         family: {family}\n",
        "a".repeat(64)
    );
    bench.file("images/catalog.yaml", image);
    bench.file("agent.msi", msi("x64"));
    bench.file("driver/sensor.inf", inf(",NTamd64"));
    bench.file("driver/sensor.sys", pe(0x8664, 1));
    bench.file("kb.msu", b"MSWIM\0\0\0\xd0\0\0\0");
    bench
}

fn plan(bench: &Bench, update: &str) -> Answer {
    let health = "health: {checks: [{id: up, cmd: sc query sensor}]}\n";
    bench.file("m.yaml", format!("version: 1\nname: t\naxes: {{os: [w]}}\nupdate:\n{update}{health}"));
    bench.run("plan m.yaml --format json")
}

fn steps(answer: &Answer) -> Vec<Value> {
    let plan: Value = serde_json::from_str(&answer.out).unwrap();
    let cells = plan["cells"].as_array().unwrap();
    cells.iter().find(|cell| cell["id"] == "w").unwrap()["update"].as_array().unwrap().clone()
}

#[test]
fn a_package_is_planned_with_its_place_in_the_guest_its_codes_and_its_deadline() {
    let update = "  - msi: agent.msi\n  - msi: {file: agent.msi, args: [KEY=a b]}\n  - inf: {file: driver/sensor.inf, beside: driver}\n  \
                  - {msu: kb.msu, success: [0, 0x00240006, 2149842967]}\n  - ps1: exit 0\n  \
                  - {copy: {from: kb.msu, to: 'C:\\ProgramData\\x'}}\n";
    let answer = plan(&bench("windows"), update).expect(0);
    let steps = steps(&answer);
    assert_eq!(steps[0]["success"], serde_json::json!([0, 3010, 1641]));
    assert_eq!((&steps[0]["name"], &steps[0]["timeout"]), (&"install agent.msi".into(), &1_800_000.into()));
    assert_eq!(steps[1]["kind"]["package"]["args"], serde_json::json!(["KEY=a b"]));
    let files: Vec<&str> = steps[2]["kind"]["package"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["to"].as_str().unwrap().rsplit('\\').next().unwrap())
        .collect();
    assert_eq!(files, ["sensor.inf", "sensor.sys"]);
    assert_eq!(steps[3]["success"], serde_json::json!([-2_145_124_329, 0, 2_359_302]));
}

#[test]
fn what_a_guest_of_another_family_cannot_do_is_refused() {
    for (family, update, why) in [
        ("windows", "  - sh: 'true'\n", "there is no /bin/sh in such a guest"),
        ("windows", "  - copy: {from: kb.msu, to: /x}\n", "the guest's paths begin with a drive"),
        ("windows", "  - copy: {from: kb.msu, to: 'C:\\a\\..\\b'}\n", "`..`"),
        ("windows", "  - copy: {from: kb.msu, to: 'C:\\a|b'}\n", "or a control character"),
        ("windows", "  - msu: {file: kb.msu, args: [/x]}\n", "takes no further arguments"),
        ("windows", "  - msi: kb.msu\n", "not an MSI package"),
        ("windows", "  - msi: absent.msi\n", "there is no such file"),
        ("windows", "  - {msi: agent.msi, success: [99999999999]}\n", "is no exit code"),
        ("windows", "  - msi: con.msi\n", "cannot have a file named `con.msi`: a part of it is the name of a device"),
        (
            "wine",
            "  - files: {from: devices, to: 'C:\\x'}\n",
            "devices/lpt9` into the guest: in the guest, a part of it is the name of a device",
        ),
        ("windows", "  - files: {from: dots, to: 'C:\\x'}\n", "ends with a dot or a blank"),
        ("windows", "  - files: {from: long, to: 'C:\\x'}\n", "longer than 246 characters"),
        ("windows", "  - files: {from: twins, to: 'C:\\x'}\n", "does not tell cases apart"),
        ("windows", "  - msi: {file: agent.msi, beside: twin}\n", "does not tell cases apart"),
        ("windows", "  - run: [a.exe, \"one\\ntwo\"]\n", "has a line end"),
        ("windows", "  - msi: {file: agent.msi, args: ['A=${env:TWO_LINES}']}\n", "has a line end"),
        ("windows", "  - {exe: tool.exe, restarts: 4294967295}\n", "are more than the 20 that a step may do"),
        ("wine", "  - msu: kb.msu\n", "a program of that name that does nothing"),
        ("wine", "  - ps1: exit 0\n", "a program of that name that does nothing"),
        ("linux", "  - msi: agent.msi\n", "only Windows has what runs it"),
        ("linux", "  - copy: {from: kb.msu, to: 'C:\\x'}\n", "the guest's paths begin with `/`"),
    ] {
        let bench = bench(family).env("TWO_LINES", "one\ntwo");
        let long = format!("long/{}/{}", "d".repeat(120), "f".repeat(123));
        bench.file("con.msi", msi("x64"));
        for file in ["devices/lpt9/a.txt", "dots/a.", &long] {
            bench.file(file, file);
        }
        for file in ["twins/a.txt", "twins/A.txt", "twin/AGENT.msi"] {
            bench.file(file, file);
        }
        bench.file("tool.exe", pe(0x8664, 3));
        let answer = plan(&bench, update).expect(2);
        assert!(answer.err.contains(why), "{family} {update}{}", answer.err);
    }
}

#[test]
fn a_cell_that_gets_the_candidate_in_no_step_is_refused() {
    let bench = bench("windows");
    let update = "update:\n  - {msi: '${candidate}', when: {n: 1}}\n  - {cmd: ver, when: {n: 2}}\n";
    bench
        .file("m.yaml", format!("version: 1\nname: t\naxes: {{os: [w], n: [1, 2]}}\n{update}health: {{checks: []}}\n"));
    let answer = bench.run("plan m.yaml --candidate agent.msi").expect(2);
    assert!(answer.err.contains("no step of `update` in the cell w.2 uses the candidate"), "{}", answer.err);
    let long = format!("  - run: [a.exe, {}]\n", "x".repeat(4000));
    assert!(plan(&bench, &long).expect(2).err.contains("its command line has"));
}

#[test]
fn an_msi_implies_the_question_whether_its_product_is_installed() {
    let answer =
        plan(&bench("windows"), "  - msi: agent.msi\n  - msi: {file: agent.msi, args: [REMOVE=ALL]}\n").expect(0);
    let plan: Value = serde_json::from_str(&answer.out).unwrap();
    let cell = plan["cells"].as_array().unwrap().iter().find(|cell| cell["id"] == "w").unwrap();
    let checks = cell["health"]["checks"].as_array().unwrap();
    assert_eq!(checks.iter().map(|check| check["id"].as_str().unwrap()).collect::<Vec<_>>(), ["up", "installed-1"]);
    assert_eq!(checks[1]["implied"], true);
    assert!(checks[1]["kind"]["script"].as_str().unwrap().contains("{11111111-2222-3333-4444-AAAAAAAAAAAA}"));
}

#[test]
fn an_msu_implies_the_question_what_it_installed_unless_it_may_change_nothing() {
    let update = "  - msi: agent.msi\n  - msu: kb.msu\n  - {msu: kb.msu, success: [0, 3010, 0x00240006]}\n";
    let plan: Value = serde_json::from_str(&plan(&bench("windows"), update).expect(0).out).unwrap();
    for cell in plan["cells"].as_array().unwrap() {
        let checks = cell["health"]["checks"].as_array().unwrap();
        let ids: Vec<&str> = checks.iter().map(|check| check["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["up", "installed-1", "installed-2"]);
        assert_eq!(checks[2]["kind"], serde_json::json!({"type": "serviced", "step": 1}));
        assert_eq!(checks[2]["implied"], true);
    }
}

#[test]
fn a_guest_of_wine_is_never_called_windows() {
    let answer = plan(&bench("wine"), "  - msi: agent.msi\n").expect(0);
    let plan: Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(plan["images"]["img"]["family"], "wine");
}

#[test]
fn the_matrices_to_begin_with_are_planned_against_the_example_catalogue() {
    let bench = Bench::new();
    for (name, content) in
        [("agent.msi", msi("x64")), ("kb.msu", b"MSWIM\0\0\0\xd0\0\0\0".to_vec()), ("content.sys", pe(0x8664, 1))]
    {
        bench.file(name, content);
    }
    for version in ["7.15", "7.16"] {
        bench.file(&format!("sensor/sensor-{version}.msi"), msi("x64"));
    }
    let matrices = concat!(env!("CARGO_MANIFEST_DIR"), "/matrices");
    for (matrix, more, cells) in [
        ("windows-clients", "--candidate agent.msi".to_owned(), 6),
        ("windows-servers", "--candidate kb.msu".to_owned(), 8),
        ("edr-sensor", format!("--candidate content.sys --set installers={}", bench.path("sensor").display()), 8),
    ] {
        let answer = bench.run(&format!("plan {matrices}/{matrix}.yaml --format json {more}")).expect(0);
        let plan: Value = serde_json::from_str(&answer.out).unwrap();
        let permutations =
            plan["cells"].as_array().unwrap().iter().filter(|cell| !cell["axes"].as_array().unwrap().is_empty());
        assert_eq!((permutations.count(), answer.err.as_str()), (cells, ""), "{matrix}");
    }
}
