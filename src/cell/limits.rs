use crate::model::{Activity, ControlFacts, Health, Limits, LimitsFrom, Millis, Quirks, SignalKind};

/// Deadlines before anything is known of the machine: generous, because running into them blames nobody
/// but the lab.
pub(super) fn before_first_boot(health: &Health, quirks: Quirks) -> Limits {
    Limits {
        quiet: Millis::from_secs(120),
        boot: health.boot_timeout.unwrap_or(Millis::from_secs(900)),
        restart: health.restart_timeout.unwrap_or(Millis::from_secs(30)),
        resets: 3,
        extra_restarts: quirks.extra_restarts,
        usual: Activity::default(),
    }
}

/// [`before_first_boot`], told.
pub(super) fn unknown(health: &Health, quirks: Quirks) -> SignalKind {
    SignalKind::Limits { limits: before_first_boot(health, quirks), from: None, base: Millis::ZERO }
}

/// The longest boot that is known without the update: the cell's own, and its control's where that is known.
pub(super) fn longest_boot(own: (LimitsFrom, Millis), control: Option<&ControlFacts>) -> (LimitsFrom, Millis) {
    let control =
        control.map(|facts| [(LimitsFrom::ControlBoot, facts.settle), (LimitsFrom::ControlRestart, facts.restart)]);
    let longer = |longest: (LimitsFrom, Millis), other: (LimitsFrom, Millis)| {
        if other.1 > longest.1 { other } else { longest }
    };
    control.into_iter().flatten().fold(own, longer)
}

/// Deadlines derived from how long a boot takes without the update.
///
/// The floors are for fast machines on a host that becomes busy in between.
pub(super) fn after_first_boot(took: Millis, usual: Activity, health: &Health, quirks: Quirks) -> Limits {
    let between =
        |factor: f64, low: u64, high: u64| took.scaled(factor).clamp(Millis::from_secs(low), Millis::from_secs(high));
    Limits {
        quiet: between(3.0, 20, 600),
        boot: health.boot_timeout.unwrap_or(between(8.0, 120, 7200)),
        restart: health.restart_timeout.unwrap_or(between(3.0, 30, 900)),
        resets: 3,
        extra_restarts: quirks.extra_restarts,
        usual,
    }
}
