//! Every mistake is refused before anything starts, with its place and a way out.

use std::fs;

use crate::harness::Bench;

const GOOD: &str =
    "version: 1\nname: t\naxes:\n  os: [a, b]\nupdate:\n  - sh: 'true'\nhealth:\n  checks: [{id: c, sh: 'true'}]\n";

/// The error text for a matrix.
fn refused(matrix: &str) -> String {
    let bench = Bench::new();
    bench.catalog();
    bench.file("m.yaml", matrix);
    bench.run("plan m.yaml").expect(2).err
}

/// The error text for the good matrix with one text replaced.
fn refused_with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from));
    refused(&GOOD.replace(from, to))
}

#[test]
fn the_good_matrix_is_good() {
    let bench = Bench::new();
    bench.catalog();
    bench.file("m.yaml", GOOD);
    assert_eq!(bench.run("plan m.yaml").expect(0).err, "");
}

#[test]
fn an_unknown_key_is_shown_with_place_snippet_and_suggestion() {
    insta::assert_snapshot!(refused_with("update:", "udpate:"), @"
    error: unknown key `udpate`
     --> m.yaml:5:1
      |
    5 | udpate:
      | ^^^^^^
    hint: did you mean `update`?
    ");
}

#[test]
fn what_is_neither_on_nor_off_live_nor_cold_is_refused() {
    let err = refused_with("update:", "control: maybe\nupdate:");
    assert!(err.contains("`control` cannot be `maybe`") && err.contains("m.yaml:5:10"), "{err}");
    let err = refused_with("update:", "start: warm\nupdate:");
    assert!(err.contains("warm") && err.contains("live") && err.contains("cold"), "{err}");
}

#[test]
fn a_cold_start_of_no_cell_is_refused() {
    let err = refused_with("update:", "cold: [{os: c}]\nupdate:");
    assert!(err.contains("the axis `os` has no value `c`"), "{err}");
    let err = refused_with("update:", "exclude: [{os: b}]\ncold: [{os: b}]\nupdate:");
    assert!(err.contains("this entry of `cold` matches no cell") && err.contains("m.yaml:6:8"), "{err}");
}

#[test]
fn a_variable_is_shown_where_it_stands_in_a_long_script() {
    insta::assert_snapshot!(refused_with("'true'\nhealth", "|\n      echo ${os}\n      echo ${oss}\nhealth"), @r"
    error: nobody defines the variable `oss`
     --> m.yaml:8:12
      |
    8 |       echo ${oss}
      |            ^^^^^^
    hint: did you mean `${os}`?
    hint: write `$${oss}` for the shell's own variable
    ");
}

#[test]
fn all_independent_mistakes_are_reported_at_once() {
    let err = refused("version: 2\nname: T\naxes: {os: [a, a], x: []}\nupdate: [{run: []}, {}, {sh: x, timeout: 5}]\n");
    assert_eq!(err.matches("error:").count(), 7, "{err}");
}

#[test]
fn mistakes_of_form_are_refused() {
    for (from, to, expected) in [
        ("name: t", "name: t\nname: u", "duplicate"),
        ("version: 1", "version: one", "expected a whole number, found `one`"),
        ("version: 1\n", "", "the key `version` is missing"),
        ("name: t", "name: [t]", "expected text, found a list"),
        ("name: t", "name: ../x", "is no name for a matrix"),
        ("[a, b]", "[]", "has no value"),
        ("[a, b]", "[a, a]", "twice"),
        ("[a, b]", "[a, ~]", "found nothing"),
        ("os: [a, b]", "candidate: [a]", "cannot be called `candidate`"),
        ("'true'\nhealth", "'true'\n    run: [x]\nhealth", "2 things at once"),
        ("- sh: 'true'", "- name: x", "does nothing"),
        ("- sh: 'true'", "- msi: m.yaml", "only Windows has what runs it"),
        ("- sh: 'true'", "- shell: x", "the keys here are"),
        ("- sh: 'true'", "- sh: {file: absent.sh}", "there is no such file"),
        ("- sh: 'true'", "- sh: ''", "the script is empty"),
        ("- sh: 'true'", "- sh: 'true'\n    success: []", "no exit code means success"),
        ("- sh: 'true'", "- sh: 'true'\n    timeout: 0s", "a deadline of zero"),
        ("- sh: 'true'", "- sh: 'true'\n    when: {os: c}", "has no value `c`"),
        ("- sh: 'true'", "- sh: 'true'\n    when: {os: a}", "belongs to the cell b"),
        ("- sh: 'true'", "- copy: {from: m.yaml, to: x/y}", "it is relative"),
        ("- sh: 'true'", "- copy: {from: m.yaml, to: /x/../y}", "`..`"),
        ("- sh: 'true'", "- copy: {from: absent, to: /x}", "there is no such file"),
        ("- sh: 'true'", "- copy: {from: images, to: /x}", "it is a folder"),
        ("- sh: 'true'", "- files: {from: absent, to: /x}", "cannot read the folder"),
        ("- sh: 'true'", "- copy: {from: '${candidate}', to: /x}", "--candidate FILE"),
        ("- sh: 'true'", "- sh: cat ${candidate}", "which the guest does not have"),
        ("- sh: 'true'", "- sh: echo ${HOME}", "write `$${HOME}` for the shell's own variable"),
        ("- sh: 'true'", "- sh: echo ${oss}", "did you mean `${os}`?"),
        ("- sh: 'true'", "- sh: echo ${env:NOT_SET}", "`NOT_SET` is not set"),
        ("- sh: 'true'", "- copy: {from: '${env:X}', to: /x}", "cannot be part of a path"),
        ("{id: c,", "{id: c, sh: x}, {id: c,", "two checks have the id `c`"),
        ("{id: c,", "{id: C!,", "is no id for a check"),
        ("name: t", "name: t\ncandidate: absent.txt", "no candidate"),
        ("name: t", "name: t\ncandidate: m.yaml", "would not be tested"),
        ("name: t", "name: t\nexclude: [{os: c}]", "has no value `c`"),
        ("name: t", "name: t\nexclude: [{oss: a}]", "there is no axis `oss`"),
        ("name: t", "name: t\nexclude: [{os: a}, {os: b}]", "no cell is left"),
        ("name: t", "name: t\nexclude: [{}]", "names no axis"),
        ("name: t", "name: t\ninclude: [{}]", "no value for `os`"),
        ("name: t", "name: t\ninclude: [{os: a}]", "is there already"),
        ("name: t", "name: t\ninclude: [{os: c}]", "the nearest is `img-a`, which lacks os=c"),
        ("name: t", "name: t\nvars: {os: x}", "is an axis already"),
        ("name: t", "name: t\ncollect: [var/log]", "it is relative"),
        ("name: t", "name: t\ncatalog: absent.yaml", "there is no catalogue"),
        ("name: t", "name: t\ncoverage: pairwise", "unknown value `pairwise`"),
        ("name: t", "name: &a [*a]", "not valid YAML"),
        ("name: t", "name: t\n---\nname: u", "not valid YAML"),
        ("os: [a, b]", "other: [a, b]", "no axis picks a golden image"),
    ] {
        let err = refused_with(from, to);
        assert!(err.contains(expected), "{to}\n{err}");
        assert!(err.starts_with("error: ") && err.contains("--> m.yaml") || err.contains("NOT_SET"), "{to}\n{err}");
    }
}

#[test]
fn files_that_are_no_matrix_are_refused() {
    let bench = Bench::new();
    bench.catalog();
    bench.file("latin.yaml", b"version: 1\nname: \xe4\n");
    bench.file("empty.yaml", "\n  \n");
    bench.file("huge.yaml", vec![b' '; 5 << 20]);
    bench.file("list.yaml", "- 1\n");
    fs::create_dir(bench.path("folder.yaml")).unwrap();
    for (name, expected) in [
        ("absent.yaml", "there is no such file"),
        ("latin.yaml", "line 2 is not valid UTF-8"),
        ("empty.yaml", "it is empty"),
        ("huge.yaml", "longer than 4 MiB"),
        ("folder.yaml", "it is a folder"),
        ("list.yaml", "found a list"),
    ] {
        let err = bench.run(&format!("plan {name}")).expect(2).err;
        assert!(err.contains(expected), "{name}: {err}");
    }
}

#[test]
fn settings_that_nothing_uses_are_refused() {
    let bench = Bench::new();
    bench.catalog();
    bench.file("m.yaml", GOOD.replace("'true'\nhealth", "echo ${where}\nvars: {where: x}\nhealth"));
    assert!(bench.run("plan m.yaml --set wheer=x").expect(2).err.contains("did you mean `where`?"));
    assert!(bench.run("plan m.yaml --set os=a").expect(2).err.contains("--only os=a"));
    assert!(bench.run("plan m.yaml --set where").expect(2).err.contains("joined by `=`"));
    bench.run("plan m.yaml --set where=y").expect(0);
}

#[test]
fn links_in_a_tree_of_files_are_refused() {
    let bench = Bench::new();
    bench.catalog();
    bench.file("m.yaml", GOOD.replace("- sh: 'true'", "- files: {from: tree, to: /opt}"));
    bench.file("tree/sub/b", "b");
    bench.file("tree/a", "a");
    let out = bench.run("plan m.yaml --format json").expect(0).out;
    assert!(out.find("\"/opt/a\"").unwrap() < out.find("\"/opt/sub/b\"").unwrap());
    std::os::unix::fs::symlink("/etc/passwd", bench.path("tree/link")).unwrap();
    assert!(bench.run("plan m.yaml").expect(2).err.contains("symbolic link"));
}

#[test]
fn a_cell_that_several_images_fit_is_refused_and_the_missing_axis_named() {
    let bench = Bench::new();
    bench.file("m.yaml", GOOD.replace("[a, b]", "a"));
    let image = |patch: u8| {
        let digest = "a".repeat(64);
        format!(
            "  - {{name: p{patch}, labels: {{os: a, patch: {patch}}}, disk: x, sha256: {digest}, memory: 1GiB, family: linux}}\n"
        )
    };
    bench.file("images/catalog.yaml", format!("version: 1\nimages:\n{}{}", image(1), image(2)));
    let err = bench.run("plan m.yaml").expect(2).err;
    assert!(err.contains("several golden images fit: `p1`, `p2`"), "{err}");
    assert!(err.contains("they differ in patch: make it an axis"), "{err}");
}
