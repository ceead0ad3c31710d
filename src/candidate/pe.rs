use super::{
    resource::{self, Section},
    signature,
    source::Source,
    words::clean,
};
use crate::{
    bytes::{slice, u16_at, u32_at},
    model::{About, Content, Machine, Pe, PeRole},
};

/// The Windows loader takes no more.
const MAX_SECTIONS: u16 = 96;
/// Largest certificate table that is read, in bytes.
const MAX_CERTIFICATES: u32 = 8 << 20;
/// `WIN_CERT_TYPE_PKCS_SIGNED_DATA` of wintrust.h.
const PKCS_SIGNED_DATA: u16 = 2;

/// Where the parts of a portable executable are ("PE Format", Microsoft).
struct Headers {
    machine: Machine,
    role: PeRole,
    sections: Vec<Section>,
    /// Address and size of the resources.
    resources: Option<(u32, u32)>,
    /// Place in the file and size of the certificates.
    certificates: Option<(u32, u32)>,
}

/// Of a file that begins with `MZ`.
pub(super) fn inspect(source: &mut Source<'_>) -> About {
    let Some(headers) = headers(source) else {
        return About::of(Content::Dos);
    };
    let version = headers.resources.and_then(|(at, _)| resource::version(source, at, &headers.sections));
    let version = version.unwrap_or_default();
    let text = |text: &Option<String>| text.as_deref().and_then(clean);
    let pe = Pe {
        role: headers.role,
        machine: headers.machine,
        product: text(&version.product),
        company: text(&version.company),
        product_version: text(&version.product_text).or_else(|| version.product_version.clone()),
        file_version: version.file_version,
    };
    let mut about = About::of(Content::Pe(pe));
    if headers.sections.iter().any(|section| section.file_end() > source.len) {
        about.unread = Some("it is shorter than its headers say".to_owned());
    }
    if let Some((at, size)) = headers.certificates {
        match certificate(source, at, size).and_then(|bytes| signature::read(&bytes)) {
            Ok(signature) => about.signature = Some(signature),
            Err(why) => drop(about.unread.get_or_insert(format!("its signature cannot be read: {why}"))),
        }
    }
    about
}

fn headers(source: &mut Source<'_>) -> Option<Headers> {
    let dos = source.at(0, 64)?;
    let start = u64::from(u32_at(&dos, 60)?);
    let coff = source.at(start, 24)?;
    if !coff.starts_with(b"PE\0\0") {
        return None;
    }
    let machine = match u16_at(&coff, 4)? {
        0x014c => Machine::X86,
        0x8664 => Machine::X64,
        0x01c0 | 0x01c2 | 0x01c4 => Machine::Arm,
        0xaa64 => Machine::Arm64,
        0x0200 => Machine::Ia64,
        _ => Machine::Other,
    };
    let (count, size, flags) = (u16_at(&coff, 6)?, u16_at(&coff, 20)?, u16_at(&coff, 22)?);
    let optional = source.at(start + 24, usize::from(size))?;
    // PE32 and PE32+ differ in the width of some fields before these.
    let directories = match u16_at(&optional, 0)? {
        0x010b => 96,
        0x020b => 112,
        _ => return None,
    };
    const IS_DLL: u16 = 0x2000;
    let role = match u16_at(&optional, 68)? {
        1 => PeRole::Driver,
        10..=13 => PeRole::Efi,
        _ if flags & IS_DLL != 0 => PeRole::Dll,
        _ => PeRole::Exe,
    };
    let directory = |n: usize| {
        let is_there = u32_at(&optional, directories - 4)? as usize > n;
        let at = directories + n * 8;
        let (at, size) = (u32_at(&optional, at)?, u32_at(&optional, at + 4)?);
        (is_there && at != 0 && size != 0).then_some((at, size))
    };
    let count = usize::from(count.min(MAX_SECTIONS));
    let table = source.up_to(start + 24 + u64::from(size), count * 40)?;
    let sections = table.chunks_exact(40).filter_map(Section::read).collect();
    Some(Headers { machine, role, sections, resources: directory(2), certificates: directory(4) })
}

/// The first signature of the certificate table, as PKCS #7 in DER.
fn certificate(source: &mut Source<'_>, at: u32, size: u32) -> Result<Vec<u8>, String> {
    if size > MAX_CERTIFICATES {
        return Err("it is too large".to_owned());
    }
    let table = source.at(u64::from(at), size as usize).ok_or("it lies outside of the file")?;
    let mut at = 0;
    while let (Some(len), Some(kind)) = (u32_at(&table, at), u16_at(&table, at + 6)) {
        let len = len as usize;
        if kind == PKCS_SIGNED_DATA {
            let body = slice(&table, at + 8, len.saturating_sub(8)).ok_or("it is cut off")?;
            return Ok(body.to_vec());
        }
        // Entries begin at multiples of 8.
        at += len.max(8).next_multiple_of(8);
    }
    Err("there is none of a known kind in its certificate table".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::testing::{PeFile, about};

    fn pe(about: &About) -> &Pe {
        let Content::Pe(pe) = &about.content else { panic!("{about:?}") };
        pe
    }

    #[test]
    fn machine_role_and_versions_are_read_from_both_forms() {
        for (machine, code, wide) in [
            (Machine::X86, 0x14c, false),
            (Machine::X64, 0x8664, true),
            (Machine::Arm64, 0xaa64, true),
            (Machine::Arm, 0x1c4, false),
            (Machine::Ia64, 0x200, true),
            (Machine::Other, 0x5064, true),
        ] {
            for (role, subsystem, flags) in
                [(PeRole::Exe, 3, 2), (PeRole::Dll, 2, 0x2002), (PeRole::Driver, 1, 0x22), (PeRole::Efi, 11, 0x2002)]
            {
                let bytes = PeFile { machine: code, wide, subsystem, flags, ..PeFile::default() }.bytes();
                let about = about(&bytes);
                let expected = Pe {
                    role,
                    machine,
                    product: Some("Sensor".into()),
                    company: Some("Vendor Inc".into()),
                    file_version: Some("7.2.0.4".into()),
                    product_version: Some("7.2 beta".into()),
                };
                assert_eq!((pe(&about), about.unread.as_deref()), (&expected, None));
            }
        }
    }

    #[test]
    fn one_without_resources_has_no_version_and_is_no_less_a_program() {
        let about = about(&PeFile { version: false, ..PeFile::default() }.bytes());
        assert_eq!((pe(&about).role, pe(&about).file_version.as_deref()), (PeRole::Exe, None));
        assert_eq!(about.to_string(), "Windows program for x64, no signature in it");
    }

    #[test]
    fn a_program_that_is_cut_off_is_told() {
        let whole = PeFile::default().bytes();
        let about = about(&whole[..whole.len() - 100]);
        assert_eq!(about.unread.as_deref(), Some("it is shorter than its headers say"));
    }

    #[test]
    fn what_only_begins_like_a_program_is_none_for_windows() {
        let mut bytes = PeFile::default().bytes();
        bytes.truncate(66);
        assert_eq!(about(&bytes).content, Content::Dos);
        assert_eq!(about(b"MZ").content, Content::Dos);
    }

    #[test]
    fn the_signer_is_named_and_never_called_verified() {
        let about = about(&PeFile { signed: true, ..PeFile::default() }.bytes());
        let signature = about.signature.as_ref().unwrap();
        assert_eq!(signature.signer.as_deref(), Some("Vendor Inc"));
        assert_eq!(signature.issuer.as_deref(), Some("Test Root"));
        assert!(!signature.verified && !signature.timestamped);
        assert!(about.to_string().ends_with(r#"signed by "Vendor Inc" (not verified)"#), "{about}");
    }
}
