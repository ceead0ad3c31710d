//! Measurement 3: bootgate against the script that an engineer would write in an afternoon.
//!
//! Both do the same to the same guests on the same host. The script gets a libvirtd of its own, with every folder
//! below the scratch one, under the account that QEMU has with bootgate.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use bootgate::model::Accelerator;
use serde_json::json;

use crate::{
    Bench,
    child::{self, Ran},
    host,
    inputs::{self, OS, PATCHES, SOAK, WATCH_S},
    restarts::{self, Gate},
    say, stop,
    table::Row,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// `measured` is bootgate's run on the same cells.
pub fn measure(bench: &mut Bench, measured: &Gate, values: &[String]) -> anyhow::Result<()> {
    let yard = Yard::new(bench, measured.record.start.accelerator)?;
    say(&format!("the same cells, by the script with virsh ({} at once)", host::cores()));
    let (ran, outcomes) = yard.run(bench, "baseline", values)?;
    let ratio = measured.ran.seconds() / ran.seconds();
    bench.rows.push(Row::new(3, "makespan, the script").value(ran.seconds(), "s"));
    bench.rows.push(Row::new(3, format!("bootgate ({}) / script", measured.start)).value(ratio, "").at_most(0.45));
    let differing = differences(&measured.record.outcomes(), &outcomes);

    say("six cells with good and bad content: whether both come to the same verdicts");
    let (matrix, values) = inputs::mixed(bench)?;
    let start = (measured.start == "live").then_some("live");
    let gate = restarts::gate(bench, &matrix, "mixed", start)?;
    let expected = expected(&values);
    let (mixed_ran, mixed) = yard.run(bench, "mixed-baseline", &values)?;
    let mut all = differing;
    all.extend(differences(&gate.record.outcomes(), &mixed));
    all.extend(differences(&gate.record.outcomes(), &expected));
    let text = "cells with other verdicts than the script's";
    bench.rows.push(Row::new(3, text).value(all.len() as f64, "").at_most(0.0));
    bench.raw.insert(
        "script".into(),
        json!({
            "run": ran.json(),
            "ratio": ratio,
            "compared_with": measured.start,
            "verdicts": outcomes,
            "mixed": { "bootgate": gate.ran.json(), "script": mixed_ran.json(), "bootgate_verdicts": gate.record.outcomes(), "script_verdicts": mixed },
        }),
    );
    if !all.is_empty() {
        bench.problem(format!("verdicts differ: {}", all.join("; ")));
    }
    Ok(())
}

/// What images/README.md says of these images and contents.
fn expected(values: &[String]) -> BTreeMap<String, String> {
    let cells = values.iter().flat_map(|value| PATCHES.map(|patch| (patch, value)));
    let outcome = |patch: &str, value: &str| if value == "bad" && patch == "p2" { "unhealthy" } else { "healthy" };
    cells.map(|(patch, value)| (format!("{OS}.{patch}.{value}"), outcome(patch, value).to_owned())).collect()
}

fn differences(ours: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> Vec<String> {
    let ids: std::collections::BTreeSet<&String> = ours.keys().chain(other.keys()).collect();
    let of = |all: &BTreeMap<String, String>, id: &String| all.get(id).cloned().unwrap_or_else(|| "none".to_owned());
    let pairs = ids.into_iter().map(|id| (id, of(ours, id), of(other, id)));
    pairs.filter(|(_, a, b)| a != b).map(|(id, a, b)| format!("{id} is {a} here and {b} there")).collect()
}

/// A libvirtd, the golden disks, and who it all belongs to.
struct Yard {
    folder: PathBuf,
    account: Option<Account>,
    daemon: Option<Child>,
    uri: String,
    kind: &'static str,
}

/// Whose processes they are where we are root, for whom libvirt has no session.
struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

impl Yard {
    fn new(bench: &Bench, accelerator: Accelerator) -> anyhow::Result<Self> {
        let folder = bench.scratch.folder("b")?;
        let account = if rustix::process::geteuid().is_root() { Some(qemu_account()?) } else { None };
        let kind = if accelerator == Accelerator::Kvm { "kvm" } else { "qemu" };
        let mut yard = Self { folder, account, daemon: None, uri: String::new(), kind };
        // Copies, because the account may not reach the repository.
        for name in ["base".to_owned()].into_iter().chain(PATCHES.map(|patch| format!("{OS}-{patch}"))) {
            let built = inputs::repository().join(format!("images/built/{name}.qcow2"));
            fs::copy(&built, yard.dir("g")?.join(format!("{name}.qcow2")))
                .with_context(|| format!("cannot copy {}", built.display()))?;
        }
        fs::copy(inputs::repository().join("ci/bench.d/baseline"), yard.folder.join("script"))?;
        yard.start_libvirtd()?;
        Ok(yard)
    }

    fn start_libvirtd(&mut self) -> anyhow::Result<()> {
        let config = self.dir("c/libvirt")?;
        // The other handler is virtlogd, one more daemon.
        fs::write(config.join("qemu.conf"), "stdio_handler = \"file\"\n")?;
        for name in ["r", "k", "d"] {
            self.dir(name)?;
        }
        self.give_away(&self.folder)?;
        let program = ["/usr/sbin/libvirtd", "/sbin/libvirtd"].map(Path::new).into_iter().find(|path| path.exists());
        let mut command = self.command(program.context("libvirtd is missing: install libvirt-daemon (ci/setup does)")?);
        self.daemon = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let socket = self.folder.join("r/libvirt/libvirt-sock");
        let deadline = Instant::now() + PATIENCE;
        while !socket.exists() {
            stop::check()?;
            ensure!(Instant::now() < deadline, "libvirtd did not open {}", socket.display());
            sleep(Duration::from_millis(100));
        }
        self.uri = format!("qemu:///session?socket={}", socket.display());
        // libvirt probes QEMU once: that is no part of the measurement, for neither side.
        let mut probe = self.command(Path::new("virsh"));
        let probed = probe.args(["-q", "domcapabilities", "--virttype", self.kind]).output()?;
        ensure!(probed.status.success(), "virsh: {}", String::from_utf8_lossy(&probed.stderr).trim());
        Ok(())
    }

    /// Runs the script on these values of all images, and reads its verdicts.
    fn run(&self, bench: &Bench, name: &str, values: &[String]) -> anyhow::Result<(Ran, BTreeMap<String, String>)> {
        let work = self.dir(name)?;
        let mut cells = String::new();
        for (patch, value) in PATCHES.iter().flat_map(|patch| values.iter().map(move |value| (patch, value))) {
            let content = work.join(format!("content-{value}.txt"));
            fs::copy(inputs::content(value), &content)?;
            let disk = self.folder.join(format!("g/{OS}-{patch}.qcow2"));
            cells += &format!("{OS}.{patch}.{value} {} {} {value}\n", disk.display(), content.display());
        }
        fs::write(work.join("cells"), cells)?;
        self.give_away(&work)?;
        let mut command = self.command(&self.folder.join("script"));
        command.arg(work.join("cells")).arg(&work);
        let ran = child::run(command, &bench.scratch, name)?;
        if ran.code != Some(0) {
            bail!("the script ended with exit code {:?}:\n{}", ran.code, ran.tail());
        }
        let mut outcomes = BTreeMap::new();
        for entry in fs::read_dir(work.join("verdicts"))? {
            let entry = entry?;
            let text = fs::read_to_string(entry.path())?;
            let outcome = text.split([':', '\n']).next().unwrap_or_default().to_owned();
            outcomes.insert(entry.file_name().to_string_lossy().into_owned(), outcome);
        }
        Ok((ran, outcomes))
    }

    /// A program under the account, in the libvirtd's world.
    fn command(&self, program: &Path) -> Command {
        let mut command = match &self.account {
            Some(account) => {
                // Unlike a plain setuid it keeps the account's groups, such as the one that may open /dev/kvm.
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={}", account.uid)).arg(format!("--regid={}", account.gid));
                command.arg("--init-groups").arg("--").arg(program);
                command.env("USER", &account.name).env("LOGNAME", &account.name);
                command
            }
            None => Command::new(program),
        };
        command
            .current_dir(&self.folder)
            .env("HOME", &self.folder)
            .env("TMPDIR", &self.folder)
            .env("XDG_CONFIG_HOME", self.folder.join("c"))
            .env("XDG_RUNTIME_DIR", self.folder.join("r"))
            .env("XDG_CACHE_HOME", self.folder.join("k"))
            .env("XDG_DATA_HOME", self.folder.join("d"))
            .env("LIBVIRT_DEFAULT_URI", &self.uri)
            .env("JOBS", host::cores().to_string())
            .env("SOAK", SOAK.to_string())
            .env("WATCH", WATCH_S.to_string())
            .env("DOMAIN_TYPE", self.kind);
        command
    }

    fn dir(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// To the account, with all that is in it.
    fn give_away(&self, path: &Path) -> anyhow::Result<()> {
        let Some(account) = &self.account else { return Ok(()) };
        chown(path, Some(account.uid), Some(account.gid))?;
        if path.is_dir() {
            for entry in fs::read_dir(path)? {
                self.give_away(&entry?.path())?;
            }
        }
        Ok(())
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        child::end_machines(&self.folder);
        if let Some(daemon) = &mut self.daemon {
            child::end(daemon);
        }
    }
}

fn qemu_account() -> anyhow::Result<Account> {
    let text = fs::read_to_string("/etc/passwd")?;
    let line = text.lines().find(|line| line.starts_with("libvirt-qemu:"));
    let fields: Vec<&str> =
        line.context("the account libvirt-qemu is missing (ci/setup makes it)")?.split(':').collect();
    let number = |at: usize| -> anyhow::Result<u32> { Ok(fields.get(at).context("a field of /etc/passwd")?.parse()?) };
    Ok(Account { name: "libvirt-qemu".to_owned(), uid: number(2)?, gid: number(3)? })
}
