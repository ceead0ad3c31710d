use std::{sync::Arc, time::Duration};

use super::{Effect, Rule};
use crate::{lab::LabError, model::Bugcheck};

/// Something a guest does, or that happens to its machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// The agent opens its channel and answers.
    AgentUp,
    /// The agent's channel closes; the agent forgets the programs it started.
    AgentGone,
    /// The agent's channel is open, but nothing answers.
    AgentMute,
    /// From now on in this boot the settled probe exits with 0.
    Ready,
    /// The kernel stops: an event, and nothing in the guest moves any more. What the timeline still holds
    /// comes nevertheless, such as the restart that a guest does by itself after a panic.
    Panic {
        bugcheck: Option<Bugcheck>,
    },
    /// The guest resets itself.
    Reset,
    /// The guest turns itself off.
    PowerOff,
    /// Text on the serial console.
    Serial(String),
    /// Text in the firmware's log.
    Firmware(String),
    /// The screen shows this picture; no two pictures share a pixel's colour.
    ScreenIs(u8),
    /// So many reads and as many writes at once.
    DiskBusy(u64),
    /// So many reads and as many writes per second from now on in this boot.
    DiskRate(u64),
    /// Whether a virtual CPU runs all the time; else it is idle but for 1 %.
    CpuSpin(bool),
    /// Nothing in the guest moves any more; its virtual CPU goes on doing what it does.
    Freeze,
    /// The machine is paused by an error of its disk's file: nothing in the guest moves any more.
    DiskError {
        host_is_full: bool,
    },
    /// The machine's process is stopped: nothing in the guest moves any more, and the lab is told nothing of it.
    ProcessStops,
    /// Somebody pauses the machine: nothing in the guest moves any more, and the lab tells so to who asks.
    Paused,
    /// The machine's process is gone.
    HostLost,
    /// The guest, be it only its kernel, writes a file.
    Writes(String, Vec<u8>),
    Removes(String),
}

/// What happens in one boot, counted from power-on or reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot(pub(super) Vec<(Duration, Happening)>);

impl Boot {
    /// A boot in which nothing happens.
    pub fn silent() -> Self {
        Self::default()
    }

    /// Adds a happening; those at the same time come in the order in which they were added.
    pub fn at(mut self, after: Duration, happening: Happening) -> Self {
        self.0.push((after, happening));
        self
    }
}

/// What a guest does when it is asked to restart or to turn itself off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Does it after this time.
    Obeys(Duration),
    Ignores,
    /// The agent answers that it cannot; the power button knows no answers and is ignored.
    Refuses,
    /// Turns itself off after this time, though asked to restart. (A press of the power button asks for just
    /// that, and the lab turns it into a reset.)
    PowersOff(Duration),
    /// Panics on the way down.
    Panics(Duration),
}

/// Makes the error of a lab that cannot do its part.
pub(super) type Fault = Arc<dyn Fn() -> LabError + Send + Sync>;

/// Sees every command line that the agent is told to run.
pub(super) type Observer = Arc<dyn Fn(&str) + Send + Sync>;

/// All that a guest will do: data, played by [`SimLab`](super::SimLab).
#[derive(Clone)]
pub struct GuestScript {
    pub(super) boot_time: Duration,
    pub(super) boots: Vec<Boot>,
    pub(super) rules: Vec<Rule>,
    pub(super) by_agent: Asked,
    pub(super) by_acpi: Asked,
    pub(super) files: Vec<(String, Vec<u8>)>,
    pub(super) has_screen: bool,
    pub(super) create_fault: Option<Fault>,
    pub(super) start_fault: Option<Fault>,
    pub(super) destroy_faults: u32,
    pub(super) seal_takes: Duration,
    pub(super) seal_fault: Option<Fault>,
    pub(super) observer: Option<Observer>,
    pub(super) boots_counted: Option<Duration>,
}

impl GuestScript {
    /// A guest with these boots: the n-th is played at the n-th power-on or reset, the last one repeats.
    /// It obeys requests to restart within 2 s, and every command exits with 0.
    pub fn with_boots(boots: Vec<Boot>) -> Self {
        let obeys = Asked::Obeys(Duration::from_secs(2));
        Self {
            boot_time: Duration::from_secs(20),
            boots,
            rules: Vec::new(),
            by_agent: obeys,
            by_acpi: obeys,
            files: Vec::new(),
            has_screen: true,
            create_fault: None,
            start_fault: None,
            destroy_faults: 0,
            seal_takes: Duration::ZERO,
            seal_fault: None,
            observer: None,
            boots_counted: Some(Duration::ZERO),
        }
    }

    /// The same guest with these boots.
    pub fn boots(mut self, boots: Vec<Boot>) -> Self {
        self.boots = boots;
        self
    }

    /// Adds a rule for commands. The first rule that matches is used; commands without one exit with 0.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// After a command that contains `command` (which exits with 0), `effect`.
    pub fn after(self, command: &str, effect: Effect) -> Self {
        self.rule(Rule::on(command).then(effect))
    }

    /// After a command that contains `command` (which exits with 0), the next boots are these.
    pub fn boots_after(self, command: &str, boots: Vec<Boot>) -> Self {
        self.after(command, Effect::NextBoots(boots))
    }

    /// What the guest does when it is asked by its agent, and when the power button is pressed.
    pub fn asked(mut self, by_agent: Asked, by_acpi: Asked) -> Self {
        (self.by_agent, self.by_acpi) = (by_agent, by_acpi);
        self
    }

    /// A file that the golden image holds.
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), content.into()));
        self
    }

    /// How long after its begin a Windows guest has counted a boot; none: it counts no more after the first.
    pub fn counts_boots(mut self, after: Option<Duration>) -> Self {
        self.boots_counted = after;
        self
    }

    /// The machine has no picture.
    pub fn headless(mut self) -> Self {
        self.has_screen = false;
        self
    }

    /// The lab cannot create the machine.
    pub fn cannot_be_created(mut self, fault: impl Fn() -> LabError + Send + Sync + 'static) -> Self {
        self.create_fault = Some(Arc::new(fault));
        self
    }

    /// The lab cannot start the machine.
    pub fn cannot_be_started(mut self, fault: impl Fn() -> LabError + Send + Sync + 'static) -> Self {
        self.start_fault = Some(Arc::new(fault));
        self
    }

    /// The first so many attempts to destroy the machine fail.
    pub fn resists_destruction(mut self, attempts: u32) -> Self {
        self.destroy_faults = attempts;
        self
    }

    /// Saving the machine for others to start from takes this long.
    pub fn sealed_within(mut self, takes: Duration) -> Self {
        self.seal_takes = takes;
        self
    }

    /// The lab cannot save the machine for others to start from, and finds out after all that saving takes.
    pub fn cannot_be_sealed(mut self, fault: impl Fn() -> LabError + Send + Sync + 'static) -> Self {
        self.seal_fault = Some(Arc::new(fault));
        self
    }

    /// Calls `observer` with every command line that the agent is told to run (as rules see it).
    pub fn observed(mut self, observer: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }
}
