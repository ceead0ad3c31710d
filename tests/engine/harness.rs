//! One cell on a stage: its machine, its files, and what it told.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use bootgate::{
    cell::{Emitter, Job, live},
    event::{Event, RunEvent},
    health::judge,
    lab::{
        Boots, Lab,
        sim::{GuestScript, SimHost, SimLab},
    },
    model::*,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

pub const BOOT: Duration = Duration::from_secs(20);
pub const UPDATE: &str = "/opt/update";
pub const CHECK: &str = "service sensor status";

/// A cell that copies a file of this length and runs it, and the run around it.
pub struct Stage {
    pub lab: Arc<SimLab>,
    pub job: Job,
    folder: tempfile::TempDir,
    events: Mutex<mpsc::UnboundedReceiver<Event>>,
}

/// How a cell ended, and all it told.
pub struct Told {
    pub verdict: Verdict,
    pub artifacts: Vec<PathBuf>,
    pub signals: Vec<Signal>,
    pub notes: Vec<String>,
    pub took: Duration,
}

impl Stage {
    pub fn new(script: GuestScript, soak: u32, length: usize) -> Self {
        Self::on(SimHost::default(), script, soak, length)
    }

    pub fn on(host: SimHost, script: GuestScript, soak: u32, length: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("cell");
        let lab = Arc::new(SimLab::new(host, move |_| script.clone()));
        let (sender, events) = mpsc::unbounded_channel();
        let job = Job {
            run: "run".into(),
            cell: cell(folder.path(), soak, length),
            image: image(),
            collect: Collect::default(),
            control: None,
            secrets: Secrets::default(),
            lab: lab.clone(),
            seals: None,
            boots: Boots::unbounded(),
            emitter: Emitter::new(Millis::ZERO, sender),
            cancel: CancellationToken::new(),
            hurry: CancellationToken::new(),
            dir,
        };
        Self { lab, job, folder, events: Mutex::new(events) }
    }

    /// Lives, in at most two hours. Whatever happens: nothing is left, no file of the user's is touched, and
    /// the record alone gives the same verdict.
    pub async fn live(&self) -> Told {
        let began = Instant::now();
        let lived = tokio::time::timeout(Duration::from_secs(7200), live(&self.job)).await.expect("an end");
        let took = began.elapsed();
        assert_eq!(self.lab.census().live, 0, "a machine is left");
        assert_eq!(std::fs::read_dir(&self.lab.info().clones).unwrap().count(), 0, "files of a machine are left");
        assert!(self.folder.path().join("update.bin").exists());
        let (mut signals, mut notes) = (Vec::new(), Vec::new());
        let mut events = self.events.lock().unwrap();
        while let Ok(event) = events.try_recv() {
            match event.what {
                RunEvent::Note { text, .. } => notes.push(text),
                RunEvent::Signal { signal } => signals.push(Signal { at: event.at, what: signal }),
                _ => {}
            }
        }
        assert_eq!(judge(&signals), lived.verdict, "the record says something else");
        Told { verdict: lived.verdict, artifacts: lived.artifacts, signals, notes, took }
    }

    /// Where its files on the host are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Cancels the cell at this moment of its life.
    pub fn cancel_at(&self, moment: Duration) {
        let cancel = self.job.cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(moment).await;
            cancel.cancel();
        });
    }
}

impl Told {
    pub fn lead(&self) -> Option<ReasonId> {
        self.verdict.lead().map(|lead| lead.id)
    }

    /// The moment of the first signal like this.
    pub fn first(&self, like: impl Fn(&SignalKind) -> bool) -> Option<Millis> {
        self.signals.iter().find(|signal| like(&signal.what)).map(|signal| signal.at)
    }

    /// When the phase was entered.
    pub fn entered(&self, phase: Phase) -> Option<Millis> {
        self.first(|what| *what == SignalKind::PhaseStarted { at: phase })
    }

    /// The phases entered, and whether each was passed.
    pub fn phases(&self) -> Vec<(Phase, bool)> {
        let mut phases: Vec<(Phase, bool)> = Vec::new();
        for signal in &self.signals {
            match &signal.what {
                SignalKind::PhaseStarted { at } => phases.push((*at, false)),
                SignalKind::PhaseEnded { at } => {
                    let open = phases.last_mut().expect("a phase");
                    assert_eq!(*open, (*at, false), "a phase ends that is not the last one");
                    open.1 = true;
                }
                _ => {}
            }
        }
        phases
    }

    /// What the step or check of this name came to.
    pub fn result(&self, name: &str) -> Option<&StepResult> {
        self.signals.iter().find_map(|signal| match &signal.what {
            SignalKind::StepEnded { name: found, result, .. } if found == name => Some(result),
            _ => None,
        })
    }

    /// Everything told, as the journal would hold it.
    pub fn text(&self) -> String {
        serde_json::to_string(&self.signals).unwrap() + &self.notes.join("\n")
    }
}

pub fn image() -> GoldenImage {
    GoldenImage::plain("widget", "/golden/widget.qcow2")
}

pub fn step(name: &str, kind: StepKind) -> Step {
    Step { name: name.into(), kind, timeout: Millis::from_secs(60), restarts: 0, success: vec![0] }
}

pub fn cell(folder: &Path, soak: u32, length: usize) -> Cell {
    let content = vec![7; length];
    let path = folder.join("update.bin");
    std::fs::write(&path, &content).unwrap();
    let from = HostFile { path, size: Bytes(length as u64), sha256: Sha256::of(&content) };
    let check = StepKind::Sh { script: CHECK.into() };
    Cell {
        id: "widget.p1".into(),
        axes: Vec::new(),
        image: "widget".into(),
        setup: Vec::new(),
        update: vec![
            step("copy", StepKind::Copy { file: GuestFile { from, to: "/opt/up/date.bin".into(), mode: None } }),
            step("update", StepKind::Run { argv: vec![UPDATE.into()] }),
        ],
        health: Health {
            checks: vec![Check {
                id: "sensor".into(),
                kind: check,
                timeout: Millis::from_secs(10),
                success: vec![0],
                evidence: false,
                implied: false,
            }],
            soak,
            watch: Millis::from_secs(10),
            boot_timeout: None,
            restart_timeout: None,
            tolerances: Default::default(),
        },
        network: Network::None,
        role: Role::Alone,
        start: Start::Cold,
        sealed_setup: 0,
        keep_in: None,
    }
}

pub fn healthy() -> GuestScript {
    GuestScript::healthy(BOOT)
}
