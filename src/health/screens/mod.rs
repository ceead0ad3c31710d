//! Known screens, by the rules of `screens.yaml`. Pixels in, at most one known screen out.
//!
//! A screen is the weakest of all signals: any program can draw it. So [`recognise`] only answers what it is sure of,
//! and the judge asks for the answer only where nothing stronger speaks.

mod cells;
mod graphics;
mod picture;

use std::sync::LazyLock;

use serde::Deserialize;

use self::{
    cells::{At, Cells},
    graphics::Colour,
    picture::Picture,
};
use crate::model::{KnownScreen, ScreenKind};

/// Larger screens are not looked at: a guest chooses how large its screen is.
const LARGEST: usize = 4096 * 2160;

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    serde_saphyr::from_str(include_str!("../screens.yaml")).expect("the rules are part of the program")
});

/// All that is asked for must hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    shows: String,
    kind: ScreenKind,
    #[serde(default)]
    text: Vec<Phrase>,
    #[serde(default)]
    background: Vec<Colour>,
    #[serde(default)]
    frown: bool,
    code: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Phrase {
    phrase: String,
    at: At,
}

impl Rule {
    fn holds(&self, picture: Picture<'_>, readings: &[Cells]) -> bool {
        (self.text.is_empty() || readings.iter().any(|cells| cells.say(&self.text)))
            && (self.background.is_empty()
                || graphics::background(picture).is_some_and(|of| of.is_in(&self.background)))
            && (!self.frown || graphics::frowns(picture))
            && self.code.as_ref().is_none_or(|code| graphics::codes(picture).iter().any(|said| said.contains(code)))
    }
}

/// What a screen is known to show. `rgb` has three bytes a pixel, row by row.
pub fn recognise(width: u32, height: u32, rgb: &[u8]) -> Option<KnownScreen> {
    let picture = Picture::new(width, height, rgb).filter(|picture| picture.pixels() <= LARGEST)?;
    let readings = cells::readings(picture);
    let rule = RULES.iter().find(|rule| rule.holds(picture, &readings))?;
    Some(KnownScreen { kind: rule.kind, name: rule.shows.clone() })
}

#[cfg(test)]
mod tests;
