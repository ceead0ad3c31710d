use std::ops::ControlFlow;

use super::super::Context;
use crate::{
    catalog::{Catalog, DigestCache, verify},
    model::{GoldenImage, one_line},
    source::{Diagnostic, Diagnostics, did_you_mean},
};

pub(super) fn chosen<'a>(catalog: &'a Catalog, names: &[String]) -> Result<Vec<&'a GoldenImage>, Diagnostics> {
    if names.is_empty() {
        return Ok(catalog.images.iter().collect());
    }
    let (mut images, mut found) = (Vec::new(), Diagnostics::default());
    for name in names {
        match catalog.image(name) {
            Some(image) => images.push(image),
            None => {
                let error = Diagnostic::error(format!("the catalogue has no image `{name}`"));
                let known = catalog.images.iter().map(|image| image.name.as_str());
                found.push(error.hint(did_you_mean(name, known, || "`bootgate images list` shows them".to_owned())));
            }
        }
    }
    found.or(images)
}

pub(super) fn verify_all(images: &[&GoldenImage], rehash: bool, context: &Context) -> anyhow::Result<u8> {
    crate::lab::make_state_dir(&context.state)?;
    let cache = DigestCache::open(context.state.digests());
    // Only drawn on a terminal; how much there is to read is not known before it is read.
    let bar = indicatif::ProgressBar::new_spinner();
    bar.set_style(indicatif::ProgressStyle::with_template("{spinner} {msg} {bytes} ({bytes_per_sec})")?);
    let mut all_hold = true;
    for image in images {
        bar.reset();
        bar.set_message(image.name.clone());
        let held = verify(image, &cache, rehash, &mut |read| {
            bar.inc(read);
            ControlFlow::Continue(())
        });
        let line = match &held {
            Ok(()) => format!("{}  {}\n", console::style("ok    ").green(), image.name),
            Err(problem) => {
                let why = one_line(&problem.to_string());
                format!("{}  {}: {why}\n", console::style(format!("{}", problem.reason())).red(), image.name)
            }
        };
        all_hold &= held.is_ok();
        bar.suspend(|| context.print(&line))?;
    }
    bar.finish_and_clear();
    Ok(u8::from(!all_hold))
}
