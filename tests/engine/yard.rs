//! A whole run: its host, its plan, and what holds after it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bootgate::{
    catalog::{DigestCache, sha256_file},
    event::{Decision, Event, JournalWriter, RunState, read},
    gate::{RunSigner, check_run},
    health::judge,
    lab::{
        Boots, Lab, VmSpec,
        sim::{Census, GuestScript, SimHost, SimLab},
    },
    model::*,
    run::{self, Capacity, Finished, History, Images, Memory, Order, RunFolder, Sink},
    seal::{SealCache, Seals},
    sign::{PublicKey, known_lab_key, lab_key},
};
use tokio_util::sync::CancellationToken;

use crate::harness;

/// The control of a [compared](Yard::compared) yard, and its cells' setup steps.
pub const CONTROL: &str = "control";
pub const COMMON: &str = "/opt/common";
pub const OWN: &str = "/opt/own";

/// A host, a lab and a plan.
pub struct Yard {
    pub folder: tempfile::TempDir,
    pub lab: Arc<SimLab>,
    pub plan: Plan,
    pub jobs: u32,
    pub memory: Bytes,
    pub boots: Boots,
    /// Machines start from seals where their cells may.
    pub seals: bool,
    pub fail_fast: bool,
    pub interrupt: CancellationToken,
}

impl Yard {
    /// `cells` cells named `c0`, `c1`... on as many places as they need.
    pub fn new(cells: usize, script: impl Fn(&VmSpec) -> GuestScript + Send + Sync + 'static) -> Self {
        // A journal waits for the disk at the end of every cell: memory answers sooner than a busy disk.
        let memory = Path::new("/dev/shm");
        let folder = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap();
        let image = golden_image(folder.path());
        let like = harness::cell(folder.path(), 0, 3000);
        let cell = |n| Cell { id: CellId(format!("c{n}")), ..like.clone() };
        let plan = Plan {
            version: PLAN_VERSION,
            name: "yard".into(),
            matrix: "/matrix.yaml".into(),
            catalog: "/catalog.yaml".into(),
            matrix_sha256: None,
            catalog_sha256: None,
            candidate: None,
            files: BTreeMap::new(),
            update_sha256: Sha256::of(b"update"),
            images: BTreeMap::from([("widget".to_owned(), image)]),
            cells: (0..cells).map(cell).collect(),
            policy: Policy { retry_inconclusive: 0, retries: 0, control: true },
            approval: ApprovalPolicy::default(),
            collect: Collect::default(),
        };
        let lab = Arc::new(SimLab::new(SimHost::default(), script).sealing());
        let jobs = u32::try_from(cells).unwrap();
        let memory = Bytes::mib(1 << 20);
        let boots = Boots::unbounded();
        let (seals, fail_fast, interrupt) = (false, false, CancellationToken::new());
        Self { folder, lab, plan, jobs, memory, boots, seals, fail_fast, interrupt }
    }

    /// The cell `control`, and `cells` cells that are compared with it; they start live, have the setup step [`COMMON`]
    /// with the control, and [`OWN`] by themselves.
    pub fn compared(cells: usize, script: impl Fn(&VmSpec) -> GuestScript + Send + Sync + 'static) -> Self {
        let mut yard = Self::new(cells, script);
        let run = |program: &str| harness::step(program, StepKind::Run { argv: vec![program.into()] });
        for cell in &mut yard.plan.cells {
            cell.role = Role::Compared { with: CONTROL.into() };
            (cell.start, cell.sealed_setup) = (Start::Live, 1);
            cell.setup = vec![run(COMMON), run(OWN)];
        }
        let like = yard.plan.cells[0].clone();
        let (setup, update) = (vec![run(COMMON)], Vec::new());
        let control = Cell { id: CONTROL.into(), role: Role::Control, setup, update, ..like };
        yard.plan.cells.insert(0, control);
        (yard.jobs, yard.seals) = (yard.jobs + 1, true);
        yard
    }

    pub fn begin(&self) -> (RunFolder, Sha256, JournalWriter) {
        let (folder, digest) = RunFolder::create(&self.folder.path().join("runs"), &self.plan).unwrap();
        let journal = JournalWriter::create(&folder.journal(), folder.run.clone()).unwrap();
        (folder, digest, journal)
    }

    pub fn order(&self, (folder, plan_sha256, journal): (RunFolder, Sha256, JournalWriter)) -> Order {
        let slots = self.folder.path().join("slots");
        let digests = Arc::new(DigestCache::open(self.folder.path().join("digests.json")));
        let cache = SealCache::new(&StateDir::new(self.folder.path()), digests.clone(), SealCache::LIMIT);
        let key = lab_key(&StateDir::new(self.folder.path())).unwrap();
        let signer = RunSigner::new(key, &folder.dir, folder.run.clone(), plan_sha256.clone());
        Order {
            folder,
            plan: self.plan.clone(),
            plan_sha256,
            signer,
            secrets: Secrets::default(),
            lab: self.lab.clone(),
            capacity: Capacity::new(&slots, self.lab.info(), Some(self.jobs), Memory::Fixed(self.memory)).unwrap(),
            boots: self.boots.clone(),
            history: History::open(&self.folder.path().join("history.sqlite")).0,
            images: Images::new(digests, false),
            seals: self.seals.then(|| Seals::new(cache, self.lab.clone())),
            fail_fast: self.fail_fast,
            interrupt: self.interrupt.clone(),
            hurry: CancellationToken::new(),
            journal,
            resumed: None,
        }
    }

    pub async fn run(&self) -> Ran {
        let begun = self.begin();
        let dir = begun.0.clone();
        let finished = run::run(self.order(begun), &mut Silent).await.expect("a run");
        self.check(&dir, finished)
    }

    /// Goes on with a run.
    pub async fn resume(&self, folder: &RunFolder) -> Ran {
        let (journal, recorded) = JournalWriter::resume(&folder.journal()).unwrap();
        let state = RunState::of(recorded.run.clone(), &recorded.events);
        let digest = state.start.as_ref().unwrap().plan_sha256.clone();
        let mut order = self.order((folder.clone(), digest, journal));
        order.resumed = Some(state);
        let finished = run::run(order, &mut Silent).await.expect("a run");
        self.check(folder, finished)
    }

    /// What holds after any run: nothing left, the journal alone tells the same, and it is signed.
    pub fn check(&self, folder: &RunFolder, finished: Finished) -> Ran {
        let census = self.census();
        let half_made = self.seal_entries().into_iter().filter(|path| path.extension().is_some_and(|end| end == "new"));
        assert_eq!(half_made.collect::<Vec<_>>(), Vec::<PathBuf>::new(), "a half-made seal is left");
        let journal = read(&folder.journal()).unwrap();
        check_run(&folder.dir, &journal, &self.lab_key()).unwrap();
        let state = RunState::of(journal.run.clone(), &journal.events);
        let mut lean = state.clone();
        state.cells.iter().for_each(|cell| lean.forget_samples(&cell.planned.id));
        assert_eq!(lean, finished.state);
        assert_eq!(state.contradictions, Vec::<String>::new());
        assert_eq!(state.decision, Some(finished.ruling.decision));
        for attempt in state.cells.iter().flat_map(|cell| &cell.attempts) {
            if let Some(end) = &attempt.end {
                assert_eq!(judge(&attempt.signals), end.verdict, "the record says something else");
            }
        }
        Ran { state, decision: finished.ruling.decision, census }
    }

    pub fn lab_key(&self) -> PublicKey {
        known_lab_key(&StateDir::new(self.folder.path())).unwrap()
    }

    /// Folders and locks of seals.
    pub fn seal_entries(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path().join("seals")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// The folder of the only seal.
    pub fn seal(&self) -> PathBuf {
        let folders: Vec<PathBuf> = self.seal_entries().into_iter().filter(|path| path.is_dir()).collect();
        assert_eq!(folders.len(), 1, "{folders:?}");
        folders.into_iter().next().unwrap()
    }

    pub fn census(&self) -> Census {
        let census = self.lab.census();
        assert_eq!(census.live, 0, "a machine is left");
        assert_eq!(fs::read_dir(&self.lab.info().clones).unwrap().count(), 0, "files of a machine are left");
        census
    }

    pub fn interrupt_at(&self, moment: Duration) {
        let interrupt = self.interrupt.clone();
        tokio::spawn(async move {
            tokio::time::sleep(moment).await;
            interrupt.cancel();
        });
    }
}

pub struct Ran {
    pub state: RunState,
    pub decision: Decision,
    pub census: Census,
}

impl Ran {
    pub fn leads(&self) -> Vec<Option<ReasonId>> {
        let verdicts = self.state.cells.iter().map(|cell| self.state.verdict(cell));
        verdicts.map(|verdict| verdict.lead().map(|lead| lead.id)).collect()
    }

    /// What was told in the last attempts at this cell.
    pub fn signals(&self, cell: &str) -> impl Iterator<Item = &SignalKind> {
        let cell = self.state.cell(&cell.into()).expect("a planned cell");
        cell.attempts.last().into_iter().flat_map(|attempt| &attempt.signals).map(|signal| &signal.what)
    }

    /// How this cell's machines began, one after the other.
    pub fn starts(&self, cell: &str) -> Vec<Start> {
        let start = |what: &SignalKind| match what {
            SignalKind::StartedFrom { start, .. } => Some(*start),
            _ => None,
        };
        self.signals(cell).filter_map(start).collect()
    }

    /// How often the setup step of this name ran in the last attempt at the cell.
    pub fn ran(&self, cell: &str, step: &str) -> usize {
        let ended = |what: &&SignalKind| matches!(what, SignalKind::StepEnded { name, .. } if name == step);
        self.signals(cell).filter(ended).count()
    }

    /// The cells whose machines became seals.
    pub fn sealers(&self) -> Vec<&str> {
        let sealed = |cell: &&str| self.signals(cell).any(|what| matches!(what, SignalKind::Sealed { .. }));
        self.state.cells.iter().map(|cell| cell.planned.id.0.as_str()).filter(sealed).collect()
    }

    /// Why this cell's machine was given up for another one, if it was.
    pub fn started_over(&self, cell: &str) -> Option<&str> {
        self.signals(cell).find_map(|what| match what {
            SignalKind::StartedOver { why } => Some(why.as_str()),
            _ => None,
        })
    }

    pub fn attempts(&self) -> Vec<usize> {
        self.state.cells.iter().map(|cell| cell.attempts.len()).collect()
    }
}

pub struct Silent;

impl Sink for Silent {
    fn event(&mut self, _: &Event, _: &RunState) {}
}

/// An empty qcow2 file of version 3 with clusters of 64 KiB.
fn golden_image(folder: &Path) -> GoldenImage {
    let mut head = vec![0; 512];
    head[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    head[23] = 16;
    head[103] = 104;
    let disk = folder.join("widget.qcow2");
    fs::write(&disk, head).unwrap();
    GoldenImage { sha256: sha256_file(&disk).unwrap(), disk, ..harness::image() }
}
