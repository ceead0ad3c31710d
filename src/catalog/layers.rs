//! Images that are layers above others: what they are made of, and whether what is there is that.

use std::{collections::BTreeMap, path::Path};

use serde_json::json;

use super::{Baked, BakedFiles, baked_folder};
use crate::{
    matrix::StepSpec,
    model::{BackingFile, GoldenImage, Sha256, StateFile, canonical, parse_day},
    source::{Place, Placed},
};

/// How a layer is made.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The layer.
    pub image: String,
    /// The image below it.
    pub from: Placed<String>,
    /// What is done to a clone of that.
    pub apply: Vec<StepSpec>,
    /// Where `apply` stands.
    pub place: Place,
}

impl Recipe {
    /// The digest of what the layer is to be made of, as far as the catalogue tells: the image below, the steps. What is in
    /// files that the steps bring in is not looked at.
    pub fn asks(&self, base: &GoldenImage) -> Sha256 {
        let chain: Vec<&Sha256> = base.chain().map(|(_, sha256)| sha256).collect();
        let states: Vec<&Sha256> = base.states().map(|state| &state.sha256).collect();
        let text = canonical(json!({ "from": chain, "states": states, "apply": self.apply }));
        Sha256::of(text.as_bytes())
    }

    /// The layer as an image: the machine below it, with its own disk.
    pub(super) fn image(&self, labels: BTreeMap<String, String>, base: &GoldenImage, folder: &Path) -> GoldenImage {
        let folder = baked_folder(folder);
        let baked = Baked::read(&Baked::path(&folder, &self.image));
        let unbaked = match &baked {
            _ if base.unbaked.is_some() => Some(format!("`{}`, which it is a layer above, is not baked", base.name)),
            None => Some("it is not baked yet".to_owned()),
            Some(baked) if baked.recipe != self.asks(base) => {
                Some(format!("`{}` or `apply` was changed since it was baked", base.name))
            }
            Some(_) => None,
        };
        let below = base.chain().map(|(disk, sha256)| BackingFile { disk: disk.to_owned(), sha256: sha256.clone() });
        let state = |file, sha256: Option<&Sha256>| Some(StateFile { file, sha256: sha256?.clone() });
        let recorded = baked.as_ref();
        let sha256 = recorded.map_or_else(|| Sha256::of(b""), |baked| baked.sha256.clone());
        let files = BakedFiles::of(&folder, &self.image, &sha256);
        GoldenImage {
            name: self.image.clone(),
            labels,
            backing: below.collect(),
            sha256,
            nvram: state(files.nvram, recorded.and_then(|baked| baked.nvram.as_ref())),
            tpm_state: state(files.tpm_state, recorded.and_then(|baked| baked.tpm_state.as_ref())),
            disk: files.disk,
            made: recorded.and_then(|baked| parse_day(baked.utc.get(..10)?)),
            unbaked,
            ..base.clone()
        }
    }
}
