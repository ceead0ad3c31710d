use std::{fs, path::Path, sync::Arc};

use bootgate::{
    catalog::DigestCache,
    model::{Bytes, GoldenImage, Millis, StateDir, Step, StepKind},
    seal::{About, Seal, SealCache, SealKey, Taken},
};

use crate::harness::Bench;

fn cache(bench: &Bench) -> SealCache {
    let state = StateDir::new(bench.path("state"));
    SealCache::new(&state, Arc::new(DigestCache::open(state.digests())), SealCache::LIMIT)
}

/// Keeps some bytes as a seal of this image.
fn seal(bench: &Bench, image: &str, setup: &[&str]) -> Seal {
    let step = |name: &&str| {
        let kind = StepKind::Sh { script: (*name).to_owned() };
        Step { name: (*name).to_owned(), kind, timeout: Millis::from_secs(1), restarts: 0, success: vec![0] }
    };
    let steps: Vec<Step> = setup.iter().map(step).collect();
    let key = SealKey::new(&GoldenImage::plain(image, "/disk.qcow2"), &steps, "made up");
    let Taken::Absent(builder) = cache(bench).take(&key).unwrap() else { panic!("there is a seal of {image}") };
    fs::create_dir(builder.dir()).unwrap();
    fs::write(builder.dir().join("memory"), vec![7; 1024]).unwrap();
    builder.finish(About::new(&key, image, Millis(7000), steps.into_iter().map(|step| step.name).collect())).unwrap()
}

fn half_made(bench: &Bench) -> std::path::PathBuf {
    bench.file("state/seals/abc.lock", "");
    bench.file("state/seals/abc.new/memory", "half").parent().map(Path::to_owned).unwrap()
}

#[test]
fn seals_are_listed_below_the_images_also_those_of_other_catalogues() {
    let bench = Bench::new();
    bench.catalog();
    assert!(!bench.run("images list").expect(0).out.contains("KEY"));
    let used = seal(&bench, "img-a", &["install", "configure"]);
    let other = seal(&bench, "gone", &[]).name().to_owned();
    let out = bench.run("images list").expect(0).out;
    let line = |key: &str| out.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}: {out}"));
    let words = |key: &str| line(key).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        line("KEY").split("  ").filter(|word| !word.is_empty()).map(str::trim).collect::<Vec<_>>(),
        ["KEY", "IMAGE", "MADE", "LAST USED", "SIZE", "IN USE", "SETUP"]
    );
    let row = words(used.name());
    assert_eq!((row[1].as_str(), &row[4..]), ("img-a", &["1", "KiB", "yes", "2"].map(str::to_owned)[..]));
    assert!(row[2].len() == 17 && row[2].ends_with('Z') && row[3].ends_with('Z'), "{out}");
    assert!(line(&other).contains("gone (not in this catalogue)") && line(&other).ends_with("no      0"), "{out}");
    assert!(out.ends_with("\n2 seals, 2 KiB in DIR/state/seals\n"), "{out}");
}

#[test]
fn programs_find_each_images_seals_with_it() {
    let bench = Bench::new();
    bench.catalog();
    let used = seal(&bench, "img-a", &["install"]);
    drop(seal(&bench, "gone", &[]));
    let out = bench.run("images list --format json").expect(0).out;
    let images: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(images[1]["seals"], serde_json::json!([]));
    let [seal] = &images[0]["seals"].as_array().unwrap()[..] else { panic!("{out}") };
    assert_eq!(seal["key"], used.name());
    assert_eq!(seal["made"], used.about.utc);
    assert!(seal["last_used"].is_string());
    assert_eq!(seal["size"], serde_json::json!(Bytes(1024)));
    assert_eq!((&seal["in_use"], &seal["setup"]), (&true.into(), &serde_json::json!(["install"])));
}

#[test]
fn clean_removes_half_made_seals_and_all_unused_ones_when_told_to() {
    let bench = Bench::new();
    let used = seal(&bench, "img-a", &[]);
    let unused = seal(&bench, "img-b", &[]).dir().to_owned();
    let half = half_made(&bench);
    assert_eq!(bench.run("clean").expect(0).out, "removed DIR/state/seals/abc.new\n");
    assert!(!half.exists() && unused.exists());
    assert_eq!(bench.run("clean").expect(0).out, "nothing was left in DIR/state\n");
    half_made(&bench);
    let out = bench.run("clean --seals").expect(0).out;
    let kept = format!("kept the seal {} of img-a, which is in use\n", used.name());
    let shown = format!("removed DIR/state/seals/{}\n", unused.file_name().unwrap().to_string_lossy());
    assert!(out.contains(&shown) && out.contains("abc.new\n") && out.ends_with(&kept), "{out}");
    assert!(!half.exists() && !unused.exists() && used.dir().exists());
    drop(used);
    bench.run("clean --seals").expect(0);
    assert_eq!(fs::read_dir(bench.path("state/seals")).unwrap().count(), 0);
    assert_eq!(bench.run("clean --seals").expect(0).out, "nothing was left in DIR/state\n");
}

#[test]
fn a_seal_that_cannot_be_removed_fails_the_cleaning() {
    let bench = Bench::new();
    drop(seal(&bench, "img-b", &[]));
    // What is no file cannot be locked, for root neither.
    fs::create_dir(bench.path("state/seals/abc.lock")).unwrap();
    let answer = bench.run("clean --seals").expect(1);
    assert!(answer.out.starts_with("removed DIR/state/seals/"), "{}", answer.out);
    assert!(answer.err.contains("error: cannot lock DIR/state/seals/abc.lock"), "{}", answer.err);
}
