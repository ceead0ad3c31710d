//! One connection to libvirt: its event loop, its events, its silence.

use std::{
    collections::HashMap,
    env,
    ffi::{CStr, c_char, c_int, c_void},
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use virt::{connect::Connect, error::Error, sys};

use super::events::{RawEvent, Reaction, Sink};
use crate::lab::LabError;

/// Keeps libvirt from writing to our standard error: errors come as values. Set `LIBVIRT_LOG_OUTPUTS` to see
/// libvirt's own log all the same (libvirt's "Logging in the library and the daemons").
///
/// To be called first of all in `main`: it sets an environment variable, which is left alone once there are other
/// threads.
pub fn quiet() {
    const OUTPUTS: &str = "LIBVIRT_LOG_OUTPUTS";
    let alone = fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1);
    if alone && env::var_os(OUTPUTS).is_none() {
        // SAFETY: this is the only thread, so nobody reads the environment meanwhile.
        unsafe { env::set_var(OUTPUTS, "4:file:/dev/null") };
    }
}

/// The version of the libvirt library; works without any connection.
pub fn library_version() -> Option<String> {
    Connect::version().ok().map(dotted)
}

/// libvirt packs a version into one number (libvirt's `virGetVersion`).
fn dotted(version: u32) -> String {
    format!("{}.{}.{}", version / 1_000_000, version / 1000 % 1000, version % 1000)
}

/// What to do about an event, for the machine of this UUID. Called on the event loop's thread: must not block.
pub type OnReaction = Box<dyn Fn(&str, Reaction) + Send + Sync>;

/// Brings events to the machines they are about.
pub struct Router {
    /// By UUID, as libvirt writes it.
    sinks: Mutex<HashMap<String, Sink>>,
    on_reaction: OnReaction,
    closed: AtomicBool,
}

impl Router {
    fn sinks(&self) -> MutexGuard<'_, HashMap<String, Sink>> {
        // A sink is whole after every call, whoever panicked.
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn route(&self, uuid: &str, event: RawEvent) {
        let reaction = self.sinks().get_mut(uuid).and_then(|sink| sink.take(event, Instant::now()));
        if let Some(reaction) = reaction {
            (self.on_reaction)(uuid, reaction);
        }
    }

    fn close(&self, why: &'static str) {
        self.closed.store(true, Ordering::SeqCst);
        for sink in self.sinks().values_mut() {
            sink.take(RawEvent::ConnectionLost { why }, Instant::now());
        }
    }
}

/// An open connection, with events coming in.
pub struct Connection {
    // Our own `drop` runs before any field's: the registrations go while libvirt's object is there.
    connect: Connect,
    router: Arc<Router>,
    registrations: Vec<c_int>,
    watches_close: bool,
}

impl Connection {
    /// Connects, for which a libvirtd may be behind the URI or not.
    pub fn open(uri: &str, on_reaction: OnReaction) -> Result<Self, LabError> {
        // Errors come as values; libvirt also prints them unless told not to.
        virt::error::clear_error_callback();
        run_event_loop()?;
        let connect = Connect::open(Some(uri)).map_err(|error| could_not_connect(uri, &error))?;
        let router = Arc::new(Router { sinks: Mutex::default(), on_reaction, closed: AtomicBool::new(false) });
        let mut connection = Self { connect, router, registrations: Vec::new(), watches_close: false };
        connection.register()?;
        Ok(connection)
    }

    pub fn connect(&self) -> &Connect {
        &self.connect
    }

    pub fn is_closed(&self) -> bool {
        self.router.closed.load(Ordering::SeqCst)
    }

    /// The version of the libvirt behind the connection.
    pub fn libvirt_version(&self) -> String {
        self.connect.lib_version().map_or_else(|_| "unknown".to_owned(), dotted)
    }

    pub fn qemu_version(&self) -> Option<String> {
        self.connect.hyp_version().ok().map(dotted)
    }

    /// From here on the machine's events go to `sink`.
    pub fn listen(&self, uuid: &str, sink: Sink) {
        self.router.sinks().insert(uuid.to_owned(), sink);
    }

    /// From here on the machine's way down is the first half of a restart.
    pub fn expect_button(&self, uuid: &str) {
        if let Some(sink) = self.router.sinks().get_mut(uuid) {
            sink.press_button();
        }
    }

    /// What happens to the machine from here on is our own doing.
    pub fn expect_end(&self, uuid: &str) {
        if let Some(sink) = self.router.sinks().get_mut(uuid) {
            sink.finish();
        }
    }

    pub fn forget(&self, uuid: &str) {
        self.router.sinks().remove(uuid);
    }

    fn register(&mut self) -> Result<(), LabError> {
        let callbacks = [
            // SAFETY: libvirt casts each callback back to the type that its event id stands for
            // (virConnectDomainEventRegisterAny: "the actual signature depends on the eventID").
            (sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, unsafe { generic(on_lifecycle as *const ()) }),
            (sys::VIR_DOMAIN_EVENT_ID_REBOOT, unsafe { generic(on_reboot as *const ()) }),
            (sys::VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, unsafe { generic(on_agent as *const ()) }),
            (sys::VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, unsafe { generic(on_io_error as *const ()) }),
        ];
        for (event, callback) in callbacks {
            let opaque = Arc::into_raw(Arc::clone(&self.router));
            // SAFETY: the connection is open; `opaque` is an Arc that libvirt gives back through `release`.
            let id = unsafe {
                sys::virConnectDomainEventRegisterAny(
                    self.connect.as_ptr(),
                    std::ptr::null_mut(),
                    event as c_int,
                    callback,
                    opaque.cast_mut().cast(),
                    Some(release),
                )
            };
            if id < 0 {
                // SAFETY: libvirt did not take the Arc, so it is still ours.
                drop(unsafe { Arc::from_raw(opaque) });
                return Err(failed("subscribe to events", &Error::last_error()));
            }
            self.registrations.push(id);
        }
        self.watch_close();
        Ok(())
    }

    /// Has a dead or silent libvirtd noticed: the closing is told by libvirt, the silence found by its keep-alive
    /// messages (virConnectSetKeepAlive). Neither exists for a driver in this process.
    fn watch_close(&mut self) {
        if self.connect.set_keep_alive(5, 3).is_err() {
            return;
        }
        let opaque = Arc::into_raw(Arc::clone(&self.router));
        // SAFETY: as for the events.
        let result = unsafe {
            sys::virConnectRegisterCloseCallback(
                self.connect.as_ptr(),
                Some(on_close),
                opaque.cast_mut().cast(),
                Some(release),
            )
        };
        self.watches_close = result >= 0;
        if !self.watches_close {
            // SAFETY: libvirt did not take the Arc.
            drop(unsafe { Arc::from_raw(opaque) });
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: the connection is open until `connect` is dropped, after this.
        unsafe {
            for id in &self.registrations {
                sys::virConnectDomainEventDeregisterAny(self.connect.as_ptr(), *id);
            }
            if self.watches_close {
                sys::virConnectUnregisterCloseCallback(self.connect.as_ptr(), Some(on_close));
            }
        }
    }
}

/// libvirt's words, with what was being done.
pub fn failed(action: &'static str, error: &Error) -> LabError {
    LabError::Libvirt { action, message: error.message().trim().to_owned() }
}

pub(super) fn could_not_connect(uri: &str, error: &Error) -> LabError {
    let message = error.message().trim();
    let hint = if message.contains("Failed to parse user") || message.contains("Failed to parse group") {
        // The driver looks for the account it was built with before it reads qemu.conf.
        "; create the account: useradd --system --user-group libvirt-qemu"
    } else if message.contains("no connection driver available") {
        "; install libvirt's QEMU driver (Debian: apt install libvirt-daemon-driver-qemu)"
    } else if message.contains("Failed to connect socket") && message.contains("Permission denied") {
        "; whoever may use it is root, or in the group libvirt"
    } else if message.contains("Failed to connect socket") {
        "; no libvirtd is running there: systemctl start libvirtd, or name another with --connect (`virsh uri` tells)"
    } else {
        ""
    };
    LabError::Libvirt { action: "connect", message: format!("to {uri}: {message}{hint}") }
}

/// libvirt's default event loop, for the life of the process. Events and keep-alive need it, and it must be there
/// before the first connection (virEventRegisterDefaultImpl).
fn run_event_loop() -> Result<(), LabError> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let started = STARTED.get_or_init(|| {
        virt::event::event_register_default_impl().map_err(|error| error.message().to_owned())?;
        let turn = || {
            loop {
                if virt::event::event_run_default_impl().is_err() {
                    thread::sleep(Duration::from_millis(50));
                }
            }
        };
        thread::Builder::new().name("libvirt-events".to_owned()).spawn(turn).map_err(|error| error.to_string())?;
        Ok(())
    });
    started.clone().map_err(|message| LabError::Libvirt { action: "run its event loop", message })
}

unsafe fn generic(callback: *const ()) -> sys::virConnectDomainEventGenericCallback {
    // SAFETY: a function pointer; libvirt calls it only after casting it back (see `register`).
    Some(unsafe {
        std::mem::transmute::<*const (), unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void)>(
            callback,
        )
    })
}

/// Runs the callback's body; a panic must not reach C.
fn with_router(opaque: *mut c_void, body: impl FnOnce(&Router)) {
    // SAFETY: `opaque` is the Arc that was registered; libvirt keeps it until it calls `release`.
    let router = unsafe { &*opaque.cast_const().cast::<Router>() };
    if catch_unwind(AssertUnwindSafe(|| body(router))).is_err() {
        tracing::error!("an event of libvirt was lost to a panic");
    }
}

fn route(domain: sys::virDomainPtr, opaque: *mut c_void, event: RawEvent) {
    with_router(opaque, |router| {
        let mut uuid = [0 as c_char; sys::VIR_UUID_STRING_BUFLEN as usize];
        // SAFETY: the domain is valid during the callback; the buffer is as large as libvirt asks for.
        let uuid = unsafe {
            if sys::virDomainGetUUIDString(domain, uuid.as_mut_ptr()) < 0 {
                return;
            }
            CStr::from_ptr(uuid.as_ptr())
        };
        router.route(&uuid.to_string_lossy(), event);
    });
}

extern "C" fn on_lifecycle(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    event: c_int,
    detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    route(domain, opaque, RawEvent::Lifecycle { event: event as u32, detail: detail as u32 });
    0
}

extern "C" fn on_reboot(_: sys::virConnectPtr, domain: sys::virDomainPtr, opaque: *mut c_void) {
    route(domain, opaque, RawEvent::Reboot);
}

extern "C" fn on_agent(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    state: c_int,
    _reason: c_int,
    opaque: *mut c_void,
) {
    let connected = state as u32 == sys::VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED;
    route(domain, opaque, RawEvent::Agent { connected });
}

extern "C" fn on_io_error(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _path: *const c_char,
    _device: *const c_char,
    action: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    let reason = if reason.is_null() {
        String::new()
    } else {
        // SAFETY: libvirt passes a C string that lives during the callback.
        unsafe { CStr::from_ptr(reason) }.to_string_lossy().into_owned()
    };
    let paused = action as u32 == sys::VIR_DOMAIN_EVENT_IO_ERROR_PAUSE;
    route(domain, opaque, RawEvent::IoError { paused, reason });
}

extern "C" fn on_close(_: sys::virConnectPtr, reason: c_int, opaque: *mut c_void) {
    let why = match reason as u32 {
        sys::VIR_CONNECT_CLOSE_REASON_EOF => "libvirtd closed it",
        sys::VIR_CONNECT_CLOSE_REASON_KEEPALIVE => "libvirtd was silent",
        _ => "it broke",
    };
    with_router(opaque, |router| router.close(why));
}

extern "C" fn release(opaque: *mut c_void) {
    // SAFETY: the Arc from `register` or `watch_close`, given back exactly once.
    drop(unsafe { Arc::from_raw(opaque.cast_const().cast::<Router>()) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_unpacked() {
        assert_eq!(dotted(9_000_000), "9.0.0");
        assert_eq!(dotted(11_003_012), "11.3.12");
    }
}
