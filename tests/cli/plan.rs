use serde_json::Value;

use crate::harness::Bench;

const MATRIX: &str = "\
version: 1
name: test
axes:
  os: [a, b]
  sensor: [7.10, \"7.9\"]
exclude: [{os: b, sensor: 7.9}]
include: [{os: b, sensor: '8'}]
candidate: content.txt
vars: {dir: /opt/x}
setup:
  - {sh: 'echo ${sensor} $${HOME} $HOME ${HOME:-x}', when: {os: a}}
update:
  - copy: {from: '${candidate}', to: '${dir}/content', mode: \"0644\"}
  - run: [/bin/login, '${env:TOKEN}']
health:
  checks: [{id: up, sh: 'status ${sensor}'}]
";

fn bench() -> Bench {
    let bench = Bench::new().env("TOKEN", "s3cret-value");
    bench.catalog();
    bench.file("m/test.yaml", MATRIX);
    bench.file("m/content.txt", "content 1");
    bench
}

fn json(bench: &Bench, words: &str) -> Value {
    serde_json::from_str(&bench.run(words).expect(0).out).unwrap()
}

fn ids(plan: &Value) -> Vec<&str> {
    plan["cells"].as_array().unwrap().iter().map(|cell| cell["id"].as_str().unwrap()).collect()
}

fn cell<'a>(plan: &'a Value, id: &str) -> &'a Value {
    plan["cells"].as_array().unwrap().iter().find(|cell| cell["id"] == id).unwrap()
}

/// How the cells of a plan begin.
fn starts(plan: &Value) -> Vec<&str> {
    plan["cells"].as_array().unwrap().iter().map(|cell| cell["start"].as_str().unwrap()).collect()
}

#[test]
fn a_plan_has_a_cell_for_every_combination_that_is_left() {
    let plan = json(&bench(), "plan m/test.yaml --format json");
    assert_eq!(ids(&plan), ["control-img-a", "control-img-b", "a.7.10", "a.7.9", "b.7.10", "b.8"]);
    assert_eq!(plan["cells"][4]["image"], "img-b");
}

#[test]
fn variables_are_put_in_and_the_shells_own_are_left_alone() {
    let plan = json(&bench(), "plan m/test.yaml --format json --set dir=/srv");
    let cell = |id| cell(&plan, id);
    assert_eq!(cell("a.7.10")["setup"][0]["kind"]["script"], "echo 7.10 ${HOME} $HOME ${HOME:-x}");
    assert_eq!(cell("b.7.10")["setup"], Value::Array(vec![]));
    assert_eq!(cell("a.7.10")["update"][0]["kind"]["file"]["to"], "/srv/content");
    assert_eq!(cell("b.8")["health"]["checks"][0]["kind"]["script"], "status 8");
}

#[test]
fn no_output_has_the_value_of_a_secret() {
    let bench = bench();
    for words in ["plan m/test.yaml", "plan m/test.yaml --format json", "plan m/test.yaml -vvv"] {
        let answer = bench.run(words).expect(0);
        assert!(!answer.out.contains("s3cret") && !answer.err.contains("s3cret"), "{answer:?}");
    }
    let plan = json(&bench, "plan m/test.yaml --format json");
    assert_eq!(cell(&plan, "a.7.10")["update"][1]["kind"]["argv"][1], "${env:TOKEN}");
}

#[test]
fn only_takes_values_of_one_axis_as_alternatives_and_axes_together() {
    let bench = bench();
    let only = |words: &str| json(&bench, &format!("plan m/test.yaml --format json {words}"));
    assert_eq!(
        ids(&only("--only sensor=7.10 --only sensor=8")),
        ["control-img-a", "control-img-b", "a.7.10", "b.7.10", "b.8"]
    );
    assert_eq!(ids(&only("--only os=b --only sensor=7.10")), ["control-img-b", "b.7.10"]);
    let answer = bench.run("plan m/test.yaml --only os=a --only sensor=8").expect(2);
    assert!(answer.err.contains("--only leaves no cell"), "{}", answer.err);
    let answer = bench.run("plan m/test.yaml --only os=c --only oss=a").expect(2);
    assert!(answer.err.contains("no cell has the value `c`"), "{}", answer.err);
    assert!(answer.err.contains("did you mean `os`?"), "{}", answer.err);
}

#[test]
fn the_update_digest_follows_the_content_and_not_the_place() {
    let digest = |bench: &Bench, words: &str| json(bench, words)["update_sha256"].clone();
    let (one, other) = (bench(), bench());
    let words = "plan m/test.yaml --format json";
    assert_eq!(digest(&one, words), digest(&other, words));
    other.file("m/content.txt", "content 2");
    assert_ne!(digest(&one, words), digest(&other, words));
    one.file("elsewhere/renamed.txt", "content 2");
    assert_eq!(digest(&one, &format!("{words} --candidate elsewhere/renamed.txt")), digest(&other, words));
    assert_ne!(digest(&one, words), digest(&one, &format!("{words} --set dir=/srv")));
    assert_eq!(digest(&one, words), digest(&one, &format!("{words} --only os=a")));
}

#[test]
fn the_table_names_the_candidates_digest_and_every_cell() {
    let answer = bench().run("plan m/test.yaml --soak 3").expect(0);
    insta::assert_snapshot!(answer.out, @"
    test: 4 cells and 2 controls on 2 golden images
    candidate  DIR/m/content.txt, 9 B
               text
               sha256 d1988cd3019824f075f61677e1a6f54b16035868488e4051757dde53adeef80f
    update     sha256 2e0b5579baae23ab8fa3ecb7f68d9981882170980f488c440c2422884ddcb7a6

    CELL           IMAGE  DISK     START  SETUP + UPDATE  CHECKS  SOAK
    control-img-a  img-a  missing  live   0 + 0           1       3
    control-img-b  img-b  missing  live   0 + 0           1       3
    a.7.10         img-a  missing  live   1 + 2           1       3
    a.7.9          img-a  missing  live   1 + 2           1       3
    b.7.10         img-b  missing  live   0 + 2           1       3
    b.8            img-b  missing  live   0 + 2           1       3
    ");
}

#[test]
fn a_control_goes_the_way_of_its_images_cells_without_their_update() {
    let bench = bench();
    let setup = "setup:\n  - sh: 'echo one'\n  - sh: 'echo two'\n  - {sh: 'echo ${sensor}', when: {os: a}}\n  - sh: \
                 'echo three'\n";
    let (before, after) = MATRIX.split_once("setup:\n").unwrap();
    let after = after.split_once("update:\n").unwrap().1;
    bench.file("m/test.yaml", format!("{before}{setup}update:\n{after}"));
    let plan = json(&bench, "plan m/test.yaml --format json --soak 2");
    let control = cell(&plan, "control-img-a");
    assert_eq!(control["role"]["is"], "control");
    assert_eq!((&control["axes"], &control["update"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    assert_eq!(control["setup"].as_array().unwrap(), &cell(&plan, "a.7.9")["setup"].as_array().unwrap()[..2]);
    assert_eq!(control["health"], cell(&plan, "a.7.10")["health"]);
    assert_eq!(cell(&plan, "a.7.9")["role"], serde_json::json!({"is": "compared", "with": "control-img-a"}));
    // Cells of b have all three in common, and those of a only what comes before the variable.
    let sealed = |id| cell(&plan, id)["sealed_setup"].as_u64().unwrap();
    assert_eq!(["control-img-a", "a.7.9", "control-img-b", "b.8"].map(sealed), [2, 2, 3, 3]);
}

#[test]
fn what_a_secret_does_is_in_no_sealed_machine() {
    let bench = bench();
    let setup = "setup:\n  - sh: 'echo one'\n  - run: [/bin/login, '${env:TOKEN}']\n  - sh: 'echo $${env:TOKEN}'\n";
    bench.file("m/test.yaml", MATRIX.replace("setup:\n", setup));
    let plan = json(&bench, "plan m/test.yaml --format json");
    assert_eq!(cell(&plan, "control-img-b")["setup"].as_array().unwrap().len(), 1);
    assert_eq!(cell(&plan, "b.8")["sealed_setup"], 1);
    assert_eq!(cell(&plan, "b.8")["setup"].as_array().unwrap().len(), 3);
}

#[test]
fn without_controls_a_run_is_planned_with_a_warning_that_it_cannot_be_approved() {
    let bench = bench();
    let with = json(&bench, "plan m/test.yaml --format json");
    for (value, off) in [("off", true), ("false", true), ("on", false), ("true", false)] {
        bench.file("m/test.yaml", MATRIX.replace("candidate:", &format!("control: {value}\ncandidate:")));
        let answer = bench.run("plan m/test.yaml --format json").expect(0);
        let plan: Value = serde_json::from_str(&answer.out).unwrap();
        assert_eq!(plan["policy"]["control"], !off, "{value}");
        assert_eq!(plan["update_sha256"], with["update_sha256"], "a control changes nothing of the update");
        if off {
            assert_eq!(ids(&plan), ["a.7.10", "a.7.9", "b.7.10", "b.8"]);
            assert!(plan["cells"].as_array().unwrap().iter().all(|cell| cell.get("role").is_none()));
            assert!(answer.err.starts_with("warning: without controls this run cannot be approved"), "{}", answer.err);
        } else {
            assert_eq!((plan["cells"] == with["cells"], answer.err.as_str()), (true, ""));
        }
    }
}

#[test]
fn cells_begin_live_or_cold_and_a_control_cold_only_if_all_its_images_cells_do() {
    let bench = bench();
    let plan = |words: &str| json(&bench, &format!("plan m/test.yaml --format json {words}"));
    assert_eq!(starts(&plan("")), ["live"; 6]);
    assert_eq!(starts(&plan("--start cold")), ["cold"; 6]);
    bench.file("m/test.yaml", MATRIX.replace("setup:", "start: cold\nsetup:"));
    assert_eq!(starts(&plan("")), ["cold"; 6]);
    assert_eq!(starts(&plan("--start live")), ["live"; 6]);
    bench.file("m/test.yaml", MATRIX.replace("setup:", "cold: [{os: b}, {sensor: 7.9}]\nsetup:"));
    assert_eq!(starts(&plan("")), ["live", "cold", "live", "cold", "cold", "cold"]);
    assert_eq!(starts(&plan("--start live")), ["live"; 6]);
    assert_eq!(starts(&plan("--only os=a --only sensor=7.10")), ["live"; 2]);
}

#[test]
fn a_plan_is_the_same_in_every_run() {
    let bench = bench();
    let words = "plan m/test.yaml --format json";
    assert_eq!(bench.run(words).out, bench.run(words).out);
}

#[test]
fn a_matrix_without_checks_is_planned_with_a_warning() {
    let bench = bench();
    bench.file("m/test.yaml", "version: 1\nname: t\naxes: {os: a}\nupdate: [{sh: 'true'}]\n");
    let answer = bench.run("plan m/test.yaml").expect(0);
    assert!(answer.err.starts_with("warning: the matrix has no health checks"), "{}", answer.err);
}

#[test]
fn the_demo_is_nine_cells() {
    let matrix = concat!(env!("CARGO_MANIFEST_DIR"), "/matrices/demo.yaml");
    let bench = Bench::new();
    let mut catalog = "version: 1\nimages:\n".to_owned();
    for (os, patch) in ["lab-os-10", "lab-os-11", "lab-server"].iter().flat_map(|os| [1, 2, 3].map(|n| (os, n))) {
        catalog += &format!(
            "  - {{name: {os}-p{patch}, labels: {{os: {os}, patch: p{patch}}}, disk: x.qcow2, sha256: {}, memory: \
             256MiB, family: linux}}\n",
            "0".repeat(64)
        );
    }
    bench.file("c.yaml", catalog);
    let plan = json(&bench, &format!("plan {matrix} --catalog c.yaml --format json"));
    assert_eq!(ids(&plan).iter().filter(|id| !id.starts_with("control-")).count(), 9);
    assert_eq!(ids(&plan).len(), 18);
    assert!(plan["candidate"]["path"].as_str().unwrap().ends_with("demo/content-bad.txt"));
}
