//! The seam's handle on one machine.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use tokio::{task::spawn_blocking, time::timeout};
use virt::{domain::Domain, enumutil::Enum, error::Error, sys};

use super::{
    agent::Channel,
    connection::failed,
    domain_xml::medium_xml,
    lab::Reaper,
    machine::{DISK, Machine},
    screenshot::{self, ScreenError},
    seal::MEMORY,
    stats::{self, Waits},
};
use crate::lab::{AgentError, LabError, Screenshot, Stats, Users, Vm, VmFiles};

/// How long a call into libvirt may take before it is given up. A call waits for QEMU, and QEMU may be stopped.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a start may take. The first one on a host includes that libvirt asks QEMU what it can do, which on a busy
/// host takes minutes.
const START: Duration = Duration::from_secs(300);

/// How long a machine's memory may take to be written.
const SAVE: Duration = Duration::from_secs(600);

/// How long a disk may take to be moved, which may be to another file system.
const KEEP: Duration = Duration::from_secs(2 * 3600);

/// Lets QEMU read a seal's disk, and nobody write anything. The memory is for our eyes only: it reaches QEMU through a
/// FIFO, and holds whatever the guest had in mind.
pub fn seal_folder(users: &Users, dir: &Path) -> Result<(), LabError> {
    users.hand_to_read(dir)?;
    for (name, users) in [(DISK, users), (MEMORY, &Users::Ourselves)] {
        let file = dir.join(name);
        if file.exists() {
            users.hand_to_read(&file)?;
        }
    }
    Ok(())
}

pub struct LibvirtVm {
    machine: Arc<Machine>,
    files: VmFiles,
    users: Users,
    channel: Channel,
    reaper: Reaper,
    waits: Arc<Mutex<Waits>>,
}

impl LibvirtVm {
    pub fn new(machine: Arc<Machine>, files: VmFiles, users: Users, reaper: Reaper) -> Self {
        Self { machine, files, users, channel: Channel::new(), reaper, waits: Arc::default() }
    }

    /// Calls libvirt on a thread of its own.
    async fn call<T: Send + 'static>(
        &self,
        action: &'static str,
        call: impl FnOnce(&Domain) -> Result<T, LabError> + Send + 'static,
    ) -> Result<T, LabError> {
        let machine = Arc::clone(&self.machine);
        blocking(action, PATIENCE, move || {
            let domain = machine.domain().ok_or_else(|| LabError::Other(format!("{} is not running", machine.name)))?;
            call(&domain)
        })
        .await
    }
}

/// Runs blocking work on a thread of its own, and gives it up after a while.
async fn blocking<T: Send + 'static>(
    action: &'static str,
    patience: Duration,
    work: impl FnOnce() -> Result<T, LabError> + Send + 'static,
) -> Result<T, LabError> {
    let silent = || format!("no answer within {} s", patience.as_secs());
    match timeout(patience, spawn_blocking(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(join)) => Err(LabError::Libvirt { action, message: join.to_string() }),
        Err(_) => Err(LabError::Libvirt { action, message: silent() }),
    }
}

#[async_trait]
impl Vm for LibvirtVm {
    async fn start(&self) -> Result<(), LabError> {
        let machine = Arc::clone(&self.machine);
        blocking("start the machine", START, move || machine.start()).await
    }

    async fn agent(&self, request: &str, timeout: Duration) -> Result<String, AgentError> {
        let domain = self.machine.domain().ok_or(AgentError::VmGone)?;
        self.channel.ask(domain, request, timeout).await
    }

    async fn restart_acpi(&self) -> Result<(), LabError> {
        let action = "press the power button";
        self.machine.session.connection.expect_button(&self.machine.uuid);
        self.call(action, move |domain| {
            domain.reboot(sys::VIR_DOMAIN_REBOOT_ACPI_POWER_BTN).map_err(|error| failed(action, &error))
        })
        .await
    }

    async fn reset(&self) -> Result<(), LabError> {
        let action = "reset the machine";
        self.call(action, move |domain| {
            domain.reset().map_err(|error| failed(action, &error))?;
            // A machine that panicked, or whose disk failed, was paused and would stay so.
            if is_paused(domain).map_err(|error| failed(action, &error))?
                && let Err(error) = domain.resume()
                // The reaper lets a panicked machine go on too, and may have been first.
                && is_paused(domain).unwrap_or(true)
            {
                return Err(failed(action, &error));
            }
            Ok(())
        })
        .await
    }

    async fn press_key(&self) -> Result<(), LabError> {
        /// `KEY_ENTER` of Linux's `include/uapi/linux/input-event-codes.h`, and how long it is held, in milliseconds.
        const ENTER: u32 = 28;
        const HELD: u32 = 50;
        let action = "press a key";
        self.call(action, move |domain| {
            let mut keys = [ENTER];
            let pressed = domain.send_key(sys::VIR_KEYCODE_SET_LINUX, HELD, keys.as_mut_ptr(), 1, 0);
            pressed.map_err(|error| failed(action, &error))
        })
        .await
    }

    async fn screenshot(&self) -> Result<Option<Screenshot>, LabError> {
        let session = Arc::clone(&self.machine.session);
        self.call("take a screenshot", move |domain| {
            let taken = screenshot::take(domain, session.connection.connect());
            let action = "take a screenshot";
            taken.map(Some).map_err(|error: ScreenError| LabError::Libvirt { action, message: error.to_string() })
        })
        .await
    }

    async fn stats(&self) -> Result<Stats, LabError> {
        let action = "read the machine's counters";
        let waits = Arc::clone(&self.waits);
        self.call(action, move |domain| stats::read(domain, &waits).map_err(|error| failed(action, &error))).await
    }

    async fn insert_medium(&self, medium: Option<&Path>) -> Result<(), LabError> {
        if let Some(medium) = medium.filter(|medium| medium.starts_with(&self.machine.dir)) {
            self.users.hand_over(medium)?;
        }
        let xml = medium_xml(medium, self.machine.board)?;
        let action = "change the medium";
        self.call(action, move |domain| {
            let live = sys::VIR_DOMAIN_DEVICE_MODIFY_LIVE;
            // A guest that has the old medium mounted keeps the drive shut: then it is taken out by force. And a
            // reset, by the guest or its firmware, shuts the drive in the middle of the change: then once more.
            let force = live | sys::VIR_DOMAIN_DEVICE_MODIFY_FORCE;
            let mut result = domain.update_device_flags(&xml, live);
            for _ in 0..3 {
                if result.is_ok() {
                    break;
                }
                thread::sleep(Duration::from_millis(200));
                result = domain.update_device_flags(&xml, force);
            }
            result.map_err(|error| failed(action, &error))
        })
        .await
    }

    fn files(&self) -> VmFiles {
        self.files.clone()
    }

    async fn definition(&self) -> Result<String, LabError> {
        let Some(domain) = self.machine.domain() else { return Ok(self.machine.xml.clone()) };
        let action = "read the machine's definition";
        blocking(action, PATIENCE, move || domain.xml_desc(0).map_err(|error| failed(action, &error))).await
    }

    async fn seal(&self, dir: &Path) -> Result<(), LabError> {
        let machine = Arc::clone(&self.machine);
        let (dir, users) = (dir.to_owned(), self.users.clone());
        blocking("save the machine", SAVE, move || {
            machine.seal(&dir)?;
            seal_folder(&users, &dir)
        })
        .await
    }

    async fn keep_disk(&self, dir: &Path) -> Result<(), LabError> {
        let machine = Arc::clone(&self.machine);
        let dir = dir.to_owned();
        blocking("keep the machine's disk", KEEP, move || machine.keep_disk(&dir)).await
    }

    async fn destroy(&self) -> Result<(), LabError> {
        let machine = Arc::clone(&self.machine);
        let reaper = self.reaper.clone();
        blocking("end the machine", PATIENCE, move || {
            machine.destroy()?;
            reaper.forget(&machine);
            Ok(())
        })
        .await
    }
}

impl Drop for LibvirtVm {
    fn drop(&mut self) {
        self.reaper.enqueue(&self.machine);
    }
}

/// Whether it is paused, or crashed, which is the same to it.
pub fn is_paused(domain: &Domain) -> Result<bool, Error> {
    Ok(matches!(state(domain)?.0, sys::VIR_DOMAIN_PAUSED | sys::VIR_DOMAIN_CRASHED))
}

/// A machine's state and the reason for it (virDomainGetState). Not `Domain::state` of the virt crate, which takes a failed call
/// for a state.
pub fn state(domain: &Domain) -> Result<(u32, u32), Error> {
    let (mut state, mut reason) = (0, 0);
    // SAFETY: the domain is valid, and both numbers outlive the call.
    let result = unsafe { sys::virDomainGetState(domain.as_ptr(), &mut state, &mut reason, 0) };
    if result < 0 {
        return Err(Error::last_error());
    }
    Ok((state as u32, reason as u32))
}

/// Lets a machine that a panic paused go on.
pub fn resume(domain: &Domain) {
    let resumed = match is_paused(domain) {
        // A reset in between has the same effect.
        Ok(true) => {
            domain.resume().or_else(|error| if is_paused(domain).unwrap_or(true) { Err(error) } else { Ok(()) })
        }
        Ok(false) => Ok(()),
        Err(error) if matches!(error.code(), Enum::Known(virt::error::ErrorNumber::NoDomain)) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = resumed {
        tracing::warn!("libvirt cannot let a machine go on after its panic: {}", error.message());
    }
}
