//! Whether a golden image is fit for being tested on: what a boot, two restarts and the guest's own words say.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    event::CellState,
    model::{GuestState, LabTime, Millis, Outcome, SignalKind, Verdict, one_line},
};

/// A disk that has less free is nearly full before any update came: in percent.
const FREE: u64 = 10;

/// How good one thing about an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    Yes,
    /// It can be tested on, and something will be seen later or not at all.
    Partly,
    No,
}

/// One thing about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub fit: Fit,
    pub about: &'static str,
    pub detail: String,
}

/// What the last attempt at an image's cell shows of the image.
pub fn fitness(cell: &CellState, verdict: &Verdict) -> Vec<Finding> {
    let seen = Seen::of(cell);
    let mut found = vec![verdict_finding(verdict)];
    found.extend([seen.settles(), seen.agent(), seen.boots(), seen.restarts(), seen.panics()].into_iter().flatten());
    found.extend(seen.of_windows());
    found.extend(seen.of_guest());
    found
}

fn finding(fit: Fit, about: &'static str, detail: impl Into<String>) -> Finding {
    Finding { fit, about, detail: detail.into() }
}

fn verdict_finding(verdict: &Verdict) -> Finding {
    match verdict.lead() {
        None => finding(Fit::Yes, "health", "settled after every restart, and stayed so"),
        Some(lead) if verdict.outcome == Outcome::Inconclusive => {
            finding(Fit::No, "health", format!("the lab cannot tell: {}: {}", lead.id, one_line(&lead.message)))
        }
        Some(lead) => {
            finding(Fit::No, "health", format!("{} in phase {}: {}", lead.id, lead.phase, one_line(&lead.message)))
        }
    }
}

/// What the signals say.
#[derive(Default)]
struct Seen {
    facts: BTreeMap<String, String>,
    boots: Vec<String>,
    /// What each took; none: the lab was too slow to know.
    restarts: Vec<Option<Millis>>,
    settled: Option<Millis>,
    guest: Option<GuestState>,
}

impl Seen {
    fn of(cell: &CellState) -> Self {
        let mut seen = Self::default();
        let Some(attempt) = cell.attempts.last() else { return seen };
        for signal in &attempt.signals {
            match &signal.what {
                SignalKind::Facts { facts } => seen.facts.clone_from(facts),
                SignalKind::BootId { id } => seen.boots.push(one_line(id)),
                SignalKind::BootCost { took, waited, .. } => seen.restarts.push(LabTime::own(*took, *waited)),
                SignalKind::Settled if seen.settled.is_none() => seen.settled = Some(signal.at.since(attempt.started)),
                SignalKind::GuestState { state } => seen.guest = Some((**state).clone()),
                _ => {}
            }
        }
        seen
    }

    fn fact(&self, name: &str) -> Option<&str> {
        self.facts.get(name).map(String::as_str)
    }

    fn settles(&self) -> Option<Finding> {
        Some(match self.settled {
            Some(after) => finding(Fit::Yes, "boot", format!("settled {after} after power-on")),
            None => finding(Fit::No, "boot", "never settled"),
        })
    }

    fn agent(&self) -> Option<Finding> {
        let version = one_line(self.fact("agent-version")?);
        Some(match self.fact("agent-lacks") {
            None => finding(Fit::Yes, "agent", format!("version {version}, with every command that is needed")),
            Some(lacks) => finding(
                Fit::No,
                "agent",
                format!("version {version} does not allow {}: take them out of its block list", one_line(lacks)),
            ),
        })
    }

    fn boots(&self) -> Option<Finding> {
        let different: BTreeSet<&String> = self.boots.iter().collect();
        let shown = self.boots.join(", then ");
        Some(match (different.len(), self.boots.len()) {
            (_, 0) => finding(Fit::No, "boot identity", "none: a new boot cannot be told from the old one"),
            (1, 1) => finding(Fit::Partly, "boot identity", shown),
            (different, all) if different == all => finding(Fit::Yes, "boot identity", shown),
            _ => finding(Fit::No, "boot identity", format!("two boots had the same one: {shown}")),
        })
    }

    fn restarts(&self) -> Option<Finding> {
        let told = |own: &Option<Millis>| own.map_or("unknown, for the lab was slow".to_owned(), |own| own.to_string());
        let times: Vec<String> = self.restarts.iter().map(told).collect();
        let fit = if times.len() >= 2 { Fit::Yes } else { Fit::No };
        let detail = if times.is_empty() { "none succeeded".to_owned() } else { times.join(", ") };
        Some(finding(fit, "restarts", detail))
    }

    fn panics(&self) -> Option<Finding> {
        Some(match self.fact("pvpanic")? {
            "yes" => finding(Fit::Yes, "panics", "the guest has a pvpanic driver: they are seen at once"),
            _ => finding(Fit::Partly, "panics", "no pvpanic driver: they are seen by console, screen or resets only"),
        })
    }

    fn of_windows(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        if let (Some(product), Some(build)) = (self.fact("product"), self.fact("build")) {
            let release = self.fact("release").map(|release| format!(" {}", one_line(release))).unwrap_or_default();
            found.push(finding(
                Fit::Yes,
                "system",
                format!("{}{release}, build {}", one_line(product), one_line(build)),
            ));
        }
        if let Some(restarts) = self.fact("crash-restarts") {
            found.push(match restarts {
                "1" => finding(Fit::Yes, "after a crash", "restarts by itself, as in production"),
                _ => finding(Fit::No, "after a crash", "AutoReboot is 0: a loop of crashes would look like a hang"),
            });
        }
        if let Some(kind) = self.fact("crash-dump-kind") {
            found.push(match kind {
                "0" => finding(Fit::Partly, "crash dumps", "off: a crash leaves no cause (CrashDumpEnabled is 0)"),
                "3" => finding(Fit::Yes, "crash dumps", "small ones"),
                _ => finding(Fit::Partly, "crash dumps", "large ones, which take long to write (3 would be small)"),
            });
        }
        if self.fact("fast-start-up") == Some("1") {
            found.push(finding(Fit::Partly, "fast start-up", "on: a shut-down and a restart are not the same boot"));
        }
        if self.fact("safe-mode").is_some() {
            found.push(finding(Fit::No, "safe mode", "Windows runs in safe mode"));
        }
        if let Some(policy) = self.fact("no-auto-update") {
            let runs = if self.fact("update-service") == Some("running") { ", and its service runs" } else { "" };
            found.push(match policy {
                "1" => finding(Fit::Yes, "updates", format!("none of its own accord{runs}")),
                _ => finding(
                    Fit::Partly,
                    "updates",
                    format!("it may update itself during a test (no NoAutoUpdate){runs}"),
                ),
            });
        }
        if self.fact("product").is_some() {
            found.push(match self.fact("pending-restart") {
                None => finding(Fit::Yes, "pending restart", "none"),
                Some(what) => {
                    finding(Fit::No, "pending restart", format!("{}: restart it until there is none", one_line(what)))
                }
            });
        }
        found
    }

    fn of_guest(&self) -> Vec<Finding> {
        let Some(guest) = &self.guest else {
            return vec![finding(
                Fit::No,
                "inventory",
                "the guest could not tell what runs in it: nothing can be compared",
            )];
        };
        let mut found = vec![finding(Fit::Yes, "services", format!("{} run", guest.services.len()))];
        if !guest.restarted.is_empty() {
            let names: Vec<String> = guest.restarted.iter().map(|name| one_line(name)).collect();
            found.push(finding(
                Fit::Partly,
                "services",
                format!("began anew while nothing was done: {}", names.join(", ")),
            ));
        }
        for disk in guest.disks.iter().filter(|disk| disk.size.0 > 0) {
            let percent = disk.free.0.saturating_mul(100) / disk.size.0;
            let fit = if percent < FREE { Fit::No } else { Fit::Yes };
            found.push(finding(fit, "free disk", format!("{}: {} of {}", one_line(&disk.mount), disk.free, disk.size)));
        }
        if let Some(ahead) = guest.clock_ahead_ms.filter(|ahead| ahead.unsigned_abs() > 60_000) {
            found.push(finding(Fit::Partly, "clock", format!("{} s beside the host's", ahead / 1000)));
        }
        for (fit, about, texts) in
            [(Fit::Partly, "old dumps", &guest.dumps), (Fit::Partly, "errors in its log", &guest.errors)]
        {
            if !texts.is_empty() {
                let some: Vec<String> = texts.iter().take(3).map(|text| one_line(text)).collect();
                let more = if texts.len() > some.len() { ", …" } else { "" };
                found.push(finding(fit, about, format!("{}: {}{more}", texts.len(), some.join(", "))));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::testing::Story,
        model::{Bytes, DiskState},
    };

    fn found(tell: impl FnOnce(&mut Story)) -> BTreeMap<&'static str, Fit> {
        let mut story = Story::of(&["a"]);
        story.start("a", 1);
        tell(&mut story);
        let state = story.state();
        let cell = &state.cells[0];
        fitness(cell, &state.verdict(cell)).into_iter().map(|finding| (finding.about, finding.fit)).collect()
    }

    fn facts(pairs: &[(&str, &str)]) -> SignalKind {
        SignalKind::Facts { facts: pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect() }
    }

    #[test]
    fn an_image_that_says_nothing_is_not_fit() {
        let found = found(|_| {});
        for about in ["health", "boot", "boot identity", "restarts", "inventory"] {
            assert_eq!(found[about], Fit::No, "{about}");
        }
    }

    #[test]
    fn two_boots_with_one_identity_make_an_image_unfit() {
        let id = |id: &str| SignalKind::BootId { id: id.to_owned() };
        assert_eq!(
            found(|story| drop(story.signal("a", id("1")).signal("a", id("2")).state()))["boot identity"],
            Fit::Yes
        );
        assert_eq!(
            found(|story| drop(story.signal("a", id("1")).signal("a", id("1")).state()))["boot identity"],
            Fit::No
        );
    }

    #[test]
    fn a_windows_that_does_not_restart_after_a_crash_is_not_fit() {
        let windows =
            [("product", "Windows 11 Pro"), ("build", "26100.1"), ("crash-restarts", "0"), ("crash-dump-kind", "3")];
        let found = found(|story| drop(story.signal("a", facts(&windows)).state()));
        assert_eq!(found["after a crash"], Fit::No);
        assert_eq!((found["crash dumps"], found["pending restart"], found["system"]), (Fit::Yes, Fit::Yes, Fit::Yes));
    }

    #[test]
    fn a_disk_that_is_nearly_full_makes_an_image_unfit() {
        let disk = |free| DiskState { mount: "/".into(), size: Bytes(100), free: Bytes(free), ..DiskState::default() };
        let state = |free| {
            let state = GuestState { disks: vec![disk(free)], ..GuestState::default() };
            SignalKind::GuestState { state: Box::new(state) }
        };
        assert_eq!(found(|story| drop(story.signal("a", state(9)).state()))["free disk"], Fit::No);
        assert_eq!(found(|story| drop(story.signal("a", state(10)).state()))["free disk"], Fit::Yes);
    }
}
