use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use super::*;
use crate::{
    catalog::DigestCache,
    model::{Bytes, GoldenImage, Millis, StateDir},
};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn cache(&self, limit: Bytes) -> SealCache {
        let digests = Arc::new(DigestCache::open(self.0.path().join("digests.json")));
        SealCache::new(&StateDir::new(self.0.path()), digests, limit)
    }

    fn entries(&self) -> Vec<String> {
        let all = fs::read_dir(self.0.path().join("seals")).unwrap();
        let mut names: Vec<String> = all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn key(subject: &str) -> SealKey {
    SealKey::new(&GoldenImage::plain("a", "/a"), &[], subject)
}

fn absent(taken: Result<Taken, SealError>) -> Builder {
    match taken.unwrap() {
        Taken::Absent(builder) => builder,
        Taken::Ready(_) => panic!("there is a seal"),
        Taken::Busy => panic!("somebody makes it"),
    }
}

fn ready(taken: Result<Taken, SealError>) -> Seal {
    match taken.unwrap() {
        Taken::Ready(seal) => seal,
        Taken::Absent(_) => panic!("there is no seal"),
        Taken::Busy => panic!("somebody makes it"),
    }
}

/// Makes a seal of this many bytes.
fn make(cache: &SealCache, key: &SealKey, size: usize) -> Seal {
    let builder = absent(cache.take(key));
    fs::create_dir(builder.dir()).unwrap();
    fs::write(builder.dir().join("memory"), vec![7; size]).unwrap();
    builder.finish(About::new(key, "a", Millis(7), Vec::new())).unwrap()
}

#[test]
fn a_seal_is_found_again_whole_by_whoever_shares_the_cache() {
    let place = Place::new();
    let made = make(&place.cache(SealCache::LIMIT), &key("x"), 1000);
    let found = ready(place.cache(SealCache::LIMIT).take(&key("x")));
    assert_eq!(found.about, made.about);
    assert_eq!((found.about.settle, found.about.size()), (Millis(7), Bytes(1000)));
    absent(place.cache(SealCache::LIMIT).take(&key("y")));
}

#[test]
fn while_one_makes_a_seal_the_others_wait_and_when_it_gives_up_the_next_begins() {
    let place = Place::new();
    let [one, other] = [0, 1].map(|_| place.cache(SealCache::LIMIT));
    let builder = absent(one.take(&key("x")));
    fs::create_dir(builder.dir()).unwrap();
    assert!(matches!(other.take(&key("x")).unwrap(), Taken::Busy));
    assert!(other.find(&key("x")).is_none());
    drop(builder);
    assert_eq!(place.entries(), [format!("{}.lock", key("x"))]);
    drop(absent(other.take(&key("x"))));
}

#[test]
fn a_seal_with_any_byte_changed_cut_swapped_or_rejected_is_made_anew() {
    type Damage = (&'static str, fn(&Path));
    let damage: [Damage; 5] = [
        ("a byte", |dir| {
            let mut bytes = fs::read(dir.join("memory")).unwrap();
            bytes[500] ^= 1;
            fs::write(dir.join("memory"), bytes).unwrap();
        }),
        ("cut", |dir| fs::File::options().write(true).open(dir.join("memory")).unwrap().set_len(999).unwrap()),
        ("gone", |dir| fs::remove_file(dir.join("memory")).unwrap()),
        ("nonsense", |dir| fs::write(dir.join("seal.json"), "{").unwrap()),
        ("outside", |dir| {
            let text = fs::read_to_string(dir.join("seal.json")).unwrap();
            fs::write(dir.join("seal.json"), text.replace("\"memory\"", "\"../memory\"")).unwrap();
        }),
    ];
    for (what, damage) in damage {
        let place = Place::new();
        let cache = place.cache(SealCache::LIMIT);
        let seal = make(&cache, &key("x"), 1000);
        damage(seal.dir());
        assert!(cache.take(&key("x")).is_err(), "{what}: in use, so it cannot be made anew");
        drop(seal);
        assert!(absent(cache.take(&key("x"))).problem().is_some(), "{what}: nothing says why");
    }
    let place = Place::new();
    let cache = place.cache(SealCache::LIMIT);
    // Another one's, whole in itself.
    drop((make(&cache, &key("x"), 10), make(&cache, &key("y"), 10)));
    let seals = place.0.path().join("seals");
    fs::remove_dir_all(seals.join(key("x").name())).unwrap();
    fs::rename(seals.join(key("y").name()), seals.join(key("x").name())).unwrap();
    drop(absent(cache.take(&key("x"))));
    let seal = make(&cache, &key("x"), 10);
    seal.reject("it did not start");
    drop(seal);
    drop(absent(cache.take(&key("x"))));
}

#[test]
fn the_least_recently_used_goes_first_and_what_is_in_use_stays() {
    let place = Place::new();
    let cache = place.cache(Bytes(2500));
    let oldest = make(&cache, &key("oldest"), 1000);
    drop(make(&cache, &key("older"), 1000));
    drop(make(&cache, &key("newer"), 1000));
    let listed: Vec<String> = cache.list().iter().map(|seal| seal.about.key.short().to_owned()).collect();
    assert_eq!(listed, [key("newer").name(), oldest.name()]);
    assert!(cache.list()[1].in_use && !cache.list()[0].in_use);
    drop(oldest);
    let cleared = cache.clear();
    assert_eq!((cleared.folders.len(), cleared.failed.len()), (2, 0));
    assert_eq!(place.entries(), Vec::<String>::new());
}

#[test]
fn others_may_pass_through_the_seals_folder_but_not_look_around() {
    let place = Place::new();
    fs::set_permissions(place.0.path(), fs::Permissions::from_mode(0o700)).unwrap();
    drop(make(&place.cache(SealCache::LIMIT), &key("x"), 10));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.0.path().join("seals")), 0o711);
    assert_eq!(mode(place.0.path()), 0o700, "a state folder that is there stays as it is");
}

#[test]
fn what_a_dead_process_left_half_made_is_swept() {
    let place = Place::new();
    let cache = place.cache(SealCache::LIMIT);
    drop(make(&cache, &key("x"), 10));
    let half = place.0.path().join("seals").join(format!("{}.new", key("x")));
    fs::create_dir(&half).unwrap();
    assert_eq!(cache.sweep().folders, [half.as_path()]);
    assert!(!half.exists());
    ready(cache.take(&key("x")));
}
