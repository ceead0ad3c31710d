use std::collections::{BTreeMap, BTreeSet};

use crate::model::{AxisValue, CellId, Sha256};

/// Longest id: it becomes a folder's name and a part of a libvirt domain's name.
const MAX_LEN: usize = 100;

/// An id for every cell, in their order, all different.
pub(super) fn cell_ids(cells: &[Vec<AxisValue>]) -> Vec<CellId> {
    let mut ids: Vec<String> = cells.iter().map(|axes| with_digits(axes, 0)).collect();
    for digits in [6, 12, 64] {
        let mut uses = BTreeMap::<String, usize>::new();
        for id in &ids {
            *uses.entry(id.clone()).or_default() += 1;
        }
        for (id, axes) in ids.iter_mut().zip(cells) {
            if uses[id] > 1 {
                *id = with_digits(axes, digits);
            }
        }
    }
    ids.into_iter().map(CellId).collect()
}

/// An id for the control of every image, in their order: different from each other and from all cells'.
pub(super) fn control_ids(images: &[String], cells: &[CellId]) -> Vec<CellId> {
    let mut taken: BTreeSet<String> = cells.iter().map(|id| id.0.clone()).collect();
    let id = |image: &String| {
        let whole = format!("control-{}", slug(image));
        let cut = |room: usize| &whole[..whole.len().min(room)];
        let numbered = (2..).map(|n| format!("{}-{n}", cut(MAX_LEN - 10)));
        let free = std::iter::once(cut(MAX_LEN).to_owned()).chain(numbered).find(|id| !taken.contains(id));
        let id = free.unwrap_or_default();
        taken.insert(id.clone());
        CellId(id)
    };
    images.iter().map(id).collect()
}

/// The cell's slug, with so many digits of the digest of its exact values; a slug that must be cut has at
/// least six.
fn with_digits(axes: &[AxisValue], digits: usize) -> String {
    let values: Vec<String> = axes.iter().map(|pair| slug(&pair.value)).collect();
    let joined = values.join(".");
    let slug = joined.trim_start_matches(['.', '-']);
    let slug = if slug.is_empty() { "cell" } else { slug };
    let digits = if slug.len() > MAX_LEN { digits.max(6) } else { digits };
    if digits == 0 {
        return slug.to_owned();
    }
    let exact: Vec<(&str, &str)> = axes.iter().map(|pair| (pair.axis.as_str(), pair.value.as_str())).collect();
    let digest = Sha256::of(format!("{exact:?}").as_bytes()).0;
    // Slugs are ASCII, so every byte is a place to cut.
    let room = MAX_LEN - digits - 1;
    format!("{}-{}", &slug[..slug.len().min(room)], &digest[..digits])
}

fn slug(value: &str) -> String {
    let plain = |c: char| if matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-') { c } else { '-' };
    value.to_ascii_lowercase().chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(cells: &[&[&str]]) -> Vec<String> {
        let pair = |(n, value): (usize, &&str)| AxisValue { axis: format!("a{n}"), value: (*value).to_owned() };
        let cells: Vec<Vec<AxisValue>> = cells.iter().map(|cell| cell.iter().enumerate().map(pair).collect()).collect();
        cell_ids(&cells).into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn an_id_is_the_slugged_values_joined_by_dots() {
        assert_eq!(ids(&[&["Lab OS 10", "p1", "7.15"]]), ["lab-os-10.p1.7.15"]);
    }

    #[test]
    fn cells_whose_slugs_are_equal_get_digits_of_their_digest() {
        let ids = ids(&[&["a b"], &["a-b"], &["c"]]);
        assert!(ids[0].starts_with("a-b-") && ids[1].starts_with("a-b-") && ids[0] != ids[1], "{ids:?}");
        assert_eq!((ids[0].len(), ids[2].as_str()), (10, "c"));
    }

    #[test]
    fn a_control_is_named_by_its_image_and_never_like_a_cell() {
        let long = format!("i{}", "x".repeat(99));
        let images = ["debian-12".to_owned(), "b".to_owned(), long.clone(), format!("{long}y")];
        let cells = ["control-b", "control-b-2", "debian-12"].map(CellId::from);
        let ids: Vec<String> = control_ids(&images, &cells).into_iter().map(|id| id.0).collect();
        assert_eq!(ids[..2], ["control-debian-12", "control-b-3"]);
        assert!(ids[2] != ids[3] && ids.iter().all(|id| id.len() <= MAX_LEN), "{ids:?}");
    }

    proptest::proptest! {
        #[test]
        fn ids_are_always_different_and_safe_as_folder_names(
            cells in proptest::collection::btree_set(proptest::collection::vec(".{1,60}", 2), 1..12)
        ) {
            let cells: Vec<Vec<&str>> = cells.iter().map(|cell| cell.iter().map(String::as_str).collect()).collect();
            let cells: Vec<&[&str]> = cells.iter().map(Vec::as_slice).collect();
            let ids = ids(&cells);
            let different: std::collections::BTreeSet<&String> = ids.iter().collect();
            assert_eq!(different.len(), cells.len());
            for id in &ids {
                assert!(id.len() <= MAX_LEN && !id.is_empty() && !id.starts_with(['.', '-']), "{id}");
                assert!(id.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-')), "{id}");
            }
        }
    }
}
