//! From libvirt's domain events to the seam's [`VmEvent`]s: a fold, with the clock passed in.

use std::{path::PathBuf, time::Instant};

use tokio::sync::mpsc;
use virt::sys;

use super::panic_log::PanicLog;
use crate::{
    files::free_space,
    lab::VmEvent,
    model::{Bytes, ONE_RESET},
};

/// What libvirt said, numbers as in `virDomainEventType` and the details of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawEvent {
    Lifecycle { event: u32, detail: u32 },
    Reboot,
    Agent { connected: bool },
    IoError { paused: bool, reason: String },
    ConnectionLost { why: &'static str },
}

/// What the lab itself has to do about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Let a machine that panicked go on. `on_crash preserve` pauses it, which keeps a Windows guest from writing
    /// its dump and a Linux guest from the restart it was told to make (`panic=SECONDS`).
    Resume,
}

/// One machine's way from raw events to the seam's.
#[derive(Debug)]
pub struct Sink {
    out: mpsc::UnboundedSender<VmEvent>,
    /// The folder with the overlay, for the question whether its file system is full.
    dir: PathBuf,
    panics: PanicLog,
    last_reset: Option<Instant>,
    agent_connected: bool,
    shut_down_by_host: bool,
    /// The power button was pressed for a restart: libvirt makes a reset of the guest's way down.
    button_pressed: bool,
    over: bool,
}

impl Sink {
    pub fn new(out: mpsc::UnboundedSender<VmEvent>, dir: PathBuf, panics: PanicLog) -> Self {
        Self {
            out,
            dir,
            panics,
            last_reset: None,
            agent_connected: false,
            shut_down_by_host: false,
            button_pressed: false,
            over: false,
        }
    }

    /// We end the machine ourselves: what follows is no news.
    pub fn finish(&mut self) {
        self.over = true;
    }

    /// We press the power button, for a restart.
    pub fn press_button(&mut self) {
        self.button_pressed = true;
    }

    pub fn take(&mut self, raw: RawEvent, now: Instant) -> Option<Reaction> {
        tracing::trace!(?raw, dir = %self.dir.display(), "event");
        if self.over {
            return None;
        }
        let (event, reaction) = self.fold(raw, now);
        if let Some(event) = event {
            self.over = matches!(event, VmEvent::PoweredOff | VmEvent::Lost { .. });
            // Nobody may be listening any more.
            let _ = self.out.send(event);
        }
        reaction
    }

    fn fold(&mut self, raw: RawEvent, now: Instant) -> (Option<VmEvent>, Option<Reaction>) {
        let event = match raw {
            RawEvent::Lifecycle { event, detail } => return self.lifecycle(event, detail),
            RawEvent::Reboot => {
                let repeated = self.last_reset.is_some_and(|last| now.duration_since(last) < ONE_RESET.as_duration());
                if !repeated {
                    self.last_reset = Some(now);
                }
                (!repeated).then_some(VmEvent::Reset)
            }
            // libvirt also says at the start that the agent is not there, and repeats itself.
            RawEvent::Agent { connected } if connected == self.agent_connected => None,
            RawEvent::Agent { connected } => {
                self.agent_connected = connected;
                Some(if connected { VmEvent::AgentConnected } else { VmEvent::AgentDisconnected })
            }
            RawEvent::IoError { paused: false, .. } => None,
            RawEvent::IoError { paused: true, reason } => {
                let host_is_full = reason == "enospc" || is_full(&self.dir);
                Some(VmEvent::DiskError { host_is_full })
            }
            RawEvent::ConnectionLost { why } => {
                Some(VmEvent::Lost { detail: format!("the connection to libvirt: {why}") })
            }
        };
        (event, None)
    }

    fn lifecycle(&mut self, event: u32, detail: u32) -> (Option<VmEvent>, Option<Reaction>) {
        let lost = |detail: &str| Some(VmEvent::Lost { detail: detail.to_owned() });
        match event {
            sys::VIR_DOMAIN_EVENT_STARTED => (Some(VmEvent::Started), None),
            sys::VIR_DOMAIN_EVENT_CRASHED => {
                (Some(VmEvent::Panicked { bugcheck: self.panics.next() }), Some(Reaction::Resume))
            }
            // A guest that turns itself off: QEMU's own end, a second later, says no more.
            sys::VIR_DOMAIN_EVENT_SHUTDOWN
                if detail == sys::VIR_DOMAIN_EVENT_SHUTDOWN_GUEST && !self.button_pressed =>
            {
                (Some(VmEvent::PoweredOff), None)
            }
            // Comes before every other end too, and before a reset through the power button: what follows tells.
            sys::VIR_DOMAIN_EVENT_SHUTDOWN => {
                self.shut_down_by_host = detail == sys::VIR_DOMAIN_EVENT_SHUTDOWN_HOST;
                (None, None)
            }
            sys::VIR_DOMAIN_EVENT_STOPPED => {
                let event = match detail {
                    sys::VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN if self.shut_down_by_host => lost("QEMU was told to end"),
                    sys::VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN => Some(VmEvent::PoweredOff),
                    sys::VIR_DOMAIN_EVENT_STOPPED_DESTROYED => lost("somebody else destroyed the machine"),
                    sys::VIR_DOMAIN_EVENT_STOPPED_CRASHED => lost("libvirt ended the machine after a crash"),
                    sys::VIR_DOMAIN_EVENT_STOPPED_FAILED => lost("QEMU ended by itself"),
                    other => lost(&format!("libvirt stopped the machine (detail {other})")),
                };
                (event, None)
            }
            _ => (None, None),
        }
    }
}

/// Whether less than a mebibyte is free where the machine's disk is.
fn is_full(dir: &std::path::Path) -> bool {
    free_space(dir).is_ok_and(|free| free < Bytes::mib(1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What comes out for raw events at these milliseconds.
    fn fold(events: &[(u64, RawEvent)]) -> (Vec<VmEvent>, Vec<Reaction>) {
        let (out, mut received) = mpsc::unbounded_channel();
        let begin = Instant::now();
        let mut sink = Sink::new(out, "/".into(), PanicLog::new("/none".into()));
        let reactions =
            events.iter().filter_map(|(at, raw)| sink.take(raw.clone(), begin + Duration::from_millis(*at))).collect();
        (std::iter::from_fn(|| received.try_recv().ok()).collect(), reactions)
    }

    fn lifecycle(event: u32, detail: u32) -> RawEvent {
        RawEvent::Lifecycle { event, detail }
    }

    #[test]
    fn repeated_events_of_one_reset_are_one_and_a_quick_boot_loop_is_many() {
        let one = [0, 30, 32, 70, 100].map(|at| (at, RawEvent::Reboot));
        assert_eq!(fold(&one).0, [VmEvent::Reset]);
        let boot_loop: Vec<(u64, RawEvent)> = (0..20).map(|turn| (turn * 250, RawEvent::Reboot)).collect();
        assert_eq!(fold(&boot_loop).0, vec![VmEvent::Reset; 5]);
    }

    #[test]
    fn an_agent_that_was_never_there_does_not_leave() {
        let agent = [false, true, true, false, false].map(|connected| (0, RawEvent::Agent { connected }));
        assert_eq!(fold(&agent).0, [VmEvent::AgentConnected, VmEvent::AgentDisconnected]);
    }

    #[test]
    fn a_guest_that_turns_itself_off_is_powered_off_before_qemu_has_ended() {
        let shutdown = lifecycle(sys::VIR_DOMAIN_EVENT_SHUTDOWN, sys::VIR_DOMAIN_EVENT_SHUTDOWN_GUEST);
        let stopped = lifecycle(sys::VIR_DOMAIN_EVENT_STOPPED, sys::VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN);
        assert_eq!(fold(&[(0, shutdown.clone())]).0, [VmEvent::PoweredOff]);
        assert_eq!(fold(&[(0, shutdown), (1, stopped)]).0, [VmEvent::PoweredOff]);
    }

    #[test]
    fn after_the_power_button_the_way_down_is_a_reset_or_an_end() {
        let shutdown = lifecycle(sys::VIR_DOMAIN_EVENT_SHUTDOWN, sys::VIR_DOMAIN_EVENT_SHUTDOWN_GUEST);
        let stopped = lifecycle(sys::VIR_DOMAIN_EVENT_STOPPED, sys::VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN);
        for (then, event) in [(RawEvent::Reboot, VmEvent::Reset), (stopped, VmEvent::PoweredOff)] {
            let (out, mut received) = mpsc::unbounded_channel();
            let mut sink = Sink::new(out, "/".into(), PanicLog::new("/none".into()));
            sink.press_button();
            sink.take(shutdown.clone(), Instant::now());
            assert_eq!(received.try_recv().ok(), None);
            sink.take(then, Instant::now());
            assert_eq!(received.try_recv().ok(), Some(event));
        }
    }

    #[test]
    fn an_end_that_the_guest_did_not_ask_for_is_a_loss() {
        let host = lifecycle(sys::VIR_DOMAIN_EVENT_SHUTDOWN, sys::VIR_DOMAIN_EVENT_SHUTDOWN_HOST);
        let stopped = |detail| lifecycle(sys::VIR_DOMAIN_EVENT_STOPPED, detail);
        let by_signal = fold(&[(0, host), (1, stopped(sys::VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN))]).0;
        let killed = fold(&[(0, stopped(sys::VIR_DOMAIN_EVENT_STOPPED_FAILED))]).0;
        let destroyed = fold(&[(0, stopped(sys::VIR_DOMAIN_EVENT_STOPPED_DESTROYED))]).0;
        let unplugged = fold(&[(0, RawEvent::ConnectionLost { why: "closed" })]).0;
        for events in [by_signal, killed, destroyed, unplugged] {
            assert!(matches!(events[..], [VmEvent::Lost { .. }]), "{events:?}");
        }
    }

    #[test]
    fn a_panic_is_told_and_the_machine_is_to_go_on() {
        let (events, reactions) = fold(&[(0, lifecycle(sys::VIR_DOMAIN_EVENT_CRASHED, 0))]);
        assert_eq!(events, [VmEvent::Panicked { bugcheck: None }]);
        assert_eq!(reactions, [Reaction::Resume]);
    }

    #[test]
    fn nothing_follows_the_end() {
        let stopped = lifecycle(sys::VIR_DOMAIN_EVENT_STOPPED, sys::VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN);
        let lost = RawEvent::ConnectionLost { why: "closed" };
        let agent = RawEvent::Agent { connected: false };
        assert_eq!(fold(&[(0, stopped), (1, agent), (2, lost)]).0, [VmEvent::PoweredOff]);
    }

    #[test]
    fn a_pause_for_want_of_space_blames_the_host() {
        let error = |reason: &str| RawEvent::IoError { paused: true, reason: reason.to_owned() };
        assert_eq!(fold(&[(0, error("enospc"))]).0, [VmEvent::DiskError { host_is_full: true }]);
        assert_eq!(fold(&[(0, error(""))]).0, [VmEvent::DiskError { host_is_full: false }]);
    }
}
