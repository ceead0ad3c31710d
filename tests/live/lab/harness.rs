//! What the tests of the lab share: a process and a lab for each, images, waiting.

use std::{
    any::type_name,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use bootgate::{
    catalog::Catalog,
    lab::{
        Lab as _, Vm, VmEvent, VmEvents, VmSpec, clean,
        libvirt::{LibvirtLab, OpenOptions},
    },
    model::{CellId, GoldenImage, Network, RunId, StateDir},
};
use tokio::{runtime::Runtime, time::timeout};

/// Generous: two cores, pure emulation, other tests at the same time.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A lab, and the state folder it is in.
pub struct TestLab {
    pub lab: Arc<LibvirtLab>,
    state: StateDir,
}

/// Set in the process that runs one test: its state folder.
const CHILD: &str = "BOOTGATE_LIVE_TEST_STATE";

/// Runs a test with a lab, in a process of its own: libvirt's embedded driver can be opened on one root only in the
/// life of a process. For that the test binary starts itself.
pub fn with_lab<T: AsyncFnOnce(&TestLab)>(test: T) {
    let Some(state) = env::var_os(CHILD).map(StateDir::new) else { return run_again::<T>() };
    Runtime::new().unwrap().block_on(async {
        let lab = TestLab { lab: open(state.clone()).await, state };
        test(&lab).await;
        lab.lab.close().await.expect("the lab closes and leaves nothing");
    });
}

/// The test that this closure belongs to, in a new process.
fn run_again<T>() {
    // Such as `live::lab::guest::name_of_the_test::{{closure}}`.
    let closure = type_name::<T>();
    let name = closure.split_once("::").unwrap().1.split("::{{").next().unwrap();
    let state = temp_dir();
    let status = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, state.path())
        .env("LIBVIRT_LOG_OUTPUTS", "4:file:/dev/null")
        .status()
        .unwrap();
    // A test that failed may have left machines.
    let left = clean(&StateDir::new(state.path())).unwrap();
    assert!(status.success(), "{name} failed in its own process ({status}): see above");
    assert!(left.killed.is_empty() && left.folders.is_empty(), "{name} left {left:?}");
}

impl TestLab {
    pub fn state(&self) -> &StateDir {
        &self.state
    }

    pub async fn create(&self, image: &GoldenImage) -> (Arc<dyn Vm>, VmEvents) {
        create(&self.lab, image).await
    }
}

pub async fn open(state: StateDir) -> Arc<LibvirtLab> {
    open_at(state, None).await
}

/// With this libvirtd; none: the embedded driver.
pub async fn open_at(state: StateDir, uri: Option<String>) -> Arc<LibvirtLab> {
    let options = OpenOptions { state, uri, accelerator: None };
    LibvirtLab::open(options).await.expect("the lab opens (see `bootgate doctor`)")
}

pub async fn create(lab: &LibvirtLab, image: &GoldenImage) -> (Arc<dyn Vm>, VmEvents) {
    let (run, cell, network) = (RunId::from("test"), CellId::from("cell"), Network::None);
    lab.create(VmSpec { run, cell, image: image.clone(), network, seal: None }).await.unwrap()
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
    GoldenImage::plain("test", disk)
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

/// Waits until this is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// A folder whose path is short, for UNIX sockets, and that QEMU's account can enter.
pub fn temp_dir() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("bg-").tempdir_in("/tmp").unwrap();
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
