//! The table `Property` of a Windows Installer package.
//!
//! Its format is not documented by Microsoft; the crate `msi` reads and writes it, and its files are what the tests here
//! are made of. It is not used on files from outside: it makes room for whatever lengths a file claims.

use super::{
    ole::{Compound, stream},
    summary::guid,
    words::{clean, in_code_page},
};
use crate::{
    bytes::{slice, u16_at, u32_at},
    model::Msi,
};

/// Largest table that is read, in bytes. The texts of the largest packages take some MB.
const MAX_TABLE: u64 = 24 << 20;
/// In the first number of the string pool: references to texts have three bytes instead of two.
const LONG_REFERENCES: u32 = 0x8000_0000;

/// Adds what a package says of itself.
///
/// # Errors
/// What could not be read, in words.
pub(super) fn properties(file: &mut Compound<'_, '_>, facts: &mut Msi) -> Result<(), String> {
    let table = stream(file, &table_name("Property"), MAX_TABLE)?;
    let pool = stream(file, &table_name("_StringPool"), MAX_TABLE)?;
    let texts = stream(file, &table_name("_StringData"), MAX_TABLE)?;
    let head = u32_at(&pool, 0).ok_or("its string pool is empty")?;
    let width = if head & LONG_REFERENCES == 0 { 2 } else { 3 };
    let page = head & !LONG_REFERENCES;
    let texts = Texts { places: places(&pool), bytes: &texts };
    // By columns: all names, then all values.
    let rows = table.len() / (2 * width);
    let reference = |n: usize| {
        let bytes = slice(&table, n * width, width)?;
        Some(bytes.iter().rev().fold(0usize, |number, byte| number << 8 | usize::from(*byte)))
    };
    for row in 0..rows {
        let Some(name) = reference(row).and_then(|name| texts.get(name)) else { continue };
        let value = || Some(in_code_page(texts.get(reference(rows + row)?)?, page));
        match name {
            b"ProductName" => facts.name = value().as_deref().and_then(clean),
            b"ProductVersion" => facts.version = value().as_deref().and_then(clean),
            b"Manufacturer" => facts.manufacturer = value().as_deref().and_then(clean),
            b"ProductCode" => facts.product_code = value().as_deref().and_then(guid),
            b"UpgradeCode" => facts.upgrade_code = value().as_deref().and_then(guid),
            _ => {}
        }
    }
    match (&facts.product_code, &facts.version) {
        (Some(_), Some(_)) => Ok(()),
        _ => Err("it names no product code or no version".to_owned()),
    }
}

struct Texts<'a> {
    /// Place and length of each text.
    places: Vec<(usize, usize)>,
    bytes: &'a [u8],
}

impl Texts<'_> {
    /// A text by its number, from 1; 0 is no text.
    fn get(&self, number: usize) -> Option<&[u8]> {
        let (at, len) = *self.places.get(number.checked_sub(1)?)?;
        slice(self.bytes, at, len)
    }
}

/// Where each text of a string pool is: the pool has lengths, and how often each text is used.
fn places(pool: &[u8]) -> Vec<(usize, usize)> {
    let mut places = Vec::with_capacity(pool.len() / 4);
    let (mut at, mut entry) = (0usize, 4);
    while let (Some(short), Some(uses)) = (u16_at(pool, entry), u16_at(pool, entry + 2)) {
        entry += 4;
        let mut len = usize::from(short);
        // A text of 64 KiB or more: its length is the next entry.
        if short == 0 && uses > 0 {
            len = u32_at(pool, entry).unwrap_or(0) as usize;
            entry += 4;
        }
        places.push((at, len));
        at = at.saturating_add(len);
    }
    places
}

/// The name of a table's stream: its characters in pairs, each pair as one character of a range that no name uses, behind a
/// mark that it is a table.
pub(super) fn table_name(table: &str) -> String {
    let index = |c: char| match c {
        '0'..='9' => Some(c as u32 - '0' as u32),
        'A'..='Z' => Some(c as u32 - 'A' as u32 + 10),
        'a'..='z' => Some(c as u32 - 'a' as u32 + 36),
        '.' => Some(62),
        '_' => Some(63),
        _ => None,
    };
    let indexes: Vec<u32> = table.chars().filter_map(index).collect();
    let packed = indexes.chunks(2).map(|pair| match pair {
        [first, second] => 0x3800 + (second << 6) + first,
        other => 0x4800 + other[0],
    });
    std::iter::once('\u{4840}').chain(packed.filter_map(char::from_u32)).collect()
}

#[cfg(test)]
mod tests {
    use crate::{
        candidate::testing::{MsiFile, about},
        model::{Content, Machine, Msi},
    };

    #[test]
    fn a_package_says_what_product_it_is() {
        for (template, machine) in [
            ("x64;1033", Some(Machine::X64)),
            ("Intel;1033,1031", Some(Machine::X86)),
            ("Arm64;1033", Some(Machine::Arm64)),
            ("Intel64;0", Some(Machine::Ia64)),
            (";1033", None),
        ] {
            let about = about(&MsiFile { template, ..MsiFile::default() }.bytes());
            let expected = Msi {
                name: Some("Sensör".into()),
                version: Some("7.2.0".into()),
                manufacturer: Some("Vendor Inc".into()),
                product_code: Some("{11111111-2222-3333-4444-AAAAAAAAAAAA}".into()),
                upgrade_code: Some("{99999999-2222-3333-4444-BBBBBBBBBBBB}".into()),
                package_code: Some("{33333333-2222-3333-4444-CCCCCCCCCCCC}".into()),
                machine,
            };
            assert_eq!((about.content, about.unread), (Content::Msi(expected), None));
        }
    }

    #[test]
    fn texts_of_more_than_64_kib_do_not_shift_the_others() {
        let about = about(&MsiFile { long: true, ..MsiFile::default() }.bytes());
        let Content::Msi(msi) = about.content else { panic!("{about:?}") };
        assert_eq!(msi.upgrade_code.as_deref(), Some("{99999999-2222-3333-4444-BBBBBBBBBBBB}"));
    }

    #[test]
    fn a_patch_is_told_from_a_package_by_its_class_and_names_its_targets() {
        let about = about(&MsiFile { patch: true, ..MsiFile::default() }.bytes());
        let Content::Msp(msp) = &about.content else { panic!("{about:?}") };
        assert_eq!(msp.patch_code.as_deref(), Some("{33333333-2222-3333-4444-CCCCCCCCCCCC}"));
        assert_eq!(msp.targets, ["{11111111-2222-3333-4444-AAAAAAAAAAAA}", "{55555555-2222-3333-4444-DDDDDDDDDDDD}"]);
        assert!(about.to_string().starts_with(r#"MSP "Sensor patch", patch {33333333-"#), "{about}");
    }

    #[test]
    fn a_signed_package_names_its_signer() {
        let about = about(&MsiFile { signed: true, ..MsiFile::default() }.bytes());
        assert_eq!(about.signature.unwrap().signer.as_deref(), Some("Vendor Inc"));
    }

    #[test]
    fn a_package_that_is_cut_off_is_still_one() {
        let whole = MsiFile::default().bytes();
        let about = about(&whole[..whole.len() / 2]);
        assert!(matches!(about.content, Content::Msi(_) | Content::Ole), "{about:?}");
        assert!(about.unread.is_some() || about.content == Content::Ole, "{about:?}");
    }
}
