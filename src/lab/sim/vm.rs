use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{task::JoinHandle, time::Instant};

use super::{
    agent::{self, Reply},
    census::Registry,
    machine::Machine,
    meter,
    state::{Power, State},
};
use crate::{
    lab::{AgentError, KEPT_DISK, LabError, Screenshot, Stats, Vm, VmFiles},
    model::Bytes,
};

/// How long the agent takes for an answer: more than nothing, so that a loop that asks without waiting lets
/// the clock move on.
const AGENT_LATENCY: Duration = Duration::from_millis(1);

/// What stands for a sealed machine: scripts begin again from their settled first boot.
const SEAL: &str = "memory";
const SEALED: &[u8] = b"a scripted machine, settled";

/// A scripted machine behind the seam.
pub(super) struct SimVm {
    name: String,
    memory: Bytes,
    files: VmFiles,
    machine: Arc<Machine>,
    /// Plays the machine since its first start.
    player: Mutex<Option<JoinHandle<()>>>,
    registry: Arc<Registry>,
    /// It begins settled.
    seal: Option<PathBuf>,
}

impl SimVm {
    pub fn new(
        name: String,
        memory: Bytes,
        files: VmFiles,
        state: State,
        registry: Arc<Registry>,
        seal: Option<PathBuf>,
    ) -> Self {
        let machine = Arc::new(Machine::new(state));
        Self { name, memory, files, machine, player: Mutex::default(), registry, seal }
    }

    /// Works on a machine that is running.
    fn running<R>(&self, work: impl FnOnce(&mut State, Instant) -> R) -> Result<R, LabError> {
        self.machine.with(|state, now| match state.power {
            Power::On => Ok(work(state, now)),
            _ => Err(LabError::Other(format!("the machine {} is not running", self.name))),
        })
    }

    /// Waits for ever for a process that is stopped.
    async fn process(&self) {
        if self.machine.with(|state, _| state.stopped && state.power == Power::On) {
            std::future::pending::<()>().await;
        }
    }

    async fn answer(&self, request: &str) -> Result<String, AgentError> {
        let mut changed = self.machine.watch();
        let session = self.machine.with(|state, _| state.agent_is_there().map(|()| state.session))?;
        tokio::time::sleep(AGENT_LATENCY).await;
        let mut taken = false;
        loop {
            changed.mark_unchanged();
            let reply = self.machine.with(|state, now| {
                match state.agent_is_there() {
                    Ok(()) if state.session == session && taken => Ok(Reply::Never),
                    Ok(()) if state.session == session => Ok(agent::answer(state, request, now)),
                    Err(AgentError::VmGone) => Err(AgentError::VmGone),
                    // One that goes away may have taken it.
                    _ if taken => Err(AgentError::Timeout),
                    _ => Err(AgentError::NotConnected),
                }
            })?;
            match reply {
                Reply::Now(reply) => return reply.map(|value| value.to_string()).map_err(AgentError::Refused),
                Reply::Never => taken = true,
                Reply::NotYet => {}
            }
            if changed.changed().await.is_err() {
                return Err(AgentError::VmGone);
            }
        }
    }
}

#[async_trait]
impl Vm for SimVm {
    async fn start(&self) -> Result<(), LabError> {
        self.machine.with(|state, now| {
            if state.power != Power::Off {
                return Err(LabError::Other(format!("the machine {} cannot be started again", self.name)));
            }
            if let Some(fault) = &state.script.start_fault {
                return Err(fault());
            }
            match &self.seal {
                None => state.power_on(now),
                Some(seal) => match std::fs::read(seal.join(SEAL)) {
                    Ok(content) if content == SEALED => state.go_on(now),
                    _ => return Err(LabError::Other(format!("{} is no seal", seal.display()))),
                },
            }
            Ok(())
        })?;
        let mut player = self.player.lock().unwrap_or_else(PoisonError::into_inner);
        player.get_or_insert_with(|| tokio::spawn(Arc::clone(&self.machine).play()));
        Ok(())
    }

    async fn agent(&self, request: &str, timeout: Duration) -> Result<String, AgentError> {
        tokio::time::timeout(timeout, self.answer(request)).await.unwrap_or(Err(AgentError::Timeout))
    }

    async fn restart_acpi(&self) -> Result<(), LabError> {
        self.running(State::press_power_button)
    }

    async fn reset(&self) -> Result<(), LabError> {
        self.running(State::reset)
    }

    async fn press_key(&self) -> Result<(), LabError> {
        self.running(|state, _| state.press_key())
    }

    async fn screenshot(&self) -> Result<Option<Screenshot>, LabError> {
        self.process().await;
        self.running(|state, _| state.script.has_screen.then(|| meter::picture(state.screen)))
    }

    async fn stats(&self) -> Result<Stats, LabError> {
        self.process().await;
        self.running(|state, _| Stats { paused: state.paused, ..state.meter.stats() })
    }

    async fn insert_medium(&self, medium: Option<&Path>) -> Result<(), LabError> {
        self.running(|_, _| ())?;
        let Some(path) = medium else { return Ok(()) };
        let found = std::fs::metadata(path);
        found.map(drop).map_err(|source| LabError::Io { action: "read", path: path.to_owned(), source })
    }

    fn files(&self) -> VmFiles {
        self.files.clone()
    }

    async fn definition(&self) -> Result<String, LabError> {
        let destroyed = self.machine.with(|state, _| state.power == Power::Destroyed);
        if destroyed {
            return Err(LabError::Other(format!("the machine {} is destroyed", self.name)));
        }
        Ok(format!("<domain type='sim'>\n  <name>{}</name>\n</domain>\n", self.name))
    }

    async fn seal(&self, dir: &Path) -> Result<(), LabError> {
        let path = dir.join(SEAL);
        let takes = self.running(|state, _| state.script.seal_takes)?;
        if !takes.is_zero() {
            std::fs::write(&path, &SEALED[..1]).map_err(LabError::io("write", &path))?;
            tokio::time::sleep(takes).await;
        }
        if let Some(fault) = self.running(|state, _| state.script.seal_fault.clone())? {
            return Err(fault());
        }
        self.running(|state, now| state.save(now))?;
        std::fs::write(&path, SEALED).map_err(LabError::io("write", &path))
    }

    async fn keep_disk(&self, dir: &Path) -> Result<(), LabError> {
        if self.machine.with(|state, _| state.power == Power::On) {
            return Err(LabError::Other(format!("the machine {} is not off", self.name)));
        }
        std::fs::create_dir_all(dir).map_err(LabError::io("create", dir))?;
        let path = dir.join(KEPT_DISK);
        std::fs::write(&path, SEALED).map_err(LabError::io("write", &path))
    }

    async fn destroy(&self) -> Result<(), LabError> {
        let removed = self.machine.with(|state, now| {
            if state.power == Power::Destroyed {
                return Ok(false);
            }
            if state.script.destroy_faults > 0 {
                state.script.destroy_faults -= 1;
                return Err(LabError::Other(format!("the machine {} resists, as its script says", self.name)));
            }
            state.destroy(now);
            Ok(true)
        })?;
        if !removed {
            return Ok(());
        }
        self.registry.remove(self.memory);
        let dir = &self.files.dir;
        let gone = std::fs::remove_dir_all(dir);
        gone.map_err(|source| LabError::Io { action: "remove", path: dir.clone(), source })
    }
}

impl Drop for SimVm {
    /// Ends the player only: a machine that nobody destroyed stays in the census, for tests to see.
    fn drop(&mut self) {
        let player = self.player.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(player) = player.take() {
            player.abort();
        }
    }
}
