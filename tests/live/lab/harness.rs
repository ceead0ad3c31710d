//! What the tests of the lab share: one runtime, and one lab per process.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
    time::Duration,
};

use bootgate::{
    catalog::Catalog,
    lab::{
        AgentError, Lab as _, Vm, VmEvent, VmEvents, VmSpec,
        libvirt::{LibvirtLab, OpenOptions},
    },
    model::{Bytes, CellId, Family, Firmware, GoldenImage, Network, Quirks, RunId, Sha256, StateDir},
};
use tokio::{runtime::Runtime, time::timeout};

/// Generous: two cores, pure emulation, other tests at the same time.
pub const PATIENCE: Duration = Duration::from_secs(180);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// A lab that all tests of this process share, because libvirt's driver can be embedded only once. The last test
/// that lets go of it closes it.
pub struct SharedLab {
    pub lab: Arc<LibvirtLab>,
    state: Option<tempfile::TempDir>,
}

pub fn with_lab<F: Future<Output = ()>>(test: impl FnOnce(Arc<SharedLab>) -> F) {
    static SHARED: Mutex<Weak<SharedLab>> = Mutex::new(Weak::new());
    let shared = {
        let mut weak = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = weak.upgrade().unwrap_or_else(|| RUNTIME.block_on(SharedLab::open()));
        *weak = Arc::downgrade(&shared);
        shared
    };
    RUNTIME.block_on(test(Arc::clone(&shared)));
    // Under the lock, so that nobody opens the next lab while this one is being closed.
    let _lock = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    drop(shared);
}

impl SharedLab {
    async fn open() -> Arc<Self> {
        // Short, for UNIX sockets, and open to QEMU's account.
        let state = tempfile::Builder::new().prefix("bg-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(state.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        let options = OpenOptions { state: StateDir::new(state.path()), uri: None, accelerator: None };
        let lab = LibvirtLab::open(options).await.expect("the lab opens (see `bootgate doctor`)");
        Arc::new(Self { lab, state: Some(state) })
    }

    pub async fn create(&self, image: &GoldenImage) -> (Arc<dyn Vm>, VmEvents) {
        let spec = VmSpec {
            run: RunId::from("test"),
            cell: CellId::from("cell"),
            image: image.clone(),
            network: Network::None,
        };
        self.lab.create(spec).await.unwrap()
    }
}

impl Drop for SharedLab {
    fn drop(&mut self) {
        RUNTIME.block_on(self.lab.close()).expect("the lab closes and leaves nothing");
        drop(self.state.take());
    }
}

/// An image with nothing on it: the firmware finds nothing to boot.
pub fn empty_image(dir: &Path) -> GoldenImage {
    let disk = dir.join("empty.qcow2");
    let status = std::process::Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", disk.to_str().unwrap(), "64M"])
        .status()
        .unwrap();
    assert!(status.success());
    image_at(disk)
}

/// A disk that boots this first sector.
pub fn sector_image(dir: &Path, code: &[u8]) -> GoldenImage {
    let raw = dir.join("sector.img");
    let mut bytes = vec![0_u8; 1 << 20];
    bytes[..code.len()].copy_from_slice(code);
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(&raw, bytes).unwrap();
    let disk = dir.join("sector.qcow2");
    let status = std::process::Command::new("qemu-img")
        .args(["convert", "-O", "qcow2", raw.to_str().unwrap(), disk.to_str().unwrap()])
        .status()
        .unwrap();
    assert!(status.success());
    image_at(disk)
}

pub fn image_at(disk: PathBuf) -> GoldenImage {
    GoldenImage {
        name: "test".to_owned(),
        labels: Default::default(),
        disk,
        sha256: Sha256(String::new()),
        backing: Vec::new(),
        firmware: Firmware::Bios,
        tpm: false,
        memory: Bytes::mib(256),
        vcpus: 1,
        family: Family::Linux,
        boot: None,
        settled: None,
        quirks: Quirks::default(),
    }
}

/// The next event that is not one of the agent's.
pub async fn next(events: &mut VmEvents) -> VmEvent {
    loop {
        match timeout(PATIENCE, events.recv()).await.expect("an event in time").expect("the machine is there") {
            VmEvent::AgentConnected | VmEvent::AgentDisconnected => {}
            event => return event,
        }
    }
}

/// Waits until this event comes, whatever comes before.
pub async fn wait_for(events: &mut VmEvents, wanted: &VmEvent) {
    let found = async {
        while let Some(event) = events.recv().await {
            if event == *wanted {
                return;
            }
        }
        panic!("the events ended before {wanted:?}");
    };
    timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no {wanted:?} in time"));
}

pub fn temp_dir() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("bgi-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    dir
}

/// A lab image, from the catalogue that `images/build` writes.
pub fn lab_image(name: &str) -> GoldenImage {
    let images = env::var_os("BOOTGATE_IMAGES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("images"), PathBuf::from);
    let catalog = images.join("catalog.yaml");
    let catalog = Catalog::read(&catalog)
        .unwrap_or_else(|error| panic!("{}: {error}\nbuild the lab images first: images/build", catalog.display()));
    catalog.image(name).unwrap_or_else(|| panic!("no image {name}; build the lab images again: images/build")).clone()
}
