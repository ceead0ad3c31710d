//! Ctrl-C, SIGTERM and a closed terminal: everything that was started is ended, and the scratch folder goes.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::bail;
use tokio::signal::unix::{SignalKind, signal};

static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on signals are noted instead of ending this process.
pub fn listen() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate, mut hang_up) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hang_up.recv() => {}
                }
                ASKED.store(true, Ordering::Relaxed);
            }
        });
    });
    Ok(())
}

pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// # Errors
/// Somebody asked to stop.
pub fn check() -> anyhow::Result<()> {
    if asked() {
        bail!("cancelled");
    }
    Ok(())
}
