//! The UEFI firmware that the host has, found by the descriptors that distributions install beside it (QEMU's
//! `docs/interop/firmware.json`).

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::model::Firmware;

/// Where descriptors are, the most general folder first: a file in a later folder takes the place of one with the same
/// name in an earlier one, and an empty file takes it away.
const FOLDERS: [&str; 2] = ["/usr/share/qemu/firmware", "/etc/qemu/firmware"];

/// A firmware for machines of the type q35.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UefiFirmware {
    /// The program.
    pub code: PathBuf,
    /// What its variables are to be before the first start.
    pub template: PathBuf,
    /// It keeps its variables from the guest's kernel, and needs a machine with SMM for that.
    pub needs_smm: bool,
}

/// What a descriptor says, as far as it matters here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Descriptor {
    interface_types: Vec<String>,
    mapping: Mapping,
    targets: Vec<Target>,
    features: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mapping {
    device: String,
    #[serde(default)]
    mode: Option<String>,
    executable: Option<FlashFile>,
    nvram_template: Option<FlashFile>,
}

#[derive(Debug, Deserialize)]
struct FlashFile {
    filename: PathBuf,
    format: String,
}

#[derive(Debug, Deserialize)]
struct Target {
    architecture: String,
    machines: Vec<String>,
}

/// The host's firmware of this kind. `nvram_size`: of the variables that it is to start with, in bytes, where it is not
/// given its template: they belong to firmware with as many.
///
/// # Errors
/// There is none, and what to do about it.
pub fn find_uefi(wanted: Firmware, nvram_size: Option<u64>) -> Result<UefiFirmware, String> {
    let own = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let own = own.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".config")));
    let own = own.map(|config| config.join("qemu/firmware"));
    find_in(FOLDERS.into_iter().map(PathBuf::from).chain(own), wanted, nvram_size)
}

fn find_in(
    folders: impl Iterator<Item = PathBuf>,
    wanted: Firmware,
    nvram_size: Option<u64>,
) -> Result<UefiFirmware, String> {
    let mut files = BTreeMap::new();
    for entry in folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten()) {
        if entry.path().extension().is_some_and(|ext| ext == "json") {
            files.insert(entry.file_name(), entry.path());
        }
    }
    // In the order of their names, which is their priority. What cannot be read is no firmware of ours.
    let known: Vec<Descriptor> =
        files.values().filter_map(|path| serde_json::from_slice(&fs::read(path).ok()?).ok()).collect();
    let fits = |keys: bool| {
        let found = known.iter().filter_map(|descriptor| descriptor.firmware(wanted, keys)).collect::<Vec<_>>();
        found.into_iter().filter(|firmware| firmware.code.is_file() && firmware.template.is_file())
    };
    let name = wanted.as_str();
    let Some(size) = nvram_size else {
        return fits(true).next().ok_or_else(|| {
            format!("this host has no firmware for `firmware: {name}`: install it (Debian: apt install ovmf)")
        });
    };
    let of_size = |firmware: &UefiFirmware| fs::metadata(&firmware.template).is_ok_and(|about| about.len() == size);
    fits(false).find(of_size).ok_or_else(|| {
        format!(
            "this host has no firmware for `firmware: {name}` whose variables take {size} bytes, as those in `nvram` do: \
             install it (Debian: apt install ovmf), or give variables of the firmware that is there"
        )
    })
}

impl Descriptor {
    /// The firmware, if it is of this kind. `keys`: `uefi-secure` needs keys in its template.
    fn firmware(&self, wanted: Firmware, keys: bool) -> Option<UefiFirmware> {
        let has = |feature: &str| self.features.iter().any(|known| known == feature);
        let fits = match wanted {
            Firmware::Bios => false,
            // One that could check signatures is another machine for the guest, even when it has no keys.
            Firmware::Uefi => !has("secure-boot") && !has("requires-smm"),
            Firmware::UefiSecure => has("secure-boot") && (!keys || has("enrolled-keys")),
        };
        let q35 = |pattern: &String| pattern == "pc-q35-*" || pattern == "q35";
        let here = |target: &Target| target.architecture == "x86_64" && target.machines.iter().any(q35);
        let split = self.mapping.device == "flash" && self.mapping.mode.as_deref().is_none_or(|mode| mode == "split");
        let uefi = self.interface_types.iter().any(|kind| kind == "uefi");
        if !fits || !split || !uefi || !self.targets.iter().any(here) {
            return None;
        }
        let raw = |file: &Option<FlashFile>| {
            file.as_ref().filter(|file| file.format == "raw").map(|file| file.filename.clone())
        };
        Some(UefiFirmware {
            code: raw(&self.mapping.executable)?,
            template: raw(&self.mapping.nvram_template)?,
            needs_smm: has("requires-smm"),
        })
    }
}

/// Whether this file looks like raw UEFI variables: QEMU takes any format that it is told, and shows the guest noise.
///
/// # Errors
/// Why not.
pub fn check_variables(start: &[u8], path: &Path) -> Result<(), String> {
    // UEFI "Platform Initialization", volume 3: `EFI_FIRMWARE_VOLUME_HEADER.Signature`.
    if start.get(40..44) == Some(b"_FVH") {
        return Ok(());
    }
    let hint =
        if start.starts_with(b"QFI\xfb") { ": it is a qcow2 file, convert it (qemu-img convert -O raw)" } else { "" };
    Err(format!("{} holds no UEFI variables{hint}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Debian's descriptors, with their files.
    fn host() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let add = |name: &str, vars: (&str, usize), machines: &str, features: &str| {
            let file = |name: &str| dir.path().join(name).display().to_string();
            fs::write(file(vars.0), vec![0; vars.1]).unwrap();
            fs::write(file("CODE.fd"), "").unwrap();
            fs::write(
                file(name),
                format!(
                    r#"{{"description": "x", "interface-types": ["uefi"], "tags": [], "features": [{features}],
                    "mapping": {{"device": "flash", "executable": {{"filename": "{}", "format": "raw"}},
                    "nvram-template": {{"filename": "{}", "format": "raw"}}}},
                    "targets": [{{"architecture": "x86_64", "machines": [{machines}]}}]}}"#,
                    file("CODE.fd"),
                    file(vars.0)
                ),
            )
            .unwrap();
        };
        let secure = r#""enrolled-keys", "requires-smm", "secure-boot""#;
        add("10-other.json", ("VARS.other.fd", 4), r#""pc-i440fx-*""#, "");
        add("40-enrolled.json", ("VARS.ms.fd", 4), r#""pc-q35-*""#, secure);
        add("50-secure.json", ("VARS.empty.fd", 4), r#""pc-q35-*""#, r#""requires-smm", "secure-boot""#);
        add("60-plain.json", ("VARS.fd", 4), r#""pc-i440fx-*", "pc-q35-*""#, r#""acpi-s3""#);
        add("70-small.json", ("VARS.2M.fd", 2), r#""pc-q35-*""#, "");
        dir
    }

    fn find(dir: &Path, wanted: Firmware, size: Option<u64>) -> Result<(String, bool), String> {
        let found = find_in([dir.to_owned()].into_iter(), wanted, size)?;
        Ok((found.template.file_name().unwrap().to_str().unwrap().to_owned(), found.needs_smm))
    }

    #[test]
    fn the_first_firmware_that_fits_is_taken() {
        let dir = host();
        assert_eq!(find(dir.path(), Firmware::Uefi, None), Ok(("VARS.fd".into(), false)));
        assert_eq!(find(dir.path(), Firmware::UefiSecure, None), Ok(("VARS.ms.fd".into(), true)));
        assert_eq!(find(dir.path(), Firmware::Uefi, Some(2)), Ok(("VARS.2M.fd".into(), false)), "variables of a size");
    }

    #[test]
    fn a_host_without_it_is_told_what_to_install() {
        let dir = host();
        fs::remove_file(dir.path().join("VARS.ms.fd")).unwrap();
        let refused = find(dir.path(), Firmware::UefiSecure, None).unwrap_err();
        assert!(refused.contains("`firmware: uefi-secure`") && refused.contains("apt install ovmf"), "{refused}");
        assert_eq!(
            find(dir.path(), Firmware::UefiSecure, Some(4)),
            Ok(("VARS.empty.fd".into(), true)),
            "keys of the image's own"
        );
        assert!(find(dir.path(), Firmware::Uefi, Some(3)).unwrap_err().contains("take 3 bytes"));
        fs::write(dir.path().join("60-plain.json"), "").unwrap();
        fs::write(dir.path().join("70-small.json"), "{").unwrap();
        assert!(find(dir.path(), Firmware::Uefi, None).is_err(), "an empty file takes a firmware away");
    }

    #[test]
    fn variables_are_known_by_their_volume() {
        let mut volume = vec![0; 64];
        volume[40..44].copy_from_slice(b"_FVH");
        assert_eq!(check_variables(&volume, Path::new("/n")), Ok(()));
        assert!(check_variables(b"QFI\xfb", Path::new("/n")).unwrap_err().contains("qemu-img convert"));
        assert!(check_variables(b"", Path::new("/n")).is_err());
    }
}
