//! Made-up runs for tests of everything that folds over events.

use super::*;
use crate::model::*;

/// A run's events, one call a fact; the clock goes on by itself.
pub struct Story {
    pub events: Vec<Event>,
    now: u64,
}

const CONTROL: &str = "control-";

pub const RUN: &str = "20260102T030405Z-demo";

impl Story {
    /// A run over these cells: ids of the form `os-9.p1`, axes `os` and `patch`, one soak restart, one check.
    /// `control-os-9-p1` is the control of `os-9.p1`.
    pub fn of(cells: &[&str]) -> Self {
        let planned = |id: &&str| {
            let of = id.strip_prefix(CONTROL);
            let axes = ["os", "patch"].iter().zip(id.split('.')).filter(|_| of.is_none());
            let image = id.replace('.', "-");
            let with = format!("{CONTROL}{image}");
            let compared = cells.contains(&with.as_str());
            PlannedCell {
                id: CellId::from(*id),
                image: of.map_or(image, str::to_owned),
                axes: axes.map(|(axis, value)| AxisValue { axis: (*axis).into(), value: value.into() }).collect(),
                soak: 1,
                checks: vec!["sensor".into()],
                role: match of {
                    Some(_) => Role::Control,
                    None if compared => Role::Compared { with: CellId(with) },
                    None => Role::Alone,
                },
                expected_ms: None,
                image_made: None,
            }
        };
        let start = RunStart {
            utc: "2026-01-02T03:04:05Z".into(),
            bootgate: "0.1.0".into(),
            name: "demo".into(),
            plan_sha256: Sha256::of(b"plan"),
            cells: cells.iter().map(planned).collect(),
            update_sha256: Sha256::of(b"update"),
            candidate_sha256: Some(Sha256::of(b"candidate")),
            candidate_name: Some("content-291.bin".into()),
            candidate_about: None,
            lab: "sim".into(),
            accelerator: Accelerator::Sim,
            uncontrolled: false,
            policy: ApprovalPolicy::default(),
        };
        let mut story = Self { events: Vec::new(), now: 0 };
        story.push(None, RunEvent::RunStarted { start: Box::new(start) });
        story
    }

    pub fn push(&mut self, cell: Option<&str>, what: RunEvent) -> &mut Self {
        self.events.push(Event { at: Millis(self.now), cell: cell.map(CellId::from), what });
        self.now += 250;
        self
    }

    pub fn wait(&mut self, ms: u64) -> &mut Self {
        self.now += ms;
        self
    }

    pub fn start(&mut self, cell: &str, attempt: u32) -> &mut Self {
        self.push(Some(cell), RunEvent::CellStarted { attempt })
    }

    pub fn signal(&mut self, cell: &str, signal: SignalKind) -> &mut Self {
        self.push(Some(cell), RunEvent::Signal { signal })
    }

    /// Enters a phase; the ones before it succeeded.
    pub fn phase(&mut self, cell: &str, at: Phase) -> &mut Self {
        self.signal(cell, SignalKind::PhaseStarted { at })
    }

    /// Every phase up to and with this one, each done except the last.
    pub fn until(&mut self, cell: &str, last: Phase) -> &mut Self {
        let order = [
            Phase::Start,
            Phase::Settle,
            Phase::Setup,
            Phase::Apply,
            Phase::Restart,
            Phase::Boot,
            Phase::Soak(1),
            Phase::Watch,
            Phase::Check,
        ];
        for phase in order.into_iter().filter(|phase| *phase != Phase::Apply || !cell.starts_with(CONTROL)) {
            self.phase(cell, phase).wait(800);
            if phase == Phase::Apply {
                self.step(cell, Subject::Update { step: 0 }, true, "installed 21 of 21 fields\n");
            }
            if phase == last {
                return self;
            }
            self.signal(cell, SignalKind::PhaseEnded { at: phase });
        }
        self
    }

    pub fn step(&mut self, cell: &str, subject: Subject, ok: bool, stdout: &str) -> &mut Self {
        let name = match &subject {
            Subject::Check { id } => id.clone(),
            _ => "sensorctl install".into(),
        };
        self.signal(cell, SignalKind::StepStarted { subject: subject.clone(), name: name.clone(), restarts: 0 })
            .wait(100);
        let output = Output { stdout: stdout.into(), stderr: String::new(), truncated: false };
        let exit = Exit::Code { code: i32::from(!ok) };
        self.signal(
            cell,
            SignalKind::StepEnded {
                subject,
                name,
                result: StepResult { exit, ok, says: None, took: Millis(350), output },
            },
        )
    }

    pub fn end(&mut self, cell: &str, attempt: u32, verdict: Verdict) -> &mut Self {
        let artifacts = vec![format!("cells/{cell}/serial.log")];
        let id = CellId::from(cell);
        let started = self
            .events
            .iter()
            .rfind(|event| event.cell.as_ref() == Some(&id) && matches!(event.what, RunEvent::CellStarted { .. }));
        let took = Millis(self.now).since(started.map_or(Millis(self.now), |event| event.at));
        self.push(Some(cell), RunEvent::CellEnded { end: CellEnd { attempt, verdict, artifacts, took } })
    }

    /// A whole healthy attempt.
    pub fn healthy(&mut self, cell: &str, attempt: u32) -> &mut Self {
        self.start(cell, attempt).until(cell, Phase::Check);
        self.step(cell, Subject::Check { id: "sensor".into() }, true, "sensor: ok\n");
        self.signal(cell, SignalKind::PhaseEnded { at: Phase::Check });
        self.end(cell, attempt, Verdict { outcome: Outcome::Healthy, reasons: vec![] })
    }

    /// A control that an earlier run knows to be well.
    pub fn known(&mut self, control: &str) -> &mut Self {
        let (run, utc) = (RunId::from("20260101T000000Z-demo"), "2026-01-01T00:05:00Z".to_owned());
        let known = SignalKind::ControlKnown { run, utc, facts: ControlFacts::default() };
        self.start(control, 1).signal(control, known);
        self.end(control, 1, Verdict { outcome: Outcome::Healthy, reasons: vec![] })
    }

    /// A whole attempt that ended in this phase for this reason.
    pub fn failed(&mut self, cell: &str, attempt: u32, phase: Phase, id: ReasonId, message: &str) -> &mut Self {
        self.start(cell, attempt).until(cell, phase);
        let reason = Reason { id, phase, at: Millis(self.now), message: message.into(), check: None };
        self.end(cell, attempt, Verdict { outcome: id.outcome(), reasons: vec![reason] })
    }

    pub fn run_ended(&mut self, decision: Decision) -> &mut Self {
        self.push(None, RunEvent::RunEnded { decision })
    }

    pub fn state(&self) -> RunState {
        RunState::of(RunId::from(RUN), &self.events)
    }
}

/// One cell of each outcome, the healthy one on its second try.
pub fn three() -> Story {
    let mut story = Story::of(&["os-9.p1", "os-9.p2", "os-9.p3"]);
    story.failed("os-9.p1", 1, Phase::Start, ReasonId::StartFailed, "no agent within 60.0 s").healthy("os-9.p1", 2);
    let message = "kernel panic: sensor: 21 fields <expected 20> \u{1b}[31m]]>";
    story.failed("os-9.p2", 1, Phase::Boot, ReasonId::StopError, message);
    story.start("os-9.p3", 1).until("os-9.p3", Phase::Apply);
    story
}

/// Four permutations and their controls: one control known, one run, one not well and one lost.
pub fn controlled() -> Story {
    let cells = ["os-8.p1", "os-8.p2", "os-9.p1", "os-9.p2"];
    let controls = cells.map(|cell| format!("{CONTROL}{}", cell.replace('.', "-")));
    let all: Vec<&str> = controls.iter().map(String::as_str).chain(cells).collect();
    let mut story = Story::of(&all);
    let message = "without the candidate: the kernel panicked (stop-error)";
    story.known(all[0]);
    story.healthy(all[1], 1);
    story.failed(all[2], 1, Phase::Boot, ReasonId::ControlUnhealthy, message);
    story.failed(all[3], 1, Phase::Boot, ReasonId::HostLost, "QEMU was killed by signal 9");
    story.healthy("os-8.p1", 1);
    story.start("os-8.p2", 1).phase("os-8.p2", Phase::Start);
    story.signal("os-8.p2", SignalKind::StartedFrom { start: Start::Live, seal: Some("5ea1".into()) });
    story.signal("os-8.p2", SignalKind::StartedOver { why: "the clone's memory could not be read".into() });
    story.signal("os-8.p2", SignalKind::StartedFrom { start: Start::Cold, seal: None }).until("os-8.p2", Phase::Boot);
    let reason =
        |id, message: &str| Reason { id, phase: Phase::Boot, at: Millis(0), message: message.into(), check: None };
    let panic = reason(ReasonId::StopError, "the kernel panicked");
    story.end("os-8.p2", 1, Verdict { outcome: Outcome::Unhealthy, reasons: vec![panic.clone()] });
    let control = reason(
        ReasonId::ControlUnhealthy,
        "the control control-os-9-p1 is not well without the candidate: the golden image needs attention",
    );
    story.start("os-9.p1", 1).until("os-9.p1", Phase::Boot);
    story.end("os-9.p1", 1, Verdict { outcome: Outcome::Inconclusive, reasons: vec![control, panic] });
    let message = "nothing to compare with: the control control-os-9-p2 ended without an answer (host-lost)";
    story.failed("os-9.p2", 1, Phase::Check, ReasonId::HostLost, message).run_ended(Decision::Rejected);
    story
}

/// The run that the fixture and the reports' snapshots show: three OS versions at three patch levels, the
/// last patch level broken on each, one cell the lab could not answer, one it answered on another try.
pub fn nine() -> Story {
    let cells = ["os-8", "os-9", "os-10"].map(|os| ["p1", "p2", "p3"].map(|patch| format!("{os}.{patch}")));
    let cells: Vec<&str> = cells.iter().flatten().map(String::as_str).collect();
    let mut story = Story::of(&cells);
    for cell in &cells {
        match *cell {
            "os-9.p1" => {
                story.failed(cell, 1, Phase::Start, ReasonId::StartFailed, "no agent within 60.0 s").healthy(cell, 2)
            }
            "os-10.p1" => story.failed(cell, 1, Phase::Setup, ReasonId::HostLost, "QEMU was killed by signal 9"),
            "os-10.p3" => story.failed(cell, 1, Phase::Soak(1), ReasonId::BootHang, "nothing changed for 30.0 s"),
            cell if cell.ends_with("p3") => {
                story.start(cell, 1).until(cell, Phase::Boot);
                story.signal(cell, SignalKind::Panicked { bugcheck: None });
                let message = "kernel panic: sensor: 21 fields <expected 20> \u{1b}[31m]]>".to_owned();
                let reason = |phase, id, message| Reason { id, phase, at: Millis(0), message, check: None };
                let reasons = vec![
                    reason(Phase::Boot, ReasonId::StopError, message),
                    reason(Phase::Boot, ReasonId::BootLoop, "3 resets without a settled boot".to_owned()),
                ];
                story.end(cell, 1, Verdict { outcome: Outcome::Unhealthy, reasons })
            }
            cell => story.healthy(cell, 1),
        };
    }
    story.run_ended(Decision::Rejected);
    story
}
