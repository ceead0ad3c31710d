use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Longest that anything here is waited for.
const PATIENCE: Duration = Duration::from_secs(600);

/// A state folder of its own for runs of the binary. At the end nothing of theirs may be left.
pub struct Bench {
    folder: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// A run that has ended.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    pub dir: PathBuf,
}

impl Bench {
    pub fn new() -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        // Short, for UNIX sockets, and open to QEMU's account.
        let folder = tempfile::Builder::new().prefix("bg-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, _alone: alone }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootgate"));
        command.args(words).current_dir(self.folder.path()).env("BOOTGATE_STATE", self.path("s"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs `bootgate run` to its end.
    pub fn run(&self, words: &[&str]) -> Ran {
        self.finish(self.start(words))
    }

    /// Starts `bootgate run`.
    pub fn start(&self, words: &[&str]) -> Child {
        let all: Vec<&str> = ["run"].into_iter().chain(words.iter().copied()).collect();
        self.command(&all).spawn().unwrap()
    }

    pub fn finish(&self, child: Child) -> Ran {
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr), dir: self.newest_run() }
    }

    /// What is on record of a run, whoever ended it.
    pub fn finished(&self, dir: PathBuf) -> Ran {
        Ran { code: None, out: String::new(), err: String::new(), dir }
    }

    pub fn newest_run(&self) -> PathBuf {
        let mut runs: Vec<PathBuf> =
            fs::read_dir(self.path("runs")).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
        runs.sort();
        runs.pop().unwrap_or_default()
    }

    /// Process ids of every QEMU whose files are in this bench.
    pub fn machines(&self) -> Vec<u32> {
        let ours = format!("{}/s/lab/", self.folder.path().display());
        let processes =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let is_ours = |pid: &u32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).into_owned();
            words.contains("qemu-system") && words.contains(&ours) && words.contains("guest=bootgate")
        };
        processes.filter(is_ours).collect()
    }

    /// Whether these words are on the serial console of any machine.
    pub fn some_console_says(&self, words: &str) -> bool {
        let folders = |path: PathBuf| fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path());
        let mut machines = folders(self.path("s/lab")).flat_map(|root| folders(root.join("vms")));
        machines.any(|machine| {
            let log = fs::read(machine.join("serial.log")).unwrap_or_default();
            String::from_utf8_lossy(&log).contains(words)
        })
    }

    /// Waits until so many machines are there.
    pub fn wait_for_machines(&self, count: usize) {
        wait_until("machines are running", || self.machines().len() >= count);
    }

    /// No process, clone, socket or medium of ours is left.
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.machines(), Vec::<u32>::new(), "QEMU processes are left");
        for root in fs::read_dir(self.path("s/lab")).into_iter().flatten() {
            let vms = root.unwrap().path().join("vms");
            let left: Vec<PathBuf> =
                fs::read_dir(vms).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
            assert_eq!(left, Vec::<PathBuf>::new(), "files of machines are left");
        }
    }
}

impl Ran {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    pub fn result(&self) -> Value {
        serde_json::from_slice(&fs::read(self.dir.join("result.json")).unwrap()).unwrap()
    }

    /// Each permutation's last axis value with its outcome and the id of its leading reason.
    pub fn verdicts(&self) -> Vec<(String, String)> {
        let result = self.result();
        let verdict = |cell: &Value| {
            let id = cell["id"].as_str().unwrap().rsplit('.').next().unwrap().to_owned();
            let reason = cell["reasons"][0]["id"].as_str();
            (id, reason.unwrap_or_else(|| cell["outcome"].as_str().unwrap()).to_owned())
        };
        let permutations = result["cells"].as_array().unwrap().iter().filter(|cell| cell["control"] == false);
        permutations.map(verdict).collect()
    }

    /// How each permutation started.
    pub fn starts(&self) -> Vec<String> {
        let result = self.result();
        let permutations = result["cells"].as_array().unwrap().iter().filter(|cell| cell["control"] == false);
        permutations.map(|cell| cell["start"].as_str().unwrap_or("none").to_owned()).collect()
    }
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(100));
    }
}

/// The lab's catalogue.
pub fn catalog() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/catalog.yaml");
    assert!(path.exists(), "the lab's golden images are missing: run images/build (ci/test does)");
    path.display().to_string()
}

/// What identifies the golden images' files and their content: names, sizes, times, owners, digests.
pub fn golden() -> Vec<String> {
    use std::os::unix::fs::MetadataExt as _;
    let mut files: Vec<String> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("images/built"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| match fs::read_dir(&path) {
            Ok(below) => below.map(|entry| entry.unwrap().path()).collect(),
            Err(_) => vec![path],
        })
        .map(|path| {
            let about = fs::metadata(&path).unwrap();
            let digest = bootgate::catalog::sha256_file(&path).unwrap();
            let (name, size, time, changed) = (path.display(), about.size(), about.mtime_nsec(), about.ctime_nsec());
            format!("{name} {size} {time} {changed} {}:{} {digest}", about.uid(), about.gid())
        })
        .collect();
    files.sort();
    files
}

/// A matrix of one axis of cells on the same image, each with steps and further keys of its own.
pub fn matrix(cells: &[&str], body: &str) -> String {
    format!(
        "version: 1\nname: test\ncatalog: {}\naxes:\n  os: [lab-os-10]\n  patch: [p1]\n  cell: [{}]\n{body}",
        catalog(),
        cells.join(", ")
    )
}
