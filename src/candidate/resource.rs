//! The version resource of a portable executable.

use super::source::Source;
use crate::bytes::{slice, u16_at, u32_at, utf16_to_nul};

/// `RT_VERSION` of winuser.h.
const RT_VERSION: u32 = 16;
/// English of the United States: what nearly all vendors fill in, and the order of languages says nothing.
const ENGLISH: u32 = 0x0409;
/// The bit of an entry's offset that says that it leads to another directory.
const IS_DIRECTORY: u32 = 0x8000_0000;
/// Most entries of a resource directory that are looked at.
const MAX_ENTRIES: usize = 4096;
/// Largest version resource that is read, in bytes. Each length in it is 16 bits wide.
const MAX_VERSION: usize = 64 << 10;
const FIXED_SIGNATURE: u32 = 0xfeef_04bd;

/// A part of the file and where it is in memory.
pub(super) struct Section {
    address: u32,
    size: u32,
    file_at: u32,
    file_size: u32,
}

impl Section {
    /// From an `IMAGE_SECTION_HEADER`.
    pub fn read(header: &[u8]) -> Option<Self> {
        let number = |at| u32_at(header, at);
        Some(Self { size: number(8)?, address: number(12)?, file_size: number(16)?, file_at: number(20)? })
    }

    pub fn file_end(&self) -> u64 {
        if self.file_size == 0 { 0 } else { u64::from(self.file_at) + u64::from(self.file_size) }
    }

    fn file_offset(&self, address: u32) -> Option<u64> {
        let within = address.checked_sub(self.address)?;
        (within < self.size.max(self.file_size)).then(|| u64::from(self.file_at) + u64::from(within))
    }
}

/// What a version resource says.
#[derive(Debug, Default)]
pub(super) struct Version {
    /// Four numbers.
    pub file_version: Option<String>,
    /// Four numbers.
    pub product_version: Option<String>,
    /// The text `ProductVersion`.
    pub product_text: Option<String>,
    pub product: Option<String>,
    pub company: Option<String>,
}

/// The version resource, in English if it is there.
pub(super) fn version(source: &mut Source<'_>, resources: u32, sections: &[Section]) -> Option<Version> {
    let offset = |address| sections.iter().find_map(|section| section.file_offset(address));
    let root = offset(resources)?;
    // Three levels: type, name, language.
    let by_type = entry(source, root, 0, Some(RT_VERSION))?;
    let by_name = entry(source, root, by_type & !IS_DIRECTORY, None)?;
    let languages = by_name & !IS_DIRECTORY;
    let leaf = entry(source, root, languages, Some(ENGLISH)).or_else(|| entry(source, root, languages, None))?;
    if by_type & by_name & IS_DIRECTORY == 0 || leaf & IS_DIRECTORY != 0 {
        return None;
    }
    let leaf = source.at(root + u64::from(leaf), 16)?;
    let size = (u32_at(&leaf, 4)? as usize).min(MAX_VERSION);
    let at = offset(u32_at(&leaf, 0)?)?;
    Some(parse(&source.up_to(at, size)?))
}

/// Where an entry of a resource directory leads to: the one with this id, or the first.
fn entry(source: &mut Source<'_>, root: u64, at: u32, id: Option<u32>) -> Option<u32> {
    let at = root + u64::from(at);
    let head = source.at(at, 16)?;
    let count = usize::from(u16_at(&head, 12)?) + usize::from(u16_at(&head, 14)?);
    let entries = source.up_to(at + 16, count.min(MAX_ENTRIES) * 8)?;
    let mut pairs = entries.chunks_exact(8).filter_map(|pair| Some((u32_at(pair, 0)?, u32_at(pair, 4)?)));
    pairs.find(|(known, _)| id.is_none_or(|id| id == *known)).map(|(_, to)| to)
}

fn parse(bytes: &[u8]) -> Version {
    let mut version = Version::default();
    let Some(root) = Node::read(bytes) else { return version };
    if u32_at(root.value, 0) == Some(FIXED_SIGNATURE) {
        let four = |at| {
            let (high, low) = (u32_at(root.value, at)?, u32_at(root.value, at + 4)?);
            Some(format!("{}.{}.{}.{}", high >> 16, high & 0xffff, low >> 16, low & 0xffff))
        };
        version.file_version = four(8);
        version.product_version = four(16);
    }
    let tables = root.children().filter(|node| node.key == "StringFileInfo");
    // One table for each language; the first has what we want as well as any.
    let Some(table) = tables.flat_map(|node| node.children().collect::<Vec<_>>()).next() else { return version };
    for text in table.children() {
        let to = match text.key.as_str() {
            "ProductVersion" => &mut version.product_text,
            "ProductName" => &mut version.product,
            "CompanyName" => &mut version.company,
            _ => continue,
        };
        to.get_or_insert(utf16_to_nul(text.value));
    }
    version
}

/// A node of the tree that `VS_VERSIONINFO` is the root of: lengths, key, value, children, each at a multiple of 4.
struct Node<'a> {
    key: String,
    value: &'a [u8],
    children: &'a [u8],
    len: usize,
}

impl<'a> Node<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        const HEAD: usize = 6;
        let len = usize::from(u16_at(bytes, 0)?);
        // Some tools count the root's length wrong: what is there is taken.
        let node = &bytes[..len.clamp(HEAD, bytes.len().max(HEAD)).min(bytes.len())];
        let is_text = u16_at(node, 4)? == 1;
        let key = utf16_to_nul(&node[HEAD..]);
        let at = (HEAD + (key.encode_utf16().count() + 1) * 2).next_multiple_of(4);
        let value_len = usize::from(u16_at(node, 2)?) * if is_text { 2 } else { 1 };
        let rest = node.get(at..).unwrap_or_default();
        let value = slice(rest, 0, value_len).unwrap_or(rest);
        let children = rest.get(value.len().next_multiple_of(4)..).unwrap_or_default();
        Some(Self { key, value, children, len })
    }

    fn children(&self) -> impl Iterator<Item = Node<'a>> {
        let mut rest = self.children;
        std::iter::from_fn(move || {
            let node = Node::read(rest)?;
            if node.len == 0 {
                return None;
            }
            rest = rest.get(node.len.next_multiple_of(4)..).unwrap_or_default();
            Some(node)
        })
    }
}
