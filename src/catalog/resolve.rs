use std::collections::BTreeSet;

use super::Catalog;
use crate::model::{AxisValue, GoldenImage};

/// Why a cell has no golden image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoImage {
    /// No axis is a label of any image.
    NoLabelAxis,
    /// No image has these labels.
    NoMatch {
        /// The labels that were asked for, `key=value`.
        wanted: String,
        /// The image with most of them, and what it lacks.
        nearest: String,
        lacks: Vec<AxisValue>,
    },
    /// Several images have these labels.
    Ambiguous { images: Vec<String>, differ_in: Vec<String> },
}

impl NoImage {
    /// What is wrong, and what to do about it.
    pub fn explain(&self, catalog: &Catalog) -> (String, String) {
        match self {
            NoImage::NoLabelAxis => {
                let labels: Vec<&str> = catalog.label_names().into_iter().collect();
                let message = "no axis picks a golden image: none is a label of the catalogue's images";
                (message.into(), format!("their labels are {}", labels.join(", ")))
            }
            NoImage::NoMatch { wanted, nearest, lacks } => (
                format!("no golden image has the labels {wanted}"),
                format!(
                    "the nearest is `{nearest}`, which lacks {}; `exclude` the cell or add an image",
                    listed(lacks)
                ),
            ),
            NoImage::Ambiguous { images, differ_in } => {
                let images: Vec<String> = images.iter().map(|name| format!("`{name}`")).collect();
                let hint = format!("they differ in {}: make it an axis", differ_in.join(", "));
                (format!("several golden images fit: {}", images.join(", ")), hint)
            }
        }
    }
}

fn listed<'a>(pairs: impl IntoIterator<Item = &'a AxisValue>) -> String {
    let pairs: Vec<String> = pairs.into_iter().map(|pair| format!("{}={}", pair.axis, pair.value)).collect();
    pairs.join(", ")
}

impl Catalog {
    /// The names of all labels of all images.
    pub fn label_names(&self) -> BTreeSet<&str> {
        self.images.iter().flat_map(|image| image.labels.keys().map(String::as_str)).collect()
    }

    /// The one image with the labels that the axes ask for. Axes that are no labels do not matter.
    ///
    /// # Errors
    /// None or several fit.
    pub fn resolve(&self, axes: &[AxisValue]) -> Result<&GoldenImage, NoImage> {
        let labels = self.label_names();
        let wanted: Vec<&AxisValue> = axes.iter().filter(|pair| labels.contains(pair.axis.as_str())).collect();
        if wanted.is_empty() && self.images.len() > 1 {
            return Err(NoImage::NoLabelAxis);
        }
        let has = |image: &GoldenImage, pair: &AxisValue| image.labels.get(&pair.axis) == Some(&pair.value);
        let fitting: Vec<&GoldenImage> =
            self.images.iter().filter(|image| wanted.iter().all(|pair| has(image, pair))).collect();
        match fitting[..] {
            [image] => Ok(image),
            [] => {
                let score = |image: &&GoldenImage| wanted.iter().filter(|pair| has(image, pair)).count();
                // The first of the best, so that the message does not depend on the others' order.
                let nearest = self.images.iter().rev().max_by_key(score);
                let lacks = wanted.iter().filter(|pair| nearest.is_some_and(|image| !has(image, pair)));
                Err(NoImage::NoMatch {
                    lacks: lacks.map(|pair| (*pair).clone()).collect(),
                    wanted: listed(wanted.iter().copied()),
                    nearest: nearest.map(|image| image.name.clone()).unwrap_or_default(),
                })
            }
            _ => {
                let values = |label: &str| -> BTreeSet<_> { fitting.iter().map(|i| i.labels.get(label)).collect() };
                let differ_in = labels.into_iter().filter(|label| values(label).len() > 1).map(str::to_owned).collect();
                Err(NoImage::Ambiguous { images: fitting.iter().map(|image| image.name.clone()).collect(), differ_in })
            }
        }
    }
}
