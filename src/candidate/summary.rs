use super::words::{clean, in_code_page};
use crate::{
    bytes::{slice, u16_at, u32_at, utf16_to_nul},
    model::{MAX_LISTED, Machine, Msi, Msp, is_guid_in_braces},
};

/// Most properties that are looked at; the installer knows less than 20.
const MAX_PROPERTIES: u32 = 100;

/// The summary information of a package or patch: a property set ([MS-OLEPS]) whose properties have meanings of their own
/// there (Windows Installer, "Summary Information Stream Property Set").
#[derive(Debug, Default)]
pub(super) struct Summary {
    title: Option<String>,
    subject: Option<String>,
    author: Option<String>,
    template: Option<String>,
    revision: Option<String>,
}

impl Summary {
    /// What can be read of it.
    pub fn read(bytes: &[u8]) -> Self {
        let mut summary = Self::default();
        // The header, then the format's id and where its section is.
        let Some(section) = u32_at(bytes, 44).and_then(|at| bytes.get(at as usize..)) else { return summary };
        let count = u32_at(section, 4).unwrap_or(0).min(MAX_PROPERTIES) as usize;
        let entry = |n: usize| Some((u32_at(section, 8 + n * 8)?, u32_at(section, 12 + n * 8)? as usize));
        let entries: Vec<(u32, usize)> = (0..count).map_while(entry).collect();
        let page = entries.iter().find(|(id, _)| *id == 1).and_then(|(_, at)| u16_at(section, at + 4)).unwrap_or(0);
        for (id, at) in entries {
            let to = match id {
                2 => &mut summary.title,
                3 => &mut summary.subject,
                4 => &mut summary.author,
                7 => &mut summary.template,
                9 => &mut summary.revision,
                _ => continue,
            };
            *to = text(section, at, u32::from(page));
        }
        summary
    }

    /// Of a package: the tables have the rest.
    pub fn package(&self) -> Msi {
        Msi {
            name: self.subject.as_deref().and_then(clean),
            manufacturer: self.author.as_deref().and_then(clean),
            package_code: self.revision.as_deref().and_then(guid),
            machine: self.template.as_deref().and_then(machine),
            ..Msi::default()
        }
    }

    pub fn patch(&self) -> Msp {
        let targets = self.template.iter().flat_map(|codes| codes.split(';'));
        Msp {
            name: self.subject.as_deref().and_then(clean).or_else(|| self.title.as_deref().and_then(clean)),
            // The codes of patches that it replaces follow its own.
            patch_code: self.revision.as_deref().and_then(guid),
            targets: targets.filter_map(guid).take(MAX_LISTED).collect(),
        }
    }
}

fn text(section: &[u8], at: usize, page: u32) -> Option<String> {
    let (kind, len) = (u32_at(section, at)?, u32_at(section, at.checked_add(4)?)? as usize);
    let at = at.checked_add(8)?;
    match kind {
        // VT_LPSTR
        30 => {
            let bytes = slice(section, at, len)?;
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(len);
            Some(in_code_page(&bytes[..end], page))
        }
        // VT_LPWSTR
        31 => slice(section, at, len.checked_mul(2)?).map(utf16_to_nul),
        _ => None,
    }
}

/// The first code of a text, with its braces.
pub(super) fn guid(text: &str) -> Option<String> {
    let code = text.trim().get(..38)?;
    is_guid_in_braces(code).then(|| code.to_ascii_uppercase())
}

/// `x64;1033`: the platform, then languages ("Template Summary Property").
fn machine(template: &str) -> Option<Machine> {
    let platform = template.split(';').next()?.split(',').next()?.trim().to_ascii_lowercase();
    Some(match platform.as_str() {
        "" => return None,
        "intel" => Machine::X86,
        "x64" | "amd64" => Machine::X64,
        "intel64" => Machine::Ia64,
        "arm" => Machine::Arm,
        "arm64" => Machine::Arm64,
        _ => Machine::Other,
    })
}
