use super::boot::{Boot, SPINS};
use crate::model::{ConsoleMark, KnownScreen, Limits, ReasonId, ScreenKind};

/// Why a boot that has not settled never will; none while there is still hope.
pub(super) fn diagnose(boot: &Boot, limits: &Limits) -> Option<(ReasonId, String)> {
    let hangs = boot.quiet() >= limits.quiet;
    let late = boot.age() >= limits.boot;
    let life = boot.life();
    let answers = boot.agent_answers(limits.quiet);
    // One that still works may yet start its agent: twice as long.
    let deaf = !answers && life.is_some_and(|(_, shown)| shown.0 >= limits.quiet.0.saturating_mul(2));
    if !hangs && !late && !deaf {
        return None;
    }
    let console = boot.console_text.as_deref().unwrap_or("");
    let recovers = boot.recovery.as_ref().filter(|_| life.is_none());
    let verdict = if let (Some(text), true) = (recovers, answers) {
        (ReasonId::RecoveryScreen, format!("the agent answers, but the console shows: {text}"))
    } else if answers {
        (ReasonId::BootTimeout, format!("the agent answers, but the boot has not finished after {}", boot.age()))
    } else if boot.panic_on_console() {
        (ReasonId::StopError, format!("the kernel panicked before it could tell the host: {console}"))
    } else if nothing_to_start(boot) {
        (ReasonId::NoBootDevice, format!("nothing to start: {console}"))
    } else if let Some(shows) = boot.shows_stop().filter(|_| hangs) {
        // It was up, and is no more.
        shown(shows)
    } else if let (Some(shows), None) = (&boot.shows, life) {
        shown(shows)
    } else if let Some(text) = recovers {
        (ReasonId::RecoveryScreen, format!("the console shows: {text}"))
    } else if let Some((proof, _)) = life {
        (ReasonId::AgentLost, format!("the machine is up ({proof}), but the agent does not answer"))
    } else if hangs {
        let agent = if boot.answered { "the agent fell silent" } else { "no agent" };
        (ReasonId::BootHang, format!("{agent}; {}{}", unchanged(boot), hint(boot)))
    } else {
        (ReasonId::BootTimeout, format!("not settled after {}, and still changing{}", boot.age(), hint(boot)))
    };
    Some(verdict)
}

/// How long nothing has changed, and what the CPU did.
fn unchanged(boot: &Boot) -> String {
    format!("disk, screen and console unchanged for {}, {}", boot.quiet(), cpu(boot.quiet_cpu_percent()))
}

/// That a key has changed nothing, and what the CPU did.
pub(super) fn unmoved(boot: &Boot) -> String {
    format!("a key that was pressed changed nothing, {}", cpu(boot.key_cpu_percent()))
}

fn cpu(percent: u64) -> String {
    let does = if percent >= SPINS { "spinning" } else { "idle" };
    format!("CPU {does} ({percent} %)")
}

/// What was on the console and may be why; it proves nothing.
fn hint(boot: &Boot) -> String {
    match (&boot.oops, &boot.firmware) {
        (Some(oops), _) => format!("; its kernel had reported: {oops}"),
        (None, Some(firmware)) => format!("; its firmware's last words: {firmware}"),
        (None, None) => String::new(),
    }
}

/// What a boot loader says, a program may print, too: not where an agent has answered.
fn nothing_to_start(boot: &Boot) -> bool {
    let says = |mark| boot.marks.contains(&mark);
    !boot.answered && (says(ConsoleMark::NoBootDevice) || says(ConsoleMark::BootLoaderStopped))
}

/// What a known screen means, where nothing stronger speaks.
fn shown(shows: &KnownScreen) -> (ReasonId, String) {
    match shows.kind {
        ScreenKind::Stop => (ReasonId::StopError, format!("the screen shows {shows}")),
        ScreenKind::NothingToBoot => (ReasonId::NoBootDevice, format!("nothing to start: the screen shows {shows}")),
        ScreenKind::Recovery => (ReasonId::RecoveryScreen, format!("the screen shows {shows}")),
        ScreenKind::SignIn => (
            ReasonId::AgentLost,
            format!("the machine is up (the screen shows {shows}), but the agent does not answer"),
        ),
    }
}
