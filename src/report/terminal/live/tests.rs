use super::*;
use crate::{
    event::testing::{RUN, controlled, nine, three},
    model::RunId,
};

fn new() -> RunState {
    RunState::new(RunId::from(RUN))
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn logged(options: LiveOptions, events: &[Event]) -> String {
    let log = Log::default();
    let live = Live::on(Screen::Lines(Box::new(log.clone())), Look::PLAIN, new(), options);
    events.iter().for_each(|event| live.event(event));
    drop(live);
    log.text()
}

#[test]
fn a_log_gets_a_line_when_a_cell_starts_and_when_it_ends() {
    insta::assert_snapshot!(logged(LiveOptions::default(), &three().events));
}

#[test]
fn a_log_tells_of_controls_and_of_machines_that_started_over() {
    let text = logged(LiveOptions::default(), &controlled().events);
    assert!(text.lines().next().unwrap().ends_with("] 4 cells and 4 controls of demo on sim"), "{text}");
    let known = text.lines().find(|line| line.contains("✓ control-os-8-p1")).unwrap();
    assert!(known.ends_with("healthy, known from an earlier run"), "{known}");
    assert!(text.contains("] os-8.p2: started over from power-on: the clone's memory could not be read\n"), "{text}");
}

#[test]
fn phases_are_told_only_when_asked_for() {
    let verbose = LiveOptions { verbose: true, quiet: false };
    assert!(logged(verbose, &three().events).contains("os-9.p1 soak-1\n"));
    assert!(!logged(LiveOptions::default(), &three().events).contains("soak-1\n"));
}

#[test]
fn a_log_that_is_silent_for_long_hears_that_the_run_lives() {
    let log = Log::default();
    let live = Live::on(Screen::Lines(Box::new(log.clone())), Look::PLAIN, new(), LiveOptions::default());
    three().events.iter().for_each(|event| live.event(event));
    lock(&live.inner).last_line = Instant::now() - HEARTBEAT;
    lock(&live.inner).pulse();
    let text = log.text();
    let last = text.lines().last().unwrap();
    assert!(last.contains("2/3 done  1 unhealthy  about") && last.ends_with("running: os-9.p3 in apply"), "{last}");
}

#[test]
fn bars_come_and_go_with_the_cells_and_guest_text_stays_text() {
    let screen = indicatif::InMemoryTerm::new(20, 100);
    let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
    let look = Look { width: 100, ..Look::PLAIN };
    let live = Live::on(Screen::bars(target, look), look, new(), LiveOptions::default());
    three().events.iter().for_each(|event| live.event(event));
    lock(&live.inner).pulse();
    let shown = screen.contents();
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[1].contains("? os-9.p1") || lines[0].contains("? os-9.p1"), "{shown}");
    assert!(
        shown.contains("✗ os-9.p2") && shown.contains("kernel panic: sensor: 21 fields <expected 20> ]]>"),
        "{shown}"
    );
    assert!(lines[lines.len() - 2].contains("os-9.p3  apply"), "{shown}");
    assert!(lines[lines.len() - 1].contains("2/3 done"), "{shown}");
    live.close();
    assert!(!screen.contents().contains("done"), "{}", screen.contents());
}

#[test]
fn a_quiet_run_and_a_closed_display_say_nothing() {
    let live = Live::on(Screen::Closed, Look::PLAIN, new(), LiveOptions { quiet: true, verbose: true });
    nine().events.iter().for_each(|event| live.event(event));
}

#[test]
fn a_resumed_run_knows_the_cells_that_were_planned_before() {
    let events = three().events;
    let (before, after) = events.split_at(events.len() / 2);
    let log = Log::default();
    let known = RunState::of(RunId::from(RUN), before);
    let live = Live::on(Screen::Lines(Box::new(log.clone())), Look::PLAIN, known, LiveOptions::default());
    after.iter().for_each(|event| live.event(event));
    lock(&live.inner).last_line = Instant::now() - HEARTBEAT;
    lock(&live.inner).pulse();
    let text = log.text();
    assert!(text.contains("2/3 done") && text.contains("running: os-9.p3"), "{text}");
}
