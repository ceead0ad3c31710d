use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use time::{Date, format_description::well_known::Iso8601};

use super::{
    CatalogFile, Recipe,
    file::{BackingEntry, ImageEntry},
};
use crate::{
    matrix::check_steps,
    model::{BackingFile, Bytes, Clock, DirectBoot, Family, GoldenImage, Sha256, StateFile, is_label},
    source::{Diagnostic, Diagnostics, Place, Placed, SourceFile, nearest, read_yaml},
};

/// The golden images of a catalogue that makes sense by itself.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub file: Arc<SourceFile>,
    /// In the file's order; names and label sets are unique.
    pub images: Vec<GoldenImage>,
    /// How those images are made that are layers above others, by their names. Each stands behind the one below it.
    pub recipes: Vec<Recipe>,
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
        let (images, recipes) = checker.images(raw.images.value);
        checker.found.or(Self { file, images, recipes })
    }

    /// How the image of this name is made, if it is a layer.
    pub fn recipe(&self, name: &str) -> Option<&Recipe> {
        self.recipes.iter().find(|recipe| recipe.image == name)
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

    /// In the file's order; a layer's base may stand behind it.
    fn images(&mut self, raw: Vec<Placed<ImageEntry>>) -> (Vec<GoldenImage>, Vec<Recipe>) {
        let mut images: Vec<Option<GoldenImage>> = raw.iter().map(|_| None).collect();
        let (mut recipes, mut layers) = (Vec::new(), Vec::new());
        for (index, entry) in raw.into_iter().enumerate() {
            let entry = entry.value;
            self.name_and_labels(&entry);
            if entry.from.is_some() || entry.apply.is_some() {
                let labels = entry.labels.value.0.iter().map(|(key, value)| (key.value.clone(), value.value.0.clone()));
                let labels: BTreeMap<_, _> = labels.collect();
                layers.extend(self.recipe(entry).map(|recipe| (index, labels, recipe)));
            } else {
                images[index] = self.image(entry);
            }
        }
        // Each turn takes the layers whose base is known.
        loop {
            let known = |name: &str| images.iter().flatten().find(|image| image.name == name).cloned();
            let ready = layers.iter().position(|(_, _, recipe): &(_, _, Recipe)| known(&recipe.from.value).is_some());
            let Some(ready) = ready else { break };
            let (index, labels, recipe) = layers.remove(ready);
            images[index] = known(&recipe.from.value).map(|base| recipe.image(labels, &base, self.file.folder()));
            recipes.push(recipe);
        }
        let names: Vec<String> = images.iter().flatten().map(|image| image.name.clone()).collect();
        for (_, _, Recipe { from, .. }) in &layers {
            if layers.iter().any(|(_, _, other)| other.image == from.value) {
                let message =
                    format!("the layers above `{}` stand on each other, or on one that cannot be made", from.value);
                self.error(from.place, message, "the lowest one needs an image that has a disk of its own");
            } else {
                let hint = match nearest(&from.value, names.iter().map(String::as_str)) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => "name another image of this catalogue".to_owned(),
                };
                self.error(from.place, format!("there is no image `{}` to stand on", from.value), hint);
            }
        }
        (images.into_iter().flatten().collect(), recipes)
    }

    fn name_and_labels(&mut self, raw: &ImageEntry) {
        let name = &raw.name.value;
        if !is_image_name(name) {
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
    }

    fn recipe(&mut self, raw: ImageEntry) -> Option<Recipe> {
        let given = [
            ("disk", raw.disk.is_some()),
            ("sha256", raw.sha256.is_some()),
            ("backing", !raw.backing.is_empty()),
            ("firmware", raw.firmware.is_some()),
            ("nvram", raw.nvram.is_some()),
            ("nvram_sha256", raw.nvram_sha256.is_some()),
            ("tpm", raw.tpm.is_some()),
            ("tpm_state", raw.tpm_state.is_some()),
            ("tpm_state_sha256", raw.tpm_state_sha256.is_some()),
            ("disk_bus", raw.disk_bus.is_some()),
            ("network_model", raw.network_model.is_some()),
            ("clock", raw.clock.is_some()),
            ("memory", raw.memory.is_some()),
            ("vcpus", raw.vcpus.is_some()),
            ("family", raw.family.is_some()),
            ("agent", raw.agent.is_some()),
            ("boot", raw.boot.is_some()),
            ("settled", raw.settled.is_some()),
            ("quirks", raw.quirks.is_some()),
            ("made", raw.made.is_some()),
        ];
        let given: Vec<String> = given.into_iter().filter(|(_, is)| *is).map(|(key, _)| format!("`{key}`")).collect();
        if !given.is_empty() {
            let message = format!("a layer has {} from the image below it", given.join(", "));
            self.error(raw.name.place, message, "take it out, or take `from` and `apply` out");
        }
        let (Some(from), Some(apply)) = (raw.from, raw.apply) else {
            let message = format!("the layer `{}` needs both `from` and `apply`", raw.name.value);
            self.error(
                raw.name.place,
                message,
                "`from` names the image below it, `apply` lists the steps that make it",
            );
            return None;
        };
        if apply.value.is_empty() {
            self.error(apply.place, "`apply` has no step", "without one the layer is the image below it");
        }
        let place = apply.place;
        match check_steps(&self.file, apply.value) {
            Ok(apply) => Some(Recipe { image: raw.name.value, from, apply, place }),
            Err(found) => {
                self.found.extend(found.0);
                None
            }
        }
    }

    /// None: without these nothing can be said of it.
    fn image(&mut self, raw: ImageEntry) -> Option<GoldenImage> {
        let name = raw.name.value;
        let lacks = [
            ("disk", raw.disk.is_none()),
            ("sha256", raw.sha256.is_none()),
            ("memory", raw.memory.is_none()),
            ("family", raw.family.is_none()),
        ];
        let (Some(disk), Some(sha256), Some(memory_text), Some(family)) =
            (raw.disk, raw.sha256, raw.memory, raw.family)
        else {
            let lacks: Vec<String> =
                lacks.into_iter().filter(|(_, is)| *is).map(|(key, _)| format!("`{key}`")).collect();
            let message = format!("the image `{name}` has no {}", lacks.join(", "));
            self.error(raw.name.place, message, "or say what it is made of: `from` and `apply`");
            return None;
        };
        let memory = memory_text.value.parse().unwrap_or_else(|error| {
            self.error(memory_text.place, format!("{error}"), "give a number and a unit: MiB or GiB");
            Bytes::mib(1024)
        });
        if memory < Bytes::mib(16) {
            self.error(memory_text.place, format!("{memory} is too little for a machine"), "give at least 16MiB");
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
        let firmware = raw.firmware.unwrap_or_default();
        let uefi = firmware.is_uefi().then_some(()).ok_or("`firmware: uefi` or `firmware: uefi-secure`");
        let nvram = self.state("nvram", raw.nvram, raw.nvram_sha256, uefi);
        let tpm = raw.tpm.unwrap_or_default();
        let with_tpm = tpm.then_some(()).ok_or("`tpm: true`");
        let tpm_state = self.state("tpm_state", raw.tpm_state, raw.tpm_state_sha256, with_tpm);
        let by_family = if family == Family::Windows { Clock::Localtime } else { Clock::Utc };
        let made = raw.made.and_then(|made| {
            let day = Date::parse(&made.value, &Iso8601::DATE);
            let hint = "write the day as 2026-11-25";
            day.map_err(|_| self.error(made.place, format!("`{}` is no day", made.value), hint)).ok()
        });
        let labels = raw.labels.value.0.into_iter().map(|(key, value)| (key.value, value.value.0)).collect();
        Some(GoldenImage {
            labels,
            disk: self.path(&disk),
            sha256: self.sha256(sha256),
            backing: self.backing(raw.backing),
            firmware,
            nvram,
            tpm,
            tpm_state,
            disk_bus: raw.disk_bus.unwrap_or_default(),
            network_model: raw.network_model.unwrap_or_default(),
            clock: raw.clock.unwrap_or(by_family),
            memory,
            vcpus,
            family,
            boot: raw.boot.map(|boot| DirectBoot {
                kernel: self.path(&boot.kernel),
                initrd: boot.initrd.map(|initrd| self.path(&initrd)),
                cmdline: boot.cmdline,
            }),
            settled: raw.settled.map(|settled| settled.value),
            quirks: raw.quirks.unwrap_or_default(),
            made,
            unbaked: None,
            name,
        })
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
