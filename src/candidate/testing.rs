//! Files for tests, made byte by byte or with the crates that write such files.

use std::io::{Cursor, Write as _};

use super::inspect_reader;
use crate::model::About;

/// A signature by "Vendor Inc", whose certificate a "Test Root" issued. Made with `openssl` and `osslsigncode` from keys
/// that are nobody's.
pub(super) const SIGNATURE: &[u8] = include_bytes!("testdata/vendor.p7");
/// The same with a time stamp.
pub(super) const TIMESTAMPED: &[u8] = include_bytes!("testdata/vendor-timestamped.p7");

pub(super) const INF: &str = "; Sensor
[Version]
Signature   = \"$Windows NT$\"
Class       = %ClassName%
ClassGuid   = {b1d1a169-c54f-4379-81db-bee7d88d7454}
Provider    = %Vendor%
CatalogFile = sensor.cat
DriverVer   = 11/20/2026,7.2.0.4

[Manufacturer]
%Vendor% = Standard, NTamd64.10.0, NTx86, NTarm64

[Standard.NTamd64.10.0]
%Device% = Install, Root\\Sensor
[Standard.NTx86]
%Device% = Install, Root\\Sensor
[Standard.NTarm64]

[Strings]
Vendor = \"Vendor, Inc\"
ClassName = \"AntiVirus\"
Device = \"Sensor\"
";

/// What the bytes are; they can always be read.
pub(super) fn about(bytes: &[u8]) -> About {
    inspect_reader(&mut Cursor::new(bytes)).unwrap()
}

pub(super) fn utf16_with_mark(text: &str) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A portable executable with one section, which has the resources.
pub(super) struct PeFile {
    pub machine: u16,
    /// PE32+.
    pub wide: bool,
    pub subsystem: u16,
    pub flags: u16,
    pub version: bool,
    pub signed: bool,
}

impl Default for PeFile {
    fn default() -> Self {
        Self { machine: 0x8664, wide: true, subsystem: 3, flags: 2, version: true, signed: false }
    }
}

impl PeFile {
    pub fn bytes(&self) -> Vec<u8> {
        const ADDRESS: u32 = 0x1000;
        const FILE_AT: usize = 0x400;
        let mut resources = if self.version { resources(ADDRESS) } else { vec![0xcc; 16] };
        resources.resize(resources.len().next_multiple_of(0x200), 0);
        let mut file = vec![0; FILE_AT];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        let (directories, optional_size) = if self.wide { (112, 240u16) } else { (96, 224) };
        put(0, b"MZ");
        put(60, &0x80u32.to_le_bytes());
        put(0x80, b"PE\0\0");
        put(0x84, &self.machine.to_le_bytes());
        put(0x86, &1u16.to_le_bytes());
        put(0x94, &optional_size.to_le_bytes());
        put(0x96, &self.flags.to_le_bytes());
        let optional = 0x98;
        put(optional, &if self.wide { 0x20bu16 } else { 0x10b }.to_le_bytes());
        put(optional + 68, &self.subsystem.to_le_bytes());
        put(optional + directories - 4, &16u32.to_le_bytes());
        if self.version {
            put(optional + directories + 16, &pair(ADDRESS, resources.len() as u32));
        }
        let certificate = SIGNATURE.len() + 8;
        if self.signed {
            let at = FILE_AT + resources.len();
            put(optional + directories + 32, &pair(at as u32, certificate.next_multiple_of(8) as u32));
        }
        let section = optional + usize::from(optional_size);
        put(section, b".rsrc");
        put(section + 8, &pair(resources.len() as u32, ADDRESS));
        put(section + 16, &pair(resources.len() as u32, FILE_AT as u32));
        file.extend(resources);
        if self.signed {
            file.extend((certificate as u32).to_le_bytes());
            file.extend([0x00, 0x02, 0x02, 0x00]);
            file.extend(SIGNATURE);
            file.resize(file.len().next_multiple_of(8), 0);
        }
        file
    }
}

fn pair(first: u32, second: u32) -> Vec<u8> {
    [first.to_le_bytes(), second.to_le_bytes()].concat()
}

fn resources(address: u32) -> Vec<u8> {
    const VERSION_AT: u32 = 0x58;
    let directory = |id: u32, to: u32| [&[0; 12][..], &[0, 0, 1, 0], &pair(id, to)].concat();
    let version = version_info();
    let leaf = [pair(address + VERSION_AT, version.len() as u32), pair(0, 0)].concat();
    let levels = [directory(16, 0x8000_0018), directory(1, 0x8000_0030), directory(0x409, 0x48), leaf];
    [levels.concat(), version].concat()
}

fn version_info() -> Vec<u8> {
    let text = |key: &str, value: &str| {
        let value: Vec<u8> = format!("{value}\0").encode_utf16().flat_map(u16::to_le_bytes).collect();
        node(key, 1, &value, value.len() / 2, &[])
    };
    let mut fixed = vec![0; 52];
    fixed[..4].copy_from_slice(&0xfeef_04bdu32.to_le_bytes());
    fixed[8..16].copy_from_slice(&pair(7 << 16 | 2, 4));
    fixed[16..24].copy_from_slice(&pair(7 << 16 | 2, 0));
    let texts = [
        text("CompanyName", "Vendor Inc"),
        text("FileVersion", "7.2"),
        text("ProductName", "Sensor"),
        text("ProductVersion", "7.2 beta"),
    ];
    let table = node("040904b0", 1, &[], 0, &texts);
    let translation = node("VarFileInfo", 1, &[], 0, &[]);
    node("VS_VERSION_INFO", 0, &fixed, 52, &[translation, node("StringFileInfo", 1, &[], 0, &[table])])
}

fn node(key: &str, kind: u16, value: &[u8], value_len: usize, children: &[Vec<u8>]) -> Vec<u8> {
    let aligned = |bytes: &mut Vec<u8>| bytes.resize(bytes.len().next_multiple_of(4), 0);
    let mut bytes = vec![0, 0];
    bytes.extend((value_len as u16).to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend(format!("{key}\0").encode_utf16().flat_map(u16::to_le_bytes));
    aligned(&mut bytes);
    bytes.extend(value);
    for child in children {
        aligned(&mut bytes);
        bytes.extend(child);
    }
    let len = (bytes.len() as u16).to_le_bytes();
    bytes[..2].copy_from_slice(&len);
    bytes
}

/// A Windows Installer package or patch, written by the crate `msi`.
pub(super) struct MsiFile {
    /// Platform and language.
    pub template: &'static str,
    pub patch: bool,
    pub signed: bool,
    /// There is a property of more than 64 KiB before the others.
    pub long: bool,
}

impl Default for MsiFile {
    fn default() -> Self {
        Self { template: "x64;1033", patch: false, signed: false, long: false }
    }
}

impl MsiFile {
    pub fn bytes(&self) -> Vec<u8> {
        let kind = if self.patch { msi::PackageType::Patch } else { msi::PackageType::Installer };
        let mut package = msi::Package::create(kind, Cursor::new(Vec::new())).unwrap();
        let template = if self.patch {
            "{11111111-2222-3333-4444-aaaaaaaaaaaa};{55555555-2222-3333-4444-DDDDDDDDDDDD}"
        } else {
            self.template
        };
        let summary = package.summary_info_mut();
        // The crate keeps the rest of the text behind the platform.
        summary.set_arch(template);
        summary.set_subject(if self.patch { "Sensor patch" } else { "Sensor" });
        summary.set_author("Vendor Inc");
        summary.set_uuid("33333333-2222-3333-4444-CCCCCCCCCCCC".parse().unwrap());
        package.set_database_codepage(msi::CodePage::Windows1252);
        let columns = vec![
            msi::Column::build("Property").primary_key().id_string(72),
            msi::Column::build("Value").localizable().text_string(0),
        ];
        package.create_table("Property", columns).unwrap();
        let long = "x".repeat(70_000);
        let mut properties = vec![
            ("Manufacturer", "Vendor Inc"),
            ("ProductCode", "{11111111-2222-3333-4444-AAAAAAAAAAAA}"),
            ("ProductName", "Sensör"),
            ("ProductVersion", "7.2.0"),
            ("UpgradeCode", "{99999999-2222-3333-4444-BBBBBBBBBBBB}"),
        ];
        if self.long {
            properties.insert(0, ("ALONGONE", &long));
        }
        let row = |(name, value): (&str, &str)| vec![msi::Value::from(name), msi::Value::from(value)];
        let rows = properties.into_iter().map(row).collect();
        package.insert_rows(msi::Insert::into("Property").rows(rows)).unwrap();
        let bytes = package.into_inner().unwrap();
        if !self.signed {
            return bytes.into_inner();
        }
        let mut file = cfb::CompoundFile::open(bytes).unwrap();
        file.create_stream("\u{5}DigitalSignature").unwrap().write_all(SIGNATURE).unwrap();
        file.flush().unwrap();
        file.into_inner().into_inner()
    }
}

/// An element in DER.
pub(super) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len().to_be_bytes();
    let digits: Vec<u8> = len.into_iter().skip_while(|byte| *byte == 0).collect();
    let head = if content.len() < 0x80 {
        vec![tag, len[7]]
    } else {
        [&[tag, 0x80 | digits.len() as u8], &digits[..]].concat()
    };
    [&head, content].concat()
}

/// A cabinet with files of these names.
pub(super) fn cab(names: &[&str]) -> Vec<u8> {
    let mut builder = cab::CabinetBuilder::new();
    let folder = builder.add_folder(cab::CompressionType::None);
    for name in names {
        folder.add_file(*name);
    }
    let mut writer = builder.build(Cursor::new(Vec::new())).unwrap();
    while let Some(mut file) = writer.next_file().unwrap() {
        file.write_all(b"content").unwrap();
    }
    writer.finish().unwrap().into_inner()
}
