//! A machine's UEFI variables: a file of its own, never shared, never the golden image's.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use crate::{
    lab::{
        KEPT_NVRAM, LabError, UefiFirmware, Users, find_uefi, firmware::check_variables,
        guest_written::open_guest_written,
    },
    model::GoldenImage,
};

/// The file's name, in a machine's folder and wherever it is kept.
pub const NVRAM: &str = KEPT_NVRAM;

/// Longer than any: QEMU's own limit for both flashes of a machine (`PC_FW_DATA`) is 8 MiB.
const MAX_SIZE: u64 = 8 << 20;

/// The firmware for machines of this image; none: BIOS.
///
/// # Errors
/// The host has none that fits; the image's variables are missing.
pub fn firmware(image: &GoldenImage) -> Result<Option<UefiFirmware>, LabError> {
    if !image.firmware.is_uefi() {
        return Ok(None);
    }
    let own = image.nvram.as_ref().map(|nvram| &nvram.file);
    let size = own.map(|file| fs::metadata(file).map(|about| about.len()).map_err(|error| missing(file, error)));
    find_uefi(image.firmware, size.transpose()?).map(Some).map_err(LabError::Other)
}

/// Writes the variables of a new machine into its folder: those of the seal from which it begins, the image's or the
/// firmware's.
pub fn create(
    dir: &Path,
    image: &GoldenImage,
    firmware: &UefiFirmware,
    seal: Option<&Path>,
    users: &Users,
) -> Result<PathBuf, LabError> {
    let (from, of_image) = match (seal, &image.nvram) {
        (Some(seal), _) => (seal.join(NVRAM), false),
        (None, Some(nvram)) => (nvram.file.clone(), true),
        (None, None) => (firmware.template.clone(), false),
    };
    let bytes = File::open(&from).and_then(read);
    let bytes =
        bytes.map_err(|error| if of_image { missing(&from, error) } else { LabError::io("read", &from)(error) })?;
    check_variables(&bytes, &from).map_err(|why| LabError::ImageUnusable { disk: image.disk.clone(), why })?;
    let path = dir.join(NVRAM);
    write_new(&path, &bytes)?;
    users.hand_over(&path)?;
    Ok(path)
}

/// Keeps the variables of a machine that has ended in a seal, or beside its disk.
pub fn keep(seal: &Path, machine: &Path) -> Result<(), LabError> {
    let from = machine.join(NVRAM);
    let bytes = open_guest_written(&from).and_then(read).map_err(LabError::io("read", &from))?;
    write_new(&seal.join(NVRAM), &bytes)
}

fn read(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file.take(MAX_SIZE + 1).read_to_end(&mut bytes)? as u64 > MAX_SIZE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too large for UEFI variables"));
    }
    Ok(bytes)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), LabError> {
    File::create_new(path).and_then(|mut file| file.write_all(bytes)).map_err(LabError::io("write", path))
}

fn missing(path: &Path, error: io::Error) -> LabError {
    match error.kind() {
        io::ErrorKind::NotFound => LabError::ImageMissing(path.to_owned()),
        _ => LabError::io("read", path)(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Firmware, Sha256, StateFile};

    fn variables(what: u8) -> Vec<u8> {
        let mut bytes = vec![what; 4096];
        bytes[40..44].copy_from_slice(b"_FVH");
        bytes
    }

    #[test]
    fn a_machine_begins_with_the_seals_variables_else_the_images_else_the_firmwares() {
        let temp = tempfile::tempdir().unwrap();
        let dir = |name: &str| {
            let dir = temp.path().join(name);
            fs::create_dir_all(&dir).unwrap();
            dir
        };
        let (template, own) = (temp.path().join("template"), temp.path().join("own"));
        fs::write(&template, variables(1)).unwrap();
        fs::write(&own, variables(2)).unwrap();
        let firmware = UefiFirmware { code: template.clone(), template, needs_smm: false };
        let plain = GoldenImage { firmware: Firmware::Uefi, ..GoldenImage::plain("i", "/i") };
        let state = StateFile { file: own.clone(), sha256: Sha256::of(b"") };
        let with_own = GoldenImage { nvram: Some(state), ..plain.clone() };
        let made = |name: &str, image: &GoldenImage, seal: Option<&Path>| {
            create(&dir(name), image, &firmware, seal, &Users::Ourselves).map(|path| fs::read(path).unwrap())
        };
        assert_eq!(made("a", &plain, None).unwrap(), variables(1));
        assert_eq!(made("b", &with_own, None).unwrap(), variables(2));
        // The machine writes, and is sealed.
        fs::write(temp.path().join("b").join(NVRAM), variables(3)).unwrap();
        let seal = dir("seal");
        keep(&seal, &temp.path().join("b")).unwrap();
        assert_eq!(made("c", &with_own, Some(&seal)).unwrap(), variables(3));
        assert_eq!(fs::read(&own).unwrap(), variables(2));

        fs::write(&own, "no variables").unwrap();
        assert!(matches!(made("d", &with_own, None), Err(LabError::ImageUnusable { .. })));
        fs::remove_file(&own).unwrap();
        assert!(matches!(made("e", &with_own, None), Err(LabError::ImageMissing(_))));
    }

    #[test]
    fn a_link_in_the_place_of_a_machines_variables_is_not_sealed() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("secret"), variables(1)).unwrap();
        std::os::unix::fs::symlink(temp.path().join("secret"), temp.path().join(NVRAM)).unwrap();
        let seal = tempfile::tempdir().unwrap();
        assert!(keep(seal.path(), temp.path()).is_err());
        assert!(!seal.path().join(NVRAM).exists());
    }
}
