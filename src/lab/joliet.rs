//! A medium whose files keep their names.

use std::io;

use super::medium::{Extent, SECTOR, pad, primary_descriptor, record};

/// Where things are, in sectors.
const PRIMARY: usize = 16;
const PATHS: [(usize, bool); 4] = [(19, false), (20, true), (21, false), (22, true)];
/// The root folder with short names, and the one with the real ones.
const ROOTS: [u32; 2] = [23, 24];
const FIRST_FILE: usize = 25;

/// Joliet's longest name, in characters of UCS-2.
const LONGEST: usize = 64;

/// A read-only medium in memory, for a few small files: names and contents.
///
/// Their names are there twice: as ISO 9660 (ECMA-119) allows them, eight letters and three, and as they were given, in
/// the way of Microsoft's "Joliet Specification", which Windows takes where it is. The same files give the same bytes.
///
/// # Errors
/// A name that Joliet cannot have; more than fits.
pub fn named_iso(files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    for (name, _) in files {
        let forbidden = |c: char| c.is_control() || "*/:;?\\".contains(c) || c as u32 > 0xffff;
        if name.is_empty() || name.chars().any(forbidden) || name.chars().count() > LONGEST {
            return Err(invalid(format!("`{name}` is no name for a file on a medium")));
        }
    }
    let mut extents = Vec::new();
    let mut end = FIRST_FILE;
    for (_, content) in files {
        let length = u32::try_from(content.len()).map_err(|_| invalid("too large a file for this medium".into()))?;
        extents.push(Extent { sector: if length == 0 { 0 } else { sector(end)? }, length });
        end += content.len().div_ceil(SECTOR);
    }
    let one = SECTOR as u32;
    let roots = ROOTS.map(|sector| Extent { sector, length: one });
    let [short, long] = roots;

    let mut iso = vec![0; PRIMARY * SECTOR];
    let end = sector(end)?;
    iso.extend(descriptor(short, end, 0));
    iso.extend(supplementary(long, end));
    let mut terminator = [0; SECTOR];
    terminator[..7].copy_from_slice(b"\xffCD001\x01");
    iso.extend(terminator);
    for (at, (_, big)) in PATHS.into_iter().enumerate() {
        iso.extend(path_table(roots[at / 2], big));
        pad(&mut iso);
    }
    for (root, is_long) in [(short, false), (long, true)] {
        let mut names: Vec<(Vec<u8>, Extent)> = files
            .iter()
            .zip(&extents)
            .enumerate()
            .map(|(at, ((name, _), extent))| {
                (if is_long { ucs2(&format!("{name};1")) } else { short_name(name, at) }, *extent)
            })
            .collect();
        names.sort_by(|a, b| a.0.cmp(&b.0));
        let start = iso.len();
        for name in [0, 1] {
            iso.extend(record(&[name], root, true));
        }
        for (name, extent) in names {
            iso.extend(record(&name, extent, false));
        }
        if iso.len() - start > SECTOR {
            return Err(invalid("too many files for this medium".into()));
        }
        pad(&mut iso);
    }
    for (_, content) in files {
        iso.extend(*content);
        pad(&mut iso);
    }
    Ok(iso)
}

fn sector(at: usize) -> io::Result<u32> {
    u32::try_from(at).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "too much for one medium"))
}

/// Which two path tables belong to it, the first or the second pair.
fn descriptor(root: Extent, end: u32, pair: usize) -> [u8; SECTOR] {
    let mut descriptor = primary_descriptor(root, end);
    let (little, big) = (PATHS[2 * pair].0 as u32, PATHS[2 * pair + 1].0 as u32);
    descriptor[140..144].copy_from_slice(&little.to_le_bytes());
    descriptor[148..152].copy_from_slice(&big.to_be_bytes());
    descriptor
}

/// ECMA-119, 8.5, and Joliet's escape sequence for UCS-2 level 3.
fn supplementary(root: Extent, end: u32) -> [u8; SECTOR] {
    let mut descriptor = descriptor(root, end, 1);
    descriptor[0] = 2;
    // Texts are of two bytes a letter here too, blanks included.
    for (from, to) in [(8, 72), (190, 813)] {
        for pair in descriptor[from..to].chunks_exact_mut(2) {
            pair.copy_from_slice(&[0, b' ']);
        }
    }
    let label = ucs2("BOOTGATE");
    descriptor[40..40 + label.len()].copy_from_slice(&label);
    descriptor[88..91].copy_from_slice(b"%/E");
    descriptor
}

/// One record, of the root: a name of one zero byte, which a pad byte makes even.
fn path_table(root: Extent, big: bool) -> Vec<u8> {
    let mut table = vec![1, 0];
    table.extend(if big { root.sector.to_be_bytes() } else { root.sector.to_le_bytes() });
    table.extend(if big { 1_u16.to_be_bytes() } else { 1_u16.to_le_bytes() });
    table.extend([0, 0]);
    table
}

fn ucs2(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// Letters and digits of the real name, as many as fit beside the file's number.
fn short_name(name: &str, at: usize) -> Vec<u8> {
    let kept = |text: &str, most: usize| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).take(most).collect::<String>().to_ascii_uppercase()
    };
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    format!("{}{:02}.{};1", kept(stem, 6), at % 100, kept(ending, 3)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of the folder that this descriptor leads to, by the standards' offsets alone.
    fn read(iso: &[u8], descriptor: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let number = |at: usize| u32::from_le_bytes(iso[at..at + 4].try_into().unwrap()) as usize;
        let root = descriptor * SECTOR + 156;
        assert_eq!(number(descriptor * SECTOR + 80) * SECTOR, iso.len());
        let (mut at, end) = (number(root + 2) * SECTOR, number(root + 2) * SECTOR + number(root + 10));
        let paths = number(descriptor * SECTOR + 140) * SECTOR;
        assert_eq!(number(paths + 2) * SECTOR, at, "the path table leads to the root too");
        let mut found = Vec::new();
        while at < end && iso[at] != 0 {
            let name = iso[at + 33..][..usize::from(iso[at + 32])].to_vec();
            if iso[at + 25] & 2 == 0 {
                found.push((name, iso[number(at + 2) * SECTOR..][..number(at + 10)].to_vec()));
            }
            at += usize::from(iso[at]);
        }
        found
    }

    #[test]
    fn files_have_their_own_names_and_short_ones() {
        let big = vec![7; 5000];
        let iso = named_iso(&[("Autounattend.xml", b"<x/>"), ("bootgate.cmd", &big), ("empty", b"")]).unwrap();
        assert_eq!(iso.len() % SECTOR, 0);
        let long: Vec<(String, usize)> = read(&iso, 17)
            .into_iter()
            .map(|(name, content)| {
                let units: Vec<u16> = name.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
                (String::from_utf16(&units).unwrap(), content.len())
            })
            .collect();
        let expected = [("Autounattend.xml;1", 4), ("bootgate.cmd;1", 5000), ("empty;1", 0)];
        assert_eq!(long, expected.map(|(name, length)| (name.to_owned(), length)));
        let short: Vec<Vec<u8>> = read(&iso, 16).into_iter().map(|(name, _)| name).collect();
        assert_eq!(short, [&b"AUTOUN00.XML;1"[..], b"BOOTGA01.CMD;1", b"EMPTY02.;1"]);
        assert_eq!(read(&iso, 16)[1].1, big);
        assert_eq!(&iso[17 * SECTOR..17 * SECTOR + 7], b"\x02CD001\x01");
        assert_eq!(&iso[17 * SECTOR + 88..][..3], b"%/E");
        assert_eq!(&iso[18 * SECTOR..18 * SECTOR + 7], b"\xffCD001\x01");
    }

    #[test]
    fn names_that_a_medium_cannot_have_are_refused() {
        for name in ["", "a/b", "a\\b", "a:b", "a\nb", "\u{1f4a9}", &"a".repeat(65)] {
            assert!(named_iso(&[(name, b"")]).is_err(), "{name}");
        }
        let names: Vec<String> = (0..100).map(|n| format!("name-{n}")).collect();
        let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
        assert!(named_iso(&many).unwrap_err().to_string().contains("too many"));
    }
}
