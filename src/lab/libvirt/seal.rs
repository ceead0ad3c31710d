//! A sealed machine's files: the disk, frozen as the base of overlays, and the memory as libvirt saved it; the UEFI
//! variables beside them (`nvram.rs`).

use std::{
    ffi::CString,
    fs::{self, File},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use virt::{domain::Domain, error::Error, sys};

use super::{
    connection::failed,
    machine::DISK,
    save_image::{Head, Identity, SaveImageError},
};
use crate::lab::LabError;

/// The memory's name in a seal's folder.
pub const MEMORY: &str = "memory";
/// What the machine was called when it was sealed.
const IDENTITY: &str = "machine.json";

/// A memory that a machine is to begin with, and the parts of its definition that are its own.
#[derive(Debug)]
pub struct Memory {
    pub seal: PathBuf,
    pub metadata: String,
    pub layers: String,
}

impl Memory {
    /// The head for the machine that is called `now`, the file behind it, and where QEMU's stream begins there.
    ///
    /// # Errors
    /// The seal is damaged or foreign.
    pub fn open(&self, now: &Identity) -> Result<(Vec<u8>, File, u64), LabError> {
        let path = self.seal.join(IDENTITY);
        let text = fs::read(&path).map_err(LabError::io("read", &path))?;
        let was: Identity = serde_json::from_slice(&text).map_err(|error| unusable(&path, error))?;
        let path = self.seal.join(MEMORY);
        let file = File::open(&path).map_err(LabError::io("open", &path))?;
        let head = Head::read(&file).map_err(|error| image_error(&path, error))?;
        let bytes =
            head.for_clone(&was, now, &self.metadata, &self.layers).map_err(|error| image_error(&path, error))?;
        Ok((bytes, file, head.stream_at))
    }
}

/// Saves a running machine's memory, after which the machine is no more.
pub fn save(domain: &Domain, memory: &Path) -> Result<(), LabError> {
    let path = CString::new(memory.as_os_str().as_bytes()).map_err(|error| LabError::Other(error.to_string()))?;
    // SAFETY: the domain is valid, the path is a C string that outlives the call, and no XML is given.
    let result = unsafe {
        sys::virDomainSaveFlags(domain.as_ptr(), path.as_ptr(), std::ptr::null(), sys::VIR_DOMAIN_SAVE_RUNNING)
    };
    if result < 0 {
        return Err(failed("save the machine's memory", &Error::last_error()));
    }
    Ok(())
}

/// Completes a seal whose memory is saved: the overlay becomes its disk.
pub fn keep(dir: &Path, overlay: &Path, identity: &Identity) -> Result<(), LabError> {
    let memory = dir.join(MEMORY);
    // A libvirtd writes as somebody else, and may have been told to compress.
    let file = File::open(&memory).map_err(LabError::io("read", &memory))?;
    Head::read(file).map_err(|error| image_error(&memory, error))?;
    let disk = dir.join(DISK);
    fs::rename(overlay, &disk).map_err(LabError::io("move", overlay))?;
    let path = dir.join(IDENTITY);
    let text = serde_json::to_vec(identity).map_err(|error| unusable(&path, error))?;
    fs::write(&path, text).map_err(LabError::io("write", &path))
}

/// Changes whenever the file is replaced.
pub fn file_identity(path: &Path) -> String {
    match fs::metadata(path) {
        Ok(about) => format!("{} {} {}.{}", path.display(), about.size(), about.mtime(), about.mtime_nsec()),
        Err(_) => format!("{} is not there", path.display()),
    }
}

/// The host's CPU, as the kernel names it and what it can do (man page proc_cpuinfo(5)).
pub fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let first = text.split("\n\n").next().unwrap_or_default();
    let wanted =
        |line: &&str| ["vendor_id", "model name", "flags", "microcode"].iter().any(|key| line.starts_with(key));
    first.lines().filter(wanted).collect::<Vec<_>>().join("\n")
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> LabError {
    LabError::Other(format!("the seal's {} cannot be used: {why}", path.display()))
}

fn image_error(path: &Path, error: SaveImageError) -> LabError {
    match error {
        SaveImageError::Io(error) => LabError::io("read", path)(error),
        SaveImageError::Foreign(why) => unusable(path, why),
    }
}
