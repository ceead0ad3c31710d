//! What becomes of a machine that is to be the base of others.

use std::time::Duration;

use tokio::time::Instant;

use super::{life::Cellmate, observe::Observer};
use crate::event::Level;

/// The folder of the disk, below the cell's.
pub const KEPT: &str = "kept";

/// How long the agent may take to pass on the request.
const REQUEST: Duration = Duration::from_secs(5);

/// How long any machine may take to turn itself off.
const POWER_OFF: Duration = Duration::from_secs(120);

/// Turns the machine off and keeps its disk. What fails is noted: then there is no disk.
pub(super) async fn keep(watcher: &mut Observer, mate: &Cellmate<'_>) {
    let folder = mate.job.dir.join(KEPT);
    let kept = async {
        mate.agent(REQUEST).power_off().await.map_err(|error| error.to_string())?;
        let patience = POWER_OFF.max(mate.limits().restart.as_duration() * 2);
        watcher.until_off(Instant::now() + patience).await?;
        watcher.vm.keep_disk(&folder).await.map_err(|error| error.to_string())
    };
    if let Err(why) = kept.await {
        let _ = std::fs::remove_dir_all(&folder);
        watcher.note(Level::Warning, format!("its disk could not be kept: {why}"));
    }
}
