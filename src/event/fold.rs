use std::collections::HashMap;

use super::{Attempt, CellState, Event, Level, Note, PhaseSpan, PlannedCell, RunEvent, RunState, StepSpan};
use crate::model::{CellId, Millis, Outcome, Role, RunId, SignalKind};

impl RunState {
    /// A run of which nothing is known yet.
    pub fn new(run: RunId) -> Self {
        Self {
            run,
            start: None,
            cells: Vec::new(),
            now: Millis::ZERO,
            resumed: Vec::new(),
            stopping: None,
            decision: None,
            events: 0,
            notes: Vec::new(),
            contradictions: Vec::new(),
            index: HashMap::new(),
            running: 0,
            lanes: 0,
        }
    }

    /// What the given events add up to.
    pub fn of<'a>(run: RunId, events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut state = Self::new(run);
        events.into_iter().for_each(|event| state.apply(event));
        state
    }

    /// Takes in one event. Never fails: what cannot be becomes one of the [`contradictions`](Self::contradictions).
    pub fn apply(&mut self, event: &Event) {
        let at = event.at;
        self.events += 1;
        self.now = self.now.max(at);
        if self.decision.is_some() && !matches!(event.what, RunEvent::RunResumed { .. }) {
            self.contradictory(format!("something happened at {at}, after the run had ended"));
        }
        match &event.what {
            RunEvent::RunStarted { start } => {
                if self.start.is_some() {
                    return self.contradictory("the run began twice".to_owned());
                }
                let cell = |planned: &super::PlannedCell| CellState { planned: planned.clone(), attempts: Vec::new() };
                self.cells = start.cells.iter().map(cell).collect();
                // Of two cells with one name, which no plan has, the first is meant.
                for (n, cell) in self.cells.iter().enumerate().rev() {
                    if self.index.insert(cell.planned.id.clone(), n).is_some() {
                        self.contradictions.push(format!("two cells were planned as `{}`", cell.planned.id));
                    }
                }
                self.find_controls();
                self.start = Some((**start).clone());
            }
            RunEvent::RunResumed { utc } => {
                self.resumed.push((at, utc.clone()));
                (self.stopping, self.decision, self.running) = (None, None, 0);
            }
            // An interruption is what the user did, and outranks whatever else stopped the run.
            RunEvent::RunStopping { why } => {
                if self.stopping != Some(super::StopCause::Interrupted) {
                    self.stopping = Some(*why);
                }
            }
            RunEvent::RunEnded { decision } => self.decision = Some(*decision),
            RunEvent::Note { level, text } => {
                let note = Note { at, level: *level, text: text.clone() };
                match event.cell.as_ref().and_then(|id| self.attempts_of(id)).and_then(|attempts| attempts.last_mut()) {
                    Some(attempt) => attempt.notes.push(note),
                    None => self.notes.push(note),
                }
            }
            RunEvent::CellStarted { attempt: number } => {
                let attempt = Attempt {
                    number: *number,
                    started: at,
                    phases: Vec::new(),
                    steps: Vec::new(),
                    signals: Vec::new(),
                    notes: Vec::new(),
                    end: None,
                    proven: None,
                };
                let resumed = self.resumed.last().map(|(at, _)| *at);
                match event.cell.as_ref().and_then(|id| self.attempts_of(id)) {
                    Some(attempts) => {
                        // Only a bootgate that died leaves one without an end.
                        let is_open = attempts
                            .last()
                            .is_some_and(|before| before.end.is_none() && resumed.is_none_or(|at| at < before.started));
                        attempts.push(attempt);
                        let expected = attempts.len();
                        self.running += 1;
                        self.lanes = self.lanes.max(self.running);
                        if is_open {
                            self.contradict(event, "began again before it had ended");
                        }
                        if usize::try_from(*number) != Ok(expected) {
                            self.contradict(
                                event,
                                &format!("began as attempt {number} where attempt {expected} belongs"),
                            );
                        }
                    }
                    None => self.stray(event),
                }
            }
            RunEvent::Signal { signal } => match self.open_attempt(event) {
                Some(attempt) => {
                    attempt.observe(at, signal);
                    self.compare_with_plan(event, signal);
                    self.compare_with_control(event, signal);
                }
                None => self.stray(event),
            },
            RunEvent::CellEnded { end } => match self.open_attempt(event) {
                Some(attempt) => {
                    attempt.close_phase(at);
                    attempt.end = Some(end.clone());
                    let number = attempt.number;
                    self.running = self.running.saturating_sub(1);
                    if end.attempt != number {
                        self.contradict(event, &format!("ended its attempt {}, and attempt {number} ran", end.attempt));
                    }
                }
                None => self.stray(event),
            },
        }
    }

    fn attempts_of(&mut self, id: &CellId) -> Option<&mut Vec<Attempt>> {
        self.cells.get_mut(*self.index.get(id)?).map(|cell| &mut cell.attempts)
    }

    fn open_attempt(&mut self, event: &Event) -> Option<&mut Attempt> {
        self.attempts_of(event.cell.as_ref()?)?.last_mut().filter(|attempt| attempt.end.is_none())
    }

    /// Whoever is compared with a control needs one in the same run, known from an earlier one or not, of its image.
    fn find_controls(&mut self) {
        let found = self.cells.iter().filter_map(|CellState { planned, .. }| {
            let Role::Compared { with } = &planned.role else { return None };
            let control = self.cell(with).map(|cell| &cell.planned);
            let why = match control {
                None => "nobody planned",
                Some(control) if !control.role.is_control() => "is no control",
                Some(control) if control.image != planned.image => "is the control of another image",
                Some(_) => return None,
            };
            Some(format!("`{}` was to be compared with `{with}`, which {why}", planned.id))
        });
        let found: Vec<String> = found.collect();
        self.contradictions.extend(found);
    }

    /// What a cell set out to do is what the run planned for it, or the run has not done what it claims.
    fn compare_with_plan(&mut self, event: &Event, signal: &SignalKind) {
        let SignalKind::Planned { soak, checks, role, .. } = signal else { return };
        let Some(PlannedCell { soak: planned_soak, checks: planned_checks, role: planned_role, .. }) =
            event.cell.as_ref().and_then(|id| self.cell(id)).map(|cell| &cell.planned)
        else {
            return;
        };
        let role_of = |role: &Role| match role {
            Role::Alone => "a cell that is judged alone".to_owned(),
            Role::Compared { with } => format!("a cell that is compared with `{with}`"),
            Role::Control => "a control".to_owned(),
        };
        let mut differs = Vec::new();
        if soak != planned_soak {
            differs.push(format!("set out with soak {soak}, and {planned_soak} was planned"));
        }
        if checks != planned_checks {
            let (is, was) = (checks.join(", "), planned_checks.join(", "));
            differs.push(format!("set out with the checks [{is}], and [{was}] was planned"));
        }
        if role != planned_role {
            let (is, was) = (role_of(role), role_of(planned_role));
            differs.push(format!("set out as {is}, and was planned as {was}"));
        }
        differs.iter().for_each(|what| self.contradict(event, what));
    }

    /// A control that is said to be well was seen to be, and to be like this.
    fn compare_with_control(&mut self, event: &Event, signal: &SignalKind) {
        let SignalKind::ControlEnded { outcome: Outcome::Healthy, facts, .. } = signal else { return };
        let of = |id: &CellId| match &self.cell(id)?.planned.role {
            Role::Compared { with } => self.cell(with)?.attempts.last(),
            Role::Alone | Role::Control => None,
        };
        let control = event.cell.as_ref().and_then(of);
        let is_well = |attempt: &Attempt| {
            attempt.end.as_ref().is_some_and(|end| end.verdict.outcome == Outcome::Healthy)
                && attempt.control_facts() == facts.as_ref()
        };
        if !control.is_some_and(is_well) {
            self.contradict(event, "was compared with another control than the run's");
        }
    }

    fn contradict(&mut self, event: &Event, what: &str) {
        let whose = event.cell.as_ref().map_or("", AsRef::as_ref);
        self.contradictory(format!("`{whose}` {what}"));
    }

    /// The journal has a line for each event.
    fn contradictory(&mut self, what: String) {
        self.contradictions.push(format!("line {}: {what}", self.events));
    }

    fn stray(&mut self, event: &Event) {
        let what = match &event.what {
            RunEvent::CellStarted { .. } => "a start",
            RunEvent::CellEnded { .. } => "an end",
            _ => "a signal",
        };
        let whose = match &event.cell {
            None => "no cell".to_owned(),
            Some(id) if self.cell(id).is_some() => format!("`{id}`, which was not running"),
            Some(id) => format!("`{id}`, which nobody planned"),
        };
        self.contradictory(format!("{what} at {} of {whose}", event.at));
    }
}

impl Attempt {
    fn observe(&mut self, at: Millis, signal: &SignalKind) {
        self.signals.push(crate::model::Signal { at, what: signal.clone() });
        match signal {
            SignalKind::PhaseStarted { at: phase } => {
                self.close_phase(at);
                self.phases.push(PhaseSpan { phase: *phase, from: at, until: None, done: false });
            }
            SignalKind::PhaseEnded { at: phase } => {
                if let Some(span) = self.phases.iter_mut().rfind(|span| span.phase == *phase) {
                    span.until.get_or_insert(at);
                    span.done = true;
                }
            }
            SignalKind::StartedOver { why } => {
                // What is told of a cell is told of the machine that counted.
                (self.phases, self.steps) = (Vec::new(), Vec::new());
                let text = format!("started over from power-on: {why}");
                self.notes.push(Note { at, level: Level::Warning, text });
            }
            SignalKind::StepStarted { subject, name, .. } => {
                self.steps.push(StepSpan { subject: subject.clone(), name: name.clone(), from: at, result: None });
            }
            SignalKind::StepEnded { subject, name, result } => {
                match self.steps.iter_mut().rfind(|step| step.subject == *subject && step.result.is_none()) {
                    Some(step) => step.result = Some(result.clone()),
                    None => self.steps.push(StepSpan {
                        subject: subject.clone(),
                        name: name.clone(),
                        from: Millis(at.0.saturating_sub(result.took.0)),
                        result: Some(result.clone()),
                    }),
                }
            }
            _ => {}
        }
    }

    fn close_phase(&mut self, at: Millis) {
        if let Some(span) = self.phases.last_mut() {
            span.until.get_or_insert(at);
        }
    }
}

#[cfg(test)]
mod tests;
