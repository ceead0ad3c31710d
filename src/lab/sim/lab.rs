use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::{sync::mpsc, time::Instant};

use super::{Census, GuestScript, census::Registry, state::State, vm::SimVm};
use crate::{
    lab::{Lab, LabError, LabInfo, Load, Vm, VmEvents, VmFiles, VmSpec},
    model::{Accelerator, Family, Millis},
};

/// The host that scripted guests are said to run on.
#[derive(Clone, Copy, Debug)]
pub struct SimHost {
    pub cpus: u32,
    /// How long it takes to create a machine.
    pub create_takes: Duration,
    /// From when on, and for how long, everything takes so many times as long as it should; counted from the lab's
    /// making. Guests follow their scripts all the same.
    pub slow: Option<(Duration, Duration, u32)>,
}

impl Default for SimHost {
    /// 8 cores, machines in no time.
    fn default() -> Self {
        Self { cpus: 8, create_takes: Duration::ZERO, slow: None }
    }
}

/// A lab of scripted guests.
pub struct SimLab {
    info: LabInfo,
    create_takes: Duration,
    slow: Option<(Duration, Duration, u32)>,
    made: Instant,
    script: Box<dyn Fn(&VmSpec) -> GuestScript + Send + Sync>,
    registry: Arc<Registry>,
    seals: bool,
    /// A folder per machine, gone with the lab.
    folder: TempDir,
}

/// What asks a guest whether its boot has finished, where the image has no probe of its own.
const USUAL_PROBE: &str = "is-system-running";

impl SimLab {
    /// `script` is asked once per machine created, so that it can also tell attempts at one cell apart.
    ///
    /// # Panics
    /// When there is no folder for temporary files.
    pub fn new(host: SimHost, script: impl Fn(&VmSpec) -> GuestScript + Send + Sync + 'static) -> Self {
        let folder = tempfile::Builder::new().prefix("bootgate-sim-").tempdir().expect("a temporary folder");
        let info = LabInfo {
            name: "scripted guests in virtual time".to_owned(),
            accelerator: Accelerator::Sim,
            cpus: host.cpus,
            clones: folder.path().to_owned(),
        };
        let script = Box::new(script);
        let (create_takes, slow) = (host.create_takes, host.slow);
        let (registry, made) = (Arc::default(), Instant::now());
        Self { info, create_takes, slow, made, script, registry, seals: false, folder }
    }

    /// Has machines that can be sealed and started from their seals.
    pub fn sealing(mut self) -> Self {
        self.seals = true;
        self
    }

    /// What machines there are and were.
    pub fn census(&self) -> Census {
        self.registry.read()
    }
}

#[async_trait]
impl Lab for SimLab {
    fn info(&self) -> &LabInfo {
        &self.info
    }

    /// The fixed work takes a millisecond where nothing is slow.
    fn load(&self) -> Load {
        const USUAL_US: u32 = 1000;
        let made = self.made.elapsed();
        let (slow, times) = self
            .slow
            .map_or((Duration::ZERO, 1), |(from, length, times)| (made.saturating_sub(from).min(length), times));
        let [fast, slow] = [made - slow, slow].map(|time| time.as_secs_f64() * 1e6);
        let probes = (fast + slow / f64::from(times)) / f64::from(USUAL_US);
        Load { timer_late: Millis::ZERO, probed_us: fast + slow, probes, quickest_us: Some(USUAL_US) }
    }

    async fn create(&self, spec: VmSpec) -> Result<(Arc<dyn Vm>, VmEvents), LabError> {
        tokio::time::sleep(self.create_takes).await;
        let script = (self.script)(&spec);
        if let Some(fault) = &script.create_fault {
            return Err(fault());
        }
        let memory = spec.image.memory;
        let number = self.registry.add(memory);
        let dir = self.folder.path().join(number.to_string());
        if let Err(source) = std::fs::create_dir(&dir) {
            self.registry.remove(memory);
            return Err(LabError::Io { action: "create", path: dir, source });
        }
        let firmware_log = Some(dir.join("firmware.log"));
        let files = VmFiles { serial_log: dir.join("serial.log"), firmware_log, qemu_log: None, dir };
        let name = format!("{}-{}", spec.run, spec.cell);
        let probe = spec.image.settled.filter(|probe| !probe.is_empty()).unwrap_or_else(|| USUAL_PROBE.to_owned());
        let (sender, events) = mpsc::unbounded_channel();
        let windows = spec.image.family == Family::Windows;
        let state = State::new(name.clone(), script, windows, probe, sender, files.clone());
        let vm = SimVm::new(name, memory, files, state, Arc::clone(&self.registry), spec.seal);
        Ok((Arc::new(vm), events))
    }

    fn seal_subject(&self, _: &VmSpec) -> Result<String, LabError> {
        if self.seals {
            Ok("sim".to_owned())
        } else {
            Err(LabError::Other("scripted guests are not sealed".to_owned()))
        }
    }

    fn seal_folder(&self, dir: &std::path::Path) -> Result<(), LabError> {
        std::fs::create_dir_all(dir).map_err(LabError::io("create", dir))
    }
}
