//! The guests that tests want most.

use std::time::Duration;

use super::{Asked, Boot, Effect, GuestScript, Happening, Outcome, Rule, event_log, windows};
use crate::model::Bugcheck;

/// What the pictures are of.
const LOGO: u8 = 1;
const SETTLED: u8 = 2;
const FAILED: u8 = 3;

impl GuestScript {
    /// Boots in `boot_time`, with its agent up after three quarters of it, and does all it is asked.
    pub fn healthy(boot_time: Duration) -> Self {
        Self { boot_time, ..Self::with_boots(vec![healthy_boot(boot_time)]) }
    }

    /// The same of a Windows: of an image whose family that is.
    pub fn windows(boot_time: Duration) -> Self {
        let guest = Self::healthy(boot_time).file("wevtutil System", event_log(&[], 0));
        windows::FILES.into_iter().fold(guest, |guest, (path, content)| guest.file(path, content))
    }

    /// After `command`, every boot ends half-way in a kernel panic.
    pub fn panics_after(self, command: &str) -> Self {
        let boot = self.half_boot(Happening::Panic { bugcheck: None });
        self.boots_after(command, vec![boot])
    }

    /// After `command`, every boot ends half-way in a stop error, and the guest restarts 10 s later.
    pub fn stops_after(self, command: &str, bugcheck: Bugcheck) -> Self {
        let boot = self.half_boot(Happening::Panic { bugcheck: Some(bugcheck) });
        let restart = self.boot_time / 2 + Duration::from_secs(10);
        self.boots_after(command, vec![boot.at(restart, Happening::Reset)])
    }

    /// After `command`, every boot resets half-way, without a word.
    pub fn loops_after(self, command: &str) -> Self {
        let boot = self.half_boot(Happening::Reset);
        self.boots_after(command, vec![boot])
    }

    /// After `command`, every boot hangs at the logo, its CPU idle.
    pub fn hangs_after(self, command: &str) -> Self {
        self.boots_after(command, vec![logo()])
    }

    /// After `command`, every boot hangs at the logo, its CPU spinning.
    pub fn spins_after(self, command: &str) -> Self {
        let boot = self.half_boot(Happening::CpuSpin(true));
        self.boots_after(command, vec![boot])
    }

    /// After `command`, no boot ever ends, yet the disk is busy all the time.
    pub fn never_settles_after(self, command: &str) -> Self {
        let boot = self.half_boot(Happening::DiskRate(50));
        self.boots_after(command, vec![boot])
    }

    /// After `command`, the guest turns itself off half-way in every boot.
    pub fn powers_off_after(self, command: &str) -> Self {
        let boot = self.half_boot(Happening::PowerOff);
        self.boots_after(command, vec![boot])
    }

    /// After `command`, boots get as far as a login prompt, but the agent never comes.
    pub fn loses_agent_after(self, command: &str) -> Self {
        let boot = healthy_boot(self.boot_time);
        let without = boot.0.into_iter().filter(|(_, what)| *what != Happening::AgentUp).collect();
        let login = Happening::Serial("\r\nwidget login: ".to_owned());
        let boot = Boot(without).at(self.boot_time, login).at(self.boot_time, Happening::DiskRate(2));
        self.boots_after(command, vec![boot])
    }

    /// After `command`, the firmware finds nothing to start, and says so in its log (in SeaBIOS' words).
    pub fn no_boot_device_after(self, command: &str) -> Self {
        let after = Duration::from_secs(2);
        let log = "Booting from Hard Disk...\nBoot failed: not a bootable disk\n\nNo bootable device.\n";
        let boot = Boot::silent().at(after, Happening::Firmware(log.to_owned())).at(after, Happening::ScreenIs(FAILED));
        self.boots_after(command, vec![boot])
    }

    /// After `command`, the next boot settles and resets `later` after that; the boots that follow are good.
    pub fn crashes_late_after(self, command: &str, later: Duration) -> Self {
        let healthy = healthy_boot(self.boot_time);
        let crash = healthy.clone().at(self.boot_time.saturating_add(later), Happening::Reset);
        self.boots_after(command, vec![crash, healthy])
    }

    /// After `command`, the next boot settles, and `later` after that nothing moves any more while the CPU spins.
    pub fn freezes_late_after(self, command: &str, later: Duration) -> Self {
        let at = self.boot_time.saturating_add(later);
        let boot = healthy_boot(self.boot_time).at(at, Happening::CpuSpin(true)).at(at, Happening::Freeze);
        self.boots_after(command, vec![boot])
    }

    /// After `command`, every boot settles, and the disk is busy for `length` after that.
    pub fn works_on_after(self, command: &str, length: Duration) -> Self {
        let done = self.boot_time.saturating_add(length);
        let boot = healthy_boot(self.boot_time).at(self.boot_time, Happening::DiskRate(500));
        self.boots_after(command, vec![boot.at(done, Happening::DiskRate(0))])
    }

    /// After `command`, neither the agent nor the power button restarts the guest.
    pub fn refuses_restart_after(self, command: &str) -> Self {
        self.after(command, Effect::Asked(Asked::Ignores, Asked::Ignores))
    }

    /// `command` exits with `code`.
    pub fn fails(self, command: &str, code: i32) -> Self {
        self.rule(Rule::on(command).exits(code))
    }

    /// `command` never ends, while the agent still answers.
    pub fn never_ends(self, command: &str) -> Self {
        self.rule(Rule::on(command).ends(Outcome::NeverEnds))
    }

    /// While `command` runs (it would take a second longer), `happening`.
    pub fn during(self, command: &str, happening: Happening) -> Self {
        let rule = Rule::on(command).takes(Duration::from_secs(1)).ends(Outcome::NeverEnds);
        self.rule(rule.happens(happening))
    }

    /// After `command`, `check` exits with `code`.
    pub fn breaks_check_after(self, command: &str, check: &str, code: i32) -> Self {
        self.after(command, Effect::Rules(vec![Rule::on(check).exits(code)]))
    }

    fn half_boot(&self, end: Happening) -> Boot {
        logo().at(self.boot_time / 2, end)
    }
}

fn logo() -> Boot {
    Boot::silent().at(Duration::ZERO, Happening::ScreenIs(LOGO)).at(Duration::ZERO, Happening::DiskBusy(500))
}

fn healthy_boot(boot_time: Duration) -> Boot {
    logo()
        .at(boot_time / 2, Happening::DiskBusy(2000))
        .at(boot_time / 4 * 3, Happening::AgentUp)
        .at(boot_time, Happening::DiskBusy(500))
        .at(boot_time, Happening::ScreenIs(SETTLED))
        .at(boot_time, Happening::Ready)
}
