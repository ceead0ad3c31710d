use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    CatalogFile,
    file::{BackingEntry, ImageEntry},
};
use crate::{
    model::{BackingFile, Bytes, Clock, DirectBoot, Family, GoldenImage, Sha256, StateFile, is_label},
    source::{Diagnostic, Diagnostics, Place, Placed, SourceFile, read_yaml},
};

/// The golden images of a catalogue that makes sense by itself.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub file: Arc<SourceFile>,
    /// In the file's order; names and label sets are unique.
    pub images: Vec<GoldenImage>,
}

/// Whether an image may be called so: its name becomes a part of files' names.
pub fn is_image_name(name: &str) -> bool {
    let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    name.bytes().all(plain) && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() <= 100
}

impl Catalog {
    /// Reads and checks a catalogue; the disks it names are not looked at.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(path: &Path) -> Result<Self, Diagnostics> {
        Self::from_source(SourceFile::read(path).map_err(|error| {
            let absent = path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            if absent { error.hint("`images/build` makes the demo's images and their catalogue") } else { error }
        })?)
    }

    /// Checks a catalogue whose text is at hand already.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn from_source(file: Arc<SourceFile>) -> Result<Self, Diagnostics> {
        let raw: CatalogFile = read_yaml(&file, |_, _| None)?;
        let mut checker = Checker { file: Arc::clone(&file), found: Diagnostics::default() };
        if raw.version.value != 1 {
            let message = format!("version {} of catalogue files is not known", raw.version.value);
            checker.error(raw.version.place, message, "this bootgate reads version 1");
        }
        if raw.images.value.is_empty() {
            checker.error(raw.images.place, "the catalogue has no image", "describe at least one");
        }
        checker.unique(&raw.images.value);
        let images: Vec<_> = raw.images.value.into_iter().map(|entry| checker.image(entry.value)).collect();
        checker.found.or(Self { file, images })
    }

    /// The image of this name.
    pub fn image(&self, name: &str) -> Option<&GoldenImage> {
        self.images.iter().find(|image| image.name == name)
    }
}

struct Checker {
    file: Arc<SourceFile>,
    found: Diagnostics,
}

impl Checker {
    fn error(&mut self, place: Place, message: impl Into<String>, hint: impl Into<String>) {
        self.found.push(Diagnostic::error(message).at(&self.file, place).hint(hint));
    }

    fn unique(&mut self, images: &[Placed<ImageEntry>]) {
        let mut names = BTreeMap::new();
        let mut label_sets = BTreeMap::new();
        for Placed { value: image, .. } in images {
            if let Some(line) = names.insert(&image.name.value, image.name.place.line) {
                let message = format!("two images have the name `{}`", image.name.value);
                self.error(image.name.place, message, format!("the other one is in line {line}"));
            }
            let labels: BTreeMap<_, _> =
                image.labels.value.0.iter().map(|(key, value)| (&key.value, &value.value.0)).collect();
            if let Some(other) = label_sets.insert(labels, &image.name.value) {
                let message = format!("`{}` has the same labels as `{other}`", image.name.value);
                self.error(image.labels.place, message, "labels pick the image: give each image its own");
            }
        }
    }

    fn image(&mut self, raw: ImageEntry) -> GoldenImage {
        let name = raw.name.value;
        if !is_image_name(&name) {
            let hint = "use a to z, digits, `.`, `_` and `-`, beginning with a letter or digit";
            self.error(raw.name.place, format!("`{name}` is no name for an image"), hint);
        }
        if raw.labels.value.0.is_empty() {
            let message = format!("the image `{name}` has no label");
            self.error(raw.labels.place, message, "axes pick images by their labels, e.g. `{os: debian-12}`");
        }
        for (key, value) in &raw.labels.value.0 {
            for (what, text, place) in [("key", &key.value, key.place), ("value", &value.value.0, value.place)] {
                if !is_label(text) {
                    let message = format!("this is no {what} of a label of the image `{name}`");
                    self.error(place, message, "use a text of 1 to 200 printable characters");
                }
            }
        }
        let memory = raw.memory.value.parse().unwrap_or_else(|error| {
            self.error(raw.memory.place, format!("{error}"), "give a number and a unit: MiB or GiB");
            Bytes::mib(1024)
        });
        if memory < Bytes::mib(16) {
            self.error(raw.memory.place, format!("{memory} is too little for a machine"), "give at least 16MiB");
        }
        let vcpus = raw.vcpus.as_ref().map_or(1, |vcpus| vcpus.value);
        if let Some(given) = raw.vcpus.filter(|vcpus| !(1..=256).contains(&vcpus.value)) {
            self.error(given.place, format!("a machine cannot have {} CPUs", given.value), "give 1 to 256");
        }
        if let Some(settled) = raw.settled.as_ref().filter(|settled| settled.value.contains('\0')) {
            self.error(settled.place, "`settled` has a NUL character in it", "take it out");
        }
        if let Some(settled) = raw.settled.as_ref().filter(|settled| settled.value.trim().is_empty()) {
            self.error(settled.place, "`settled` is empty", "leave it out for the family's own question");
        }
        let uefi = raw.firmware.is_uefi().then_some(()).ok_or("`firmware: uefi` or `firmware: uefi-secure`");
        let nvram = self.state("nvram", raw.nvram, raw.nvram_sha256, uefi);
        let tpm = raw.tpm.then_some(()).ok_or("`tpm: true`");
        let tpm_state = self.state("tpm_state", raw.tpm_state, raw.tpm_state_sha256, tpm);
        let by_family = if raw.family == Family::Windows { Clock::Localtime } else { Clock::Utc };
        let labels = raw.labels.value.0.into_iter().map(|(key, value)| (key.value, value.value.0)).collect();
        GoldenImage {
            labels,
            disk: self.path(&raw.disk),
            sha256: self.sha256(raw.sha256),
            backing: self.backing(raw.backing),
            firmware: raw.firmware,
            nvram,
            tpm: raw.tpm,
            tpm_state,
            disk_bus: raw.disk_bus,
            network_model: raw.network_model,
            clock: raw.clock.unwrap_or(by_family),
            memory,
            vcpus,
            family: raw.family,
            boot: raw.boot.map(|boot| DirectBoot {
                kernel: self.path(&boot.kernel),
                initrd: boot.initrd.map(|initrd| self.path(&initrd)),
                cmdline: boot.cmdline,
            }),
            settled: raw.settled.map(|settled| settled.value),
            quirks: raw.quirks,
            name,
        }
    }

    fn backing(&mut self, raw: Vec<Placed<BackingEntry>>) -> Vec<BackingFile> {
        let mut seen = BTreeSet::new();
        let mut files = Vec::new();
        for Placed { value: entry, .. } in raw {
            let disk = self.path(&entry.disk);
            if !seen.insert(disk.clone()) {
                let message = format!("`{}` is listed twice", entry.disk.value);
                self.error(entry.disk.place, message, "list each file below the disk once, nearest first");
            }
            files.push(BackingFile { disk, sha256: self.sha256(entry.sha256) });
        }
        files
    }

    /// A file of state with its digest; `needs`: the key without which it would be of no use.
    fn state(
        &mut self,
        key: &str,
        file: Option<Placed<String>>,
        sha256: Option<Placed<String>>,
        needs: Result<(), &str>,
    ) -> Option<StateFile> {
        let place = file.as_ref().or(sha256.as_ref())?.place;
        if let Err(needed) = needs {
            self.error(place, format!("`{key}` without {needed}"), "give both, or neither");
        }
        match (file, sha256) {
            (Some(file), Some(sha256)) => Some(StateFile { file: self.path(&file), sha256: self.sha256(sha256) }),
            (file, _) => {
                let (has, lacks) = if file.is_some() { ("", "_sha256") } else { ("_sha256", "") };
                let message = format!("`{key}{has}` without `{key}{lacks}`");
                self.error(place, message, "name the file, and its digest: `sha256sum FILE` prints it");
                None
            }
        }
    }

    fn path(&mut self, raw: &Placed<String>) -> PathBuf {
        if raw.value.is_empty() || raw.value.chars().any(char::is_control) {
            self.error(raw.place, "this is no path", "give the file's path, relative to the catalogue");
        }
        let path = self.file.folder().join(&raw.value);
        std::path::absolute(&path).unwrap_or(path)
    }

    fn sha256(&mut self, raw: Placed<String>) -> Sha256 {
        let digest = Sha256(raw.value.to_ascii_lowercase());
        if !digest.is_well_formed() {
            let message = format!("this is no SHA-256 digest: {} characters", raw.value.chars().count());
            self.error(raw.place, message, "`sha256sum FILE` prints the 64 hexadecimal digits");
        }
        digest
    }
}
