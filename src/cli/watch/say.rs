use std::{
    io::{self, Write as _},
    path::Path,
    sync::{Mutex, PoisonError},
};

use indicatif::{ProgressBar, ProgressStyle};
use time::{OffsetDateTime, macros::format_description};

use crate::{
    cli::run::shown,
    model::{count, one_line},
    watch::{Entry, Queue, QueueFile, Seen, State},
};

/// Now, to the second.
pub(super) fn utc_now() -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    OffsetDateTime::now_utc().format(format).unwrap_or_else(|_| "unknown time".to_owned())
}

/// Tells what happens: a line for each event on standard output; on a terminal, below them, what goes on now.
pub(super) struct Say {
    bar: Option<ProgressBar>,
    watched: String,
}

impl Say {
    pub fn new(dir: &Path) -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let bar = (console::user_attended_stderr() && !is_dumb).then(|| {
            let style = ProgressStyle::with_template("  {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::new_spinner().with_style(style)
        });
        Self { bar, watched: one_line(&dir.display().to_string()) }
    }

    /// A line. A reader that has gone is no reason to stop testing.
    pub fn line(&self, text: &str) {
        let text = format!("{} {}\n", utc_now(), one_line(text));
        self.around(|| {
            let mut out = io::stdout().lock();
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        });
    }

    /// Takes away what goes on now, while something else is written.
    pub fn around<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    pub fn begin(&self, dir: &Path, matrix: &Path, queue: &Queue) {
        let (open, rest): (Vec<&Entry>, Vec<&Entry>) = queue.entries().iter().partition(|entry| entry.is_open());
        let rest = if rest.is_empty() { String::new() } else { format!(", {} tested before", rest.len()) };
        let (dir, matrix) = (dir.display(), matrix.display());
        self.line(&format!("watching {dir} for {matrix}: {} waiting{rest}", open.len()));
    }

    /// What goes on now.
    pub fn status(&self, testing: Option<&str>, queue: &Queue) {
        let Some(bar) = &self.bar else { return };
        let waiting = queue.line().len() - usize::from(testing.is_some());
        let doing = testing.map_or("testing nothing".to_owned(), |name| format!("testing {}", one_line(name)));
        bar.set_message(format!("watching {}: {doing}, {waiting} waiting", self.watched));
        bar.tick();
    }

    pub fn end(&self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }

    pub fn seen(&self, seen: &Seen<'_>, queue: &Mutex<QueueFile>) {
        let text = match seen {
            Seen::New(name) => format!("{name}: seen, not complete yet"),
            Seen::Arrived(entry) => {
                let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                let before = queue.queue().line().iter().position(|other| other.id == entry.id).unwrap_or_default();
                let before =
                    if before == 0 { "next".to_owned() } else { format!("{} before it", count(before, "candidate")) };
                format!("{}: complete, {}, {}; {before}", entry.name, entry.size, entry.sha256.short())
            }
            Seen::Known { name, entry } => format!("{name}: not tested again, {}", known(name, entry)),
            Seen::Left(name) => format!("{name}: not complete, left for the next time"),
            Seen::Trouble(text) => text.clone(),
        };
        self.line(&text);
    }
}

/// What is known of a file's bytes.
fn known(name: &str, entry: &Entry) -> String {
    let other = if name == entry.name { String::new() } else { format!(" as {}", entry.name) };
    match &entry.state {
        State::Waiting { .. } => format!("it waits already{other}"),
        State::Running { .. } => format!("it is being tested{other}"),
        State::Ended { decision, run, .. } => {
            format!("it was {}{other}: {}", decision.as_str(), shown(run).display())
        }
        State::Refused { why, .. } => format!("it could not be tested{other}: {why}"),
        State::Answered { .. } => format!("it has its answer{other}"),
    }
}
