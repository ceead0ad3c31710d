use super::{
    signature,
    source::Source,
    words::{clean, in_code_page},
};
use crate::{
    bytes::{u16_at, u32_at},
    model::{About, Cabinet, Content, MAX_LISTED},
};

/// What cabinets begin with ("Microsoft Cabinet Format").
pub(super) const MAGIC: &[u8] = b"MSCF";
/// Most bytes of the list of files that are read.
const MAX_LIST: usize = 8 << 20;
/// Longest name in a cabinet, in bytes.
const MAX_NAME: usize = 256;
/// Largest signature that is read, in bytes.
const MAX_SIGNATURE: u32 = 8 << 20;

/// Of a file that begins with [`MAGIC`]. Only names are read; nothing is unpacked.
pub(super) fn inspect(source: &mut Source<'_>) -> About {
    let mut about = About::of(Content::Cab(Cabinet::default()));
    let Some(header) = source.at(0, 36) else {
        return About { unread: Some("it is cut off".to_owned()), ..about };
    };
    let number = |at| u32_at(&header, at).unwrap_or_default();
    if u64::from(number(8)) > source.len {
        about.unread = Some("it is shorter than its header says".to_owned());
    }
    let files = usize::from(u16_at(&header, 28).unwrap_or_default());
    let names = names(source, u64::from(number(16)), files);
    if names.len() < files {
        about.unread.get_or_insert_with(|| "its list of files cannot be read".to_owned());
    }
    about.content = kind(files, &names);
    if let Some((at, len)) = place_of_signature(source, u16_at(&header, 30).unwrap_or_default()) {
        let bytes = source.at(u64::from(at), len as usize).ok_or_else(|| "it lies outside of the file".to_owned());
        match bytes.and_then(|bytes| signature::read(&bytes)) {
            Ok(signature) => about.signature = Some(signature),
            Err(why) => drop(about.unread.get_or_insert(format!("its signature cannot be read: {why}"))),
        }
    }
    about
}

fn kind(files: usize, names: &[String]) -> Content {
    let lower: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let scan_data = |name: &str| name == "wsusscan.cab";
    let of_update = |name: &str| scan_data(name) || name.ends_with("-pkgproperties.txt");
    let is_package = |name: &&String| name.ends_with(".cab") && !scan_data(&name.to_ascii_lowercase());
    let inside = names.iter().filter(|name| is_package(&&name.to_ascii_lowercase()));
    let cabinet = Cabinet {
        files,
        package: lower.iter().any(|name| name.ends_with(".mum")),
        packages: inside.filter_map(|name| clean(name)).take(MAX_LISTED).collect(),
    };
    // A standalone update is a cabinet of the update's own, of scan data for Windows Update, and of properties.
    if !cabinet.package && !cabinet.packages.is_empty() && lower.iter().any(|name| of_update(name)) {
        Content::Msu(cabinet)
    } else {
        Content::Cab(cabinet)
    }
}

/// The names of files; fewer than `count` where the list cannot be read.
fn names(source: &mut Source<'_>, at: u64, count: usize) -> Vec<String> {
    // Of a CFFILE: sizes, folder, date, time, attributes.
    const HEAD: usize = 16;
    const NAME_IS_UTF8: u16 = 0x80;
    let list = source.up_to(at, (count * (HEAD + MAX_NAME + 1)).min(MAX_LIST)).unwrap_or_default();
    let mut rest = list.as_slice();
    let mut names = Vec::new();
    while names.len() < count {
        let (Some(flags), Some(text)) = (u16_at(rest, 14), rest.get(HEAD..)) else { break };
        let Some(len) = text.iter().take(MAX_NAME + 1).position(|byte| *byte == 0) else { break };
        let page = if flags & NAME_IS_UTF8 == 0 { 1252 } else { 65001 };
        names.push(in_code_page(&text[..len], page));
        rest = &text[len + 1..];
    }
    names
}

/// Where signtool puts the signature: behind the cabinet, and its place and length into the reserved part of the header.
fn place_of_signature(source: &mut Source<'_>, flags: u16) -> Option<(u32, u32)> {
    const HAS_RESERVE: u16 = 4;
    if flags & HAS_RESERVE == 0 {
        return None;
    }
    let reserve = source.at(36, 4 + 20)?;
    let (at, len) = (u32_at(&reserve, 8)?, u32_at(&reserve, 12)?);
    (u16_at(&reserve, 0)? >= 20 && at != 0 && (1..=MAX_SIGNATURE).contains(&len)).then_some((at, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::testing::{about, cab};

    #[test]
    fn a_cabinet_is_told_from_a_package_for_dism_and_from_a_standalone_update() {
        let plain = about(&cab(&["agent.dll", "x\\data.bin"]));
        assert_eq!(plain.content, Content::Cab(Cabinet { files: 2, ..Cabinet::default() }));
        let package = about(&cab(&["update.mum", "update.cat", "x.manifest"]));
        assert_eq!(package.content, Content::Cab(Cabinet { files: 3, package: true, packages: Vec::new() }));
        let names = ["WSUSSCAN.cab", "Windows11.0-KB5000001-x64.cab", "Windows11.0-KB5000001-x64-pkgProperties.txt"];
        let msu = about(&cab(&names));
        assert_eq!(msu.to_string(), "MSU with Windows11.0-KB5000001-x64.cab");
        assert_eq!((msu.signature, msu.unread), (None, None));
    }

    #[test]
    fn a_cabinet_that_is_cut_off_is_still_one() {
        let whole = cab(&["update.mum", "update.cat"]);
        let short = about(&whole[..whole.len() - 1]);
        assert_eq!(short.unread.as_deref(), Some("it is shorter than its header says"));
        assert!(matches!(short.content, Content::Cab(Cabinet { package: true, .. })));
        assert_eq!(about(b"MSCF").unread.as_deref(), Some("it is cut off"));
    }
}
