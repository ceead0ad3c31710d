use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Phrase, picture::Picture};

/// The fonts of text screens: VGA text with 25 and with 50 lines, Linux's and GRUB's, EDK II's, CGA's, EGA's, Linux's on
/// large screens.
const FONTS: [(usize, usize); 7] = [(9, 16), (9, 8), (8, 16), (8, 19), (8, 8), (8, 14), (16, 32)];

/// Text consoles of EDK II are centred on the screen: so many lines.
const CENTRED: [usize; 2] = [25, 31];

/// What shows more different characters than two fonts have is no text.
const CHARACTERS: usize = 512;

/// Where a phrase must stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum At {
    LineStart,
    WordStart,
    LastLine,
    LineEnd,
}

/// A screen, cut into cells of one size: what would be its text if it is drawn in a font of that size.
pub(super) struct Cells {
    columns: usize,
    /// Row by row: the number of a glyph. 0: blank.
    cells: Vec<usize>,
    glyphs: Vec<Shape>,
    /// The last row that is not blank.
    last: usize,
}

/// What can be told of a letter without knowing the font.
#[derive(Clone, Copy, Default)]
struct Shape {
    top: usize,
    bottom: usize,
    in_two_parts: bool,
}

/// A glyph for each letter, as far as they are known.
type Letters = Vec<(char, usize)>;

/// All ways to read a screen as text.
pub(super) fn readings(picture: Picture<'_>) -> Vec<Cells> {
    let mut found = Vec::new();
    for (width, height) in FONTS {
        let mut tops = vec![0, (picture.height % height) / 2];
        tops.extend(CENTRED.map(|lines| picture.height.saturating_sub(lines * height) / 2 % height));
        let mut lefts = vec![0, (picture.width % width) / 2];
        for places in [&mut tops, &mut lefts] {
            places.sort_unstable();
            places.dedup();
        }
        for &top in &tops {
            found.extend(lefts.iter().filter_map(|&left| Cells::read(picture, (width, height), (left, top))));
        }
    }
    found
}

impl Cells {
    fn read(picture: Picture<'_>, size: (usize, usize), origin: (usize, usize)) -> Option<Self> {
        let columns = (picture.width - origin.0.min(picture.width)) / size.0;
        let rows = (picture.height - origin.1.min(picture.height)) / size.1;
        let mut glyphs = vec![Shape::default()];
        let mut numbers: BTreeMap<Vec<bool>, usize> = BTreeMap::new();
        let mut cells = Vec::with_capacity(columns * rows);
        for cell in 0..columns * rows {
            let corner = (origin.0 + cell % columns * size.0, origin.1 + cell / columns * size.1);
            let ink = ink(picture, size, corner);
            let number = match ink {
                None => 0,
                Some(ink) => match numbers.get(&ink) {
                    Some(number) => *number,
                    None if glyphs.len() > CHARACTERS => return None,
                    None => {
                        glyphs.push(Shape::of(&ink, size.0));
                        numbers.insert(ink, glyphs.len() - 1);
                        glyphs.len() - 1
                    }
                },
            };
            cells.push(number);
        }
        let last = cells.iter().rposition(|cell| *cell != 0)? / columns;
        Some(Cells { columns, cells, glyphs, last })
    }

    /// Whether all these phrases stand on the screen, in the same font.
    pub fn say(&self, phrases: &[Phrase]) -> bool {
        self.say_all(phrases, &Letters::new())
    }

    fn say_all(&self, phrases: &[Phrase], known: &Letters) -> bool {
        let Some((first, others)) = phrases.split_first() else { return true };
        (0..self.cells.len()).any(|place| {
            self.stands(first, place)
                && self.letters(&first.phrase, place, known).is_some_and(|known| self.say_all(others, &known))
        })
    }

    /// Whether the cells around a place are blank where they must be for a phrase to stand there.
    fn stands(&self, Phrase { phrase, at }: &Phrase, place: usize) -> bool {
        let (row, column) = (place / self.columns, place % self.columns);
        let line = &self.cells[row * self.columns..][..self.columns];
        let end = column + phrase.len();
        if end > self.columns {
            return false;
        }
        let nothing_before = line[..column].iter().all(|cell| *cell == 0);
        let nothing_after = row == self.last && line[end..].iter().all(|cell| *cell == 0);
        match at {
            At::LineStart => nothing_before,
            At::LastLine => nothing_before && nothing_after,
            At::WordStart => column == 0 || line[column - 1] == 0,
            At::LineEnd => nothing_after && (column == 0 || line[column - 1] == 0),
        }
    }

    /// The letters with those of a phrase, if it may stand here: equal letters have equal glyphs, different letters
    /// different ones, and each looks like what it is.
    fn letters(&self, phrase: &str, place: usize, known: &Letters) -> Option<Letters> {
        let mut letters = known.clone();
        for (letter, &glyph) in phrase.chars().zip(&self.cells[place..]) {
            if (letter == ' ') != (glyph == 0) {
                return None;
            }
            if glyph != 0 && !letters.contains(&(letter, glyph)) {
                if letters.iter().any(|(other, drawn)| *other == letter || *drawn == glyph) {
                    return None;
                }
                letters.push((letter, glyph));
            }
        }
        self.look_like(&letters).then_some(letters)
    }

    fn look_like(&self, letters: &Letters) -> bool {
        let of = |wanted: &'static str| {
            let found = letters.iter().filter(move |(letter, _)| wanted.contains(*letter));
            found.map(|(_, glyph)| self.glyphs[*glyph])
        };
        let dotted = of("ij:").all(|shape| shape.in_two_parts);
        let whole = of("abcdefghklmnopqrstuvwxyz").all(|shape| !shape.in_two_parts);
        // By the top of the small ones, and by the line that they stand on.
        let small = || of("acemnorsuvwxz");
        let tops = || small().map(|shape| shape.top);
        let bottoms = || small().map(|shape| shape.bottom);
        let (Some(top), Some(bottom)) = (tops().min(), bottoms().max()) else { return dotted && whole };
        let even = tops().all(|other| other <= top + 1) && bottoms().all(|other| other + 1 >= bottom);
        let tall = of("bdfhklABCDEFGHIKLMNOPRSTUVWXYZ").all(|shape| shape.top < top);
        let hang = of("gpqy").all(|shape| shape.bottom > bottom && shape.top.abs_diff(top) <= 1);
        dotted && whole && even && tall && hang
    }
}

impl Shape {
    fn of(ink: &[bool], width: usize) -> Self {
        let rows: Vec<bool> = ink.chunks(width).map(|row| row.contains(&true)).collect();
        let top = rows.iter().position(|row| *row).unwrap_or(0);
        let bottom = rows.iter().rposition(|row| *row).unwrap_or(0);
        Shape { top, bottom, in_two_parts: rows[top..=bottom].contains(&false) }
    }
}

/// Which pixels of a cell are drawn. None: it is blank, or holds nothing but a cursor.
fn ink(picture: Picture<'_>, (width, height): (usize, usize), (left, top): (usize, usize)) -> Option<Vec<bool>> {
    let first = picture.at(left, top);
    if (top..top + height).all(|y| picture.is_plain(left, y, width, first)) {
        return None;
    }
    let mut ink: Vec<bool> =
        (0..width * height).map(|pixel| picture.at(left + pixel % width, top + pixel / width) != first).collect();
    // The background is what there is more of, whatever colours a line is drawn in.
    let drawn = ink.iter().filter(|drawn| **drawn).count();
    if drawn * 2 > ink.len() {
        ink.iter_mut().for_each(|drawn| *drawn = !*drawn);
    }
    (!is_cursor(&ink, width)).then_some(ink)
}

/// An underline: whole rows at the bottom, and nothing else.
fn is_cursor(ink: &[bool], width: usize) -> bool {
    let rows = ink.len() / width;
    ink.chunks(width).enumerate().all(|(row, pixels)| {
        pixels.iter().all(|drawn| !drawn) || (row * 4 >= rows * 3 && pixels.iter().all(|drawn| *drawn))
    })
}
