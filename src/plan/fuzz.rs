//! Whatever is in the files, reading them ends with a plan or with errors, never with a panic.

use std::{ops::ControlFlow, sync::Arc};

use proptest::prelude::*;

use super::{Choices, plan};
use crate::{catalog::Catalog, matrix::Matrix, source::SourceFile};

const MATRIX: &str = "version: 1\nname: demo\naxes:\n  os: &os [a, b]\n  v: [7.10, 2]\nexclude: [{os: b, v: 2}]\ninclude: \
                      [{os: c, v: 9}]\nvars: {k: x}\nnetwork: user\nsetup:\n  - sh: 'echo ${v} $${x} ${env:T}'\n    \
                      when: {os: *os}\nupdate:\n  - {run: [/bin/x, '${k}'], name: n, timeout: 3s, success: [0, 3]}\n  - \
                      copy: {from: '${candidate}', to: /x, mode: \"0644\"}\nhealth: {soak: 1, watch: 2s, checks: [{id: \
                      c, sh: x}]}\npolicy: {retry_inconclusive: 1}\ncontrol: off\nstart: cold\ncold: \
                      [{os: a}]\ncollect: [/a]\n";
const CATALOG: &str = "version: 1\nimages:\n  - name: i\n    labels: {os: a}\n    disk: d\n    sha256: \
                       00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n    memory: 1GiB\n    \
                       family: linux\n    quirks: {extra_restarts: 1}\n  - {name: j, labels: {os: b}, disk: e, sha256: \
                       00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff, memory: 64MiB, family: linux}\n";

/// Reads both and plans; the errors are shown too, since showing them must not panic either.
fn read(matrix: &str, catalog: &str) {
    let catalog = Catalog::from_source(Arc::new(SourceFile::from_text("c.yaml", catalog)));
    let matrix = Matrix::from_source(Arc::new(SourceFile::from_text("m.yaml", matrix)));
    let shown = match (matrix, catalog) {
        (Ok(matrix), Ok(catalog)) => {
            let choices = Choices { only: vec![("os".into(), "a".into())], ..Choices::default() };
            plan(&matrix, &catalog, &choices, &|_| Some("secret".into()), &mut |_| ControlFlow::Continue(()))
                .map_or_else(|e| e.to_string(), |_| String::new())
        }
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => error.to_string(),
        (Err(one), Err(other)) => format!("{one}{other}"),
    };
    assert!(!shown.contains('\u{1b}'));
}

/// Replaces, inserts, doubles or cuts pieces of a text.
fn mutate(text: &str, changes: &[(usize, usize, u8, String)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, len, kind, piece) in changes {
        let at = at % (chars.len() + 1);
        let end = (at + len).min(chars.len());
        let doubled: Vec<char> = chars[at..end].to_vec();
        match kind % 3 {
            0 => drop(chars.splice(at..end, piece.chars())),
            1 => drop(chars.splice(at..at, piece.chars())),
            _ => drop(chars.splice(at..at, doubled)),
        }
    }
    chars.into_iter().collect()
}

fn changes() -> impl Strategy<Value = Vec<(usize, usize, u8, String)>> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "",
            ":",
            " ",
            "\n",
            "- ",
            "{",
            "}",
            "[",
            "]",
            "'",
            "\"",
            "&a ",
            "*os",
            "<<: *os",
            "~",
            "!!int ",
            "|",
            ">",
            "#",
            "${",
            "${env:",
            "$${",
            "-1",
            "99999999999",
            "0x",
            "\t",
            "\u{feff}",
            "\u{1b}[0m",
            "\r",
            "é",
            "%",
            "? ",
            "---\n",
        ])
        .prop_map(str::to_owned),
        ".{0,6}",
    ];
    proptest::collection::vec((0..2000usize, 0..20usize, 0..3u8, piece), 1..6)
}

#[test]
fn the_unchanged_files_are_read() {
    let matrix = Matrix::from_source(Arc::new(SourceFile::from_text("m.yaml", MATRIX)));
    assert!(matrix.is_ok(), "{}", matrix.unwrap_err());
    let catalog = Catalog::from_source(Arc::new(SourceFile::from_text("c.yaml", CATALOG)));
    assert!(catalog.is_ok(), "{}", catalog.unwrap_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_never_panic(of_matrix in changes(), of_catalog in changes()) {
        read(&mutate(MATRIX, &of_matrix), CATALOG);
        read(MATRIX, &mutate(CATALOG, &of_catalog));
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        read(&text, &text);
    }
}
