use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    grid::pad,
    look::{Look, Mark, is_dumb},
};
use crate::{
    event::{CellState, Counts, Event, Level, RunEvent, RunState, StopCause},
    model::{CellId, Millis, SignalKind, count, one_line},
};

/// How often a log is told that the run is alive.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// How often the bars are drawn: events come faster than anyone reads.
const FRAME: Duration = Duration::from_millis(200);
/// How often the whole run's numbers are counted anew when no cell has ended.
const COUNTED: Duration = Duration::from_secs(1);
/// More bars than this leave no room for the lines above them.
const MOST_BARS: usize = 24;

/// What the user asked to see of a run while it goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct LiveOptions {
    /// Nothing at all.
    pub quiet: bool,
    /// Each phase too.
    pub verbose: bool,
}

/// Shows a run on standard error while it goes on: bars on a terminal, lines in a log.
///
/// Takes events and decides nothing. What can't be written is dropped: a closed terminal must not end a run.
pub struct Live {
    inner: Arc<Mutex<Inner>>,
    /// Dropped: the thread that turns spinners ends.
    _until_dropped: mpsc::Sender<()>,
}

struct Inner {
    state: RunState,
    screen: Screen,
    look: Look,
    verbose: bool,
    /// When the last event came: the clock goes on from its moment.
    last_event: Instant,
    last_line: Instant,
    /// When the numbers of the whole run were shown; none: something has changed since.
    counted: Option<Instant>,
    /// Columns that the cells' names take.
    width: usize,
}

enum Screen {
    Bars { all: MultiProgress, total: ProgressBar, cells: BTreeMap<CellId, ProgressBar> },
    Lines(Box<dyn Write + Send>),
    Closed,
}

impl Live {
    /// `state`: what is known before the first event, which for a resumed run is all that was recorded.
    pub fn new(state: RunState, options: LiveOptions) -> Self {
        let look = Look::of_stderr();
        let screen = if options.quiet {
            Screen::Closed
        } else if console::user_attended_stderr() && !is_dumb() {
            Screen::bars(ProgressDrawTarget::stderr(), look)
        } else {
            Screen::Lines(Box::new(io::stderr()))
        };
        Self::on(screen, look, state, options)
    }

    fn on(screen: Screen, look: Look, state: RunState, options: LiveOptions) -> Self {
        let now = Instant::now();
        let width = id_width(&state);
        let verbose = options.verbose;
        let inner = Inner { state, screen, look, verbose, last_event: now, last_line: now, counted: None, width };
        let inner = Arc::new(Mutex::new(inner));
        let (until_dropped, dropped) = mpsc::channel::<()>();
        let pulse = Arc::clone(&inner);
        thread::spawn(move || {
            while dropped.recv_timeout(FRAME) == Err(mpsc::RecvTimeoutError::Timeout) {
                lock(&pulse).pulse();
            }
        });
        Self { inner, _until_dropped: until_dropped }
    }

    /// Takes in one event and shows what it changes.
    pub fn event(&self, event: &Event) {
        let mut inner = lock(&self.inner);
        inner.last_event = Instant::now();
        inner.take(event);
        inner.show(event);
    }

    /// Takes the bars away; nothing is shown from here on.
    pub fn close(&self) {
        lock(&self.inner).close();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.close();
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Screen {
    fn bars(target: ProgressDrawTarget, look: Look) -> Self {
        let all = MultiProgress::with_draw_target(target);
        let chars = if look.unicode { "━╸─" } else { "=> " };
        let template = if look.color { "  {bar:24.cyan/dim} {wide_msg}" } else { "  {bar:24} {wide_msg}" };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let total = all.add(ProgressBar::new(0).with_style(style.progress_chars(chars)));
        Screen::Bars { all, total, cells: BTreeMap::new() }
    }
}

impl Inner {
    fn now(&self) -> Millis {
        self.state.now + Millis::from(self.last_event.elapsed())
    }

    /// Nothing that is shown comes of samples: a display that keeps none stays small.
    fn take(&mut self, event: &Event) {
        match (&event.what, &event.cell) {
            (RunEvent::Signal { signal: SignalKind::Progress { .. } }, Some(_)) => {
                self.state.now = self.state.now.max(event.at);
                return;
            }
            (RunEvent::CellEnded { .. }, Some(cell)) => {
                self.state.apply(event);
                self.state.forget_samples(cell);
            }
            (RunEvent::RunStarted { .. }, _) => {
                self.state.apply(event);
                self.width = id_width(&self.state);
            }
            (RunEvent::Signal { .. }, _) => return self.state.apply(event),
            _ => self.state.apply(event),
        }
        self.counted = None;
    }

    fn close(&mut self) {
        if let Screen::Bars { all, .. } = &self.screen {
            let _ = all.clear();
        }
        self.screen = Screen::Closed;
    }

    fn say(&mut self, text: &str) {
        self.last_line = Instant::now();
        match &mut self.screen {
            Screen::Bars { all, .. } => drop(all.println(self.look.fit(text))),
            Screen::Lines(out) => drop(writeln!(out, "{text}").and_then(|()| out.flush())),
            Screen::Closed => {}
        }
    }

    fn show(&mut self, event: &Event) {
        let Event { at, cell, what } = event;
        let is_log = matches!(self.screen, Screen::Lines(_));
        // Bars show a start and the phases by themselves.
        let stamp = if is_log { format!("[{at:>8}] ") } else { "  ".to_owned() };
        let named = |cell: &CellId| pad(cell.as_ref(), self.width);
        match (what, cell) {
            (RunEvent::RunStarted { start }, _) if is_log => {
                let controls = start.cells.iter().filter(|cell| cell.role.is_control()).count();
                let cells = count(start.cells.len() - controls, "cell");
                let cells = if controls > 0 { format!("{cells} and {}", count(controls, "control")) } else { cells };
                let text = format!("{stamp}{cells} of {} on {}", start.name, one_line(&start.lab));
                self.say(&text);
                if let Some(about) = start.candidate_about.as_ref().filter(|about| about.is_telling()) {
                    self.say(&format!("{stamp}the candidate: {}", one_line(&about.to_string())));
                }
            }
            (RunEvent::RunResumed { .. }, _) => self.say(&format!("{stamp}the run goes on")),
            (RunEvent::RunStopping { why }, _) => {
                let why = match why {
                    StopCause::Interrupted => "interrupted",
                    StopCause::FailFast => "a cell is unhealthy and --fail-fast was given",
                };
                self.say(&format!("{stamp}stopping: {why}; running cells are cancelled and cleaned up"));
            }
            (RunEvent::CellStarted { attempt }, Some(cell)) => {
                let again = if *attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
                if is_log {
                    self.say(&format!("{stamp}  {} started{again}", named(cell)));
                }
            }
            (RunEvent::Signal { signal: SignalKind::PhaseStarted { at: phase } }, Some(cell)) if self.verbose => {
                self.say(&format!("{stamp}  {} {phase}", named(cell)));
            }
            (RunEvent::Signal { signal: SignalKind::StartedOver { why } }, Some(cell)) => {
                self.say(&format!("{stamp}{cell}: started over from power-on: {}", one_line(why)));
            }
            (RunEvent::Note { level, text }, _) if *level == Level::Warning || self.verbose => {
                let whose = cell.as_ref().map_or(String::new(), |cell| format!("{cell}: "));
                self.say(&format!("{stamp}{whose}{}", one_line(text)));
            }
            (RunEvent::CellEnded { .. }, Some(id)) => {
                let ended = self.state.cell(id).and_then(|cell| Some((cell, cell.ended()?)));
                let Some((cell, end)) = ended else { return };
                let mark = Mark::of(cell, &end.verdict);
                let told = match end.verdict.lead() {
                    Some(lead) => format!(
                        "{} in {}: {}",
                        self.look.paint(mark.style(), lead.id.as_str()),
                        lead.phase,
                        one_line(&lead.message)
                    ),
                    None => {
                        let known = if cell.known_from().is_some() { ", known from an earlier run" } else { "" };
                        self.look.paint(mark.style(), mark.word()) + known
                    }
                };
                // Padded first: escape sequences would count as columns.
                let took = self.look.dim(&format!("{:>8}", end.took));
                let line = format!("{stamp}{} {}  {took}  {told}", self.look.mark(mark), named(id));
                self.say(&line);
            }
            _ => {}
        }
    }

    /// A bar for each running cell, as long as there is room, and for no other.
    fn arrange(&mut self) {
        let Screen::Bars { all, total, cells } = &mut self.screen else { return };
        let running: BTreeSet<&CellId> = self.state.running().map(|cell| &cell.planned.id).collect();
        cells.retain(|id, bar| {
            let stays = running.contains(id);
            if !stays {
                all.remove(bar);
            }
            stays
        });
        for id in running {
            if cells.len() < MOST_BARS && !cells.contains_key(id) {
                let template = if self.look.color { "  {spinner:.cyan} {wide_msg}" } else { "  {spinner} {wide_msg}" };
                let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
                let style =
                    style.tick_chars(if self.look.unicode { "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ " } else { "|/-\\ " });
                cells.insert(id.clone(), all.insert_before(total, ProgressBar::new_spinner().with_style(style)));
            }
        }
    }

    fn refresh(&mut self) {
        let now = self.now();
        let width = self.width;
        let Screen::Bars { total, cells, .. } = &self.screen else { return };
        for (id, bar) in cells {
            let Some(attempt) = self.state.cell(id).and_then(|cell| cell.attempts.last()) else { continue };
            let phase = attempt.phase().map_or_else(|| "waits".to_owned(), |phase| phase.to_string());
            let here = attempt.phases.last().map_or(attempt.started, |span| span.from);
            let whole = self.look.dim(&format!("{} in all", now.since(attempt.started)));
            bar.set_message(format!(
                "{}  {phase:<8} {:>8}  {whole}",
                pad(id.as_ref(), width),
                now.since(here).to_string()
            ));
            bar.tick();
        }
        if self.counted.is_none_or(|counted| counted.elapsed() >= COUNTED) {
            let (counts, all) = self.counted_cells();
            total.set_length(all as u64);
            total.set_position(counts.total() as u64);
            total.set_message(self.progress(now));
            self.counted = Some(Instant::now());
        }
    }

    /// Such as `3/9 done  1 unhealthy  about 2m 05s left`.
    fn progress(&self, now: Millis) -> String {
        let (counts, all) = self.counted_cells();
        let mut parts = vec![format!("{}/{all} done", counts.total())];
        for (mark, n) in [(Mark::Unhealthy, counts.unhealthy), (Mark::Inconclusive, counts.inconclusive)] {
            if n > 0 {
                parts.push(self.look.paint(mark.style(), &format!("{n} {}", mark.word())));
            }
        }
        if let Some(left) = self.state.time_left(now).filter(|left| left.0 > 0) {
            parts.push(self.look.dim(&format!("about {left} left")));
        }
        parts.join("  ")
    }

    /// How those that have ended did, and of how many; of a run that has nothing but controls, those.
    fn counted_cells(&self) -> (Counts, usize) {
        match self.state.permutations().count() {
            0 => {
                let ended = self.state.controls().filter_map(CellState::ended).map(|end| end.verdict.outcome);
                (Counts::of(ended), self.state.controls().count())
            }
            all => (self.state.counts(), all),
        }
    }

    fn pulse(&mut self) {
        // All of a run's cells are gone through only when one of them has begun or ended.
        if self.counted.is_none() {
            self.arrange();
        }
        self.refresh();
        if matches!(self.screen, Screen::Lines(_)) && self.last_line.elapsed() >= HEARTBEAT {
            let now = self.now();
            let running = |cell: &CellState| {
                let phase = cell.attempts.last().and_then(|attempt| attempt.phase());
                format!(
                    "{} in {}",
                    cell.planned.id,
                    phase.map_or_else(|| "waits".to_owned(), |phase| phase.to_string())
                )
            };
            let mut shown: Vec<String> = self.state.running().take(MOST_BARS).map(running).collect();
            let more = self.state.running().count() - shown.len();
            if more > 0 {
                shown.push(format!("and {more} more"));
            }
            self.say(&format!("[{now:>8}] {}; running: {}", self.progress(now), shown.join(", ")));
        }
    }
}

fn id_width(state: &RunState) -> usize {
    state.cells.iter().map(|cell| cell.planned.id.0.len()).max().unwrap_or(0).min(48)
}

#[cfg(test)]
mod tests;
