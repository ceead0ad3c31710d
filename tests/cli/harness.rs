use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A folder of its own for a test, in which the binary runs with a clean environment.
pub struct Bench {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

/// What the binary answered.
#[derive(Debug)]
pub struct Answer {
    pub code: Option<i32>,
    pub out: String,
    /// Standard error, with the test's folder shown as `DIR`.
    pub err: String,
}

impl Bench {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), environment: Vec::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and the folders it is in.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Runs `bootgate` with these words, separated by spaces, in the test's folder.
    pub fn run(&self, words: &str) -> Answer {
        let output = Command::new(env!("CARGO_BIN_EXE_bootgate"))
            .args(words.split_whitespace())
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("BOOTGATE_STATE", self.path("state"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&shown(self.folder.path()), "DIR");
        Answer { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// A catalogue of two images, `os=a` and `os=b`, whose disks are absent.
    pub fn catalog(&self) {
        let image = |name: &str| {
            format!(
                "  - name: img-{name}\n    labels: {{os: {name}}}\n    disk: built/{name}.qcow2\n    \
                 sha256: {}\n    memory: 256MiB\n    family: linux\n",
                "a".repeat(64)
            )
        };
        self.file("images/catalog.yaml", format!("version: 1\nimages:\n{}{}", image("a"), image("b")));
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

impl Answer {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}
