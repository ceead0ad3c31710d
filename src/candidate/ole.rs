use std::{
    io::Read as _,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{msi, signature, source::Source, summary::Summary};
use crate::{
    bytes::{slice, u16_at, u32_at},
    model::{About, Content, Msi, Msp, Signature},
};

/// What OLE compound files begin with ([MS-CFB], 2.2).
pub(super) const MAGIC: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";
/// More sectors than this (2 GiB of the small kind) would take much memory merely to list.
const MAX_SECTORS: u64 = 4 << 20;
/// Largest signature and summary that are read, in bytes.
const MAX_SMALL: u64 = 8 << 20;
const SUMMARY: &str = "\u{5}SummaryInformation";
const SIGNATURE: &str = "\u{5}DigitalSignature";

/// Windows Installer's class ids end alike: `{000C10nn-0000-0000-C000-000000000046}`.
const CLASS_END: &[u8] = &[0x10, 0x0c, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0x46];

/// A compound file that is open for reading.
pub(super) type Compound<'a, 'b> = cfb::CompoundFile<&'a mut Source<'b>>;

/// Of a file that begins with [`MAGIC`].
pub(super) fn inspect(source: &mut Source<'_>) -> About {
    let mut about = match class(source) {
        Some(0x84) => About::of(Content::Msi(Msi::default())),
        Some(0x86) => About::of(Content::Msp(Msp::default())),
        _ => return About::of(Content::Ole),
    };
    let wanted = matches!(about.content, Content::Msi(_));
    // The reader of compound files is not ours, and these bytes are anybody's.
    let read = catch_unwind(AssertUnwindSafe(|| read(source, wanted)));
    let read = read.unwrap_or_else(|_| Err("it is damaged".to_owned()));
    match read {
        Ok(Read { content, signature, unread }) => {
            about = About { content, signature, unread };
        }
        Err(why) => about.unread = Some(format!("its tables cannot be read: {why}")),
    }
    about
}

struct Read {
    content: Content,
    signature: Option<Signature>,
    unread: Option<String>,
}

/// What distinguishes the class id in the root of an installer's file: 0x84 a package, 0x86 a patch, 0x82 a transform.
fn class(source: &mut Source<'_>) -> Option<u8> {
    let header = source.at(0, 512)?;
    let shift = u16_at(&header, 30)?;
    if !matches!(shift, 9 | 12) {
        return None;
    }
    // The header takes the place of one sector, and the root is the directory's first entry.
    let at = (u64::from(u32_at(&header, 48)?) + 1) << shift;
    let entry = source.at(at, 128)?;
    (slice(&entry, 81, 15)? == CLASS_END).then(|| entry[80])
}

fn read(source: &mut Source<'_>, is_package: bool) -> Result<Read, String> {
    let shift = source.at(30, 2).and_then(|shift| u16_at(&shift, 0)).unwrap_or(9).min(12);
    if source.len >> shift > MAX_SECTORS {
        return Err("it is too large".to_owned());
    }
    let mut file = cfb::CompoundFile::open(source).map_err(|error| error.to_string())?;
    let mut unread = None;
    let summary = match stream(&mut file, SUMMARY, MAX_SMALL) {
        Ok(bytes) => Summary::read(&bytes),
        Err(why) => {
            unread = Some(format!("its summary cannot be read: {why}"));
            Summary::default()
        }
    };
    let content = if is_package {
        let mut facts = summary.package();
        if let Err(why) = msi::properties(&mut file, &mut facts) {
            unread = Some(format!("its properties cannot be read: {why}"));
        }
        Content::Msi(facts)
    } else {
        Content::Msp(summary.patch())
    };
    let mut signature = None;
    if file.is_stream(SIGNATURE) {
        match stream(&mut file, SIGNATURE, MAX_SMALL).and_then(|bytes| signature::read(&bytes)) {
            Ok(read) => signature = Some(read),
            Err(why) => drop(unread.get_or_insert(format!("its signature cannot be read: {why}"))),
        }
    }
    Ok(Read { content, signature, unread })
}

/// A stream in the root, if it has no more than so many bytes.
pub(super) fn stream(file: &mut Compound<'_, '_>, name: &str, most: u64) -> Result<Vec<u8>, String> {
    let stream = file.open_stream(name).map_err(|error| error.to_string())?;
    if stream.len() > most {
        return Err("it is too large".to_owned());
    }
    let mut bytes = Vec::new();
    stream.take(most).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}
