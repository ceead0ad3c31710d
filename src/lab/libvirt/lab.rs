//! [`LibvirtLab`]: opening, making machines, closing.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{runtime::Handle, sync::mpsc, task::spawn_blocking, time::timeout};
use tokio_util::task::TaskTracker;

use super::{
    connection::{Connection, OnReaction},
    emulator,
    events::{Reaction, Sink},
    leftovers,
    machine::{Machine, Session},
    maker::Maker,
    panic_log::PanicLog,
    patience::{CONNECT, bounded},
    vm::{self, LibvirtVm},
};
use crate::{
    lab::{
        self, Account, Lab, LabError, LabInfo, LabRoot, Load, Users, Vm, VmEvents, VmSpec, accelerator,
        load::LoadMeter, orphans::Orphans,
    },
    model::{Accelerator, StateDir},
};

/// How long the machines that are left and the connection may take to end.
const CLOSE: Duration = Duration::from_secs(60);

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
    load: LoadMeter,
    /// None: a libvirtd starts the machines.
    #[expect(dead_code, reason = "held for as long as machines may end")]
    orphans: Option<Orphans>,
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
        let users = match (account, &options.uri) {
            (Some(account), _) => Users::Account(account),
            (None, None) => Users::Ourselves,
            (None, Some(uri)) => Users::of_libvirtd(uri),
        };
        let root = LabRoot::take(&options.state, &users)?;
        let orphans = embedded.then(|| Orphans::take_in(&runtime)).transpose();
        let orphans = orphans.unwrap_or_else(|error| {
            tracing::warn!("machines may take long to end: {error}");
            None
        });
        let mut emulator = None;
        let uri = match options.uri {
            Some(uri) => uri,
            None => {
                write_config(root.path(), users.account())?;
                emulator = emulator::stand_in(root.path(), users.account())?;
                format!("qemu:///embed?root={}", root.path().display())
            }
        };
        let load = LoadMeter::start(&runtime);
        let reaper = Reaper { machines: Arc::default(), tasks: TaskTracker::new(), runtime };
        let on_reaction = reaper.on_reaction();
        let (state, wanted) = (options.state, uri.clone());
        let shown_uri = uri.split('?').next().unwrap_or(&uri);
        // The root goes along: as long as libvirt may be at work in it, nobody else gets it.
        let connect = move || {
            let connection = Connection::open(&wanted, on_reaction)?;
            if !embedded {
                leftovers::clean_stale(connection.connect(), &state).log();
            }
            // libvirt would ask QEMU for all its capabilities to say its version: seconds, where `--version` will do.
            let qemu = if embedded { lab::program_version(accelerator::QEMU) } else { connection.qemu_version() };
            let versions = (connection.libvirt_version(), qemu.unwrap_or_else(|| "unknown".to_owned()));
            Ok((connection, root, versions))
        };
        let (connection, root, (libvirt, qemu)) = bounded("connect", &format!("to {shown_uri}"), CONNECT, connect)?;
        let info = LabInfo {
            name: format!("libvirt {libvirt}, qemu {qemu} ({shown_uri})"),
            accelerator,
            cpus: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            clones: root.vms(),
        };
        let maker = Arc::new(Maker { accelerator, users, keeps_owners: uri.contains("/system"), emulator });
        let logs = if embedded { root.path().join("log/qemu") } else { daemons_logs(&uri) };
        let session = Mutex::new(Some(Arc::new(Session { connection, root, embedded, logs })));
        Ok(Self { info, maker, session, reaper, load, orphans })
    }

    /// Ends every machine that is left, disconnects, and gives the root back. May be called again.
    ///
    /// # Errors
    /// The first machine that could not be removed; everything else was still done. Or what is left after a minute.
    pub async fn close(&self) -> Result<(), LabError> {
        let Some(session) = self.session.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        let root = session.root.path().to_owned();
        if let Ok(result) = timeout(CLOSE, self.end_all(session)).await {
            return result;
        }
        let mut left: Vec<String> = self.reaper.machines().values().map(|machine| machine.name.clone()).collect();
        left.sort_unstable();
        let what = if left.is_empty() { "the connection".to_owned() } else { left.join(", ") };
        Err(LabError::Other(format!(
            "libvirt did not end {what} within {} s: left in {}; `bootgate clean` removes it",
            CLOSE.as_secs(),
            root.display()
        )))
    }

    async fn end_all(&self, session: Arc<Session>) -> Result<(), LabError> {
        self.reaper.tasks.close();
        self.reaper.tasks.wait().await;
        let reaper = self.reaper.clone();
        let ended = spawn_blocking(move || {
            let machines: Vec<Arc<Machine>> = reaper.machines().values().cloned().collect();
            let mut first = Ok(());
            for machine in machines {
                first = first.and(machine.destroy());
                // One that could not be removed would keep the connection open.
                reaper.forget(&machine);
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

    fn load(&self) -> Load {
        self.load.read()
    }

    async fn create(&self, spec: VmSpec) -> Result<(Arc<dyn Vm>, VmEvents), LabError> {
        let session = self.session()?;
        let maker = Arc::clone(&self.maker);
        let work = move || maker.make(session, &spec);
        let (machine, files) = spawn_blocking(work).await.map_err(|join| LabError::Other(join.to_string()))??;
        let (out, events) = mpsc::unbounded_channel();
        machine.session.connection.listen(
            &machine.uuid,
            Sink::new(out, machine.dir.clone(), PanicLog::new(machine.session.qemu_log(&machine.name))),
        );
        let machine = Arc::new(machine);
        self.reaper.machines().insert(machine.uuid.clone(), Arc::clone(&machine));
        Ok((Arc::new(LibvirtVm::new(machine, files, self.maker.users.clone(), self.reaper.clone())), events))
    }

    fn seal_subject(&self, spec: &VmSpec) -> Result<String, LabError> {
        self.maker.seal_subject(spec, &self.info.name)
    }

    fn seal_folder(&self, dir: &Path) -> Result<(), LabError> {
        fs::create_dir_all(dir).map_err(LabError::io("create", dir))?;
        vm::seal_folder(&self.maker.users, dir)
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
        let Some(machine) = self.machines().get(&machine.uuid).cloned() else { return };
        let reaper = self.clone();
        let end = move || {
            // It logs its failures itself. It is known until it is gone, so that closing can say what is left.
            let _ = machine.destroy();
            reaper.forget(&machine);
        };
        self.tasks.spawn_blocking_on(end, &self.runtime);
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

/// Where a libvirtd keeps the logs of its machines (`logDir` in libvirt's qemu_conf.c): the system's, which root may read, or
/// the user's own.
fn daemons_logs(uri: &str) -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = || absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    let own = uri.contains("/session").then(cache).flatten().map(|cache| cache.join("libvirt/qemu/log"));
    own.unwrap_or_else(|| "/var/log/libvirt/qemu".into())
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
        // TPMs too, which libvirt would start as `tss` or root.
        for prefix in ["", "swtpm_"] {
            config.push_str(&format!("{prefix}user = \"+{uid}\"\n{prefix}group = \"+{gid}\"\n"));
        }
    }
    let path = root.join("etc/qemu.conf");
    fs::create_dir_all(root.join("etc")).and_then(|()| fs::write(&path, config)).map_err(LabError::io("write", &path))
}
