//! A build from a medium, step by step.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use super::{
    build::Args,
    making::{Stop, check_file},
};
use crate::{
    image::{
        ANSWER_FILE, Answers, Edition, FINISH_FILE, ImageError, Installation, Outcome, WindowsVersion, finish_script,
        outcome,
    },
    lab::{
        Account, LabRoot, Users, end_of_guest_written,
        libvirt::{Ended, Installing},
        make_dir, named_iso,
    },
    model::{Accelerator, Bytes, Firmware, Millis},
};

/// How long Enter is pressed for: firmware takes seconds to come to the medium, and Windows PE some more until it
/// would take notice.
const KEYS: Duration = Duration::from_secs(30);

/// The answers' medium, in the folder of the build.
const MEDIUM: &str = "answers.iso";

/// A build that makes sense.
pub struct Build {
    pub answers: Answers,
    pub tpm: bool,
    pub memory: Bytes,
    pub vcpus: u32,
    pub disk_size: Bytes,
    pub windows_iso: PathBuf,
    pub virtio_iso: PathBuf,
    pub name: String,
    pub accelerator: Accelerator,
}

impl Build {
    pub fn check(args: &Args) -> anyhow::Result<Self> {
        let version: WindowsVersion = args.windows.parse().map_err(anyhow::Error::msg)?;
        let firmware = match args.firmware.as_deref() {
            None => version.usual_firmware(),
            Some("bios") => Firmware::Bios,
            Some("uefi") => Firmware::Uefi,
            Some(_) => Firmware::UefiSecure,
        };
        if version.is_windows_11() && firmware != Firmware::UefiSecure {
            bail!("Windows 11 requires UEFI with Secure Boot and a TPM 2.0: leave --firmware out");
        }
        let name = args.edition.as_deref().unwrap_or(Edition::usual(version));
        let mut edition = Edition::named(version, name)?;
        if args.product_key.is_some() {
            edition.key.clone_from(&args.product_key);
        }
        let windows_iso = check_file(&args.iso, "the installation medium")?;
        let virtio_iso = check_file(&args.virtio, "the virtio-win medium")?;
        for iso in [&windows_iso, &virtio_iso] {
            if !is_iso(iso)? {
                bail!("`{}` is no ISO image: give the downloaded file itself, not unpacked", iso.display());
            }
        }
        let text = |what: &str, text: &str, longest: usize| -> anyhow::Result<String> {
            if text.trim().is_empty() || text.chars().count() > longest || text.chars().any(char::is_control) {
                bail!("`{text}` is no {what}: it has 1 to {longest} characters");
            }
            Ok(text.to_owned())
        };
        let language = text("language", &args.language, 80)?;
        let keyboard = args.keyboard.as_ref().map_or(Ok(language.clone()), |given| text("keyboard", given, 80))?;
        let least = version.least_disk();
        if args.disk_size < least {
            bail!("{} is too small a disk for {version}: give --disk-size {least} or more", args.disk_size);
        }
        if args.memory < Bytes::mib(2048) {
            bail!("{} is too little memory for {version}: give --memory 4GiB", args.memory);
        }
        let answers = Answers {
            version,
            edition,
            firmware,
            language,
            keyboard,
            time_zone: text("time zone", &args.time_zone, 256)?,
            // Windows lets no account have the computer's name.
            computer: "GOLDEN".to_owned(),
            user: "bootgate".to_owned(),
            password: text("password", &args.password, 127)?,
        };
        // For those who only look: `detect` knows better, but starts a machine to know.
        let has_kvm = fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
        Ok(Self {
            tpm: firmware == Firmware::UefiSecure,
            answers,
            memory: args.memory,
            vcpus: args.vcpus,
            disk_size: args.disk_size,
            windows_iso,
            virtio_iso,
            name: args.name.clone().unwrap_or_else(|| version.to_string()),
            accelerator: if has_kvm { Accelerator::Kvm } else { Accelerator::Tcg },
        })
    }

    fn domain(&self) -> String {
        format!("bootgate-build-{}", self.name)
    }

    /// `root`: the lab root that it goes with, unless it is run by hand.
    pub fn domain_xml(&self, folder: &Path, root: Option<&LabRoot>) -> Result<String, ImageError> {
        let installation = Installation {
            name: &self.domain(),
            version: self.answers.version,
            firmware: self.answers.firmware,
            tpm: self.tpm,
            memory: self.memory,
            vcpus: self.vcpus,
            accelerator: self.accelerator,
            disk: &folder.join("disk.qcow2"),
            windows_iso: &self.windows_iso,
            virtio_iso: &self.virtio_iso,
            answers_iso: &folder.join(MEDIUM),
            serial_log: &folder.join("serial.log"),
            root,
        };
        installation.domain_xml()
    }

    /// The answers, by themselves and as a medium, and the machine's definition, in a folder that is not there yet. The
    /// password is in them: nobody reads them but us and QEMU. `uri`: the libvirt that the machine is for.
    pub fn write(&self, folder: &Path, uri: &str, root: Option<&LabRoot>) -> anyhow::Result<()> {
        if folder.symlink_metadata().is_ok() {
            return Err(ImageError::Exists(folder.to_owned()).into());
        }
        let users = Users::of_libvirtd(uri);
        let (answers, script) = (self.answers.xml(), finish_script(self.answers.version));
        let medium = named_iso(&[(ANSWER_FILE, answers.as_bytes()), (FINISH_FILE, script.as_bytes())])?;
        let domain = self.domain_xml(folder, root)?;
        make_dir(folder, users.passage_mode())?;
        if let Some(root) = root {
            root.adopt(folder)?;
        }
        let write = |name: &str, bytes: &[u8]| -> io::Result<()> {
            let file = fs::File::options().write(true).create_new(true).mode(0o600).open(folder.join(name));
            file?.write_all(bytes)
        };
        write(ANSWER_FILE, answers.as_bytes())
            .and_then(|()| write(FINISH_FILE, script.as_bytes()))
            .and_then(|()| write(MEDIUM, &medium))
            .and_then(|()| write("domain.xml", domain.as_bytes()))
            .with_context(|| format!("cannot write into {}", folder.display()))?;
        // A libvirtd makes QEMU's account the owner of all disks, unless it was told not to. Only root can do the same.
        if matches!(users, Users::Daemon)
            && let Ok(Some(account)) = Account::for_qemu()
        {
            Users::Account(account).hand_over(&folder.join(MEDIUM))?;
        }
        Ok(())
    }

    pub fn make_disk(&self, folder: &Path) -> anyhow::Result<()> {
        let mut command = Command::new("qemu-img");
        let command = command.args(["create", "-q", "-f", "qcow2", "--"]).arg(folder.join("disk.qcow2"));
        let output = command.arg(self.disk_size.0.to_string()).output().context("cannot run qemu-img")?;
        if !output.status.success() {
            bail!("qemu-img cannot make a disk: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Until the machine turns itself off, and has said that all is done.
    pub fn wait(&self, machine: &Installing, folder: &Path, deadline: Duration, stop: &Stop) -> anyhow::Result<()> {
        let log = folder.join("serial.log");
        let bar = indicatif::ProgressBar::new_spinner();
        bar.set_style(indicatif::ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}")?);
        bar.enable_steady_tick(Duration::from_millis(500));
        let started = Instant::now();
        let ended = machine.wait(KEYS, deadline, &mut || {
            let told = match outcome(&read_tail(&log)) {
                Outcome::Silent(Some(last)) => last,
                Outcome::Silent(None) if started.elapsed() < KEYS => "starting the medium".to_owned(),
                Outcome::Silent(None) => "Windows Setup is at work".to_owned(),
                Outcome::Ready => "ready, shutting down".to_owned(),
                Outcome::Failed(why) => why,
            };
            bar.set_message(format!("{}: {told}", self.name));
            !stop.is_set()
        });
        bar.finish_and_clear();
        match (ended, outcome(&read_tail(&log))) {
            (Ended::PoweredOff, Outcome::Ready) => Ok(()),
            (Ended::PoweredOff, Outcome::Failed(why)) => bail!("the last commands failed: {why}"),
            (Ended::PoweredOff, Outcome::Silent(None)) => {
                bail!(
                    "the machine turned itself off before the last commands: Windows Setup failed, or did not find its answers"
                )
            }
            (Ended::PoweredOff, Outcome::Silent(Some(last))) => {
                bail!("the machine turned itself off in the midst of the last commands, after `{last}`")
            }
            (Ended::Lost, _) => bail!("the machine crashed, or was ended by somebody else, or its host's disk is full"),
            (Ended::TimedOut, _) => {
                let deadline = Millis::from(deadline);
                bail!("not done after {deadline}: Windows Setup may wait for an answer; --timeout gives it more")
            }
            (Ended::Stopped, _) => Err(ImageError::Stopped.into()),
        }
    }

    /// The same with virsh, and by a person who looks at the screen.
    pub fn by_hand(&self, folder: &Path, uri: &str) -> String {
        let (domain, name) = (self.domain(), &self.name);
        let quoted = |path: PathBuf| quoted(&path.display().to_string());
        let (disk, xml, log) = (folder.join("disk.qcow2"), folder.join("domain.xml"), folder.join("serial.log"));
        format!(
            "To install it by hand:\n  \
               qemu-img create -f qcow2 {} {}\n  \
               virsh -c {uri} define {}\n  \
               virsh -c {uri} start {domain}\n  \
               # within its first 30 seconds, where it says `Press any key to boot from CD`:\n  \
               virsh -c {uri} send-key {domain} KEY_ENTER\n  \
               # it turns itself off when it is done; the last line here is then `bootgate: ready`:\n  \
               tail {}\n  \
               bootgate images import --connect {uri} --domain {domain} --name {name} --family windows --compress\n  \
               virsh -c {uri} undefine {domain} --nvram\n",
            quoted(disk),
            self.disk_size.0,
            quoted(xml),
            quoted(log)
        )
    }
}

/// For a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// ECMA-119: the first volume descriptor is in sector 16. Microsoft's media, which are UDF, have one too.
fn is_iso(path: &Path) -> anyhow::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let mut word = [0; 5];
    let file = fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    match file.read_exact_at(&mut word, 16 * 2048 + 1) {
        Ok(()) => Ok(&word == b"CD001"),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The machine writes it: no more is read than is looked at.
fn read_tail(log: &Path) -> Vec<u8> {
    end_of_guest_written(log, 64 << 10).unwrap_or_default()
}
