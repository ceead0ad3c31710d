//! What becomes of a machine that is to be the base of others.

use std::{path::Path, time::Duration};

use tokio::time::Instant;

use super::{life::Cellmate, observe::Observer};
use crate::{event::Level, model::StepKind};

/// How long the agent may take to pass on the request.
const REQUEST: Duration = Duration::from_secs(5);

/// How long any machine may take to turn itself off.
const POWER_OFF: Duration = Duration::from_secs(120);

/// How long removing a package may take.
const REMOVAL: Duration = Duration::from_secs(60);

/// Turns the machine off and keeps its disk in the folder. What fails is noted: then there is no disk.
pub(super) async fn keep(watcher: &mut Observer, mate: &Cellmate<'_>, folder: &Path) {
    let kept = async {
        remove_packages(mate).await?;
        mate.agent(REQUEST).power_off().await.map_err(|error| error.to_string())?;
        let patience = POWER_OFF.max(mate.limits().restart.as_duration() * 2);
        watcher.until_off(Instant::now() + patience).await?;
        watcher.vm.keep_disk(folder).await.map_err(|error| error.to_string())
    };
    if let Err(why) = kept.await {
        watcher.note(Level::Warning, format!("its disk could not be kept: {why}"));
    }
}

/// What we brought in to be installed would be in every clone.
async fn remove_packages(mate: &Cellmate<'_>) -> Result<(), String> {
    for step in &mate.job.cell.update {
        let StepKind::Package { package } = &step.kind else { continue };
        let Some(command) = mate.family.remove_package(package) else { continue };
        let removed = mate.ask(&command, REMOVAL).await;
        removed.map_err(|error| format!("the package of step `{}` cannot be removed: {error}", step.name))?;
    }
    Ok(())
}
