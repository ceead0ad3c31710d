use anyhow::Context as _;

use super::super::{
    Context,
    plan::{Format, state},
    run::shown,
    table::{minute, table},
};
use crate::{
    catalog::Catalog,
    clock::utc,
    model::{Bytes, GoldenImage, count},
    seal::Listed,
};

pub(super) fn list(catalog: &Catalog, format: Format, context: &Context) -> anyhow::Result<u8> {
    let seals = context.seals().list();
    if format == Format::Json {
        let described = |image: &GoldenImage| -> anyhow::Result<serde_json::Value> {
            let mut value = serde_json::to_value(image).context("an image cannot be written as JSON")?;
            value["state"] = state(image).into();
            let mine = seals.iter().filter(|seal| seal.about.image == image.name);
            value["seals"] = mine.map(seal_for_programs).collect();
            Ok(value)
        };
        let images = catalog.images.iter().map(described).collect::<anyhow::Result<Vec<_>>>()?;
        context.print(&(serde_json::to_string_pretty(&images)? + "\n"))?;
        return Ok(0);
    }
    let row = |image: &GoldenImage| {
        let labels: Vec<String> = image.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let size = image.disk.metadata().map_or("-".to_owned(), |about| Bytes(about.len()).to_string());
        [
            image.name.clone(),
            labels.join(" "),
            shown(&image.disk).display().to_string(),
            size,
            image.memory.to_string(),
            image.firmware.as_str().to_owned(),
            state(image).to_owned(),
        ]
    };
    let rows: Vec<[String; 7]> = catalog.images.iter().map(row).collect();
    let mut text = table(["NAME", "LABELS", "DISK", "SIZE", "MEMORY", "FIRMWARE", "STATE"], &rows);
    if !seals.is_empty() {
        text += &format!("\n{}", seals_for_people(&seals, catalog, context));
    }
    context.print(&text)?;
    Ok(0)
}

fn seals_for_people(seals: &[Listed], catalog: &Catalog, context: &Context) -> String {
    let row = |Listed { about, used, in_use }: &Listed| {
        let foreign = if catalog.image(&about.image).is_some() { "" } else { " (not in this catalogue)" };
        [
            about.key.short().to_owned(),
            format!("{}{foreign}", about.image),
            minute(&about.utc),
            used.map_or("-".to_owned(), |used| minute(&utc(used))),
            about.size().to_string(),
            (if *in_use { "yes" } else { "no" }).to_owned(),
            about.setup.len().to_string(),
        ]
    };
    let rows: Vec<[String; 7]> = seals.iter().map(row).collect();
    let size = Bytes(seals.iter().map(|seal| seal.about.size().0).fold(0, u64::saturating_add));
    let folder = context.state.seals();
    table(["KEY", "IMAGE", "MADE", "LAST USED", "SIZE", "IN USE", "SETUP"], &rows)
        + &format!("{}, {size} in {}\n", count(seals.len(), "seal"), folder.display())
}

fn seal_for_programs(Listed { about, used, in_use }: &Listed) -> serde_json::Value {
    serde_json::json!({
        "key": about.key.short(),
        "made": about.utc,
        "last_used": used.map(utc),
        "size": about.size(),
        "in_use": in_use,
        "setup": about.setup,
    })
}
