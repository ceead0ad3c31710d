//! Whatever is in a file, reading it ends, and with an answer that is short and safe to show.

use std::{
    io::{Cursor, Seek as _, SeekFrom, Write as _},
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::{
    fits, foreign, inspect, inspect_reader,
    msi::table_name,
    testing::{INF, MsiFile, PeFile, SIGNATURE, TIMESTAMPED, about, cab, element, utf16_with_mark},
};
use crate::model::Machine;

/// Files of all kinds that are looked into.
fn files() -> Vec<Vec<u8>> {
    vec![
        PeFile { signed: true, ..PeFile::default() }.bytes(),
        PeFile { wide: false, machine: 0x14c, ..PeFile::default() }.bytes(),
        MsiFile { signed: true, ..MsiFile::default() }.bytes(),
        MsiFile { patch: true, ..MsiFile::default() }.bytes(),
        cab(&["WSUSSCAN.cab", "Windows11.0-KB5000001-x64.cab", "update.mum"]),
        INF.into(),
        utf16_with_mark(INF),
        SIGNATURE.into(),
        TIMESTAMPED.into(),
    ]
}

/// Inspects, shows and asks all that is asked of an answer.
fn take(bytes: &[u8]) {
    let began = Instant::now();
    let about = inspect_reader(&mut Cursor::new(bytes)).unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "{about:?}");
    let shown = about.to_string();
    assert!(shown.len() < 10_000 && !shown.chars().any(char::is_control), "{shown:?}");
    for kind in ["msi", "exe", "cab", "inf", "ps1"] {
        let _ = fits(kind, &about);
    }
    let _ = foreign(&about, Machine::X64);
    let text = serde_json::to_string(&about).unwrap();
    assert_eq!(serde_json::from_str::<crate::model::About>(&text).unwrap(), about);
}

#[test]
fn files_cut_off_anywhere_are_read_as_far_as_they_go() {
    for file in files() {
        for end in (0..file.len()).step_by(1 + file.len() / 300) {
            take(&file[..end]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn flipped_and_overwritten_bytes_never_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![Just(0u8), Just(0xff), any::<u8>()]), 1..12),
        // Headers decide most, and are a small part of a file.
        in_head in any::<bool>(),
    ) {
        let all = files();
        let mut file = all[which.index(all.len())].clone();
        let end = if in_head { file.len().min(700) } else { file.len() };
        for (at, byte) in changes {
            file[at.index(end)] = byte;
        }
        take(&file);
    }

    #[test]
    fn arbitrary_bytes_behind_any_beginning_never_panic(
        which in any::<prop::sample::Index>(),
        keep in 0usize..600,
        rest in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let all = files();
        let file = &all[which.index(all.len())];
        take(&[&file[..keep.min(file.len())], &rest].concat());
    }

    #[test]
    fn arbitrary_text_never_panics(text in "(\\[Version\\]\nSignature=\"\\$Windows NT\\$\"\n)?(\\PC|[\n=,;%\"\\\\\\[\\]]){0,300}") {
        take(text.as_bytes());
        take(&utf16_with_mark(&text));
    }
}

#[test]
fn a_huge_file_is_not_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let path = folder.path().join("huge");
    for head in files().into_iter().chain([b"text\n".to_vec(), Vec::new()]) {
        // The second is as large as a package may be that is looked into.
        for len in [1 << 40, (2 << 30) - 1] {
            let mut file = std::fs::File::create(&path).unwrap();
            file.write_all(&head).unwrap();
            file.set_len(len).unwrap();
            file.seek(SeekFrom::End(-5)).unwrap();
            file.write_all(b"end\0\0").unwrap();
            inspect(&path).unwrap();
        }
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn texts_that_take_long_to_read_are_given_up() {
    let head = "[Version]\nSignature=\"$Windows NT$\"\n";
    let strings = "[Strings]\n".to_owned() + &"x=\n".repeat(600_000) + "a=\n";
    let began = Instant::now();
    for tail in [
        format!("Class={}\n{strings}", "%a%".repeat(1_000_000)),
        format!("{}\n{strings}", "Class=%a%%a%%a%\\\n".repeat(400_000)),
        format!("DriverVer={}\n", ",".repeat(4_000_000)),
        (0..700_000).map(|n| format!("[{n}]\n")).collect(),
        format!("[Manufacturer]\n{}", "x=M,NTamd64,NTx86\n".repeat(400_000)),
    ] {
        let about = about(format!("{head}{tail}").as_bytes());
        assert_eq!(about.unread.as_deref(), Some("it is too large to be read whole"));
        assert_eq!(foreign(&about, Machine::X64), None);
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn a_signature_that_would_take_days_to_sort_is_refused() {
    // Algorithms in the wrong order.
    let algorithms: Vec<u8> = (0..500_000u32)
        .rev()
        .flat_map(|n| {
            let oid = [0x2a, 0x80 | (n >> 14) as u8 | 1, 0x80 | (n >> 7 & 0x7f) as u8, (n & 0x7f) as u8];
            [&[0x30, 0x06, 0x06, 0x04], &oid[..]].concat()
        })
        .collect();
    let version = [0x02, 0x01, 0x01];
    let signed = element(0x30, &[&version, &element(0x31, &algorithms)[..]].concat());
    let oid = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
    let bytes = element(0x30, &[&oid, &element(0xa0, &signed)[..]].concat());
    assert_eq!(super::signature::read(&bytes).unwrap_err(), "it has too many parts");
}

#[test]
fn lengths_that_a_package_claims_are_not_believed() {
    // All texts of the pool are said to be of 4 GiB each.
    let mut file = cfb::CompoundFile::open(Cursor::new(MsiFile::default().bytes())).unwrap();
    let pool = table_name("_StringPool");
    assert!(file.is_stream(&pool));
    let mut claims = vec![0; 4];
    for _ in 0..100_000 {
        claims.extend([0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff]);
    }
    file.create_stream(&pool).unwrap().write_all(&claims).unwrap();
    file.flush().unwrap();
    let about = about(&file.into_inner().into_inner());
    assert_eq!(about.unread.as_deref(), Some("its properties cannot be read: it names no product code or no version"));
}
