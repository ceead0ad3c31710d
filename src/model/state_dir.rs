use std::path::{Path, PathBuf};

/// The folder in which bootgate keeps what outlives a run. Who may write here is who runs bootgate.
///
/// ```text
/// lab/N/  lab/N.lock   a lab root: libvirt's own files, clones, sockets; one process at a time
/// slots/               places for running VMs, shared by every bootgate process of the host, and what memory they need
/// boots/               places for VMs that boot at the same time, shared likewise
/// seals/               settled machines that cells start from, shared too
/// watch/ID/            what `bootgate watch` keeps of one folder and matrix: its queue, and copies of what waits
/// history.sqlite       how cells ended in earlier runs, how long they took, and what a boot costs
/// digests.json         digests of golden images, by inode, size and change time
/// accelerator.json     which accelerator was found to work
/// lab-key.pem          the lab's own key, which signs runs (0600)
/// rings.jsonl          which approvals opened which rings, and what came of them
/// ```
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
