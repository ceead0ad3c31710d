//! [`LibvirtLab`]: opening, making machines, closing.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::{
    runtime::Handle,
    sync::mpsc,
    task::spawn_blocking,
};
use tokio_util::task::TaskTracker;

use super::{
    connection::{Connection, OnReaction},
    domain_xml::{Definition, Layer, Layers, domain_xml},
    events::{Reaction, Sink},
    leftovers,
    machine::{Machine, Session, State},
    overlay,
    vm::{self, LibvirtVm},
};
use crate::{
    lab::{
        Account, Lab, LabError, LabInfo, LabRoot, Users, Vm, VmEvents, VmFiles, VmSpec, accelerator, root,
    },
    model::{Accelerator, Bytes, GoldenImage, StateDir},
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
    account: Option<Account>,
    /// libvirtd would make QEMU's account the owner of the golden images.
    keeps_owners: bool,
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
        let uri = match options.uri {
            Some(uri) => uri,
            None => {
                write_config(root.path(), account.as_ref())?;
                format!("qemu:///embed?root={}", root.path().display())
            }
        };
        let reaper = Reaper { machines: Arc::default(), tasks: TaskTracker::new(), runtime };
        let connection = Connection::open(&uri, reaper.on_reaction())?;
        if !embedded {
            leftovers::clean_stale(connection.connect(), &options.state).log();
        }
        let versions = connection.versions();
        let shown_uri = uri.split('?').next().unwrap_or(&uri);
        let info = LabInfo {
            name: format!("libvirt {}, qemu {} ({shown_uri})", versions.libvirt, versions.qemu),
            accelerator,
            cpus: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            memory: host_memory(),
            clones: root.vms(),
        };
        let keeps_owners = uri.contains("/system");
        let session = Mutex::new(Some(Arc::new(Session { connection, root, embedded })));
        Ok(Self { info, account, keeps_owners, session, reaper })
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

    fn create_blocking(
        session: Arc<Session>,
        spec: &VmSpec,
        accelerator: Accelerator,
        account: Option<&Account>,
        keeps_owners: bool,
    ) -> Result<(Machine, VmFiles), LabError> {
        let uuid = new_uuid()?;
        // Short: it is a part of socket paths. Unique: the folder is new.
        let short = &uuid[..6];
        let dir = session.root.vms().join(short);
        fs::create_dir(&dir).map_err(LabError::io("create", &dir))?;
        let made = Self::fill(&session, spec, accelerator, account, keeps_owners, &uuid, &dir);
        if made.is_err() {
            let _ = fs::remove_dir_all(&dir);
        }
        let (xml, passed, files) = made?;
        let name = machine_name(&uuid);
        Ok((Machine { session, name, uuid, dir, xml, passed, state: Mutex::new(State::Created) }, files))
    }

    /// Puts all files into the machine's folder, and answers with its definition.
    fn fill(
        session: &Session,
        spec: &VmSpec,
        accelerator: Accelerator,
        account: Option<&Account>,
        keeps_owners: bool,
        uuid: &str,
        dir: &Path,
    ) -> Result<(String, Vec<Layer>, VmFiles), LabError> {
        root::make_dir(dir, 0o711)?;
        let overlay = dir.join("disk.qcow2");
        overlay::create(&overlay, &spec.image.disk)?;
        let boot = spec.image.boot.as_ref();
        let kernel = boot.map(|boot| readable(&boot.kernel, "kernel", account, dir)).transpose()?;
        let initrd = boot.and_then(|boot| boot.initrd.as_ref());
        let initrd = initrd.map(|initrd| readable(initrd, "initrd", account, dir)).transpose()?;
        if let Some(account) = account {
            account.own(&overlay)?;
            account.own(dir)?;
        }
        let passed = match account {
            Some(account) => unreachable_layers(&spec.image, account)?,
            None => Vec::new(),
        };
        let kept = if keeps_owners { overlay::chain(&spec.image.disk)? } else { Vec::new() };
        let layers = match (&passed[..], &kept[..]) {
            ([], []) => Layers::Found,
            ([], kept) => Layers::Kept(kept),
            (passed, _) => Layers::Passed(passed),
        };
        let files = VmFiles {
            serial_log: dir.join("serial.log"),
            firmware_log: Some(dir.join("firmware.log")),
            dir: dir.to_owned(),
        };
        let xml = domain_xml(&Definition {
            name: &machine_name(uuid),
            uuid,
            run: &spec.run.0,
            cell: &spec.cell.0,
            root: &session.root.path().to_string_lossy(),
            owner: session.root.owner(),
            image: &spec.image,
            accelerator,
            network: &spec.network,
            overlay: &overlay,
            layers,
            serial_log: &files.serial_log,
            firmware_log: &dir.join("firmware.log"),
            agent_socket: &dir.join("agent.sock"),
            kernel: kernel.as_deref(),
            initrd: initrd.as_deref(),
        })?;
        Ok((xml, passed, files))
    }
}

#[async_trait]
impl Lab for LibvirtLab {
    fn info(&self) -> &LabInfo {
        &self.info
    }

    async fn create(&self, spec: VmSpec) -> Result<(Arc<dyn Vm>, VmEvents), LabError> {
        let session = self.session()?;
        let (accelerator, account, keeps_owners) = (self.info.accelerator, self.account.clone(), self.keeps_owners);
        let work = move || Self::create_blocking(session, &spec, accelerator, account.as_ref(), keeps_owners);
        let (machine, files) = spawn_blocking(work).await.map_err(|join| LabError::Other(join.to_string()))??;
        let (out, events) = mpsc::unbounded_channel();
        machine.session.connection.listen(&machine.uuid, Sink::new(out, machine.dir.clone()));
        let machine = Arc::new(machine);
        self.reaper.machines().insert(machine.uuid.clone(), Arc::clone(&machine));
        Ok((Arc::new(LibvirtVm::new(machine, files, self.account.clone(), self.reaper.clone())), events))
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

fn machine_name(uuid: &str) -> String {
    format!("bootgate-{}", &uuid[..6])
}

/// The layers to pass as descriptors: all of them if QEMU's account cannot reach one of them, else none.
fn unreachable_layers(image: &GoldenImage, account: &Account) -> Result<Vec<Layer>, LabError> {
    let chain = overlay::chain(&image.disk)?;
    let blocked = chain.iter().any(|layer| account.blocked_at(Path::new(&layer.file)).is_some());
    Ok(if blocked { chain } else { Vec::new() })
}

/// A path at which QEMU's account can read the file: its own, or that of a copy in the machine's folder.
fn readable(file: &Path, name: &str, account: Option<&Account>, dir: &Path) -> Result<PathBuf, LabError> {
    let Some(account) = account.filter(|account| account.blocked_at(file).is_some()) else {
        return Ok(file.to_owned());
    };
    let copy = dir.join(name);
    fs::copy(file, &copy).map_err(LabError::io("copy", file))?;
    account.own(&copy)?;
    Ok(copy)
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

fn new_uuid() -> Result<String, LabError> {
    let path = Path::new("/proc/sys/kernel/random/uuid");
    let uuid = fs::read_to_string(path).map_err(LabError::io("read", path))?;
    Ok(uuid.trim().to_owned())
}

/// The host's memory, as /proc/meminfo has it (man page proc_meminfo(5)).
fn host_memory() -> Bytes {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Bytes(kib.unwrap_or(0) * Bytes::KIB)
}
