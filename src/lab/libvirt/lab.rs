//! [`LibvirtLab`]: opening, making machines, closing.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::{runtime::Handle, sync::mpsc, task::spawn_blocking};
use tokio_util::task::TaskTracker;

use super::{
    connection::{Connection, OnReaction},
    emulator,
    events::{Reaction, Sink},
    leftovers,
    machine::{Machine, Session},
    maker::Maker,
    vm::{self, LibvirtVm},
};
use crate::{
    lab::{self, Account, Lab, LabError, LabInfo, LabRoot, Users, Vm, VmEvents, VmSpec, accelerator},
    model::{Accelerator, StateDir},
};

/// How to open a lab.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    pub state: StateDir,
    /// A libvirtd to use, such as `qemu:///session`; none: libvirt's driver in this process.
    pub uri: Option<String>,
    /// None: found out.
    pub accelerator: Option<Accelerator>,
}

/// Machines in libvirt. One per process at a time if the driver is embedded.
pub struct LibvirtLab {
    info: LabInfo,
    maker: Arc<Maker>,
    session: Mutex<Option<Arc<Session>>>,
    reaper: Reaper,
}

impl LibvirtLab {
    /// Takes a free lab root, removes what dead processes left in it, and connects. Call it in a tokio runtime.
    ///
    /// The first time on a host takes seconds more: libvirt asks QEMU what it can do and keeps the answer in the root.
    ///
    /// # Errors
    /// [`LabError`], each with what to do about it.
    pub async fn open(options: OpenOptions) -> Result<Arc<Self>, LabError> {
        let runtime = Handle::current();
        let opened = spawn_blocking(move || Self::open_blocking(options, runtime)).await;
        opened.map_err(|join| LabError::Other(join.to_string()))?.map(Arc::new)
    }

    fn open_blocking(options: OpenOptions, runtime: Handle) -> Result<Self, LabError> {
        let embedded = options.uri.is_none();
        let account = if embedded { Account::for_qemu()? } else { None };
        let accelerator = match options.accelerator {
            Some(accelerator) => accelerator,
            None => accelerator::detect(&options.state, account.as_ref(), false)?.accelerator,
        };
        let users = match &account {
            Some(account) => Users::Account(account),
            None if embedded => Users::Ourselves,
            None => Users::Daemon,
        };
        let root = LabRoot::take(&options.state, users)?;
        let mut emulator = None;
        let uri = match options.uri {
            Some(uri) => uri,
            None => {
                write_config(root.path(), account.as_ref())?;
                emulator = emulator::stand_in(root.path(), account.as_ref())?;
                format!("qemu:///embed?root={}", root.path().display())
            }
        };
        let reaper = Reaper { machines: Arc::default(), tasks: TaskTracker::new(), runtime };
        let connection = Connection::open(&uri, reaper.on_reaction())?;
        if !embedded {
            leftovers::clean_stale(connection.connect(), &options.state).log();
        }
        // libvirt would ask QEMU for all its capabilities to say its version: seconds, where `--version` will do.
        let qemu = if embedded { lab::program_version(accelerator::QEMU) } else { connection.qemu_version() };
        let qemu = qemu.unwrap_or_else(|| "unknown".to_owned());
        let libvirt = connection.libvirt_version();
        let shown_uri = uri.split('?').next().unwrap_or(&uri);
        let info = LabInfo {
            name: format!("libvirt {libvirt}, qemu {qemu} ({shown_uri})"),
            accelerator,
            cpus: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            memory: lab::host_memory(),
            clones: root.vms(),
        };
        let maker = Arc::new(Maker { accelerator, account, keeps_owners: uri.contains("/system"), emulator });
        let session = Mutex::new(Some(Arc::new(Session { connection, root, embedded })));
        Ok(Self { info, maker, session, reaper })
    }

    /// Ends every machine that is left, disconnects, and gives the root back. May be called again.
    ///
    /// # Errors
    /// The first machine that could not be removed; everything else was still done.
    pub async fn close(&self) -> Result<(), LabError> {
        let Some(session) = self.session.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        self.reaper.tasks.close();
        self.reaper.tasks.wait().await;
        let machines: Vec<Arc<Machine>> = self.reaper.machines().drain().map(|(_, machine)| machine).collect();
        let ended = spawn_blocking(move || {
            let mut first = Ok(());
            for machine in machines {
                first = first.and(machine.destroy());
            }
            drop(session);
            first
        });
        ended.await.map_err(|join| LabError::Other(join.to_string()))?
    }

    fn session(&self) -> Result<Arc<Session>, LabError> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.clone().ok_or_else(|| LabError::Other("the lab is closed".to_owned()))
    }
}

#[async_trait]
impl Lab for LibvirtLab {
    fn info(&self) -> &LabInfo {
        &self.info
    }

    async fn create(&self, spec: VmSpec) -> Result<(Arc<dyn Vm>, VmEvents), LabError> {
        let session = self.session()?;
        let maker = Arc::clone(&self.maker);
        let work = move || maker.make(session, &spec);
        let (machine, files) = spawn_blocking(work).await.map_err(|join| LabError::Other(join.to_string()))??;
        let (out, events) = mpsc::unbounded_channel();
        machine.session.connection.listen(&machine.uuid, Sink::new(out, machine.dir.clone()));
        let machine = Arc::new(machine);
        self.reaper.machines().insert(machine.uuid.clone(), Arc::clone(&machine));
        Ok((Arc::new(LibvirtVm::new(machine, files, self.maker.account.clone(), self.reaper.clone())), events))
    }
}

/// Knows every machine that is not removed yet, and removes those whose handle was dropped.
#[derive(Clone)]
pub struct Reaper {
    machines: Arc<Mutex<HashMap<String, Arc<Machine>>>>,
    tasks: TaskTracker,
    runtime: Handle,
}

impl Reaper {
    fn machines(&self) -> MutexGuard<'_, HashMap<String, Arc<Machine>>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine is removed.
    pub fn forget(&self, machine: &Machine) {
        self.machines().remove(&machine.uuid);
    }

    /// Removes the machine soon, if it still is there. Does not block.
    pub fn enqueue(&self, machine: &Machine) {
        let Some(machine) = self.machines().remove(&machine.uuid) else { return };
        // It logs its failures itself.
        self.tasks.spawn_blocking_on(move || drop(machine.destroy()), &self.runtime);
    }

    fn on_reaction(&self) -> OnReaction {
        let reaper = self.clone();
        Box::new(move |uuid, Reaction::Resume| {
            let domain = reaper.machines().get(uuid).cloned();
            // Not here: a call into libvirt from its event loop could wait for that very loop.
            reaper.tasks.spawn_blocking_on(
                move || {
                    if let Some(domain) = domain.and_then(|machine| machine.domain()) {
                        vm::resume(&domain);
                    }
                },
                &reaper.runtime,
            );
        })
    }
}

/// `qemu.conf` for the embedded driver (its own comments say what each setting does).
fn write_config(root: &Path, account: Option<&Account>) -> Result<(), LabError> {
    // File: the other handler is virtlogd. Ownership: we own what QEMU writes, and golden images stay as they are.
    // Namespaces: root could only make them where the root folder is a mount point, not in a chroot.
    let mut config = String::from(
        "stdio_handler = \"file\"\n\
         dynamic_ownership = 0\n\
         remember_owner = 0\n\
         namespaces = []\n\
         security_driver = \"none\"\n",
    );
    if let Some(Account { uid, gid, .. }) = account {
        config.push_str(&format!("user = \"+{uid}\"\ngroup = \"+{gid}\"\n"));
    }
    let path = root.join("etc/qemu.conf");
    fs::create_dir_all(root.join("etc")).and_then(|()| fs::write(&path, config)).map_err(LabError::io("write", &path))
}
