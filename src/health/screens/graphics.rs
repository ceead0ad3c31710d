use std::{collections::BTreeMap, panic};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::picture::Picture;

/// So much of a screen is its background, in percent.
const MOST: usize = 60;

/// Colours that differ by less in each part are the same: a screen may have passed through a scaler or a palette.
const SAME: u8 = 8;

/// A colour as `"#rrggbb"`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Colour([u8; 3]);

impl Colour {
    pub fn is_in(self, others: &[Colour]) -> bool {
        others.iter().any(|other| self.0.iter().zip(other.0).all(|(a, b)| a.abs_diff(b) <= SAME))
    }
}

impl<'de> Deserialize<'de> for Colour {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let [_, rgb @ ..] = number.ok_or_else(|| D::Error::custom("no colour"))?.to_be_bytes();
        Ok(Colour(rgb))
    }
}

/// The colour of most of the screen.
pub(super) fn background(picture: Picture<'_>) -> Option<Colour> {
    // A sixteenth of the pixels is enough to tell.
    let mut counts: BTreeMap<[u8; 3], usize> = BTreeMap::new();
    let mut all = 0;
    for y in (0..picture.height).step_by(4) {
        for x in (0..picture.width).step_by(4) {
            *counts.entry(picture.at(x, y)).or_default() += 1;
            all += 1;
        }
    }
    let (colour, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (count * 100 >= all * MOST).then_some(Colour(colour))
}

/// Whether the first thing from the top, at the left, is a large light `:(`.
pub(super) fn frowns(picture: Picture<'_>) -> bool {
    let is_light = |x: usize, y: usize| picture.at(x, y).iter().all(|part| *part > 190);
    let side = picture.width / 4;
    let Some(&(top, bottom)) = runs(picture.height, |y| (0..side).any(|x| is_light(x, y))).first() else {
        return false;
    };
    let height = bottom - top;
    let is_large = top < picture.height / 4 && (picture.height / 8..picture.height * 2 / 5).contains(&height);
    let columns = runs(side, |x| (top..bottom).any(|y| is_light(x, y)));
    let [eyes, mouth] = columns[..] else { return false };
    let size = eyes.1 - eyes.0;
    let round = |(from, to): &(usize, usize)| (to - from) * 2 > size && (to - from) < size * 2 && size * 4 < height;
    let dots = runs(height, |y| (eyes.0..eyes.1).any(|x| is_light(x, top + y)));
    let has_eyes = matches!(dots[..], [upper, lower] if round(&upper) && round(&lower));
    // `(`: in one piece, narrow, and furthest to the left in its middle.
    let first_in_row = |y: usize| (mouth.0..mouth.1).find(|x| is_light(*x, y));
    let bends = |y: usize| first_in_row(y).is_some_and(|x| x > mouth.0 + (mouth.1 - mouth.0) / 3);
    let is_mouth = runs(height, |y| first_in_row(top + y).is_some()) == [(0, height)]
        && (mouth.1 - mouth.0) * 2 < height
        && bends(top)
        && bends(bottom - 1)
        && !bends(top + height / 2);
    is_large && has_eyes && is_mouth
}

/// Where something holds without a gap: begins and ends, the end not included.
fn runs(length: usize, holds: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for place in (0..length).filter(|place| holds(*place)) {
        match found.last_mut() {
            Some((_, end)) if *end == place => *end += 1,
            _ => found.push((place, place + 1)),
        }
    }
    found
}

/// What the QR codes on the screen say.
pub(super) fn codes(picture: Picture<'_>) -> Vec<String> {
    // The guest draws what it likes, and rqrr's own checks may panic.
    panic::catch_unwind(|| {
        let luma = |x, y| {
            let [r, g, b] = picture.at(x, y).map(u32::from);
            ((r * 299 + g * 587 + b * 114) / 1000) as u8
        };
        let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(picture.width, picture.height, luma);
        prepared.detect_grids().iter().filter_map(|grid| grid.decode().ok()).map(|(_, said)| said).collect()
    })
    .unwrap_or_default()
}
