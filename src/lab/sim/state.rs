use std::{io::Write as _, path::Path, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use super::{
    Asked, Boot, Effect, GuestScript, Happening, Outcome,
    agenda::{Agenda, Due, Ending},
    filesystem::Filesystem,
    meter::Meter,
    processes::Processes,
    windows,
};
use crate::{
    lab::{AgentError, VmEvent, VmFiles},
    model::Sha256,
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    Off,
    On,
    /// The machine's process ended by itself.
    Lost,
    Destroyed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Closed,
    Mute,
    Open,
}

pub(super) struct State {
    pub power: Power,
    pub channel: Channel,
    /// Grows with every change of the channel between open and closed.
    pub session: u64,
    pub ready: bool,
    pub script: GuestScript,
    /// It runs Windows, and not Linux.
    pub windows: bool,
    /// What a command contains that asks whether the boot has finished.
    pub probe: String,
    pub meter: Meter,
    pub screen: u8,
    pub disk: Filesystem,
    pub processes: Processes,
    /// Nothing in the guest moves any more.
    frozen: bool,
    /// Somebody has paused it.
    pub paused: bool,
    /// Its process is stopped, and answers nobody.
    pub stopped: bool,
    power_button: bool,
    /// Index in the script's boots of the one to come.
    next_boot: usize,
    /// Boots so far.
    boots: u64,
    name: String,
    agenda: Agenda,
    /// Grows with every change that somebody may wait for.
    pub revision: u64,
    events: Option<mpsc::UnboundedSender<VmEvent>>,
    files: VmFiles,
}

impl State {
    pub fn new(
        name: String,
        script: GuestScript,
        windows: bool,
        probe: String,
        events: mpsc::UnboundedSender<VmEvent>,
        files: VmFiles,
    ) -> Self {
        let mut disk = Filesystem::default();
        for (path, content) in &script.files {
            disk.write(path, content);
        }
        Self {
            power: Power::Off,
            channel: Channel::Closed,
            session: 0,
            ready: false,
            script,
            windows,
            probe,
            meter: Meter::new(Instant::now()),
            screen: 0,
            disk,
            processes: Processes::default(),
            frozen: false,
            paused: false,
            stopped: false,
            power_button: false,
            next_boot: 0,
            boots: 0,
            name,
            agenda: Agenda::default(),
            revision: 0,
            events: Some(events),
            files,
        }
    }

    pub fn is_gone(&self) -> bool {
        matches!(self.power, Power::Lost | Power::Destroyed)
    }

    /// Whether the agent can be asked at all.
    pub fn agent_is_there(&self) -> Result<(), AgentError> {
        match (self.power, self.channel) {
            (Power::On, Channel::Closed) => Err(AgentError::NotConnected),
            (Power::On, _) => Ok(()),
            _ => Err(AgentError::VmGone),
        }
    }

    /// The identity of the running boot, in the form of a UUID; the same in every run of the same script.
    pub fn boot_id(&self) -> String {
        let hex = Sha256::of(format!("{} boot {}", self.name, self.boots).as_bytes()).0;
        format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[12..15], &hex[15..18], &hex[18..30])
    }

    /// When something happens next.
    pub fn next_due(&self) -> Option<Instant> {
        self.agenda.next()
    }

    /// Does what is due by now, each thing at its own time.
    pub fn run_until(&mut self, now: Instant) {
        while let Some((at, due)) = self.agenda.take(now) {
            self.revision += 1;
            match due {
                Due::Timeline(happening) | Due::Asked(happening) => self.happen(happening, at),
                Due::CommandEnds(ending) => self.command_ends(*ending, at),
            }
        }
        self.meter.advance(now);
    }

    /// A time too far away for the clock never comes.
    fn schedule(&mut self, now: Instant, after: Duration, due: Due) {
        if let Some(at) = now.checked_add(after) {
            self.revision += 1;
            self.agenda.add(at, due);
        }
    }

    fn emit(&mut self, event: VmEvent) {
        self.revision += 1;
        if let Some(events) = &self.events {
            // Nobody listens any more: the test's own choice.
            let _ = events.send(event);
        }
    }

    pub fn power_on(&mut self, at: Instant) {
        self.power = Power::On;
        self.emit(VmEvent::Started);
        self.begin_boot(at);
    }

    /// Begins where the first boot had settled; a reset of that boot comes as long after.
    pub fn go_on(&mut self, at: Instant) {
        self.power_on(at);
        self.agenda.clear();
        let Boot(timeline) = self.script.boots.first().cloned().unwrap_or_default();
        let lasting = |happening: &Happening| {
            matches!(happening, Happening::AgentUp | Happening::Ready | Happening::ScreenIs(_) | Happening::DiskRate(_))
        };
        for (after, happening) in timeline {
            if lasting(&happening) {
                self.happen(happening, at);
            } else if happening == Happening::Reset {
                self.schedule(at, after, Due::Timeline(happening));
            }
        }
    }

    /// Its memory is saved, and its process gone.
    pub fn save(&mut self, at: Instant) {
        self.halt(Power::Lost, at);
        self.events = None;
    }

    fn begin_boot(&mut self, at: Instant) {
        self.agenda.clear();
        (self.ready, self.frozen, self.power_button, self.screen) = (false, false, false, 0);
        self.processes = Processes::default();
        self.disk.restart();
        self.meter.advance(at);
        self.meter.boot();
        let last = self.script.boots.len().saturating_sub(1);
        let Boot(timeline) = self.script.boots.get(self.next_boot.min(last)).cloned().unwrap_or_default();
        self.next_boot += 1;
        self.boots += 1;
        if self.windows {
            let count = format!("REG_DWORD    {:#x}", self.boots).into_bytes();
            let counts = Happening::Writes(windows::BOOT_COUNT.to_owned(), count);
            match self.script.boots_counted {
                _ if self.boots == 1 => self.happen(counts, at),
                Some(after) => self.schedule(at, after, Due::Timeline(counts)),
                None => {}
            }
        } else {
            self.disk.write("/proc/sys/kernel/random/boot_id", (self.boot_id() + "\n").as_bytes());
        }
        for (after, happening) in timeline {
            // A guest that resets in no time would never let the clock move on.
            let least = if happening == Happening::Reset { Duration::from_millis(1) } else { Duration::ZERO };
            self.schedule(at, after.max(least), Due::Timeline(happening));
        }
    }

    fn connect(&mut self, channel: Channel) {
        self.revision += 1;
        let was = std::mem::replace(&mut self.channel, channel);
        match (was == Channel::Closed, channel == Channel::Closed) {
            (true, false) => {
                self.session += 1;
                self.emit(VmEvent::AgentConnected);
            }
            (false, true) => {
                self.session += 1;
                self.processes = Processes::default();
                self.emit(VmEvent::AgentDisconnected);
            }
            _ => {}
        }
    }

    /// The machine goes through a reset. QEMU closes the guest's channels first.
    pub fn reset(&mut self, at: Instant) {
        self.connect(Channel::Closed);
        self.emit(VmEvent::Reset);
        self.begin_boot(at);
    }

    /// Nothing runs and nothing will happen by itself.
    fn halt(&mut self, power: Power, at: Instant) {
        self.meter.advance(at);
        self.meter.stop();
        self.agenda.clear();
        self.power = power;
        self.revision += 1;
    }

    pub fn destroy(&mut self, now: Instant) {
        self.halt(Power::Destroyed, now);
        self.events = None;
    }

    pub fn happen(&mut self, happening: Happening, at: Instant) {
        self.meter.advance(at);
        match happening {
            Happening::AgentUp => self.connect(Channel::Open),
            Happening::AgentGone => self.connect(Channel::Closed),
            Happening::AgentMute => self.connect(Channel::Mute),
            Happening::Ready => self.ready = true,
            Happening::Panic { bugcheck } => {
                self.freeze();
                self.agenda.keep_timeline();
                self.emit(VmEvent::Panicked { bugcheck });
            }
            Happening::Reset => self.reset(at),
            Happening::PowerOff if self.power_button => self.reset(at),
            Happening::PowerOff => {
                self.connect(Channel::Closed);
                self.halt(Power::Off, at);
                self.emit(VmEvent::PoweredOff);
            }
            Happening::Serial(text) => append(&self.files.serial_log, &text),
            Happening::Firmware(text) => {
                if let Some(log) = &self.files.firmware_log {
                    append(log, &text);
                }
            }
            Happening::ScreenIs(picture) => self.screen = picture,
            Happening::DiskBusy(requests) => self.meter.disk_requests(requests),
            Happening::DiskRate(per_second) => self.meter.disk_rate(per_second),
            Happening::CpuSpin(spinning) => self.meter.spin(spinning),
            Happening::Freeze => {
                self.freeze();
                self.agenda.clear();
            }
            Happening::DiskError { host_is_full } => {
                self.freeze();
                self.agenda.clear();
                self.meter.stop();
                self.emit(VmEvent::DiskError { host_is_full });
            }
            Happening::ProcessStops => {
                self.freeze();
                self.agenda.clear();
                self.meter.stop();
                self.stopped = true;
            }
            Happening::Paused => {
                self.freeze();
                self.agenda.clear();
                self.meter.stop();
                self.paused = true;
            }
            Happening::HostLost => {
                self.connect(Channel::Closed);
                self.halt(Power::Lost, at);
                self.emit(VmEvent::Lost { detail: "the script says so".to_owned() });
            }
            Happening::Writes(path, content) => self.disk.write(&path, &content),
            Happening::Removes(path) => self.disk.remove(&path),
        }
    }

    /// A dead kernel closes no channel: it only never answers again.
    fn freeze(&mut self) {
        self.frozen = true;
        if self.channel == Channel::Open {
            self.connect(Channel::Mute);
        }
    }

    /// The agent was asked to turn the guest off, or to restart it. None: it says that it cannot.
    pub fn asked_by_agent(&mut self, restart: bool, now: Instant) -> Option<()> {
        let obeyed = if restart { Happening::Reset } else { Happening::PowerOff };
        if self.script.by_agent == Asked::Refuses {
            return None;
        }
        self.follow(self.script.by_agent, obeyed, now);
        Some(())
    }

    /// The power button is pressed; only an operating system that is up takes notice.
    pub fn press_power_button(&mut self, now: Instant) {
        self.power_button = true;
        if !self.frozen && (self.ready || self.channel != Channel::Closed) {
            self.follow(self.script.by_acpi, Happening::PowerOff, now);
        }
    }

    /// A guest that is alive shows that it was pressed.
    pub fn press_key(&mut self) {
        if !self.frozen {
            self.screen = self.screen.wrapping_add(100);
        }
    }

    fn follow(&mut self, asked: Asked, obeyed: Happening, now: Instant) {
        let (after, happening) = match asked {
            Asked::Obeys(after) => (after, obeyed),
            Asked::PowersOff(after) => (after, Happening::PowerOff),
            Asked::Panics(after) => (after, Happening::Panic { bugcheck: None }),
            Asked::Ignores | Asked::Refuses => return,
        };
        self.schedule(now, after, Due::Asked(happening));
    }

    pub fn command_begins(&mut self, ending: Ending, now: Instant) {
        if let Some(prefix) = &ending.output {
            self.disk.write(&format!("{prefix}.out"), &[]);
            self.disk.write(&format!("{prefix}.err"), &[]);
        }
        self.schedule(now, ending.rule.takes, Due::CommandEnds(Box::new(ending)));
    }

    fn command_ends(&mut self, ending: Ending, at: Instant) {
        let Ending { pid, rule, output } = ending;
        let (mut stdout, mut stderr) = (rule.stdout, rule.stderr);
        if let Some(prefix) = output {
            self.disk.write(&format!("{prefix}.out"), &std::mem::take(&mut stdout));
            self.disk.write(&format!("{prefix}.err"), &std::mem::take(&mut stderr));
            if let (true, Outcome::Exits(code)) = (self.windows, rule.outcome) {
                self.disk.write(&format!("{prefix}.code"), format!("{code}\r\n").as_bytes());
            }
        }
        if rule.outcome != Outcome::NeverEnds {
            self.processes.ended(pid, rule.outcome, stdout, stderr);
        }
        for effect in rule.effects {
            match effect {
                Effect::Happens(happening) => self.happen(happening, at),
                Effect::NextBoots(boots) => (self.script.boots, self.next_boot) = (boots, 0),
                Effect::Asked(by_agent, by_acpi) => {
                    (self.script.by_agent, self.script.by_acpi) = (by_agent, by_acpi);
                }
                Effect::Rules(rules) => drop(self.script.rules.splice(0..0, rules)),
            }
        }
    }
}

fn append(log: &Path, text: &str) {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(log);
    if let Err(error) = file.and_then(|mut file| file.write_all(text.as_bytes())) {
        tracing::warn!("cannot write {}: {error}", log.display());
    }
}
