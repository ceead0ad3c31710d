use crate::model::{Health, Limits, Millis, Quirks};

/// Deadlines before anything is known of the machine: generous, because running into them blames nobody
/// but the lab.
pub(super) fn before_first_boot(health: &Health, quirks: Quirks) -> Limits {
    Limits {
        quiet: Millis::from_secs(120),
        boot: health.boot_timeout.unwrap_or(Millis::from_secs(900)),
        restart: health.restart_timeout.unwrap_or(Millis::from_secs(30)),
        resets: 3,
        extra_restarts: quirks.extra_restarts,
    }
}

/// Deadlines derived from how long this very machine took to boot before the update.
///
/// The floors are for fast machines on a host that becomes busy in between.
pub(super) fn after_first_boot(took: Millis, health: &Health, quirks: Quirks) -> Limits {
    let between =
        |factor: f64, low: u64, high: u64| took.scaled(factor).clamp(Millis::from_secs(low), Millis::from_secs(high));
    Limits {
        quiet: between(3.0, 20, 600),
        boot: health.boot_timeout.unwrap_or(between(8.0, 120, 7200)),
        restart: health.restart_timeout.unwrap_or(between(3.0, 30, 900)),
        resets: 3,
        extra_restarts: quirks.extra_restarts,
    }
}
