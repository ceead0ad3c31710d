//! A machine's screen (virDomainScreenshot): PPM from older libvirt, PNG from newer.

use virt::{domain::Domain, error::Error, stream::Stream};

use crate::lab::Screenshot;

/// More than an 8K screen has.
const MAX_BYTES: usize = 128 << 20;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    #[error("{}", .0.message())]
    Libvirt(#[from] Error),
    #[error("the picture ({0}) cannot be read")]
    Unreadable(String),
}

/// Takes a picture of the first screen.
pub fn take(domain: &Domain, connect: &virt::connect::Connect) -> Result<Screenshot, ScreenError> {
    let stream = Stream::new(connect, 0)?;
    let mime = domain.screenshot(&stream, 0, 0)?;
    let mut bytes = Vec::new();
    let mut part = vec![0; 256 << 10];
    loop {
        match stream.recv(&mut part) {
            Ok(0) => break,
            Ok(n) if bytes.len() + n as usize <= MAX_BYTES => bytes.extend_from_slice(&part[..n as usize]),
            Ok(_) => {
                let _ = stream.abort();
                return Err(ScreenError::Unreadable(format!("{mime}, too large")));
            }
            Err(error) => {
                let _ = stream.abort();
                return Err(error.into());
            }
        }
    }
    stream.finish()?;
    decode(&mime, &bytes).ok_or(ScreenError::Unreadable(mime))
}

fn decode(mime: &str, bytes: &[u8]) -> Option<Screenshot> {
    match mime {
        "image/x-portable-pixmap" => decode_ppm(bytes),
        "image/png" => decode_png(bytes),
        _ => None,
    }
}

/// `P6 WIDTH HEIGHT 255`, one white space, then the pixels (netpbm's ppm(5)).
fn decode_ppm(bytes: &[u8]) -> Option<Screenshot> {
    let mut rest = bytes;
    let mut word = || {
        let from = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        let to = from + rest.get(from..)?.iter().position(u8::is_ascii_whitespace)?;
        let word = str::from_utf8(rest.get(from..to)?).ok()?;
        rest = rest.get(to + 1..)?;
        Some(word)
    };
    let (magic, width, height, depth) = (word()?, word()?, word()?, word()?);
    if magic != "P6" || depth != "255" {
        return None;
    }
    let (width, height): (u32, u32) = (width.parse().ok()?, height.parse().ok()?);
    let length = (width as usize).checked_mul(height as usize)?.checked_mul(3)?;
    Some(Screenshot { width, height, rgb: rest.get(..length)?.to_vec() })
}

fn decode_png(bytes: &[u8]) -> Option<Screenshot> {
    let mut decoder = png::Decoder::new_with_limits(std::io::Cursor::new(bytes), png::Limits { bytes: MAX_BYTES });
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().ok()?;
    let mut pixels = vec![0; reader.output_buffer_size().filter(|size| *size <= MAX_BYTES)?];
    let info = reader.next_frame(&mut pixels).ok()?;
    pixels.truncate(info.buffer_size());
    let rgb = match info.color_type {
        png::ColorType::Rgb => pixels,
        png::ColorType::Rgba => pixels.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
        png::ColorType::Grayscale => pixels.iter().flat_map(|grey| [*grey; 3]).collect(),
        _ => return None,
    };
    Some(Screenshot { width: info.width, height: info.height, rgb })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_of_libvirt_give_the_same_picture() {
        let rgb = vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 1, 2, 3, 4, 5, 6, 10, 32, 9];
        let mut ppm = b"P6\n3 2\n255\n".to_vec();
        ppm.extend(&rgb);
        let mut png_bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut png_bytes, 3, 2);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header().unwrap().write_image_data(&rgb).unwrap();
        let expected = Screenshot { width: 3, height: 2, rgb };
        assert!(decode("image/x-portable-pixmap", &ppm).unwrap() == expected);
        assert!(decode("image/png", &png_bytes).unwrap() == expected);
    }

    #[test]
    fn a_broken_picture_is_no_picture() {
        for bytes in [&b"P6\n3 2\n255\nab"[..], b"P6\n99999999 99999999\n255\n", b"P6 3 2 65535 ", b"P3\n", b""] {
            assert!(decode("image/x-portable-pixmap", bytes).is_none());
            assert!(decode("image/png", bytes).is_none());
        }
        assert!(decode("image/jpeg", b"").is_none());
    }
}
