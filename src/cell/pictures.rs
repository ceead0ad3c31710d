use std::{collections::HashMap, io, path::Path};

use crate::lab::Screenshot;

/// How many pixels of two screens differ, per million. Screens of different sizes differ wholly.
pub(super) fn difference_ppm(a: &Screenshot, b: &Screenshot) -> u32 {
    if (a.width, a.height) != (b.width, b.height) || a.rgb.len() != b.rgb.len() {
        return 1_000_000;
    }
    let pixels = (a.rgb.len() / 3).max(1);
    let differ = a.rgb.chunks_exact(3).zip(b.rgb.chunks_exact(3)).filter(|(a, b)| a != b).count();
    u32::try_from(differ as u64 * 1_000_000 / pixels as u64).unwrap_or(1_000_000)
}

/// A screen to compare others with.
#[derive(Clone)]
pub(super) struct Reference {
    pub screen: Screenshot,
    /// Pixels that are not background, which is the most frequent colour.
    drawn: u64,
}

impl Reference {
    pub fn new(screen: Screenshot) -> Self {
        let mut colours: HashMap<&[u8], u64> = HashMap::new();
        for pixel in screen.rgb.chunks_exact(3) {
            *colours.entry(pixel).or_default() += 1;
        }
        let pixels: u64 = colours.values().sum();
        let drawn = pixels - colours.values().max().copied().unwrap_or(0);
        Self { screen, drawn }
    }

    /// How much another screen differs, per million of what is drawn on this one: a text screen is nearly
    /// all background, so a share of all pixels would say nothing. None: nothing is drawn here.
    pub fn unlike_ppm(&self, screen: &Screenshot) -> Option<u32> {
        if self.drawn == 0 {
            return None;
        }
        let pixels = self.screen.rgb.len() as u64 / 3;
        let differ = u64::from(difference_ppm(&self.screen, screen)) * pixels / 1_000_000;
        Some(u32::try_from((differ * 1_000_000 / self.drawn).min(1_000_000)).unwrap_or(1_000_000))
    }
}

/// Writes a screen as PNG.
pub(super) fn write_png(screen: &Screenshot, path: &Path) -> io::Result<()> {
    let file = io::BufWriter::new(std::fs::File::create(path)?);
    let mut encoder = png::Encoder::new(file, screen.width, screen.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(io::Error::other)?;
    writer.write_image_data(&screen.rgb).map_err(io::Error::other)?;
    writer.finish().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(rgb: &[u8]) -> Screenshot {
        Screenshot { width: u32::try_from(rgb.len() / 3).unwrap(), height: 1, rgb: rgb.to_vec() }
    }

    #[test]
    fn screens_differ_by_the_share_of_pixels() {
        let black = screen(&[0; 12]);
        assert_eq!(difference_ppm(&black, &black), 0);
        assert_eq!(difference_ppm(&black, &screen(&[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0])), 250_000);
        assert_eq!(difference_ppm(&black, &screen(&[0; 3])), 1_000_000);
    }

    #[test]
    fn a_nearly_empty_screen_is_unlike_another_by_what_is_drawn_on_it() {
        let mut prompt = vec![0; 3 * 1000];
        prompt[..30].fill(170);
        let (prompt, empty) = (screen(&prompt), screen(&[0; 3 * 1000]));
        assert!(difference_ppm(&prompt, &empty) <= 10_000);
        let reference = Reference::new(prompt.clone());
        assert_eq!(reference.unlike_ppm(&empty), Some(1_000_000));
        assert_eq!(reference.unlike_ppm(&prompt), Some(0));
        assert_eq!(Reference::new(empty).unlike_ppm(&prompt), None);
    }
}
