use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{
    Activity, ControlFacts, GuestState, KnownScreen, LabTime, Millis, Outcome, Phase, ReasonId, Role, RunId, Says,
    Sha256, Start, Subject, Tolerances,
    windows_names::{bugcheck_name, told_exit_code},
};

/// Something that was observed, and when. The judge sees nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Since the run's first event.
    pub at: Millis,
    pub what: SignalKind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "signal")]
pub enum SignalKind {
    /// What the cell sets out to do: without all of it done there is no healthy verdict.
    Planned {
        update_steps: usize,
        soak: u32,
        checks: Vec<String>,
        /// Those of them that prove that the update took effect.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        evidence: Vec<String>,
        /// Checks of which one that fails says the same, and which may hold without the update.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        implied: Vec<String>,
        #[serde(default, skip_serializing_if = "Role::is_alone")]
        role: Role,
    },
    /// The machine that begins now: from power-on, or as a clone of this seal.
    StartedFrom {
        start: Start,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seal: Option<String>,
    },
    /// The machine was given up before the update began, for a reason of the lab's, and another one takes its place:
    /// nothing that was seen so far counts.
    StartedOver {
        why: String,
    },
    /// The settled machine was saved for others to start from, and goes on as the first of them.
    Sealed {
        seal: String,
        took: Millis,
    },
    /// How much worse than its control the machine may be.
    Tolerances {
        tolerances: Tolerances,
    },
    /// What the guest is like after a restart.
    GuestState {
        state: Box<GuestState>,
    },
    /// What a restart cost, from the request that led to it until settled.
    BootCost {
        took: Millis,
        /// Of that, time that the lab took from the guest.
        #[serde(default, skip_serializing_if = "Millis::is_zero")]
        waited: Millis,
        /// How long the lab's fixed piece of work takes where the lab is not slow, in microseconds: what `waited` was measured
        /// by.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        probe_us: Option<u32>,
        /// CPU time of the machine's process, emulation included.
        cpu: Millis,
    },
    /// What the machine is like without the candidate; sent by a control.
    ControlFacts {
        facts: ControlFacts,
    },
    /// The control is known from an earlier run, and was not run again.
    ControlKnown {
        run: RunId,
        /// RFC 3339.
        utc: String,
        facts: ControlFacts,
    },
    /// The control that this cell is compared with came to its end.
    ControlEnded {
        outcome: Outcome,
        /// Its leading reason, if it is not healthy.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<ReasonId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        facts: Option<ControlFacts>,
    },
    /// The deadlines in force from here on.
    Limits {
        limits: Limits,
        /// What they come from; none: nothing is known of the machine yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<LimitsFrom>,
        /// How long that took.
        #[serde(default, skip_serializing_if = "Millis::is_zero")]
        base: Millis,
    },
    PhaseStarted {
        at: Phase,
    },
    /// The phase did what it was for.
    PhaseEnded {
        at: Phase,
    },
    /// QEMU runs the clone.
    Started,
    /// The guest opened the agent's channel (libvirt's agent lifecycle event).
    AgentConnected,
    /// The guest closed the agent's channel.
    AgentDisconnected,
    /// The agent answered its first request in this boot.
    AgentAnswered,
    /// The agent, which had answered before in this boot, did not answer a request by its deadline.
    AgentSilent {
        waited: Millis,
    },
    /// The identity of the running boot, from inside the guest.
    BootId {
        id: String,
    },
    /// The boot has finished.
    Settled,
    /// Facts the guest states about itself (OS, version, kernel, ...).
    Facts {
        facts: BTreeMap<String, String>,
    },
    StepStarted {
        subject: Subject,
        name: String,
        /// How often it may restart the machine by itself.
        #[serde(default, skip_serializing_if = "super::plan::is_default")]
        restarts: u32,
    },
    StepEnded {
        subject: Subject,
        name: String,
        result: StepResult,
    },
    /// We asked the machine to restart.
    RestartAsked {
        via: RestartVia,
    },
    /// We pressed a key, to see whether a machine whose agent is silent is alive.
    KeyPressed,
    /// The host saw the machine reset (libvirt's reboot event, repeated events joined).
    Reset,
    /// The guest told the hypervisor that its kernel panicked.
    Panicked {
        bugcheck: Option<Bugcheck>,
    },
    /// The guest turned the machine off.
    PoweredOff,
    /// The VM's process ended without the guest or us asking for it.
    VmLost {
        detail: String,
    },
    /// The VM is paused because its disk's file could not be read or written.
    DiskError {
        host_is_full: bool,
    },
    /// A sample of what the machine is doing.
    Progress {
        progress: Progress,
    },
    /// The screen shows something else than before.
    Screen {
        /// Of its pixels.
        sha256: Sha256,
        /// The picture's name in the cell's folder; none: it could not be kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
        /// What that is known to be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shows: Option<KnownScreen>,
    },
    /// A telling line on the serial console or in the firmware's log.
    Console {
        mark: ConsoleMark,
        text: String,
    },
    /// The lab could not do its part.
    LabFault {
        reason: ReasonId,
        message: String,
    },
    /// The run is being stopped.
    Cancelled,
}

/// Deadlines, so that a verdict needs nothing but the signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Nothing changed for this long in an unsettled boot: it hangs.
    pub quiet: Millis,
    /// Longest time from a reset (or start) until settled.
    pub boot: Millis,
    /// Longest time from a request to restart until the host sees the reset, for each way to ask.
    pub restart: Millis,
    /// This many unexplained resets without a settled boot make a loop.
    pub resets: u32,
    /// Resets that the OS does by itself after an update, and that explain themselves.
    pub extra_restarts: u32,
    /// What the machine does by itself without the update, once it has settled; nothing where that is not known.
    #[serde(default, skip_serializing_if = "Activity::is_none")]
    pub usual: Activity,
}

/// What deadlines come from: the longest of the boots that are known without the update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitsFrom {
    /// The cell's own boot before the update.
    OwnBoot,
    /// The boot of the machine that this one is a live clone of.
    SealedBoot,
    /// The control's first boot.
    ControlBoot,
    /// The control's longest restart.
    ControlRestart,
}

/// Reboot events up to this long after the first are the same reset.
///
/// One reset gives up to five of them, on a busy host up to a quarter of a second apart: a guest asks in several
/// ways at once, and the firmware resets once more by itself. A machine that resets in its first sector does so
/// every 250 ms: of such a loop enough is left to see that it is one, because the time counts from the first
/// event and not from the last.
pub const ONE_RESET: Millis = Millis::from_secs(1);

/// Change on the screen below this share of its pixels, per million, is a blinking cursor (a text cursor: at most a cell
/// of 9x16 in 720x400, 500 ppm for a block, 63 for an underline).
pub const CURSOR_PPM: u32 = 150;

/// How a machine is asked to restart, gentlest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartVia {
    /// `guest-shutdown` with mode `reboot`.
    Agent,
    /// The ACPI power button, then a reset by the hypervisor once the guest is down.
    Acpi,
    /// The reset button: gathers evidence, proves no health.
    Forced,
}

/// What a Windows kernel says when it stops (Microsoft's "Bug check code reference").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bugcheck {
    pub code: u64,
    pub parameters: [u64; 4],
}

impl fmt::Display for Bugcheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, parameters: [a, b, c, d] } = self;
        write!(f, "bugcheck 0x{code:08x}")?;
        if let Some(name) = bugcheck_name(*code) {
            write!(f, " {name}")?;
        }
        write!(f, " (0x{a:x}, 0x{b:x}, 0x{c:x}, 0x{d:x})")
    }
}

/// Counters of a running machine. Only their change between two samples means anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// CPU time the guest's virtual CPUs used.
    pub cpu: Millis,
    /// Time that the lab took from the machine.
    #[serde(flatten)]
    pub lab: LabTime,
    /// Whether the agent answered anything since the previous sample.
    pub agent: bool,
    /// Requests to the guest's disks.
    pub disk_reads: u64,
    pub disk_writes: u64,
    /// Bytes that the guest received from its network, and sent.
    #[serde(default, skip_serializing_if = "super::plan::is_default")]
    pub net_rx: u64,
    #[serde(default, skip_serializing_if = "super::plan::is_default")]
    pub net_tx: u64,
    /// Length of the serial console's log.
    pub serial_bytes: u64,
    /// Pixels that differ from the previous sample's screen, per million; none: no picture.
    pub screen_changed_ppm: Option<u32>,
    /// Pixels that differ from the settled screen before the update, per million of those that are not
    /// background there; at most a million. None: no picture, or nothing to compare with.
    pub screen_unlike_settled_ppm: Option<u32>,
}

/// What a line on a console says about the boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsoleMark {
    /// The firmware found nothing to boot from.
    NoBootDevice,
    /// The boot loader stopped at its prompt or with an error.
    BootLoaderStopped,
    /// The first line of a boot that the kernel has written: whatever began it is done.
    Kernel,
    /// A kernel's panic text.
    KernelPanic,
    /// A login prompt: user space is alive.
    Login,
    /// A shell or a prompt for maintenance. It counts where the boot does not settle.
    Recovery,
    /// A kernel's report of a fault that it may survive. Told, and never decides anything alone.
    KernelOops,
    /// What the firmware boots from, or could not. Told, and never decides anything alone.
    Firmware,
}

/// How a step or check went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepResult {
    pub exit: Exit,
    /// Whether that counts as success, by the step's own rule.
    pub ok: bool,
    /// What an installer's exit code says beside that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<Says>,
    pub took: Millis,
    pub output: Output,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "exit")]
pub enum Exit {
    Code {
        code: i32,
    },
    /// Ended by a signal (Linux) or an exception (Windows).
    Signal {
        signal: i32,
    },
    /// Still running at its deadline.
    Timeout,
    /// The guest could not even begin: no such program, no such folder.
    Refused {
        message: String,
    },
    /// The agent went away; nobody knows how the step ended.
    AgentGone,
}

/// What is said of a step behind its name.
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code { code } => write!(f, "exited with {}", told_exit_code(*code)),
            Exit::Signal { signal } => write!(f, "was ended by signal {signal}"),
            Exit::Timeout => f.write_str("did not end"),
            Exit::Refused { message } => write!(f, "could not run: {message}"),
            Exit::AgentGone => f.write_str("lost its agent"),
        }
    }
}

/// Captured output: text made safe, capped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stdout: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr: String,
    /// Whether something was cut off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}
