use std::path::{Path, PathBuf};

/// The folder in which bootgate keeps what outlives a run; docs/architecture.md lists what is in it. Who may write here is who
/// runs bootgate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir(PathBuf);

impl StateDir {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn lab_roots(&self) -> PathBuf {
        self.0.join("lab")
    }

    pub fn slots(&self) -> PathBuf {
        self.0.join("slots")
    }

    pub fn seals(&self) -> PathBuf {
        self.0.join("seals")
    }

    pub fn boots(&self) -> PathBuf {
        self.0.join("boots")
    }

    pub fn watch(&self) -> PathBuf {
        self.0.join("watch")
    }

    pub fn history(&self) -> PathBuf {
        self.0.join("history.sqlite")
    }

    pub fn digests(&self) -> PathBuf {
        self.0.join("digests.json")
    }

    pub fn lab_key(&self) -> PathBuf {
        self.0.join("lab-key.pem")
    }

    pub fn rings(&self) -> PathBuf {
        self.0.join("rings.jsonl")
    }

    pub fn accelerator(&self) -> PathBuf {
        self.0.join("accelerator.json")
    }
}
