use std::{ops::Range, time::Duration};

use tokio::time::Instant;

use super::{
    copy,
    life::Cellmate,
    observe::Observer,
    patience::{Deadline, Patience},
    restart, serviced, settle,
};
use crate::{
    event::Level,
    guest::Command,
    lab::AgentError,
    model::{Exit, Millis, Output, Phase, ReasonId, Role, Says, SignalKind, Step, StepKind, StepResult, Subject},
};

/// How long one small request to a settled machine's agent may take.
const REQUEST: Duration = Duration::from_secs(20);

/// How long a living machine may take to show that a key was pressed, even under emulation on a busy host.
const REACTION: Duration = Duration::from_secs(3);

/// Until a check that failed is asked again.
const AGAIN: Duration = Duration::from_secs(2);

/// A check that fails sooner after its boot has finished is asked again, if that may be silent for so long.
const YOUNG: Millis = Millis::from_secs(60);

/// Until an installer that found another one at work is tried again.
const BUSY: Duration = Duration::from_secs(15);

/// Most that is kept of each output stream, in bytes.
const OUTPUT_CAP: usize = 64 * 1024;

/// What a step needs to be run and judged.
pub(super) struct Work<'a> {
    pub subject: Subject,
    pub name: &'a str,
    pub kind: &'a StepKind,
    pub timeout: Millis,
    /// How often it may restart the machine by itself.
    pub restarts: u32,
    pub success: &'a [i32],
}

/// Runs the steps of a phase in order, up to the first that fails. False: the judge is over.
pub(super) async fn steps(watcher: &mut Observer, mate: &Cellmate<'_>, phase: Phase, steps: &[Step]) -> bool {
    watcher.enter(phase);
    let all = some(watcher, mate, phase, steps, 0..steps.len()).await;
    if all {
        watcher.leave(phase);
    }
    all
}

/// Runs some of a phase's steps in order, up to the first that fails. False: the judge is over.
pub(super) async fn some(
    watcher: &mut Observer,
    mate: &Cellmate<'_>,
    phase: Phase,
    steps: &[Step],
    range: Range<usize>,
) -> bool {
    for (index, step) in steps.iter().enumerate().take(range.end).skip(range.start) {
        let subject = match phase {
            Phase::Setup => Subject::Setup { step: index },
            _ => Subject::Update { step: index },
        };
        let Step { name, kind, timeout, success, restarts } = step;
        let work = Work { subject, name, kind, timeout: *timeout, success, restarts: *restarts };
        let boot = watcher.boot;
        let Some(says) = run(watcher, mate, &work).await else { return false };
        // The update's own steps share one restart, which is what is judged; one that has begun would hit the next step.
        if phase != Phase::Setup && says == Some(Says::Restarting) && index + 1 < range.end {
            if !settle::after_own_restart(watcher, mate, boot).await {
                return false;
            }
            continue;
        }
        let wants_restart = matches!(says, Some(Says::RestartNeeded | Says::Restarting));
        if phase == Phase::Setup && wants_restart && !restart::in_setup(watcher, mate).await {
            return false;
        }
    }
    true
}

/// Runs one step or check, sends its result, and answers with what its installer says. None: the judge is over.
pub(super) async fn run(watcher: &mut Observer, mate: &Cellmate<'_>, work: &Work<'_>) -> Option<Option<Says>> {
    let subject = work.subject.clone();
    let (name, restarts) = (work.name.to_owned(), work.restarts);
    watcher.emit(SignalKind::StepStarted { subject: subject.clone(), name, restarts });
    let began = Instant::now();
    let (mut exit, mut output) = perform(watcher, mate, work).await?;
    while is_early(watcher, mate, work, &exit) {
        watcher.pause(AGAIN).await?;
        (exit, output) = perform(watcher, mate, work).await?;
    }
    let ok = matches!(exit, Exit::Code { code } if work.success.contains(&code));
    let says = says(work.kind, &exit);
    let result = StepResult { exit, ok, says, took: began.elapsed().into(), output };
    watcher.emit(SignalKind::StepEnded { subject, name: work.name.to_owned(), result });
    if !watcher.judge.is_settled() {
        // The machine reset itself under the step. Whether it comes back decides what that was.
        settle::settle(watcher, mate).await;
    }
    (!watcher.judge.is_over()).then_some(says)
}

/// Whether a check failed that may only have been asked too soon: what a boot begins late is not lost. A control is asked once: a
/// check that holds there late is none that has to hold.
fn is_early(watcher: &Observer, mate: &Cellmate<'_>, work: &Work<'_>, exit: &Exit) -> bool {
    let fails = matches!(exit, Exit::Code { code } if !work.success.contains(code));
    let young = mate.quiet().min(YOUNG);
    let is_young = watcher.judge.settled_at().is_some_and(|at| watcher.now().since(at) < young);
    let is_asked_again = matches!(work.subject, Subject::Check { .. })
        && !matches!(work.kind, StepKind::Serviced { .. })
        && mate.job.cell.role != Role::Control;
    fails && is_young && is_asked_again && !watcher.is_cancelled()
}

async fn perform(watcher: &mut Observer, mate: &Cellmate<'_>, work: &Work<'_>) -> Option<(Exit, Output)> {
    let deadline = &Deadline::new(&mate.job.lab, work.timeout.as_duration());
    match work.kind {
        StepKind::Copy { file } => copy::copy(watcher, mate, std::slice::from_ref(file), deadline).await,
        StepKind::Files { files } => copy::copy(watcher, mate, files, deadline).await,
        StepKind::Package { package } => {
            let brought = copy::copy(watcher, mate, &package.files, deadline).await?;
            if brought.0 != (Exit::Code { code: 0 }) {
                return Some(brought);
            }
            serviced::before(watcher, mate, &work.subject).await?;
            let ended = install(watcher, mate, work.kind, deadline).await?;
            serviced::after(watcher, mate, &work.subject, &ended.0).await?;
            Some(ended)
        }
        StepKind::Serviced { step } => serviced::ask(watcher, mate, *step).await,
        StepKind::Run { .. } | StepKind::Sh { .. } | StepKind::Cmd { .. } | StepKind::Ps1 { .. } => {
            command(watcher, mate, work.kind, deadline).await
        }
    }
}

async fn command(
    watcher: &mut Observer,
    mate: &Cellmate<'_>,
    kind: &StepKind,
    deadline: &Deadline,
) -> Option<(Exit, Output)> {
    match mate.command(kind) {
        Some(command) => execute(watcher, mate, &command, deadline).await,
        None => Some(refused("this guest's family cannot run such a step")),
    }
}

/// Runs a package's installer, again while another installation goes on.
async fn install(
    watcher: &mut Observer,
    mate: &Cellmate<'_>,
    kind: &StepKind,
    deadline: &Deadline,
) -> Option<(Exit, Output)> {
    loop {
        let ended = command(watcher, mate, kind, deadline).await?;
        let rest = deadline.at().saturating_duration_since(Instant::now());
        if says(kind, &ended.0) != Some(Says::Busy) || rest < BUSY {
            return Some(ended);
        }
        watcher.note(Level::Info, "another installation goes on in the guest: this one is tried again".to_owned());
        watcher.pause(BUSY).await?;
    }
}

fn says(kind: &StepKind, exit: &Exit) -> Option<Says> {
    match (kind, exit) {
        (StepKind::Package { package }, Exit::Code { code }) => package.kind.says(*code),
        _ => None,
    }
}

pub(super) fn refused(message: impl Into<String>) -> (Exit, Output) {
    (Exit::Refused { message: message.into() }, Output::default())
}

/// Runs a command in the guest and fetches its output. None: the judge is over.
pub(super) async fn execute(
    watcher: &mut Observer,
    mate: &Cellmate<'_>,
    command: &Command,
    deadline: &Deadline,
) -> Option<(Exit, Output)> {
    execute_up_to(watcher, mate, command, deadline, OUTPUT_CAP).await
}

/// The same, with so many bytes of each output stream kept.
pub(super) async fn execute_up_to(
    watcher: &mut Observer,
    mate: &Cellmate<'_>,
    command: &Command,
    deadline: &Deadline,
    cap: usize,
) -> Option<(Exit, Output)> {
    let (agent, boot) = (mate.agent(REQUEST), watcher.boot);
    if let Some(ended) = write_scripts(watcher, mate, command, deadline).await? {
        return Some((ended, Output::default()));
    }
    let pid = loop {
        let error = match watcher.until(agent.exec(&command.path, &command.args)).await? {
            Ok(pid) => break Some(pid),
            Err(AgentError::Refused(message)) => {
                forget_scripts(watcher, mate, command).await?;
                return Some(refused(mate.job.secrets.mask(&message)));
            }
            Err(AgentError::Lab(message)) => {
                watcher.emit(SignalKind::LabFault { reason: ReasonId::HostLost, message });
                return None;
            }
            Err(error) => error,
        };
        wait_for_agent(watcher, mate, mate.step_patience()).await?;
        let was_not_asked = matches!(error, AgentError::NotConnected | AgentError::NotAsked);
        if watcher.boot != boot || (was_not_asked && deadline.is_over()) {
            forget_scripts(watcher, mate, command).await?;
            return Some((Exit::AgentGone, Output::default()));
        }
        // Else nobody knows whether it was started: it is never started again, but it may yet end.
        if !was_not_asked {
            break None;
        }
    };
    let exit = await_exit(watcher, mate, pid, command, deadline).await?;
    if exit == Exit::AgentGone {
        forget_scripts(watcher, mate, command).await?;
        return Some((exit, Output::default()));
    }
    let output = watcher.until(fetch_output(mate, command, cap)).await?;
    Some((exit, output))
}

/// Writes the files that a command needs, again where an agent went away meanwhile. What ended that, if it failed; None:
/// the judge is over.
async fn write_scripts(
    watcher: &mut Observer,
    mate: &Cellmate<'_>,
    command: &Command,
    deadline: &Deadline,
) -> Option<Option<Exit>> {
    let agent = mate.agent(REQUEST);
    let boot = watcher.boot;
    for script in &command.scripts {
        loop {
            match watcher.until(agent.write_file(&script.path, &script.content)).await? {
                Ok(()) => break,
                Err(AgentError::Refused(message)) => {
                    let message = mate.job.secrets.mask(&format!("{}: {message}", script.path));
                    return Some(Some(Exit::Refused { message }));
                }
                Err(_) => wait_for_agent(watcher, mate, mate.step_patience()).await?,
            }
            if watcher.boot != boot || deadline.is_over() {
                return Some(Some(Exit::AgentGone));
            }
        }
    }
    Some(None)
}

/// Removes what was written for a command that has no output to fetch: it may hold secrets. None: the judge is over.
async fn forget_scripts(watcher: &mut Observer, mate: &Cellmate<'_>, command: &Command) -> Option<()> {
    if command.scripts.is_empty() { Some(()) } else { watcher.until(mate.tidy(command)).await }
}

/// Asks for a program's end in growing intervals: the agent has no event for it.
async fn await_exit(
    watcher: &mut Observer,
    mate: &Cellmate<'_>,
    pid: Option<i64>,
    command: &Command,
    deadline: &Deadline,
) -> Option<Exit> {
    let agent = mate.agent(REQUEST);
    let boot = watcher.boot;
    let mut pause = Duration::from_millis(20);
    // A new agent does not know the old one's programs; what they leave behind on their end it can read.
    let mut known = pid;
    loop {
        // What has passed its deadline is asked once more: the answer before may be old, or lost.
        let last = deadline.is_over();
        let answer = match known {
            None => watcher.until(left_code(mate, command)).await?,
            Some(pid) => {
                let status = watcher.until(agent.exec_status(pid)).await?;
                status.map(|status| status.exited.then(|| mate.family.exit(&status)))
            }
        };
        match answer {
            Ok(Some(exit)) => return Some(exit),
            Ok(None) => watcher.agent_answered(),
            Err(AgentError::Refused(_)) => known = None,
            Err(_) => wait_for_agent(watcher, mate, mate.step_patience()).await?,
        }
        if watcher.boot != boot {
            return Some(Exit::AgentGone);
        }
        if last {
            return Some(if known.is_none() { Exit::AgentGone } else { Exit::Timeout });
        }
        let rest = deadline.at().saturating_duration_since(Instant::now());
        watcher.pause(pause.min(rest)).await?;
        pause = (pause * 3 / 2).min(Duration::from_millis(500));
    }
}

/// The exit code that an ended program left in its file; none: it has not ended.
async fn left_code(mate: &Cellmate<'_>, command: &Command) -> Result<Option<Exit>, AgentError> {
    match mate.agent(REQUEST).read_file(&command.code, 16).await {
        Ok((text, _)) => {
            let code = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
            Ok(code.map(|code| Exit::Code { code }))
        }
        Err(AgentError::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits for an agent that has stopped answering: until it answers, the machine resets, or it has been
/// silent for so long that the judge calls it lost. None: the judge is over.
pub(super) async fn wait_for_agent(watcher: &mut Observer, mate: &Cellmate<'_>, limit: Duration) -> Option<()> {
    let patience = Patience::new(watcher, limit).await;
    let boot = watcher.boot;
    watcher.sample_all().await;
    loop {
        watcher.pause(Duration::from_millis(500)).await?;
        if watcher.boot != boot {
            return Some(());
        }
        let asked = Duration::from_secs(5);
        if watcher.until(async { mate.agent(asked).ping().await }).await?.is_ok() {
            watcher.agent_answered();
            return Some(());
        }
        if watcher.judge.is_settled() && patience.left(watcher).await.is_none() {
            if !watcher.is_told_of().await {
                return None;
            }
            // Who closed the channel is alive.
            if watcher.channel_open {
                press_key(watcher).await?;
            }
            watcher.emit(SignalKind::AgentSilent { waited: patience.elapsed().into() });
        }
    }
}

/// Looks whether a machine with a silent agent reacts to a key. None: the judge is over.
async fn press_key(watcher: &mut Observer) -> Option<()> {
    // What has moved by now is no reaction.
    watcher.sample_all().await;
    let vm = watcher.vm.clone();
    if let Err(error) = watcher.until_unsampled(async move { vm.press_key().await }).await? {
        watcher.note(Level::Info, format!("no key was pressed: {error}"));
        return Some(());
    }
    watcher.emit(SignalKind::KeyPressed);
    watcher.pause(REACTION).await?;
    watcher.sample_all().await;
    Some(())
}

/// Output that cannot be fetched is no output: the exit code is what counts.
async fn fetch_output(mate: &Cellmate<'_>, command: &Command, most: usize) -> Output {
    let agent = mate.agent(REQUEST);
    let secrets = &mate.job.secrets;
    let cap = most + secrets.longest();
    let stdout = agent.read_file(&command.stdout, cap).await.unwrap_or_default();
    let stderr = agent.read_file(&command.stderr, cap).await.unwrap_or_default();
    mate.tidy(command).await;
    let [(stdout, less), (stderr, lesser)] = [stdout, stderr].map(|(bytes, more)| {
        let mut text = secrets.mask(&mate.decode(&bytes));
        let cut = more || text.len() > most;
        let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        (text, cut)
    });
    Output { stdout, stderr, truncated: less || lesser }
}
