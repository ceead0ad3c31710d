use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    CatalogFile, Recipe,
    file::{BackingEntry, ImageEntry},
};
use crate::{
    matrix::check_steps,
    model::{BackingFile, Bytes, Clock, DirectBoot, Family, GoldenImage, Sha256, StateFile, is_label, parse_day},
    source::{Diagnostic, Diagnostics, Place, Placed, SourceFile, did_you_mean, read_yaml},
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

/// Most names of a circle of layers that are told.
const MAX_NAMES: usize = 8;

/// A layer and where in the file it stands.
struct Layer {
    index: usize,
    labels: BTreeMap<String, String>,
    recipe: Recipe,
}

/// The layers that stand on each other, each circle once, each layer before the one below it.
fn circles(layers: &[Recipe]) -> Vec<Vec<&Recipe>> {
    let by_name: BTreeMap<&str, &Recipe> = layers.iter().map(|layer| (layer.image.as_str(), layer)).collect();
    // On which way down each was met.
    let mut met = BTreeMap::new();
    let mut found = Vec::new();
    for (way, top) in layers.iter().enumerate() {
        let (mut down, mut next) = (Vec::new(), Some(top));
        while let Some(layer) = next {
            if let Some(earlier) = met.get(layer.image.as_str()) {
                if *earlier == way {
                    found.push(down.into_iter().skip_while(|above: &&Recipe| above.image != layer.image).collect());
                }
                break;
            }
            met.insert(layer.image.as_str(), way);
            down.push(layer);
            next = by_name.get(layer.from.value.as_str()).copied();
        }
    }
    found
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
        let declared = raw.iter().map(|entry| entry.value.name.value.clone()).collect();
        let (mut recipes, mut layers) = (Vec::new(), Vec::new());
        for (index, entry) in raw.into_iter().enumerate() {
            let entry = entry.value;
            self.name_and_labels(&entry);
            if entry.from.is_some() || entry.apply.is_some() {
                let labels = entry.labels.value.0.iter().map(|(key, value)| (key.value.clone(), value.value.0.clone()));
                let labels: BTreeMap<_, _> = labels.collect();
                layers.extend(self.recipe(entry).map(|recipe| Layer { index, labels, recipe }));
            } else {
                images[index] = self.image(entry);
            }
        }
        self.stack(layers, &mut images, &mut recipes, &declared);
        (images.into_iter().flatten().collect(), recipes)
    }

    /// Each turn takes the first layer whose base is known.
    fn stack(
        &mut self,
        layers: Vec<Layer>,
        images: &mut [Option<GoldenImage>],
        recipes: &mut Vec<Recipe>,
        declared: &BTreeSet<String>,
    ) {
        let named = images.iter().enumerate().filter_map(|(index, image)| Some((image.as_ref()?.name.clone(), index)));
        let mut known: BTreeMap<String, usize> = named.collect();
        let mut ready = BTreeMap::new();
        let mut waiting: BTreeMap<String, Vec<Layer>> = BTreeMap::new();
        for layer in layers {
            let from = &layer.recipe.from.value;
            if known.contains_key(from) {
                ready.insert(layer.index, layer);
            } else {
                waiting.entry(from.clone()).or_default().push(layer);
            }
        }
        while let Some((_, Layer { index, labels, recipe })) = ready.pop_first() {
            let base = known.get(&recipe.from.value).and_then(|base| images[*base].as_ref());
            let image = base.map(|base| recipe.image(labels, base, self.file.folder()));
            known.insert(recipe.image.clone(), index);
            ready.extend(waiting.remove(&recipe.image).into_iter().flatten().map(|layer| (layer.index, layer)));
            images[index] = image;
            recipes.push(recipe);
        }
        let mut left: Vec<Layer> = waiting.into_values().flatten().collect();
        left.sort_by_key(|layer| layer.index);
        let left: Vec<Recipe> = left.into_iter().map(|layer| layer.recipe).collect();
        for circle in circles(&left) {
            let first = circle[0].from.place;
            let mut names: Vec<String> =
                circle.iter().take(MAX_NAMES).map(|layer| format!("`{}`", layer.image)).collect();
            if circle.len() > MAX_NAMES {
                names.push(format!("{} more", circle.len() - MAX_NAMES));
            }
            let message = format!("layers stand on each other: {} on `{}`", names.join(" on "), circle[0].image);
            self.error(first, message, "the lowest one needs an image that has a disk of its own");
        }
        // What stands on one that is wrong itself is not told: that is.
        for Recipe { from, .. } in left.iter().filter(|layer| !declared.contains(&layer.from.value)) {
            let otherwise = || "name another image of this catalogue".to_owned();
            let hint = did_you_mean(&from.value, known.keys().map(String::as_str), otherwise);
            self.error(from.place, format!("there is no image `{}` to stand on", from.value), hint);
        }
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
            let day = parse_day(&made.value);
            if day.is_none() {
                self.error(made.place, format!("`{}` is no day", made.value), "write the day as 2026-11-25");
            }
            day
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A catalogue of an image `one` and these layers, each with the image below it.
    fn read(layers: &[(String, String)]) -> Result<Catalog, Diagnostics> {
        let digest = "a".repeat(64);
        let image =
            format!("{{name: one, labels: {{n: one}}, disk: d, sha256: {digest}, memory: 1GiB, family: linux}}");
        let layer = |(name, from): &(String, String)| {
            format!("\n  - {{name: {name}, labels: {{n: {name}}}, from: {from}, apply: [{{sh: x}}]}}")
        };
        let layers: String = layers.iter().map(layer).collect();
        let text = format!("version: 1\nimages:\n  - {image}{layers}\n");
        Catalog::from_source(Arc::new(SourceFile::from_text("/nowhere/catalog.yaml", text)))
    }

    fn pair(name: impl Into<String>, from: impl Into<String>) -> (String, String) {
        (name.into(), from.into())
    }

    #[test]
    fn a_day_on_which_an_image_was_made_is_written_in_one_way() {
        let made = |day: &str| {
            let digest = "a".repeat(64);
            let image =
                format!("name: one, labels: {{n: one}}, disk: d, sha256: {digest}, memory: 1GiB, family: linux");
            let text = format!("version: 1\nimages:\n  - {{{image}, made: {day}}}\n");
            Catalog::from_source(Arc::new(SourceFile::from_text("/nowhere/catalog.yaml", text)))
        };
        assert!(made("2026-11-25").unwrap().images[0].made.is_some());
        for wrong in ["2026-W48-3", "2026-329"] {
            let told: Vec<String> = made(wrong).unwrap_err().0.into_iter().map(|error| error.message).collect();
            assert_eq!(told, [format!("`{wrong}` is no day")]);
        }
    }

    #[test]
    fn a_thousand_layers_may_stand_above_the_one_below_them_in_the_file() {
        let mut layers: Vec<_> = (1..1000).rev().map(|n| pair(format!("l{n}"), format!("l{}", n - 1))).collect();
        layers.push(pair("l0", "one"));
        let catalog = read(&layers).unwrap();
        assert_eq!(catalog.images[1].name, "l999");
        assert_eq!(catalog.images[1].backing.len(), 1000);
        let order: Vec<&str> = catalog.recipes.iter().map(|recipe| recipe.image.as_str()).collect();
        assert_eq!((order[0], order[999]), ("l0", "l999"));
    }

    #[test]
    fn a_circle_of_layers_is_one_error_with_its_names() {
        let told = |layers: &[(String, String)]| {
            read(layers).unwrap_err().0.into_iter().map(|error| error.message).collect::<Vec<_>>()
        };
        let circle = [pair("top", "a"), pair("a", "b"), pair("b", "c"), pair("c", "a"), pair("fine", "one")];
        assert_eq!(told(&circle), ["layers stand on each other: `a` on `b` on `c` on `a`"]);
        let two = [pair("a", "a"), pair("b", "b"), pair("c", "on")];
        let itself = |name: &str| format!("layers stand on each other: `{name}` on `{name}`");
        assert_eq!(told(&two), [itself("a"), itself("b"), "there is no image `on` to stand on".to_owned()]);
        let many: Vec<_> = (0..1000).map(|n| pair(format!("l{n}"), format!("l{}", (n + 1) % 1000))).collect();
        assert!(told(&many).concat().ends_with("on `l7` on 992 more on `l0`"));
    }
}
