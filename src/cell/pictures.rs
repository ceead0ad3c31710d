use std::{io, path::Path};

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
}
