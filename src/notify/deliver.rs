use std::{
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use tracing::subscriber::{NoSubscriber, with_default};

use super::{
    Decided, Target,
    post::{self, Answer},
};

/// How long and how often a target is tried.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The end of it, whatever happens.
    pub deadline: Duration,
    pub tries: u32,
    /// Before the second try; three times as long before each further one.
    pub pause: Duration,
    /// The longest pause, also if a receiver asks for more.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            tries: 3,
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(10),
        }
    }
}

/// What became of telling one target.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// Scheme and host.
    pub target: String,
    /// None: it has taken the message.
    pub failed: Option<String>,
}

/// All targets are being told, each in a thread of its own: one that hangs keeps no other from being told, and a process
/// that ends does not wait for it.
#[must_use = "nobody waits for the answers"]
pub struct Telling {
    left: Vec<(usize, String)>,
    answers: Receiver<(usize, Option<String>)>,
    until: Instant,
}

impl Telling {
    pub fn begin(targets: Vec<Target>, decided: &Decided, patience: Patience) -> Self {
        let until = Instant::now() + patience.deadline;
        let (sender, answers) = mpsc::channel();
        let left = targets.iter().map(Target::shown).enumerate().collect();
        for (n, target) in targets.into_iter().enumerate() {
            let body = decided.body(target.shape).to_string();
            spawn(n, target, body, until, patience, sender.clone());
        }
        Self { left, answers, until }
    }

    /// Waits until all have answered, or for the deadline.
    pub fn wait(mut self) -> Vec<Told> {
        let mut told = Vec::new();
        while !self.left.is_empty() {
            let Ok((n, failed)) = self.answers.recv_timeout(self.until.saturating_duration_since(Instant::now()))
            else {
                break;
            };
            if let Some(at) = self.left.iter().position(|(left, _)| *left == n) {
                told.push(Told { target: self.left.remove(at).1, failed });
            }
        }
        let silent = |(_, target): (usize, String)| Told { target, failed: Some("no answer in time".to_owned()) };
        told.extend(self.left.into_iter().map(silent));
        told
    }
}

fn spawn(
    n: usize,
    target: Target,
    body: String,
    until: Instant,
    patience: Patience,
    answers: Sender<(usize, Option<String>)>,
) {
    let again = answers.clone();
    let work = move || {
        // The library's own log would show the URL at its finest level.
        let failed = with_default(NoSubscriber::default(), || deliver(&target, &body, until, patience).err());
        // Nobody may be waiting any more.
        let _ = answers.send((n, failed));
    };
    if let Err(error) = thread::Builder::new().name("notify".into()).spawn(work) {
        let _ = again.send((n, Some(error.to_string())));
    }
}

fn deliver(target: &Target, body: &str, until: Instant, patience: Patience) -> Result<(), String> {
    let agent = post::agent(target);
    let mut pause = patience.pause;
    for left in (0..patience.tries).rev() {
        let time = until.saturating_duration_since(Instant::now());
        let (after, why) = match post::post(&agent, target, body, time) {
            Answer::Taken => return Ok(()),
            Answer::Refused(why) => return Err(why),
            Answer::Later { after, why } => (after, why),
        };
        let wait = after.unwrap_or(pause).min(patience.longest_pause);
        if left == 0 || Instant::now() + wait >= until {
            return Err(why);
        }
        thread::sleep(wait);
        pause *= 3;
    }
    Err("it was not tried".to_owned())
}
