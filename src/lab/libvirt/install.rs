//! A machine that installs an operating system by itself, and turns itself off.

use std::{
    thread,
    time::{Duration, Instant},
};

use virt::{
    domain::{
        Domain, DomainPausedReason, DomainPausedReasonEnum, DomainShutoffReason, DomainShutoffReasonEnum, DomainState,
        DomainStateEnum, DomainStateReason, DomainStateReasonEnum,
    },
    sys,
};

use super::{
    connection::{Connection, failed},
    leftovers,
    patience::{CONNECT, bounded},
};
use crate::lab::LabError;

/// `KEY_ENTER` of Linux's `include/uapi/linux/input-event-codes.h`, and how long it is held, in milliseconds.
const ENTER: u32 = 28;
const HELD: u32 = 50;

/// How often a key is pressed, and looked whether the machine runs.
const TURN: Duration = Duration::from_secs(1);

/// How the waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    PoweredOff,
    /// The machine does not run any more for another reason: a crash, the host, somebody else.
    Lost,
    /// Its time was over.
    TimedOut,
    /// The caller wanted no more.
    Stopped,
}

/// A domain that was defined for an installation. [`Installing::remove`] takes it away.
pub struct Installing {
    domain: Domain,
    #[expect(dead_code, reason = "the embedded driver ends its machines with it")]
    connection: Connection,
}

impl Installing {
    /// Defines the domain and starts it.
    ///
    /// # Errors
    /// libvirt's words; no domain is left behind.
    pub fn start(uri: &str, xml: &str) -> Result<Self, LabError> {
        let (owned, xml) = (uri.to_owned(), xml.to_owned());
        bounded("start the installation", uri, CONNECT, move || {
            let connection = Connection::open(&owned, Box::new(|_, _| ()))?;
            let domain = connection
                .connect()
                .define_domain_xml_flags(&xml, sys::VIR_DOMAIN_DEFINE_VALIDATE)
                .map_err(|error| failed("define the machine", &error))?;
            let this = Self { domain, connection };
            match this.domain.create() {
                Ok(()) => Ok(this),
                Err(error) => {
                    let error = failed("start the machine", &error);
                    let _ = this.remove();
                    Err(error)
                }
            }
        })
    }

    /// Waits for the machine's end. Meanwhile Enter is pressed once a second, for `keys`: a medium asks for a key
    /// before it starts. `go_on` is asked once a second too.
    pub fn wait(&self, keys: Duration, deadline: Duration, go_on: &mut dyn FnMut() -> bool) -> Ended {
        let started = Instant::now();
        loop {
            if let Some(ended) = self.ended() {
                return ended;
            }
            if !go_on() {
                return Ended::Stopped;
            }
            if started.elapsed() >= deadline {
                return Ended::TimedOut;
            }
            if started.elapsed() < keys {
                // A machine that has just ended has no keyboard.
                let _ = self.domain.send_key(sys::VIR_KEYCODE_SET_LINUX, HELD, [ENTER].as_mut_ptr(), 1, 0);
            }
            thread::sleep(TURN);
        }
    }

    fn ended(&self) -> Option<Ended> {
        use DomainStateReason::{Paused, Shutoff};
        let Ok((DomainStateEnum::Known(state), reason)) = self.domain.state() else { return Some(Ended::Lost) };
        let reason = match reason {
            DomainStateReasonEnum::Known(reason) => Some(reason),
            DomainStateReasonEnum::Unknown(_) => None,
        };
        match (state, reason) {
            (_, Some(Shutoff(DomainShutoffReasonEnum::Known(DomainShutoffReason::Shutdown)))) => {
                Some(Ended::PoweredOff)
            }
            (DomainState::Shutoff | DomainState::Crashed, _) => Some(Ended::Lost),
            // A full disk of the host's, most likely.
            (_, Some(Paused(DomainPausedReasonEnum::Known(DomainPausedReason::IOError)))) => Some(Ended::Lost),
            _ => None,
        }
    }

    /// The definition, with what libvirt has chosen.
    ///
    /// # Errors
    /// libvirt's words.
    pub fn definition(&self) -> Result<String, LabError> {
        self.domain.xml_desc(sys::VIR_DOMAIN_XML_INACTIVE).map_err(|error| failed("read the machine", &error))
    }

    /// Ends the machine if it runs, and removes it with its NVRAM and TPM state. Its disk stays.
    ///
    /// # Errors
    /// libvirt's words.
    pub fn remove(&self) -> Result<(), LabError> {
        leftovers::remove(&self.domain)
    }
}
