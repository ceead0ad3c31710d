use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read as _,
    path::{Component, Path},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{budget::Budget, text};
use crate::{
    event::Attempt,
    model::{Millis, SignalKind, count},
};

/// Most pictures of one cell.
const OF_A_CELL: usize = 12;

/// Most of a cell that is healthy: they show what the others should have shown.
const OF_A_HEALTHY_CELL: usize = 3;

/// Larger pictures are not shown: no guest has such a screen.
const LARGEST: u64 = 2 << 20;

/// A picture of a guest's screen, in the page.
pub(super) struct Frame {
    pub(super) data: String,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) caption: String,
}

/// The screens of an attempt.
pub(super) struct Filmstrip {
    pub(super) frames: Vec<Frame>,
    /// How many there are beside these, for people.
    pub(super) left_out: Option<String>,
}

/// The pictures of an attempt in their order, as far as there is room: the first, the last, and evenly between.
pub(super) fn filmstrip(attempt: &Attempt, run_dir: &Path, healthy: bool, budget: &mut Budget) -> Filmstrip {
    let shots = shots(attempt);
    let most = if healthy { OF_A_HEALTHY_CELL } else { OF_A_CELL };
    let chosen = evenly(shots.len(), most);
    budget.without_pictures(shots.len() - chosen.len());
    let frames: Vec<Frame> = chosen
        .into_iter()
        .filter_map(|n| {
            let (path, caption) = &shots[n];
            let png = is_below(path).then(|| read(&run_dir.join(path)))??;
            let (width, height) = size(&png)?;
            if !budget.picture(png.len() as u64) {
                return None;
            }
            let data = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(&png));
            Some(Frame { data, width, height, caption: caption.clone() })
        })
        .collect();
    let missing = shots.len() - frames.len();
    let left_out = (missing > 0).then(|| format!("{} not shown here", count(missing, "picture")));
    Filmstrip { frames, left_out }
}

/// Each picture's path in the run directory, and what is known of it.
fn shots(attempt: &Attempt) -> Vec<(&str, String)> {
    let mut known: HashMap<&str, (Millis, Option<String>)> = HashMap::new();
    for signal in &attempt.signals {
        if let SignalKind::Screen { file: Some(file), shows, .. } = &signal.what {
            let entry = known.entry(file).or_insert((signal.at.since(attempt.started), None));
            entry.1 = shows.as_ref().map(ToString::to_string).or(entry.1.take());
        }
    }
    let mut shots: Vec<(Millis, &str, String)> = Vec::new();
    for path in attempt.end.iter().flat_map(|end| &end.artifacts).filter(|path| path.ends_with(".png")) {
        let seen = known.iter().find(|(file, _)| path.ends_with(&format!("/{file}"))).map(|(_, seen)| seen);
        let (at, caption) = match seen {
            Some((at, Some(shows))) => (*at, format!("{at}: {shows}")),
            Some((at, None)) => (*at, at.to_string()),
            None if path.ends_with("/settled.png") => (Millis::ZERO, "settled, before the update".to_owned()),
            None if path.ends_with("/last.png") => (Millis(u64::MAX), "at the end".to_owned()),
            None => (Millis(u64::MAX), path.rsplit('/').next().unwrap_or_default().to_owned()),
        };
        shots.push((at, path, text(&caption)));
    }
    shots.sort_by_key(|(at, ..)| *at);
    shots.into_iter().map(|(_, path, caption)| (path, caption)).collect()
}

/// `most` of so many numbers from 0, the first and the last among them.
fn evenly(all: usize, most: usize) -> Vec<usize> {
    if all <= most {
        return (0..all).collect();
    }
    (0..most).map(|n| n * (all - 1) / (most - 1)).collect()
}

/// Whether a path stays in the folder that it is relative to. A record may have been edited.
pub(super) fn is_below(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let is_file = fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() <= LARGEST);
    let mut bytes = Vec::new();
    File::open(path).ok().filter(|_| is_file)?.take(LARGEST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Width and height from a PNG's header; none: this is no PNG.
fn size(png: &[u8]) -> Option<(u32, u32)> {
    let header = png.strip_prefix(b"\x89PNG\r\n\x1a\n")?.get(4..16)?.strip_prefix(b"IHDR")?;
    let number = |at: usize| header.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    Some((number(0)?, number(4)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_pictures_the_first_and_the_last_are_kept() {
        assert_eq!(evenly(2, 3), [0, 1]);
        assert_eq!(evenly(9, 3), [0, 4, 8]);
        assert_eq!(evenly(60, 12).len(), 12);
        assert!(evenly(0, 12).is_empty());
    }

    #[test]
    fn no_picture_from_outside_the_run_is_shown() {
        for outside in ["/etc/x.png", "../x.png", "cells/../../x.png"] {
            assert!(!is_below(outside), "{outside}");
        }
        assert!(is_below("cells/os-9.p1/screens/01.png"));
        assert_eq!(size(b"\x89PNG\r\n\x1a\n"), None);
        assert_eq!(size(b"root:x:0:0:root:/root:/bin/sh\n"), None);
    }
}
