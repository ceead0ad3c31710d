//! One machine: its folder, its place in libvirt, its end.

use std::{
    ffi::CString,
    fs::{self, File},
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    thread,
    time::{Duration, Instant},
};

use virt::{
    connect::Connect,
    domain::Domain,
    enumutil::Enum,
    error::{Error, ErrorNumber},
    sys,
};

use super::{
    connection::{Connection, failed},
    domain_xml::{Board, Layer},
    feeder::Feeder,
    nvram,
    save_image::Identity,
    seal::{self, Memory},
    tpm,
};
use crate::lab::{KEPT_DISK, LabError, LabRoot, open_guest_written, sweep};

/// A connection and the root it works in. Whoever holds a part of it keeps both.
pub struct Session {
    // Closed before the root is given back.
    pub connection: Connection,
    pub root: LabRoot,
    /// The driver runs in this process.
    pub embedded: bool,
    /// Where libvirt keeps the machines' logs.
    pub logs: PathBuf,
}

impl Session {
    /// QEMU's standard error, and what libvirt adds to it. A libvirtd may keep it to itself.
    pub fn qemu_log(&self, machine: &str) -> PathBuf {
        self.logs.join(format!("{machine}.log"))
    }
}

/// How long a machine's end waits for who works on it, until its QEMU is killed.
const SEIZE: Duration = Duration::from_secs(1);

/// How long QEMU may take to end once its guest is off.
const LAST_WRITES: Duration = Duration::from_secs(60);

/// The overlay's name in a machine's folder.
pub const DISK: &str = "disk.qcow2";

/// A machine's state and resources. Every call blocks.
pub struct Machine {
    pub session: Arc<Session>,
    pub name: String,
    pub uuid: String,
    pub dir: PathBuf,
    pub has_tpm: bool,
    /// Where its TPM keeps its state, if it has one and we know that.
    pub tpm: Option<PathBuf>,
    pub board: Board,
    /// Its firmware keeps UEFI variables in its folder.
    pub has_variables: bool,
    pub xml: String,
    /// Files below the overlay that QEMU gets as open descriptors.
    pub passed: Vec<Layer>,
    /// What it begins from, if not from power-on.
    pub memory: Option<Memory>,
    pub state: Mutex<State>,
}

pub enum State {
    Created,
    Running(Arc<Domain>),
    /// It was saved, or has turned itself off to be kept; its folder is still there.
    Ended,
    /// Everything is removed.
    Gone,
}

impl Machine {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The domain, once started and until destroyed.
    pub fn domain(&self) -> Option<Arc<Domain>> {
        match &*self.state() {
            State::Running(domain) => Some(Arc::clone(domain)),
            State::Created | State::Ended | State::Gone => None,
        }
    }

    pub fn start(&self) -> Result<(), LabError> {
        // Held while libvirt starts the machine: an end that comes meanwhile waits a moment, and then kills it.
        let mut state = self.state();
        if !matches!(*state, State::Created) {
            return Err(LabError::Other(format!("{} was started before", self.name)));
        }
        let connect = self.session.connection.connect();
        let started = match (&self.memory, &self.passed[..]) {
            (None, []) => {
                // With a libvirtd the machine ends with our connection, however that ends. The embedded driver
                // refuses this flag, and a restore has none: there the next start cleans up.
                let flags = if self.session.embedded { 0 } else { sys::VIR_DOMAIN_START_AUTODESTROY };
                connect.create_domain_xml(&self.xml, flags).map_err(|error| self.start_failed(&error))
            }
            (Some(memory), []) => self.restore(connect, memory).and_then(|()| {
                connect.lookup_domain_by_uuid_string(&self.uuid).map_err(|error| self.start_failed(&error))
            }),
            (memory, _) => self.start_with_descriptors(connect, memory.as_ref()),
        };
        *state = State::Running(Arc::new(started?));
        Ok(())
    }

    /// Starts the machine in the middle of its life.
    fn restore(&self, connect: &Connect, memory: &Memory) -> Result<(), LabError> {
        let fifo = self.dir.join("memory.fifo");
        let (head, image, stream_at) = memory.open(&self.identity())?;
        let feeder = Feeder::start(fifo.clone(), head, image, stream_at).map_err(LabError::io("feed", &fifo))?;
        let restored = connect.restore_domain(&fifo.to_string_lossy()).map_err(|error| self.start_failed(&error));
        let fed = feeder.finish().map_err(LabError::io("feed", &fifo));
        // libvirt's words say more than that nobody read.
        restored.and(fed)
    }

    pub fn identity(&self) -> Identity {
        Identity {
            name: self.name.clone(),
            uuid: self.uuid.clone(),
            root: self.session.root.path().to_string_lossy().into_owned(),
            dir: self.dir.to_string_lossy().into_owned(),
        }
    }

    /// Saves memory and disk into `dir`; the machine has ended then.
    pub fn seal(&self, dir: &Path) -> Result<(), LabError> {
        let mut state = self.state();
        let State::Running(domain) = &*state else {
            return Err(LabError::Other(format!("{} is not running", self.name)));
        };
        self.session.connection.expect_end(&self.uuid);
        seal::save(domain, &dir.join(seal::MEMORY))?;
        *state = State::Ended;
        if self.has_variables {
            nvram::keep(dir, &self.dir)?;
        }
        seal::keep(dir, &self.dir.join(DISK), &self.identity())
    }

    /// Keeps what the machine, which has turned itself off, leaves behind.
    pub fn keep_disk(&self, dir: &Path) -> Result<(), LabError> {
        let mut state = self.state();
        let State::Running(domain) = &*state else {
            return Err(LabError::Other(format!("{} was not running", self.name)));
        };
        if self.has_tpm && self.tpm.is_none() {
            // Without it, what the guest has sealed to its TPM could be opened in no clone.
            let why = "a libvirtd keeps the state of its TPMs to itself: bake without --connect";
            return Err(LabError::Other(why.to_owned()));
        }
        self.session.connection.expect_end(&self.uuid);
        // QEMU writes what it still holds when it ends, a moment after the guest has.
        let deadline = Instant::now() + LAST_WRITES;
        while domain.is_active().unwrap_or_else(|error| !is_gone(&error)) {
            if Instant::now() >= deadline {
                return Err(LabError::Other(format!("{} is not off", self.name)));
            }
            thread::sleep(Duration::from_millis(50));
        }
        *state = State::Ended;
        fs::create_dir_all(dir).map_err(LabError::io("create", dir))?;
        if self.has_variables {
            nvram::keep(dir, &self.dir)?;
        }
        if let Some(storage) = &self.tpm {
            tpm::keep(dir, storage)?;
        }
        move_file(&self.dir.join(DISK), &dir.join(KEPT_DISK))
    }

    /// Descriptors can only be associated with a domain that exists: so it is defined first, and made transient
    /// once it runs.
    fn start_with_descriptors(&self, connect: &Connect, memory: Option<&Memory>) -> Result<Domain, LabError> {
        let files = self
            .passed
            .iter()
            .map(|layer| File::open(&layer.file).map_err(LabError::io("open", Path::new(&layer.file))));
        let files: Vec<File> = files.collect::<Result<_, _>>()?;
        let domain = connect.define_domain_xml(&self.xml).map_err(|error| self.start_failed(&error))?;
        let start = || {
            for (n, file) in files.iter().enumerate() {
                let group = CString::new(Layer::group(n))?;
                let mut descriptors = [file.as_raw_fd()];
                // SAFETY: one open descriptor, which libvirt copies.
                let result = unsafe {
                    sys::virDomainFDAssociate(domain.as_ptr(), group.as_ptr(), 1, descriptors.as_mut_ptr(), 0)
                };
                if result < 0 {
                    return Err(Error::last_error());
                }
            }
            Ok(())
        };
        let started = start().map_err(|error| self.start_failed(&error)).and_then(|()| match memory {
            None => domain.create().map_err(|error| self.start_failed(&error)),
            Some(memory) => self.restore(connect, memory),
        });
        // What firmware and TPM remember is not the definition's to take along.
        let undefined = domain.undefine_flags(sys::VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | sys::VIR_DOMAIN_UNDEFINE_KEEP_TPM);
        started?;
        if let Err(error) = undefined {
            tracing::warn!("libvirt cannot forget the definition of {}: {}", self.name, error.message());
        }
        Ok(domain)
    }

    fn start_failed(&self, error: &Error) -> LabError {
        let message = error.message().trim();
        if message.contains("No space left on device") {
            return LabError::OutOfSpace(self.dir.clone());
        }
        let hint = if message.contains("Permission denied") {
            "; every folder above the golden image and above the state folder must let QEMU's account pass \
             (chmod o+x DIR), and the image must be readable for it"
        } else {
            ""
        };
        LabError::Libvirt { action: "start the machine", message: format!("{message}{hint}") }
    }

    /// The state, whoever works on the machine: without its QEMU a start or a save that hangs comes to its end.
    fn seize(&self) -> MutexGuard<'_, State> {
        let began = Instant::now();
        loop {
            match self.state.try_lock() {
                Ok(state) => return state,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) if began.elapsed() < SEIZE => {}
                Err(TryLockError::WouldBlock) => {
                    if let Err(error) = sweep::kill_machine(&self.dir) {
                        tracing::warn!("{}: its QEMU cannot be killed: {error}", self.name);
                    }
                }
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the machine and removes all it had. Tries everything, and answers with the first failure.
    pub fn destroy(&self) -> Result<(), LabError> {
        let session = &self.session;
        session.connection.expect_end(&self.uuid);
        let mut state = self.seize();
        if matches!(*state, State::Gone) {
            return Ok(());
        }
        let mut first: Result<(), LabError> = Ok(());
        let mut note = |result: Result<(), LabError>| {
            if let Err(error) = result {
                tracing::warn!("{}: {error}", self.name);
                if first.is_ok() {
                    first = Err(error);
                }
            }
        };
        if let State::Running(domain) = &*state {
            let ended = match domain.destroy() {
                Err(error) if !is_gone(&error) => Err(failed("end the machine", &error)),
                _ => Ok(()),
            };
            // libvirt may not be there any more, QEMU may.
            note(ended.or_else(|error| match sweep::kill_machine(&self.dir) {
                Ok(true) => Ok(()),
                Ok(false) if session.connection.is_closed() => Ok(()),
                Ok(false) => Err(error),
                Err(source) => Err(LabError::Io { action: "kill the machine of", path: self.dir.clone(), source }),
            }));
        }
        note(removed(fs::remove_dir_all(&self.dir), &self.dir));
        if let Some(storage) = &self.tpm {
            // It ends with its QEMU, or a moment later.
            let killed = sweep::kill_tpm(storage);
            note(killed.map_err(|source| LabError::Io { action: "kill the TPM of", path: storage.clone(), source }));
            note(removed(fs::remove_dir_all(storage), storage));
            let log = tpm::log(session.root.path(), &self.name);
            note(removed(fs::remove_file(&log), &log));
        }
        // A libvirtd looks after its logs itself.
        if session.embedded {
            let log = session.qemu_log(&self.name);
            note(removed(fs::remove_file(&log), &log));
        }
        session.connection.forget(&self.uuid);
        if first.is_ok() {
            *state = State::Gone;
        }
        first
    }
}

/// Moves what QEMU wrote, to another file system too.
fn move_file(from: &Path, to: &Path) -> Result<(), LabError> {
    let mut file = open_guest_written(from).map_err(LabError::io("read", from))?;
    match fs::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            let mut options = fs::OpenOptions::new();
            let created = options.write(true).create_new(true).mode(0o600).open(to);
            let copied = created.and_then(|mut copy| std::io::copy(&mut file, &mut copy));
            copied.map(drop).map_err(LabError::io("write", to))
        }
        moved => moved.map_err(LabError::io("move", from)),
    }
}

/// What libvirt says of a domain that has ended.
fn is_gone(error: &Error) -> bool {
    matches!(error.code(), Enum::Known(ErrorNumber::NoDomain | ErrorNumber::OperationInvalid))
}

fn removed(result: std::io::Result<()>, path: &Path) -> Result<(), LabError> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(LabError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
