//! From a golden image to a machine that can be started: folder, overlay, definition.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use super::{
    domain_xml::{Definition, Layer, Layers, domain_xml},
    machine::{Machine, Session, State},
    overlay,
};
use crate::{
    lab::{Account, LabError, Users, VmFiles, VmSpec},
    model::{Accelerator, GoldenImage, Network},
};

/// What all machines of a lab have in common.
pub struct Maker {
    pub accelerator: Accelerator,
    pub users: Users,
    /// libvirtd would make QEMU's account the owner of the golden images.
    pub keeps_owners: bool,
    pub emulator: Option<PathBuf>,
}

impl Maker {
    /// Clones the image and writes the definition. Blocks for milliseconds.
    pub fn make(&self, session: Arc<Session>, spec: &VmSpec) -> Result<(Machine, VmFiles), LabError> {
        let uuid = new_uuid()?;
        // Short: it is a part of socket paths. Unique: the folder is new.
        let short = &uuid[..6];
        let dir = session.root.vms().join(short);
        fs::DirBuilder::new().mode(0o700).create(&dir).map_err(LabError::io("create", &dir))?;
        let made = self.fill(&session, spec, &uuid, &dir);
        if made.is_err() {
            let _ = fs::remove_dir_all(&dir);
        }
        let (xml, passed, files) = made?;
        let name = machine_name(&uuid);
        Ok((Machine { session, name, uuid, dir, xml, passed, state: Mutex::new(State::Created) }, files))
    }

    /// Puts all files into the machine's folder, and answers with its definition.
    fn fill(
        &self,
        session: &Session,
        spec: &VmSpec,
        uuid: &str,
        dir: &Path,
    ) -> Result<(String, Vec<Layer>, VmFiles), LabError> {
        if let Network::Named(name) = &spec.network
            && session.embedded
        {
            return Err(LabError::Other(format!(
                "the network {name} cannot be used: libvirt inside this process has no networks; named networks need \
                 a libvirtd: --connect qemu:///system"
            )));
        }
        let account = self.users.account();
        let overlay = dir.join("disk.qcow2");
        overlay::create(&overlay, &spec.image.disk)?;
        let boot = spec.image.boot.as_ref();
        let kernel = boot.map(|boot| self.readable(&boot.kernel, "kernel", dir)).transpose()?;
        let initrd = boot.and_then(|boot| boot.initrd.as_ref());
        let initrd = initrd.map(|initrd| self.readable(initrd, "initrd", dir)).transpose()?;
        self.users.hand_over(&overlay)?;
        // Last: from here on QEMU's account can put anything there.
        self.users.hand_over(dir)?;
        let passed = match account {
            Some(account) => unreachable_layers(&spec.image, account)?,
            None => Vec::new(),
        };
        let kept = if self.keeps_owners { overlay::chain(&spec.image.disk)? } else { Vec::new() };
        let layers = match (&passed[..], &kept[..]) {
            ([], []) => Layers::Found,
            ([], kept) => Layers::Kept(kept),
            (passed, _) => Layers::Passed(passed),
        };
        let files = VmFiles {
            serial_log: dir.join("serial.log"),
            firmware_log: Some(dir.join("firmware.log")),
            qemu_log: session.qemu_log(&machine_name(uuid)),
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
            accelerator: self.accelerator,
            emulator: self.emulator.as_deref(),
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

    /// A path at which QEMU can read the file: its own, or that of a copy in the machine's folder.
    fn readable(&self, file: &Path, name: &str, dir: &Path) -> Result<PathBuf, LabError> {
        if self.users.account().is_none_or(|account| account.blocked_at(file).is_none()) {
            return Ok(file.to_owned());
        }
        let copy = dir.join(name);
        fs::copy(file, &copy).map_err(LabError::io("copy", file))?;
        self.users.hand_over(&copy)?;
        Ok(copy)
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

fn new_uuid() -> Result<String, LabError> {
    let path = Path::new("/proc/sys/kernel/random/uuid");
    let uuid = fs::read_to_string(path).map_err(LabError::io("read", path))?;
    Ok(uuid.trim().to_owned())
}
