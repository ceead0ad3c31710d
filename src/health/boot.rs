use std::collections::BTreeSet;

use crate::model::{Activity, CURSOR_PPM, ConsoleMark, KnownScreen, LabTime, Millis, Progress, ScreenKind};

/// A screen that differs from the settled one by less than this share of what is drawn there shows the same.
const SAME_SCREEN_PPM: u32 = 100_000;

/// A boot loader that has stopped says at most so many bytes more: its error, its prompt.
const LAST_WORDS: u64 = 512;

/// A boot loader that stops writes nothing more, but for a few blocks that remember it.
const LAST_WRITES: u64 = 8;

/// A machine is looked at every second. When its first look comes later than this, the harness was not there.
const FIRST_LOOK: Millis = Millis::from_secs(10);

/// What a machine does is told from two samples at least and at most so far apart.
const SPAN: Millis = Millis(500);
const LONG_SPAN: Millis = Millis::from_secs(5);

/// A guest that takes at least so many percent of a core and changes nothing does nothing but spin.
pub(super) const SPINS: u64 = 60;

/// For one that stands still: so long without any CPU time at all. (An idle lab guest takes 0.2 %.)
const STANDS: Millis = Millis::from_secs(15);

/// What is known of the boot that is running, since the last reset or the start.
#[derive(Clone, Debug, Default)]
pub(super) struct Boot {
    pub since: Millis,
    /// The agent has closed its channel.
    pub channel_closed: bool,
    /// The agent has answered in this boot.
    pub answered: bool,
    /// It has opened its channel in this boot: on a busy host it may be long until it answers.
    pub channel_opened: bool,
    pub id: Option<String>,
    /// When it finished.
    pub settled_at: Option<Millis>,
    /// It was watched for a while after it had settled.
    pub watched: bool,
    pub panicked: bool,
    /// What the console said of a panic, if nothing has shown since that the guest lives.
    pub last_panic: Option<String>,
    pub marks: BTreeSet<ConsoleMark>,
    /// Its kernel has written: no boot loader has stopped it.
    pub kernel: bool,
    /// The telling console line, for the message.
    pub console_text: Option<String>,
    /// What the screen is known to show, since it last changed.
    pub shows: Option<KnownScreen>,
    /// The first fault that the kernel reported and did not stop at.
    pub oops: Option<String>,
    /// The last that the firmware said about what it boots from.
    pub firmware: Option<String>,
    /// The first shell or prompt for maintenance on the console.
    pub recovery: Option<String>,
    /// The screen has shown something else than the settled one in this boot: a machine that has just been
    /// reset still shows what it showed before.
    screen_was_other: bool,
    /// Since when the screen shows what it shows on a settled machine.
    same_screen: Option<(Millis, Progress)>,
    /// Since when the console asks for a login; the sample after that.
    login: Option<(Millis, Progress)>,
    /// The last sample in whose span the agent answered.
    heard: Option<(Millis, Progress)>,
    /// The first sample since the agent closed its channel.
    closed: Option<(Millis, Progress)>,
    /// The console's length when the boot loader had just stopped, and how often the disk had been written.
    loader_at: Option<(u64, u64)>,
    /// The first sample of this boot.
    first: Option<(Millis, Progress)>,
    /// The last sample in which something had changed.
    changed: Option<(Millis, Progress)>,
    last: Option<(Millis, Progress)>,
    /// The last sample before we pressed a key to see whether it is alive, and whether it has shown since that it is.
    before_key: Option<(Millis, Progress)>,
    reacted: bool,
    /// What it did lately, since it settled: in the last span and the one before.
    activity: [Option<Activity>; 2],
}

impl Boot {
    pub fn starting_at(since: Millis) -> Self {
        Boot { since, ..Boot::default() }
    }

    pub fn sample(&mut self, at: Millis, now: Progress) {
        let moved = match &self.last {
            None => true,
            Some((_, before)) => {
                now.agent
                    || now.disk_reads != before.disk_reads
                    || now.disk_writes != before.disk_writes
                    // Not what it receives: others' broadcasts reach a guest that hangs, too.
                    || now.net_tx != before.net_tx
                    || now.serial_bytes != before.serial_bytes
                    || now.screen_changed_ppm.is_some_and(|ppm| ppm > CURSOR_PPM)
            }
        };
        if let (Some(_), Some((_, before))) = (&self.before_key, &self.last) {
            // A kernel that can still print what comes of its interrupts does so on all its consoles; a key is echoed on the
            // screen alone.
            let echoed =
                now.screen_changed_ppm.is_some_and(|ppm| ppm > CURSOR_PPM) && now.serial_bytes == before.serial_bytes;
            let worked =
                (now.disk_reads, now.disk_writes, now.net_tx) != (before.disk_reads, before.disk_writes, before.net_tx);
            self.reacted |= now.agent || echoed || worked;
        }
        if self.first.is_none() {
            self.first = Some((at, now));
        }
        if now.agent {
            self.heard = Some((at, now));
        }
        if moved {
            self.changed = Some((at, now));
        }
        if let Some(unlike) = now.screen_unlike_settled_ppm {
            if unlike >= SAME_SCREEN_PPM {
                self.screen_was_other = true;
                self.same_screen = None;
            } else if self.screen_was_other && self.same_screen.is_none() {
                self.same_screen = Some((at, now));
            }
        }
        if !self.channel_closed {
            self.closed = None;
        } else if self.closed.is_none() {
            self.closed = Some((at, now));
        }
        if self.marks.contains(&ConsoleMark::BootLoaderStopped) {
            let (said, wrote) = *self.loader_at.get_or_insert((now.serial_bytes, now.disk_writes));
            // Who says or writes so much more has not stopped: that line was another program's, or it went on.
            if now.serial_bytes > said.saturating_add(LAST_WORDS) || now.disk_writes > wrote.saturating_add(LAST_WRITES)
            {
                self.marks.remove(&ConsoleMark::BootLoaderStopped);
                self.loader_at = None;
            }
        }
        if self.login.is_none() && self.marks.contains(&ConsoleMark::Login) {
            self.login = Some((at, now));
        }
        if let Some((since, before)) = self.last.as_ref().filter(|_| self.is_settled()) {
            let wall = at.since(*since);
            if wall > LONG_SPAN {
                self.activity = [None; 2];
            } else if wall >= SPAN {
                self.activity = [Some(activity(wall, before, &now)), self.activity[0]];
            }
        }
        self.last = Some((at, now));
    }

    /// Whether it has finished.
    pub fn is_settled(&self) -> bool {
        self.settled_at.is_some()
    }

    /// Whether it came as far as its services: the agent is there, or the console asks for a login.
    pub fn came_up(&self) -> bool {
        self.was_up() || self.channel_opened || self.marks.contains(&ConsoleMark::Login)
    }

    /// Whether somebody in it has answered.
    pub fn was_up(&self) -> bool {
        self.is_settled() || self.answered || self.id.is_some()
    }

    pub fn key_pressed(&mut self) {
        (self.before_key, self.reacted) = (self.last, false);
    }

    /// Whether a key was pressed and changed nothing.
    pub fn ignores_keys(&self) -> bool {
        self.since_key().is_some() && !self.reacted
    }

    /// The CPU time that the guest used since a key was pressed, in percent of one core.
    pub fn key_cpu_percent(&self) -> u64 {
        self.since_key().map_or(0, |(wall, before, now)| cpu_percent(wall, before, now))
    }

    fn since_key(&self) -> Option<(Millis, &Progress, &Progress)> {
        let ((since, before), (at, now)) = (self.before_key.as_ref()?, self.last.as_ref()?);
        (at > since).then(|| (at.since(*since), before, now))
    }

    /// What shows that a machine whose agent is silent, and which ignores keys, has stopped with an error.
    pub fn stopped(&self) -> Option<String> {
        if !self.ignores_keys() {
            return None;
        }
        match (self.shows_stop(), &self.console_text) {
            (Some(known), _) => Some(format!("the screen shows {known}")),
            (_, Some(text)) if self.panic_on_console() && self.is_dead() => Some(format!("the console says: {text}")),
            _ => None,
        }
    }

    /// Whether a machine whose agent is silent is dead: not even a key changes anything, and its virtual CPUs do either
    /// nothing at all or nothing but spin. A living one that is idle still counts its time.
    pub fn is_dead(&self) -> bool {
        let spins = self.key_cpu_percent() >= SPINS;
        let stands = self.quiet_cpu().is_zero() && self.quiet() >= STANDS;
        self.ignores_keys() && (spins || stands)
    }

    /// The most that it did lately. None: nobody looked since it settled.
    pub fn activity(&self) -> Option<Activity> {
        self.activity.into_iter().flatten().reduce(|a, b| Activity {
            cpu_percent: a.cpu_percent.max(b.cpu_percent),
            disk_per_second: a.disk_per_second.max(b.disk_per_second),
        })
    }

    /// Whether it is at rest, and was in the span before: between two pieces of its work it pauses, too.
    pub fn is_at_rest(&self, usual: Activity) -> bool {
        self.activity.iter().all(|activity| activity.is_some_and(|activity| activity.is_rest(usual)))
    }

    /// The kernel writes, and tells the time: what the boot loader said before that did not stop it, and what told of a panic
    /// without a time were another's words.
    pub fn kernel_begins(&mut self) {
        self.kernel = true;
        let words = [ConsoleMark::BootLoaderStopped, ConsoleMark::KernelPanic];
        if words.map(|mark| self.marks.remove(&mark)).contains(&true) {
            (self.loader_at, self.console_text) = (None, None);
        }
        self.last_panic = None;
    }

    /// The console asks for a login: what seemed to stop the boot before that was only words.
    pub fn asks_for_login(&mut self) {
        self.marks.remove(&ConsoleMark::KernelPanic);
        self.marks.remove(&ConsoleMark::BootLoaderStopped);
        (self.loader_at, self.console_text) = (None, None);
        self.marks.insert(ConsoleMark::Login);
    }

    /// A panic that only the console told, and nothing since shows that the guest lives.
    pub fn untold_panic(&self) -> Option<String> {
        self.last_panic.clone().filter(|_| !self.panicked)
    }

    pub fn panic_on_console(&self) -> bool {
        self.marks.contains(&ConsoleMark::KernelPanic)
    }

    /// What it said when it stopped with an error, on the console or, at last, on the screen.
    pub fn last_words(&self) -> Option<String> {
        if self.panic_on_console() {
            return Some(self.console_text.clone().unwrap_or_default());
        }
        self.shows_stop().map(|known| format!("the screen showed {known}"))
    }

    /// The screen of a kernel that stopped with an error.
    pub fn shows_stop(&self) -> Option<&KnownScreen> {
        self.shows.as_ref().filter(|known| known.kind == ScreenKind::Stop)
    }

    /// What shows that the machine is up although its agent is not, and for how long it has shown that.
    pub fn life(&self) -> Option<(&'static str, Millis)> {
        let login = self.login.as_ref().map(|_| ("it asks for a login", spent(&self.login, &self.last)));
        let screen =
            self.same_screen.as_ref().map(|_| ("it shows the settled screen", spent(&self.same_screen, &self.last)));
        login.or(screen)
    }

    /// How long the agent's channel has been closed, counted as [`Boot::quiet`] is.
    pub fn closed_for(&self) -> Millis {
        spent(&self.closed, &self.last)
    }

    /// How long nothing has changed, not counting time that the lab took from the guest.
    pub fn quiet(&self) -> Millis {
        spent(&self.changed, &self.last)
    }

    /// How long this boot has taken so far, counted in the same way.
    pub fn age(&self) -> Millis {
        let (Some((first_at, _)), Some(_)) = (&self.first, &self.last) else { return Millis::ZERO };
        first_at.since(self.since).min(FIRST_LOOK) + spent(&self.first, &self.last)
    }

    /// The CPU time that the guest used while nothing changed, in percent of one core.
    pub fn quiet_cpu_percent(&self) -> u64 {
        let (Some((since, before)), Some((at, now))) = (&self.changed, &self.last) else { return 0 };
        cpu_percent(at.since(*since), before, now)
    }

    /// The CPU time that the guest used while nothing changed.
    fn quiet_cpu(&self) -> Millis {
        let (Some((_, before)), Some((_, now))) = (&self.changed, &self.last) else { return Millis::ZERO };
        now.cpu.since(before.cpu)
    }

    /// Whether the agent answered within this time. One answer takes as long as the question: not every
    /// sample of a machine that answers has one.
    pub fn agent_answers(&self, within: Millis) -> bool {
        self.heard.is_some() && spent(&self.heard, &self.last) < within
    }
}

/// What a machine did between two samples.
fn activity(wall: Millis, before: &Progress, now: &Progress) -> Activity {
    let requests = |progress: &Progress| progress.disk_reads.saturating_add(progress.disk_writes);
    Activity {
        cpu_percent: cpu_percent(wall, before, now),
        disk_per_second: requests(now).saturating_sub(requests(before)).saturating_mul(1000) / wall.0.max(1),
    }
}

/// The CPU time that a guest used between two samples, in percent of one core, of the time in which the host had one for
/// the virtual CPU that waited most. That the lab itself was slow changes nothing of it.
///
/// A CPU that waited for much of it has work, however little of it it could do: one that is only woken up now and then gets a
/// core soon, on a host with ten times as much to do as it has cores too (measured: an idle guest waited for a tenth of the
/// time, one that spins for half of it and more). It wanted what it got and what it waited for. (The host counts a wait when it
/// ends, so one span may show none of a long one and the next all of it.)
fn cpu_percent(wall: Millis, before: &Progress, now: &Progress) -> u64 {
    let (cpu, waited) = (now.cpu.since(before.cpu).0, now.lab.cpu_wait.since(before.lab.cpu_wait).0);
    if waited > wall.0 / 3 {
        return waited.saturating_add(cpu).saturating_mul(100) / wall.0.max(1);
    }
    cpu.saturating_mul(100) / wall.0.saturating_sub(waited).max(1)
}

fn spent(from: &Option<(Millis, Progress)>, to: &Option<(Millis, Progress)>) -> Millis {
    let (Some((from, before)), Some((to, now))) = (from, to) else { return Millis::ZERO };
    LabTime::counted(to.since(*from), &before.lab, &now.lab)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_waits_for_a_core_is_not_at_rest() {
        let percent = |cpu, cpu_wait| {
            let lab = LabTime { cpu_wait: Millis(cpu_wait), ..LabTime::default() };
            let now = Progress { cpu: Millis(cpu), lab, ..Progress::default() };
            cpu_percent(Millis(1000), &Progress::default(), &now)
        };
        assert_eq!(percent(20, 60), 2, "an idle one is soon done when it gets a core");
        assert_eq!(percent(20, 300), 2, "one that waits long when it is woken up, too");
        assert_eq!(percent(450, 250), 60, "a busy one takes all that it gets");
        assert_eq!(percent(190, 520), 71, "one that spins, beside ten others that do");
        assert_eq!(percent(30, 900), 93, "one that gets next to nothing wants more");
        assert_eq!(percent(30, 1500), 153, "a wait that began in the span before");
    }
}
