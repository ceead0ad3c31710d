//! From a golden image to a machine that can be started: folder, overlay, definition.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use super::{
    domain_xml::{Board, Definition, Layer, Layers, Uefi, domain_xml, layers_xml, metadata_xml},
    machine::{DISK, Machine, Session, State},
    nvram, overlay,
    seal::{self, Memory},
    tpm,
};
use crate::{
    lab::{Account, LabError, Users, VmFiles, VmSpec, accelerator::QEMU, host::find_program},
    model::{Accelerator, Network},
};

/// What is made of a specification.
struct Made {
    xml: String,
    passed: Vec<Layer>,
    memory: Option<Memory>,
    files: VmFiles,
}

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
        // A libvirtd keeps its TPMs' state to itself.
        let tpm = (spec.image.tpm && session.embedded).then(|| tpm::storage(session.root.path(), &uuid));
        let made = self.fill(&session, spec, &uuid, &dir, tpm.as_deref());
        if made.is_err() {
            for folder in tpm.iter().chain([&dir]) {
                let _ = fs::remove_dir_all(folder);
            }
        }
        let Made { xml, passed, memory, files } = made?;
        let name = machine_name(&uuid);
        let (board, state) = (Board::of(&spec.image), Mutex::new(State::Created));
        let (has_tpm, has_variables) = (spec.image.tpm, spec.image.firmware.is_uefi());
        Ok((
            Machine { session, name, uuid, dir, has_tpm, tpm, board, has_variables, xml, passed, memory, state },
            files,
        ))
    }

    /// Puts all files into the machine's folder, and answers with its definition.
    fn fill(
        &self,
        session: &Session,
        spec: &VmSpec,
        uuid: &str,
        dir: &Path,
        tpm: Option<&Path>,
    ) -> Result<Made, LabError> {
        if let Network::Named(name) = &spec.network
            && session.embedded
        {
            return Err(LabError::Other(format!(
                "the network {name} cannot be used: libvirt inside this process has no networks; named networks need \
                 a libvirtd: --connect qemu:///system"
            )));
        }
        if spec.image.tpm {
            tpm::check_host()?;
            match tpm {
                Some(storage) => tpm::prepare(storage, spec.image.tpm_state.as_ref(), &self.users)?,
                None if spec.image.tpm_state.is_some() => {
                    return Err(LabError::Other(
                        "`tpm_state` needs libvirt inside this process: a libvirtd keeps the state of its TPMs where \
                         nobody else can put it; leave out --connect"
                            .to_owned(),
                    ));
                }
                None => {}
            }
        }
        let account = self.users.account();
        let overlay = dir.join(DISK);
        let base = spec.seal.as_ref().map_or_else(|| spec.image.disk.clone(), |seal| seal.join(DISK));
        overlay::create(&overlay, &base)?;
        let boot = spec.image.boot.as_ref();
        let kernel = boot.map(|boot| self.readable(&boot.kernel, "kernel", dir)).transpose()?;
        let initrd = boot.and_then(|boot| boot.initrd.as_ref());
        let initrd = initrd.map(|initrd| self.readable(initrd, "initrd", dir)).transpose()?;
        let firmware = nvram::firmware(&spec.image)?;
        let variables = firmware.as_ref();
        let variables = variables
            .map(|firmware| nvram::create(dir, &spec.image, firmware, spec.seal.as_deref(), &self.users))
            .transpose()?;
        self.users.hand_over(&overlay)?;
        // Last: from here on QEMU's account can put anything there.
        self.users.hand_over(dir)?;
        let passed = match account {
            Some(account) => unreachable_layers(&base, account)?,
            None => Vec::new(),
        };
        let kept = if self.keeps_owners { overlay::chain(&base)? } else { Vec::new() };
        let layers = match (&passed[..], &kept[..]) {
            ([], []) => Layers::Found,
            ([], kept) => Layers::Kept(kept),
            (passed, _) => Layers::Passed(passed),
        };
        let files = VmFiles {
            serial_log: dir.join("serial.log"),
            firmware_log: Some(dir.join("firmware.log")),
            qemu_log: Some(session.qemu_log(&machine_name(uuid))),
            dir: dir.to_owned(),
        };
        let definition = Definition {
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
            uefi: firmware.as_ref().zip(variables.as_deref()).map(|(firmware, variables)| Uefi {
                code: &firmware.code,
                variables,
                needs_smm: firmware.needs_smm,
            }),
            agent_socket: &dir.join("agent.sock"),
            kernel: kernel.as_deref(),
            initrd: initrd.as_deref(),
            tpm_stays: session.embedded,
        };
        let xml = domain_xml(&definition)?;
        let memory = spec.seal.as_ref().map(|seal| Memory {
            seal: seal.clone(),
            metadata: metadata_xml(&definition),
            layers: layers_xml(&definition.layers),
        });
        Ok(Made { xml, passed, memory, files })
    }

    /// See [`crate::lab::Lab::seal_subject`].
    pub fn seal_subject(&self, spec: &VmSpec, lab: &str) -> Result<String, LabError> {
        if let Network::Named(name) = &spec.network {
            return Err(LabError::Other(format!(
                "clones that meet on the network {name} need cards of their own, and a seal has one"
            )));
        }
        let here = Path::new("/machine");
        let firmware = nvram::firmware(&spec.image)?;
        let boot = spec.image.boot.as_ref();
        let xml = domain_xml(&Definition {
            name: "",
            uuid: "",
            run: "",
            cell: "",
            root: "",
            owner: "",
            image: &spec.image,
            accelerator: self.accelerator,
            emulator: self.emulator.as_ref().map(|_| Path::new("/emulator")),
            network: &spec.network,
            overlay: here,
            layers: Layers::Found,
            serial_log: here,
            firmware_log: here,
            uefi: firmware.as_ref().map(|firmware| Uefi {
                code: &firmware.code,
                variables: here,
                needs_smm: firmware.needs_smm,
            }),
            agent_socket: here,
            kernel: boot.map(|boot| boot.kernel.as_path()),
            initrd: boot.and_then(|boot| boot.initrd.as_deref()),
            tpm_stays: false,
        })?;
        let programs = boot.into_iter().flat_map(|boot| [Some(boot.kernel.clone()), boot.initrd.clone()]).flatten();
        let swtpm = spec.image.tpm.then(|| find_program(tpm::PROGRAMS[0])).flatten();
        let programs = programs.chain(find_program(QEMU)).chain(firmware.map(|firmware| firmware.code)).chain(swtpm);
        let files: Vec<String> = programs.map(|file| seal::file_identity(&file)).collect();
        Ok(format!("{xml}\n{lab}\n{}\n{}", seal::cpu_model(), files.join("\n")))
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
fn unreachable_layers(base: &Path, account: &Account) -> Result<Vec<Layer>, LabError> {
    let chain = overlay::chain(base)?;
    let blocked = chain.iter().any(|layer| account.blocked_at(Path::new(&layer.file)).is_some());
    Ok(if blocked { chain } else { Vec::new() })
}

fn new_uuid() -> Result<String, LabError> {
    let path = Path::new("/proc/sys/kernel/random/uuid");
    let uuid = fs::read_to_string(path).map_err(LabError::io("read", path))?;
    Ok(uuid.trim().to_owned())
}
