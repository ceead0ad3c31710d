//! Pictures drawn here, in fonts made up here.

use proptest::prelude::*;

use super::*;

const BLACK: [u8; 3] = [0; 3];
const GREY: [u8; 3] = [170; 3];
const BLUE: [u8; 3] = [0, 0x78, 0xd7];
const WHITE: [u8; 3] = [255; 3];

struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
}

impl Canvas {
    fn new(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Canvas { width, height, pixels: vec![colour; width * height] }
    }

    fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: [u8; 3]) {
        for row in y..y + height {
            self.pixels[row * self.width + x..][..width].fill(colour);
        }
    }

    fn write(&mut self, (width, height): (usize, usize), column: usize, row: usize, text: &str) {
        for (n, letter) in text.chars().enumerate().filter(|(_, letter)| *letter != ' ') {
            for (x, y) in glyph(letter, height) {
                self.pixels[(row * height + y) * self.width + (column + n) * width + x] = GREY;
            }
        }
    }

    fn shows(&self) -> Option<ScreenKind> {
        let [width, height] = [self.width, self.height].map(|size| u32::try_from(size).unwrap());
        recognise(width, height, self.pixels.as_flattened()).map(|known| known.kind)
    }
}

/// A letter as tall as it should be, with its number in its middle rows.
fn glyph(letter: char, height: usize) -> Vec<(usize, usize)> {
    let base = height * 3 / 4;
    let (top, bottom) = match letter {
        'a' | 'c' | 'e' | 'm'..='o' | 'r' | 's' | 'u'..='x' | 'z' => (base - 6, base),
        'g' | 'p' | 'q' | 'y' => (base - 6, base + 1),
        _ => (base - 8, base),
    };
    let parts = if "ij:".contains(letter) { vec![top, bottom - 1, bottom] } else { (top..=bottom).collect() };
    let number = letter as usize;
    let middle = (0..7).filter(move |bit| number >> bit & 1 == 1).map(move |bit| (bit + 1, bottom - 1));
    parts.into_iter().map(|y| (0, y)).chain(middle).collect()
}

fn console(lines: &[&str]) -> Canvas {
    let mut canvas = Canvas::new(720, 400, BLACK);
    for (row, line) in lines.iter().enumerate() {
        canvas.write((9, 16), 0, row, line);
    }
    canvas
}

#[test]
fn every_rule_of_text_finds_its_own_screen() {
    for (size, screen) in [((9, 16), (720, 400)), ((8, 19), (800, 600))] {
        for rule in RULES.iter().filter(|rule| !rule.text.is_empty()) {
            let mut canvas = Canvas::new(screen.0, screen.1, BLACK);
            for (row, Phrase { phrase, .. }) in rule.text.iter().enumerate() {
                canvas.write(size, 0, row, phrase);
            }
            assert_eq!(canvas.shows(), Some(rule.kind), "{} in {size:?}", rule.shows);
        }
    }
}

/// A screen that a real machine showed.
fn real(name: &str) -> Option<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/screens").join(name);
    let mut reader =
        png::Decoder::new(std::io::BufReader::new(std::fs::File::open(path).unwrap())).read_info().unwrap();
    let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut rgb).unwrap();
    recognise(frame.width, frame.height, &rgb).map(|known| known.name)
}

#[test]
fn what_the_guest_of_the_lab_showed_in_its_text_modes_is_read() {
    assert_eq!(real("lab-guest-in-emergency-mode.png").as_deref(), Some("emergency mode"));
    assert_eq!(real("lab-guest-panics.png").as_deref(), Some("a kernel panic"));
}

#[test]
fn a_panic_is_read_behind_its_time_and_whatever_follows() {
    let panic = console(&["[    1.234567] Kernel panic - not syncing: Fatal exception", "[    1.3] ---[ end"]);
    assert_eq!(panic.shows(), Some(ScreenKind::Stop));
}

#[test]
fn a_cursor_behind_a_prompt_disturbs_nobody() {
    let mut underline = console(&["grub rescue> "]);
    underline.fill(13 * 9, 13, 9, 2, GREY);
    assert_eq!(underline.shows(), Some(ScreenKind::NothingToBoot));
    let mut block = console(&["grub rescue> "]);
    block.fill(13 * 9, 0, 9, 16, GREY);
    assert_eq!(block.shows(), Some(ScreenKind::NothingToBoot));
}

#[test]
fn a_prompt_is_the_last_thing_on_the_screen() {
    assert_eq!(console(&["lab login:"]).shows(), Some(ScreenKind::SignIn));
    assert_eq!(console(&["lab login:", "more"]).shows(), None);
    assert_eq!(console(&["lab login: root"]).shows(), None);
    assert_eq!(console(&["grub rescue>", "set prefix"]).shows(), None);
}

#[test]
fn ordinary_words_are_no_known_screen() {
    let lines = ["starting the sensor", "Kernel command line: quiet", "[  OK  ] Reached target", "done: ready"];
    assert_eq!(console(&lines).shows(), None);
    assert_eq!(Canvas::new(720, 400, BLACK).shows(), None);
    assert_eq!(Canvas::new(1024, 768, BLUE).shows(), None);
}

fn frown(background: [u8; 3]) -> Canvas {
    let mut canvas = Canvas::new(1024, 768, background);
    canvas.fill(90, 160, 18, 18, WHITE);
    canvas.fill(90, 240, 18, 18, WHITE);
    for y in 0..160 {
        let away = (y as f64 - 80.0) / 80.0;
        canvas.fill(130 + (away * away * 28.0) as usize, 120 + y, 8, 1, WHITE);
    }
    canvas
}

#[test]
fn a_large_frown_on_blue_is_a_stop_screen_and_on_another_colour_is_not() {
    assert_eq!(frown(BLUE).shows(), Some(ScreenKind::Stop));
    assert_eq!(frown([0, 90, 0]).shows(), None);
    let mut smile = frown(BLUE);
    smile.pixels[110 * 1024..290 * 1024].reverse();
    assert_eq!(smile.shows(), None);
}

fn code(background: [u8; 3], says: &str) -> Canvas {
    let code = qrcode::QrCode::new(says).unwrap();
    let mut canvas = Canvas::new(1024, 768, background);
    canvas.fill(90, 500, 4 * (code.width() + 4), 4 * (code.width() + 4), WHITE);
    for (n, colour) in code.to_colors().into_iter().enumerate() {
        if colour == qrcode::Color::Dark {
            canvas.fill(98 + n % code.width() * 4, 508 + n / code.width() * 4, 4, 4, background);
        }
    }
    canvas
}

#[test]
fn the_code_of_a_stop_screen_tells_it_on_blue_and_on_black() {
    for background in [BLUE, BLACK] {
        assert_eq!(code(background, "http://windows.com/stopcode").shows(), Some(ScreenKind::Stop));
        assert_eq!(code(background, "http://example.com/").shows(), None);
    }
}

#[test]
fn a_picture_whose_size_is_wrong_shows_nothing() {
    assert_eq!(recognise(0, 0, &[]), None);
    assert_eq!(recognise(2, 2, &[0; 11]), None);
    assert_eq!(recognise(u32::MAX, u32::MAX, &[0; 12]), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn text_at_random_is_no_known_screen(lines in prop::collection::vec("[a-zA-Z.:>()-]{1,9}( [a-z.:>]{1,9}){0,7}", 1..25)) {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        prop_assert_eq!(console(&lines).shows(), None);
    }

    #[test]
    fn any_pixels_are_looked_at_without_a_fault(
        width in 1..80u32, height in 1..40u32, seed in prop::collection::vec(any::<u8>(), 1..600),
    ) {
        let rgb: Vec<u8> = seed.iter().copied().cycle().take((width * height * 3) as usize).collect();
        recognise(width, height, &rgb);
    }
}
