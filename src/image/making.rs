//! A golden image's files, made from a machine's.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use tempfile::{NamedTempFile, TempPath};

use super::{Card, Entry, ImageError, Shelf, Source, States};
use crate::{
    catalog::sha256_file,
    files::UNFINISHED,
    model::{Family, Firmware, Sha256},
    qcow2,
};

pub(super) const QEMU_IMG: &str = "qemu-img";

/// Longer than any firmware's variables or TPM's state.
const MAX_STATE: u64 = 64 << 20;

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Making {
    pub source: Source,
    pub name: String,
    /// Empty: `os: NAME`.
    pub labels: BTreeMap<String, String>,
    pub family: Family,
    /// The folder of the new files.
    pub out: PathBuf,
    /// Saves a half or more of the space, and costs minutes.
    pub compress: bool,
    /// Where firmware's and TPM's memory may be.
    pub states: States,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Made {
    pub entry: Entry,
    pub files: Vec<PathBuf>,
    pub notes: Vec<String>,
}

/// Makes the files beside each other and enters the image in the catalogue. Blocks for as long as it takes; `stop` ends
/// it early. The machine must not run meanwhile.
///
/// # Errors
/// Nothing is left behind then, but for [`ImageError::NotEntered`] after all was made.
pub fn take_in(making: &Making, shelf: &Shelf, stop: &AtomicBool) -> Result<Made, ImageError> {
    making.check(shelf)?;
    let mut notes = making.source.notes.clone();
    let [disk, nvram, tpm_state] = making.files();
    fs::create_dir_all(&making.out).map_err(ImageError::io("make the folder", &making.out))?;
    let mut made = vec![Piece::new(convert(making, &disk, stop)?, &disk, 0o644)];
    let taken = take_nvram(making, &nvram, stop, &mut notes)?;
    made.extend(taken.map(|file| Piece::new(file, &nvram, 0o644)));
    let taken = take_tpm_state(making, &tpm_state, &mut notes)?;
    // Its keys are the machine's secrets.
    made.extend(taken.map(|file| Piece::new(file, &tpm_state, 0o600)));
    for piece in &mut made {
        piece.seal()?;
    }
    let digest = |path: &Path| made.iter().find(|piece| piece.path == path).map(|piece| piece.sha256.clone());
    let named = |path| Some((path, digest(path)?));
    let unknown = || Sha256::of(b"");
    let entry = making.entry(shelf, digest(&disk).unwrap_or_else(unknown), named(&nvram), named(&tpm_state))?;
    let files = keep(made)?;
    shelf.put(&entry)?;
    Ok(Made { entry, files, notes })
}

/// A file that is whole, but doesn't have its name yet.
pub(super) struct Piece<'a> {
    pub file: TempPath,
    pub path: &'a Path,
    mode: u32,
    pub sha256: Sha256,
}

impl<'a> Piece<'a> {
    pub fn new(file: TempPath, path: &'a Path, mode: u32) -> Self {
        Self { file, path, mode, sha256: Sha256::of(b"") }
    }

    pub fn seal(&mut self) -> Result<(), ImageError> {
        let mode = fs::Permissions::from_mode(self.mode);
        fs::set_permissions(&self.file, mode).map_err(ImageError::io("change", self.path))?;
        self.sha256 = sha256_file(&self.file).map_err(ImageError::io("read", self.path))?;
        Ok(())
    }
}

impl Making {
    /// The disk, the UEFI variables, the TPM's state.
    pub fn files(&self) -> [PathBuf; 3] {
        ["qcow2", "nvram.fd", "tpm2"].map(|ending| self.out.join(format!("{}.{ending}", self.name)))
    }

    /// Before the long work: all that could be wrong with the entry and its files.
    ///
    /// # Errors
    /// What is.
    pub fn check(&self, shelf: &Shelf) -> Result<(), ImageError> {
        if let Some(there) = self.files().into_iter().find(|file| fs::symlink_metadata(file).is_ok()) {
            return Err(ImageError::Exists(there));
        }
        shelf.would_take(&self.entry(shelf, Sha256::of(b""), None, None)?)
    }

    fn entry(
        &self,
        shelf: &Shelf,
        sha256: Sha256,
        nvram: Option<(&Path, Sha256)>,
        tpm_state: Option<(&Path, Sha256)>,
    ) -> Result<Entry, ImageError> {
        let machine = &self.source.machine;
        let mut labels = self.labels.clone();
        if labels.is_empty() {
            labels.insert("os".to_owned(), self.name.clone());
        }
        let [disk, ..] = self.files();
        let named = |state: Option<(&Path, Sha256)>| -> Result<Option<(String, Sha256)>, ImageError> {
            state.map(|(file, sha256)| Ok((shelf.named(file)?, sha256))).transpose()
        };
        Ok(Entry {
            name: self.name.clone(),
            labels,
            disk: shelf.named(&disk)?,
            sha256,
            firmware: machine.firmware,
            nvram: named(nvram)?,
            tpm: machine.tpm,
            tpm_state: named(tpm_state)?,
            disk_bus: machine.disk_bus,
            network_model: if machine.card == Card::E1000e { "e1000e" } else { "virtio" },
            clock: machine.clock,
            memory: machine.memory,
            vcpus: machine.vcpus,
            family: self.family,
            made: Some(time::OffsetDateTime::now_utc().date()),
        })
    }
}

/// Most files that a disk may consist of.
const LONGEST_CHAIN: usize = 64;

/// Every file that the disk's headers name must be a file of this host, and the chain must end: `qemu-img` would connect to a
/// server, wait for a pipe's other end, or go round in a circle for ever.
fn is_chain_of_files(disk: &Path, format: &str) -> Result<(), ImageError> {
    let unfit =
        |what: String| ImageError::Unfit { what, hint: "flatten the disk yourself (qemu-img convert)".to_owned() };
    let (mut path, mut is_qcow2) = (disk.to_owned(), format == "qcow2");
    for _ in 0..LONGEST_CHAIN {
        let about = fs::metadata(&path).map_err(ImageError::io("read", &path))?;
        if !about.is_file() {
            return Err(unfit(format!("`{}` is no regular file", path.display())));
        }
        // Told from qemu-img's words, whose exit code is the same for all.
        File::open(&path).map_err(ImageError::io("read", &path))?;
        if !is_qcow2 {
            return Ok(());
        }
        let header = match qcow2::Header::read(&path) {
            Ok(header) => header,
            // qemu-img says what it is instead.
            Err(qcow2::Error::NotQcow2) => return Ok(()),
            Err(error) => return Err(unfit(format!("`{}`: {error}", path.display()))),
        };
        let Some(backing) = header.backing else { return Ok(()) };
        is_qcow2 = !backing.is_raw;
        path = backing.beside(&path).map_err(|error| unfit(format!("`{}`: {error}", path.display())))?;
    }
    Err(unfit(format!(
        "`{}` has more than {LONGEST_CHAIN} files below it, or they go round in a circle",
        disk.display()
    )))
}

/// The disk as one file without others below it, not under its own name yet.
fn convert(making: &Making, disk: &Path, stop: &AtomicBool) -> Result<TempPath, ImageError> {
    let pick = &making.source.pick;
    is_chain_of_files(&pick.file, &pick.format)?;
    let file = beside(disk)?;
    let mut command = Command::new(QEMU_IMG);
    command.args(["convert", "-f", &pick.format, "-O", "qcow2"]);
    if making.compress {
        command.arg("-c");
    }
    if let Some(snapshot) = &pick.snapshot {
        command.args(["-l", &format!("snapshot.name={}", snapshot.replace(',', ",,"))]);
    }
    run(command.arg("--").arg(&pick.file).arg(&file), stop)?;
    let header = qcow2::Header::read(&file).map_err(|error| ImageError::QemuImg(error.to_string()))?;
    if header.backing.is_some() {
        return Err(ImageError::QemuImg("the copy is no whole disk".to_owned()));
    }
    Ok(file)
}

fn take_nvram(
    making: &Making,
    to: &Path,
    stop: &AtomicBool,
    notes: &mut Vec<String>,
) -> Result<Option<TempPath>, ImageError> {
    let machine = &making.source.machine;
    if machine.firmware == Firmware::Bios {
        return Ok(None);
    }
    let usual = || making.states.nvram.iter().find(|nvram| fs::symlink_metadata(&nvram.path).is_ok());
    let Some(nvram) = machine.nvram.as_ref().or_else(usual) else {
        notes.push("its UEFI variables were not found: clones begin with the firmware's own".to_owned());
        return Ok(None);
    };
    if nvram.format == "raw" {
        return take_state(&nvram.path, to, "UEFI variables", "clones begin with the firmware's own", notes);
    }
    match File::open(&nvram.path) {
        Ok(_) => {}
        Err(error) => {
            notes.push(left_out(&nvram.path, "UEFI variables", &error, "clones begin with the firmware's own"));
            return Ok(None);
        }
    }
    let file = beside(to)?;
    let mut command = Command::new(QEMU_IMG);
    command.args(["convert", "-f", &nvram.format, "-O", "raw", "--"]);
    run(command.arg(&nvram.path).arg(&file), stop)?;
    Ok(Some(file))
}

fn take_tpm_state(making: &Making, to: &Path, notes: &mut Vec<String>) -> Result<Option<TempPath>, ImageError> {
    if !making.source.machine.tpm {
        return Ok(None);
    }
    let Some(state) = &making.states.tpm else {
        notes.push("where its TPM's state is is not known here: every clone has a new TPM".to_owned());
        return Ok(None);
    };
    take_state(state, to, "TPM's state", "every clone has a new TPM", notes)
}

/// A copy, if the file can be read; else a note.
fn take_state(
    from: &Path,
    to: &Path,
    what: &str,
    otherwise: &str,
    notes: &mut Vec<String>,
) -> Result<Option<TempPath>, ImageError> {
    let read = fs::metadata(from).and_then(|about| {
        if !about.is_file() || about.len() > MAX_STATE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no regular file, or too long"));
        }
        let mut bytes = Vec::new();
        File::open(from)?.take(MAX_STATE).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    match read {
        Ok(bytes) => {
            let file = beside(to)?;
            fs::write(&file, bytes).map_err(ImageError::io("write", to))?;
            Ok(Some(file))
        }
        Err(error) => {
            notes.push(left_out(from, what, &error, otherwise));
            Ok(None)
        }
    }
}

fn left_out(file: &Path, what: &str, error: &io::Error, otherwise: &str) -> String {
    format!("its {what} `{}` cannot be read ({error}): {otherwise}", file.display())
}

/// A new file in the same folder, gone when it is dropped.
pub(super) fn beside(path: &Path) -> Result<TempPath, ImageError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    NamedTempFile::with_prefix_in(UNFINISHED, folder)
        .map(NamedTempFile::into_temp_path)
        .map_err(ImageError::io("write to", folder))
}

/// Gives the files their names: all of them or none.
fn keep(made: Vec<Piece>) -> Result<Vec<PathBuf>, ImageError> {
    let mut kept: Vec<PathBuf> = Vec::new();
    for Piece { file, path, .. } in made {
        let result = File::open(&file).and_then(|file| file.sync_all());
        let result = result.and_then(|()| file.persist_noclobber(path).map_err(|error| error.error));
        if let Err(error) = result {
            for kept in &kept {
                let _ = fs::remove_file(kept);
            }
            return Err(match error.kind() {
                io::ErrorKind::AlreadyExists => ImageError::Exists(path.to_owned()),
                _ => ImageError::io("write", path)(error),
            });
        }
        kept.push(path.to_owned());
    }
    Ok(kept)
}

/// Runs `qemu-img` to its end, or until it is to stop.
pub(super) fn run(command: &mut Command, stop: &AtomicBool) -> Result<(), ImageError> {
    let failed = |why: String| ImageError::QemuImg(why);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => failed("it is not installed (Debian: apt install qemu-utils)".to_owned()),
        _ => failed(error.to_string()),
    })?;
    let pipe = child.stderr.take();
    // Read while it runs: a full pipe would stop it.
    let words = thread::spawn(move || {
        let mut text = Vec::new();
        let mut pipe = pipe?;
        pipe.by_ref().take(4096).read_to_end(&mut text).ok()?;
        io::copy(&mut pipe, &mut io::sink()).ok()?;
        Some(String::from_utf8_lossy(&text).trim().to_owned())
    });
    let status = loop {
        if stop.load(Ordering::Relaxed) {
            let _ = child.kill();
            let _ = child.wait();
            return Err(ImageError::Stopped);
        }
        match child.try_wait().map_err(|error| failed(error.to_string()))? {
            Some(status) => break status,
            None => thread::sleep(Duration::from_millis(50)),
        }
    };
    let words = words.join().ok().flatten().unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    // A Ctrl-C in a terminal ends it too, and maybe before we look.
    if stop.load(Ordering::Relaxed) {
        return Err(ImageError::Stopped);
    }
    Err(failed(if words.is_empty() { status.to_string() } else { words }))
}

#[cfg(test)]
mod tests;
