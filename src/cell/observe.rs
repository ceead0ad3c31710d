mod screen;

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Emitter, Job,
    console::Console,
    lab_clock::{LabClock, Taken},
    leftovers::CrashDump,
    pictures::Reference,
};
use crate::{
    clock,
    event::{Level, RunEvent},
    guest::Look,
    health::Judge,
    lab::{Screenshot, Stats, Vm, VmEvent, VmEvents},
    model::{
        CellId, ConsoleMark, ControlFacts, LabTime, Millis, Phase, Progress, ReasonId, Secrets, Sha256, Signal,
        SignalKind, Subject,
    },
};

/// The lab tells of a machine at once. While it does not, as of one whose process is stopped, nothing is known of it.
const BLIND: Millis = Millis::from_secs(5);

/// How often a machine is looked at. There is no event for "nothing happens".
const SAMPLE: Duration = Duration::from_secs(1);

/// A picture costs more than counters do: it is taken with every so many samples, of a machine that has settled and whose
/// agent is there with fewer.
const PICTURE: u64 = 2;
const PICTURE_OF_SETTLED: u64 = 10;

/// A lab that does not answer such simple questions in this time is not asked again until the next sample.
const LAB_PATIENCE: Duration = Duration::from_secs(10);

/// Most telling lines of one kind that are passed on per boot: a guest that floods its console shall not flood
/// the journal.
const LINES: usize = 5;

/// A lab that tells nothing of a machine for so long does not let it run: nothing that it does then is the guest's doing.
const LAB_SILENCE: Duration = Duration::from_secs(60);

/// The lab is told to have stood still from this on.
const STOOD_STILL: Millis = Millis::from_secs(5);

/// Longest telling line that is passed on, in characters.
const LINE: usize = 160;

/// How many pieces of a console's log are read at once before other things get their turn.
const PIECES: usize = 64;

/// Turns what the lab does into signals, shows them to the judge and passes them on.
pub(super) struct Observer {
    pub vm: Arc<dyn Vm>,
    pub judge: Judge,
    emitter: Emitter,
    cell: CellId,
    events: VmEvents,
    /// The event stream has ended.
    deaf: bool,
    cancel: CancellationToken,
    cancelled: bool,
    clock: Interval,
    pub lab: LabClock,
    taken: Taken,
    /// As it was told last.
    late: Millis,
    samples: u64,
    /// Nobody samples it now.
    unsampled: bool,
    /// Since when the lab has not told the machine's counters.
    untold_since: Option<(Instant, Millis)>,
    serial: Console,
    firmware: Option<Console>,
    /// The picture that was kept last, until it is seen to stand still: only then is it worth looking what it shows.
    standing: Option<(Sha256, Option<String>)>,
    /// The screen of the sample before.
    pub screen: Option<Screenshot>,
    /// A screen took so long to recognise that no other is tried: the guest draws what it likes.
    dazzled: bool,
    /// Pictures of what the screen showed, below the cell's folder, and how many there were.
    pub frames: Vec<PathBuf>,
    frames_taken: usize,
    dir: PathBuf,
    /// The screen of the settled machine before the update.
    pub settled_screen: Option<Reference>,
    /// The agent answered something since the last sample.
    answered: bool,
    /// The guest has the agent's channel open; how often it has closed it.
    pub channel_open: bool,
    pub channel_closed: u64,
    /// Counts boots: what was asked before a reset is not answered after it.
    pub boot: u64,
    /// What the lab had taken from the machine when this one began.
    pub taken_before: Millis,
    /// The last boot whose identity is known, and that.
    pub boot_id: Option<(u64, String)>,
    secrets: Secrets,
    /// What restarts cost and which checks failed, for a control.
    pub seen: ControlFacts,
    /// What ran in the guest when its last boot had just settled, and what the lab had taken from it until then.
    pub first_look: Option<(Look, LabTime)>,
    /// The host's clock when a restart was asked for last, and the moment.
    host_clock: (i64, std::time::Instant),
    /// The crash dumps that were read, and the boot in which.
    pub dumps: Option<(u64, Vec<CrashDump>)>,
    /// Telling lines passed on in this boot.
    told: Vec<ConsoleMark>,
}

/// What an [`Observer`] waits for.
enum Input {
    Cancel,
    Event(Option<VmEvent>),
    Clock,
}

impl Observer {
    pub fn new(vm: Arc<dyn Vm>, events: VmEvents, job: &Job, lab: LabClock) -> Self {
        let files = vm.files();
        let mut clock = interval(SAMPLE);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            vm,
            judge: Judge::new(),
            emitter: job.emitter.clone(),
            cell: job.cell.id.clone(),
            events,
            deaf: false,
            cancel: job.cancel.clone(),
            cancelled: false,
            clock,
            taken: Taken::default(),
            late: lab.time(Millis::ZERO).timer_late,
            lab,
            samples: 0,
            unsampled: false,
            untold_since: None,
            serial: Console::serial(files.serial_log),
            firmware: files.firmware_log.map(Console::firmware),
            standing: None,
            screen: None,
            dazzled: false,
            frames: Vec::new(),
            frames_taken: 0,
            dir: job.dir.clone(),
            settled_screen: None,
            answered: false,
            channel_open: false,
            channel_closed: 0,
            boot: 0,
            taken_before: Millis::ZERO,
            boot_id: None,
            secrets: job.secrets.clone(),
            seen: ControlFacts::default(),
            first_look: None,
            host_clock: (clock::unix_ms(), std::time::Instant::now()),
            dumps: None,
            told: Vec::new(),
        }
    }

    /// Observes another machine from here on. What was asked of the one before gets no answer any more.
    pub fn observe(&mut self, vm: Arc<dyn Vm>, events: VmEvents) {
        let files = vm.files();
        self.serial = Console::serial(files.serial_log);
        self.firmware = files.firmware_log.map(Console::firmware);
        (self.vm, self.events, self.deaf) = (vm, events, false);
        (self.channel_open, self.answered, self.screen) = (false, false, None);
        (self.standing, self.untold_since) = (None, None);
        self.boot += 1;
        self.boot_id = None;
        self.told.clear();
    }

    /// A restart is asked for: what boots from here on has its time from the host's clock as it is now.
    pub fn read_host_clock(&mut self) {
        self.host_clock = (clock::unix_ms(), std::time::Instant::now());
    }

    /// By how many milliseconds the host's clock was set since, forward or, below zero, back.
    pub fn host_clock_set_by(&self) -> i64 {
        let (told, at) = self.host_clock;
        let passed = i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX);
        clock::unix_ms().saturating_sub(told).saturating_sub(passed)
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// Sends a signal: to the judge first, then to whoever listens.
    pub fn emit(&mut self, what: SignalKind) {
        self.note_facts(&what);
        let at = self.emitter.emit(Some(&self.cell), RunEvent::Signal { signal: what.clone() });
        self.judge.see(&Signal { at, what });
    }

    fn note_facts(&mut self, what: &SignalKind) {
        match what {
            SignalKind::GuestState { state } => self.seen.guest = Some(state.clone()),
            SignalKind::BootCost { took, waited, cpu, probe_us } => {
                if let Some(own) = LabTime::own(*took, *waited).filter(|own| *own > self.seen.restart) {
                    (self.seen.restart, self.seen.probe_us) = (own, *probe_us);
                }
                self.seen.restart_cpu = self.seen.restart_cpu.max(*cpu);
            }
            SignalKind::StepEnded { subject: Subject::Check { id }, result, .. } if !result.ok => {
                self.seen.failing_checks.push(id.clone());
            }
            _ => {}
        }
    }

    /// Shows the judge a signal that was sent before there was a machine to observe.
    pub fn replay(&mut self, what: SignalKind) {
        self.judge.see(&Signal { at: self.emitter.now(), what });
    }

    pub fn now(&self) -> Millis {
        self.emitter.now()
    }

    pub fn note(&self, level: Level, text: String) {
        self.emitter.emit(Some(&self.cell), RunEvent::Note { level, text });
    }

    pub fn enter(&mut self, phase: Phase) {
        self.emit(SignalKind::PhaseStarted { at: phase });
    }

    pub fn leave(&mut self, phase: Phase) {
        self.emit(SignalKind::PhaseEnded { at: phase });
    }

    /// What the lab has taken from the machine so far. A machine that has no counters now has waited for no core.
    pub async fn lab_time(&self) -> LabTime {
        self.lab.time(self.stats().await.map_or(Millis::ZERO, |stats| stats.cpu_wait))
    }

    /// The agent has just answered something.
    pub fn agent_answered(&mut self) {
        self.answered = true;
        if !self.judge.agent_answered() || self.judge.is_agent_away() {
            self.emit(SignalKind::AgentAnswered);
        }
    }

    /// Waits for `work`, observing meanwhile. None: the judge is over, and the work was dropped.
    pub async fn until<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        while !self.judge.is_over() {
            tokio::select! {
                biased;
                input = self.input() => self.take(input).await,
                output = &mut work => return Some(output),
            }
        }
        None
    }

    /// The same without samples: of a machine that is being saved, or that answers what we ask it beside its own work.
    pub async fn until_unsampled<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        self.unsampled = true;
        let output = self.until(work).await;
        (self.unsampled, self.untold_since) = (false, None);
        output
    }

    /// Observes until `done`, the deadline or a cancel, whichever comes first. Answers whether it was `done`.
    pub async fn watch(&mut self, deadline: Instant, done: impl Fn(&Judge) -> bool) -> bool {
        while !done(&self.judge) {
            if self.cancelled {
                return false;
            }
            if Instant::now() >= deadline {
                return false;
            }
            self.next(deadline).await;
        }
        true
    }

    /// Observes one thing, or none by the deadline.
    pub async fn next(&mut self, deadline: Instant) {
        tokio::select! {
            biased;
            input = self.input() => self.take(input).await,
            () = tokio::time::sleep_until(deadline) => {}
        }
    }

    /// Takes whatever has already happened, without waiting.
    pub fn drain(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.take_event(event);
        }
    }

    /// Observes until the machine has turned itself off.
    ///
    /// # Errors
    /// What came instead.
    pub async fn until_off(&mut self, deadline: Instant) -> Result<(), String> {
        loop {
            let event = tokio::select! {
                event = self.events.recv() => event.ok_or("the lab stopped sending events")?,
                () = self.cancel.cancelled() => return Err("the run was stopped".to_owned()),
                () = tokio::time::sleep_until(deadline) => return Err("it did not turn itself off in time".to_owned()),
            };
            self.take_event(event.clone());
            match event {
                VmEvent::PoweredOff => return Ok(()),
                VmEvent::Lost { detail } => return Err(detail),
                _ => {}
            }
        }
    }

    /// Observes for a while, or until the judge is over.
    pub async fn pause(&mut self, length: Duration) -> Option<()> {
        self.until(tokio::time::sleep(length)).await
    }

    /// Cancel-safe: nothing is lost when it is dropped.
    async fn input(&mut self) -> Input {
        tokio::select! {
            biased;
            () = self.cancel.cancelled(), if !self.cancelled => Input::Cancel,
            event = self.events.recv(), if !self.deaf => Input::Event(event),
            _ = self.clock.tick() => Input::Clock,
        }
    }

    async fn take(&mut self, input: Input) {
        match input {
            Input::Cancel => {
                self.cancelled = true;
                self.emit(SignalKind::Cancelled);
            }
            Input::Event(Some(event)) => self.take_event(event),
            Input::Event(None) => {
                self.deaf = true;
                self.emit(SignalKind::VmLost { detail: "the lab stopped sending events".to_owned() });
            }
            Input::Clock => self.sample().await,
        }
    }

    fn take_event(&mut self, event: VmEvent) {
        let signal = match event {
            VmEvent::Started => SignalKind::Started,
            VmEvent::AgentConnected => {
                self.channel_open = true;
                SignalKind::AgentConnected
            }
            VmEvent::AgentDisconnected => {
                self.channel_open = false;
                self.channel_closed += 1;
                self.answered = false;
                SignalKind::AgentDisconnected
            }
            VmEvent::Reset => {
                // What the serial console said until now belongs to the boot that ends here.
                self.read_serial();
                self.serial.begin_boot();
                self.boot += 1;
                self.taken_before = self.taken.total();
                self.told.clear();
                self.answered = false;
                SignalKind::Reset
            }
            VmEvent::Panicked { bugcheck } => {
                // The panic's text is on the console before the guest tells the host.
                self.read_serial();
                SignalKind::Panicked { bugcheck }
            }
            VmEvent::PoweredOff => SignalKind::PoweredOff,
            VmEvent::Lost { detail } => SignalKind::VmLost { detail },
            VmEvent::DiskError { host_is_full } => SignalKind::DiskError { host_is_full },
        };
        self.emit(signal);
    }

    /// Looks at the machine.
    async fn sample(&mut self) {
        self.read_serial();
        self.read_firmware();
        self.tell_stand_still();
        if self.unsampled {
            return;
        }
        let Some(mut progress) = self.counters().await else { return self.lab_is_silent() };
        self.samples += 1;
        let is_well = self.judge.is_settled() && self.channel_open;
        let every = if is_well { PICTURE_OF_SETTLED } else { PICTURE };
        // One that boots and answers needs no picture.
        if (is_well || !progress.agent) && self.samples.is_multiple_of(every) {
            self.look_at_screen(&mut progress).await;
        }
        self.emit_sample(progress);
    }

    fn lab_is_silent(&mut self) {
        // While it is started or sealed a machine has no counters.
        if matches!(self.judge.phase(), Phase::Start | Phase::Setup) {
            self.untold_since = None;
            return;
        }
        // A harness that stood still had nothing to hear.
        let late = self.lab.time(Millis::ZERO).timer_late;
        let silent = |(since, before): (Instant, Millis)| Millis::from(since.elapsed()).since(late.since(before));
        let silent = self.untold_since.map_or(Millis::ZERO, silent).as_duration();
        if silent >= LAB_SILENCE && !self.judge.is_over() && !self.cancel.is_cancelled() {
            let detail =
                format!("the lab has told nothing of it for {}: its process may be stopped", Millis::from(silent));
            self.emit(SignalKind::VmLost { detail });
        }
    }

    /// Whether the lab tells anything of a machine that does not do what it should: one whose process is stopped cannot.
    /// False: the judge is over.
    pub async fn is_told_of(&mut self) -> bool {
        let told = self.counters().await.is_some() || self.cancel.is_cancelled();
        // Its end may be known by now.
        self.drain();
        if !told && !self.judge.is_over() {
            let message = "the lab tells nothing of the machine any more: its process may be stopped".to_owned();
            self.emit(SignalKind::LabFault { reason: ReasonId::HostLost, message });
        }
        !self.judge.is_over()
    }

    /// A sample with a picture, whatever the machine's state.
    pub async fn sample_all(&mut self) {
        self.read_serial();
        if let Some(mut progress) = self.counters().await {
            self.look_at_screen(&mut progress).await;
            self.emit_sample(progress);
        }
    }

    /// None: the lab does not tell.
    pub async fn stats(&self) -> Option<Stats> {
        self.in_time(self.vm.stats()).await?.ok()
    }

    /// An answer that decides nothing. None: it took too long, or the cell was cancelled meanwhile.
    async fn in_time<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled(), if !self.cancelled => None,
            answer = timeout(LAB_PATIENCE, answer) => answer.ok(),
        }
    }

    /// The CPU time of the machine's process, and all that the lab took from the machine. None: the lab does not tell.
    pub async fn cost(&mut self) -> Option<(Millis, Millis)> {
        let stats = self.stats().await?;
        Some((stats.process_cpu, self.taken.look(self.lab.time(stats.cpu_wait))))
    }

    /// None: the lab does not tell.
    async fn counters(&mut self) -> Option<Progress> {
        let late = self.lab.time(Millis::ZERO).timer_late;
        let (since, late) = *self.untold_since.get_or_insert_with(|| (Instant::now(), late));
        let stats = self.stats().await?;
        self.untold_since = None;
        // What was not told meanwhile did not stand still.
        let stood = self.lab.time(Millis::ZERO).timer_late.since(late);
        let blind = Millis::from(since.elapsed()).since(stood);
        if blind >= BLIND {
            self.lab.was_blind(blind);
        }
        if stats.paused && !self.judge.is_over() {
            let message = "somebody paused the machine (libvirt: paused by user)".to_owned();
            self.emit(SignalKind::LabFault { reason: ReasonId::HostLost, message });
        }
        let lab = self.lab.time(stats.cpu_wait);
        self.taken.look(lab);
        Some(Progress {
            cpu: stats.cpu,
            lab,
            agent: std::mem::take(&mut self.answered),
            disk_reads: stats.disk_reads,
            disk_writes: stats.disk_writes,
            net_rx: stats.net_rx,
            net_tx: stats.net_tx,
            serial_bytes: self.serial.bytes(),
            screen_changed_ppm: None,
            screen_unlike_settled_ppm: None,
        })
    }

    fn tell_stand_still(&mut self) {
        let late = self.lab.time(Millis::ZERO).timer_late;
        let stood = late.since(std::mem::replace(&mut self.late, late));
        if stood >= STOOD_STILL {
            self.note(Level::Warning, format!("bootgate or its host stood still for {stood}: no deadline counts that"));
        }
    }

    /// Taking it took a while, and its time is when it is sent.
    fn emit_sample(&mut self, mut progress: Progress) {
        progress.lab = self.lab.time(progress.lab.cpu_wait);
        self.emit(SignalKind::Progress { progress });
    }

    /// Takes in what the serial console has said by now.
    pub fn read_serial(&mut self) {
        for _ in 0..PIECES {
            let before = self.serial.bytes();
            let news = self.serial.news();
            self.tell(news);
            if self.serial.bytes() == before {
                break;
            }
        }
    }

    fn read_firmware(&mut self) {
        let news = self.firmware.as_mut().map(Console::news).unwrap_or_default();
        self.tell(news);
    }

    fn tell(&mut self, news: Vec<(ConsoleMark, String)>) {
        for (mark, text) in news {
            if self.told.iter().filter(|told| **told == mark).count() < LINES {
                self.told.push(mark);
                let text = self.secrets.mask(&text).chars().take(LINE).collect();
                self.emit(SignalKind::Console { mark, text });
            }
        }
    }
}
