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

#[test]
fn a_plan_has_a_cell_for_every_combination_that_is_left() {
    let plan = json(&bench(), "plan m/test.yaml --format json");
    assert_eq!(ids(&plan), ["a.7.10", "a.7.9", "b.7.10", "b.8"]);
    assert_eq!(plan["cells"][2]["image"], "img-b");
}

#[test]
fn variables_are_put_in_and_the_shells_own_are_left_alone() {
    let plan = json(&bench(), "plan m/test.yaml --format json --set dir=/srv");
    assert_eq!(plan["cells"][0]["setup"][0]["kind"]["script"], "echo 7.10 ${HOME} $HOME ${HOME:-x}");
    assert_eq!(plan["cells"][2]["setup"], Value::Array(vec![]));
    assert_eq!(plan["cells"][0]["update"][0]["kind"]["file"]["to"], "/srv/content");
    assert_eq!(plan["cells"][3]["health"]["checks"][0]["kind"]["script"], "status 8");
}

#[test]
fn no_output_has_the_value_of_a_secret() {
    let bench = bench();
    for words in ["plan m/test.yaml", "plan m/test.yaml --format json", "plan m/test.yaml -vvv"] {
        let answer = bench.run(words).expect(0);
        assert!(!answer.out.contains("s3cret") && !answer.err.contains("s3cret"), "{answer:?}");
    }
    let plan = json(&bench, "plan m/test.yaml --format json");
    assert_eq!(plan["cells"][0]["update"][1]["kind"]["argv"][1], "${env:TOKEN}");
}

#[test]
fn only_takes_values_of_one_axis_as_alternatives_and_axes_together() {
    let bench = bench();
    let only = |words: &str| json(&bench, &format!("plan m/test.yaml --format json {words}"));
    assert_eq!(ids(&only("--only sensor=7.10 --only sensor=8")), ["a.7.10", "b.7.10", "b.8"]);
    assert_eq!(ids(&only("--only os=b --only sensor=7.10")), ["b.7.10"]);
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
    test: 4 cells on 2 golden images
    candidate  DIR/m/content.txt, 9 B
               sha256 d1988cd3019824f075f61677e1a6f54b16035868488e4051757dde53adeef80f
    update     sha256 2e0b5579baae23ab8fa3ecb7f68d9981882170980f488c440c2422884ddcb7a6

    CELL    IMAGE  DISK     SETUP + UPDATE  CHECKS  SOAK
    a.7.10  img-a  missing  1 + 2           1       3
    a.7.9   img-a  missing  1 + 2           1       3
    b.7.10  img-b  missing  0 + 2           1       3
    b.8     img-b  missing  0 + 2           1       3
    ");
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
    assert_eq!(ids(&plan).len(), 9);
    assert!(plan["candidate"]["path"].as_str().unwrap().ends_with("demo/content-bad.txt"));
}
