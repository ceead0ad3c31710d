//! `report.html` in a real browser: Chromium, headless. It must open without an error and do what it offers.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use bootgate::{
    event::{CellEnd, Decision, Event, JournalWriter, PlannedCell, RunEvent, RunStart},
    model::{
        Accelerator, AxisValue, CellId, Exit, Millis, Outcome, Output as StepOutput, Phase, Reason, ReasonId, Role,
        RunId, Sha256, SignalKind, StepResult, Subject, Verdict,
    },
};
use serde_json::Value;

const OS: usize = 10;
const CHANNELS: [&str; 2] = ["beta", "stable"];

/// A recorded run of so many cells; those of the third patch level hang, and the guest says hostile things.
struct Recorded {
    dir: tempfile::TempDir,
    cells: usize,
    hanging: usize,
}

struct Recorder {
    journal: JournalWriter,
    now: u64,
}

impl Recorder {
    fn push(&mut self, cell: Option<&CellId>, what: RunEvent) {
        self.journal.append(&Event { at: Millis(self.now), cell: cell.cloned(), what }).unwrap();
        self.now += 200;
    }

    fn signal(&mut self, cell: &CellId, signal: SignalKind) {
        self.push(Some(cell), RunEvent::Signal { signal });
    }

    fn phase(&mut self, cell: &CellId, at: Phase) {
        self.signal(cell, SignalKind::PhaseStarted { at });
        self.now += 900;
    }

    fn step(&mut self, cell: &CellId) {
        let (subject, name) = (Subject::Update { step: 0 }, "sensorctl install </script>".to_owned());
        let stdout = "<img src=x onerror=alert(1)>\n\u{202e}installed 21 of 21 fields\n".repeat(8);
        let output = StepOutput { stdout, ..StepOutput::default() };
        let exit = Exit::Code { code: 0 };
        let result = StepResult { exit, ok: true, says: None, took: Millis(400), output };
        self.signal(cell, SignalKind::StepEnded { subject, name, result });
    }
}

impl Recorded {
    fn of(cells: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let run = RunId::from("20260102T030405Z-demo");
        let journal = JournalWriter::create(&dir.path().join("events.jsonl"), run).unwrap();
        let mut recorder = Recorder { journal, now: 0 };
        let planned: Vec<PlannedCell> = (0..cells).map(planned).collect();
        let start = RunStart {
            utc: "2026-01-02T03:04:05Z".into(),
            bootgate: "0.1.0".into(),
            name: "demo".into(),
            plan_sha256: Sha256::of(b"plan"),
            cells: planned.clone(),
            update_sha256: Sha256::of(b"update"),
            candidate_sha256: Some(Sha256::of(b"candidate")),
            candidate_name: Some("content-291.bin".into()),
            candidate_about: None,
            lab: "libvirt 9.0.0, qemu 7.2.22 (qemu:///embed)".into(),
            accelerator: Accelerator::Tcg,
            uncontrolled: false,
            policy: Default::default(),
        };
        recorder.push(None, RunEvent::RunStarted { start: Box::new(start) });
        let mut hanging = 0;
        for (n, cell) in planned.iter().enumerate() {
            let id = &cell.id;
            let began = recorder.now;
            recorder.push(Some(id), RunEvent::CellStarted { attempt: 1 });
            for phase in [Phase::Start, Phase::Settle, Phase::Apply, Phase::Restart, Phase::Boot] {
                recorder.phase(id, phase);
                if phase == Phase::Apply {
                    recorder.step(id);
                }
                if phase != Phase::Boot || !hangs(n) {
                    recorder.signal(id, SignalKind::PhaseEnded { at: phase });
                }
            }
            let mut verdict = Verdict { outcome: Outcome::Healthy, reasons: Vec::new() };
            if hangs(n) {
                hanging += 1;
                let message = "no agent; disk, screen and console unchanged for 20.7 s <b>".to_owned();
                let at = Millis(recorder.now);
                verdict.outcome = Outcome::Unhealthy;
                verdict.reasons = vec![Reason { id: ReasonId::BootHang, phase: Phase::Boot, at, message, check: None }];
            }
            let (artifacts, took) = (vec![format!("cells/{id}/serial.log")], Millis(recorder.now - began));
            recorder.push(Some(id), RunEvent::CellEnded { end: CellEnd { attempt: 1, verdict, artifacts, took } });
        }
        recorder.push(None, RunEvent::RunEnded { decision: Decision::Rejected });
        let recorded = Self { dir, cells, hanging };
        recorded.report(&["--only", "html"]);
        recorded
    }

    fn report(&self, args: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootgate"));
        command.arg("report").arg(self.dir.path()).args(args);
        let output = command.env("BOOTGATE_STATE", self.dir.path().join("state")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What the page does when it is used, opened at a cell and this wide.
    fn used(&self, width: u32, flags: &[&str]) -> Value {
        let frame = DRIVER.replace("WIDTH", &width.to_string()).replace("CELL", "os-0.p0.beta");
        fs::write(self.dir.path().join("driver.html"), frame).unwrap();
        let output = browse(self.dir.path(), "driver.html", flags, "--dump-dom");
        let errors = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<&str> = errors.lines().filter(|line| line.contains(":CONSOLE")).collect();
        assert!(errors.is_empty(), "{}", errors.join("\n"));
        let dom = String::from_utf8_lossy(&output.stdout);
        let answer = dom.split_once("<pre id=\"answer\">").and_then(|(_, rest)| rest.split_once("</pre>"));
        let (answer, _) = answer.unwrap_or_else(|| panic!("no answer: {dom}"));
        let answer = answer.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    fn is_used_as_offered(&self, answer: &Value) {
        assert_eq!(answer["error"], Value::Null, "{answer}");
        assert_eq!(answer["cells"], self.cells);
        assert_eq!(answer["opened"], serde_json::json!(["cell-os-0.p0.beta"]), "a link opens its cell");
        assert_eq!(answer["unhealthy"], self.hanging);
        assert_eq!(answer["named"], 1, "one cell has this name");
        assert_eq!(answer["cleared"], self.cells);
        assert_eq!(answer["all_open"], true);
        assert_eq!(answer["overflows"], false, "nothing is wider than the page");
    }
}

fn planned(n: usize) -> PlannedCell {
    let (os, patch, channel) = (n % OS, n / OS / CHANNELS.len(), CHANNELS[n / OS % CHANNELS.len()]);
    let axis = |axis: &str, value: String| AxisValue { axis: axis.to_owned(), value };
    PlannedCell {
        id: CellId(format!("os-{os}.p{patch}.{channel}")),
        image: format!("os-{os}-p{patch}"),
        axes: vec![
            axis("os", format!("os-{os}")),
            axis("patch", format!("p{patch}")),
            axis("channel", channel.to_owned()),
        ],
        soak: 0,
        checks: vec!["sensor".to_owned()],
        role: Role::Alone,
        expected_ms: None,
        image_made: None,
    }
}

fn hangs(n: usize) -> bool {
    n / OS / CHANNELS.len() == 2 || n == 3
}

/// Opens a page below `dir`, as it lies on a disk.
fn browse(dir: &Path, page: &str, flags: &[&str], what: &str) -> Output {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--enable-logging=stderr"])
        // The page that drives the report has to see into it.
        .args(["--allow-file-access-from-files", "--virtual-time-budget=60000", "--window-size=1300,1000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(flags)
        .arg(what)
        .arg(format!("file://{}/{page}", dir.display()));
    command.output().unwrap_or_else(|error| panic!("chromium does not start: {error}; ci/setup installs it"))
}

/// Uses the report as a reader would, and says what came of it.
const DRIVER: &str = r#"<!DOCTYPE html><title>driver</title>
<body style="margin:0"><iframe id="page" style="border:0;width:WIDTHpx;height:900px"></iframe><pre id="answer"></pre>
<script>
const frame = document.getElementById("page");
const tell = (answer) => { document.getElementById("answer").textContent = JSON.stringify(answer); };
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const light = (color) => {
  const [r, g, b] = color.match(/[\d.]+/g).map((part) => part / 255).map((c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
};
const ground = (element, view) => {
  for (let at = element; at; at = at.parentElement) {
    const color = view.getComputedStyle(at).backgroundColor;
    if (!/, 0\)$/.test(color)) return color;
  }
  return "rgb(255, 255, 255)";
};
// Texts whose contrast is less than WCAG AA asks for.
const pale = (page) => [...page.body.querySelectorAll("*")].filter((element) => {
  const has = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!has || !element.checkVisibility() || element.closest("script")) return false;
  const style = page.defaultView.getComputedStyle(element);
  const [a, b] = [light(style.color), light(ground(element, page.defaultView))];
  const size = parseFloat(style.fontSize);
  const least = size >= 24 || (size >= 18.7 && style.fontWeight >= 700) ? 3 : 4.5;
  return (Math.max(a, b) + .05) / (Math.min(a, b) + .05) < least;
}).map((element) => `${element.tagName}.${element.className}: ${element.textContent.slice(0, 30)}`);
frame.addEventListener("load", async () => {
  try {
    await wait(500);
    const page = frame.contentDocument;
    const get = (id) => page.getElementById(id);
    const cells = [...page.querySelectorAll("details.cell")];
    const shown = () => cells.filter((cell) => !cell.hidden).length;
    const set = async (id, value) => {
      get(id).value = value;
      get(id).dispatchEvent(new Event("input", { bubbles: true }));
      get(id).dispatchEvent(new Event("change", { bubbles: true }));
      await wait(400);
    };
    const answer = { cells: cells.length, opened: cells.filter((cell) => cell.open).map((cell) => cell.id) };
    answer.dark = page.defaultView.matchMedia("(prefers-color-scheme: dark)").matches;
    answer.width = page.defaultView.innerWidth;
    await set("outcome", "unhealthy");
    answer.unhealthy = shown();
    await set("outcome", "");
    await set("text", "OS-0.p0.beta");
    answer.named = shown();
    await set("text", "");
    answer.cleared = shown();
    const heads = (where) => [...get("grid").querySelectorAll(where)].map((head) => head.textContent);
    answer.before = { rows: heads("tbody th").length, columns: heads("thead th").length };
    await set("rows", get("rows").options[1].value);
    await set("columns", get("columns").options[2].value);
    answer.after = { rows: heads("tbody th"), columns: heads("thead th"), links: get("grid").querySelectorAll("a").length };
    await set("columns", get("rows").value);
    answer.swapped = get("rows").value !== get("columns").value;
    for (const cell of cells) cell.open = false;
    get("open").click();
    await wait(400);
    answer.all_open = cells.every((cell) => cell.open);
    answer.overflows = page.documentElement.scrollWidth > page.defaultView.innerWidth;
    answer.pale = cells.length < 10 ? pale(page) : [];
    answer.focusable = page.querySelectorAll("summary, a[href], select, input, button").length;
    tell(answer);
  } catch (error) {
    tell({ error: String(error.stack) });
  }
});
frame.src = "report.html#CELL";
</script>"#;

#[test]
fn a_page_of_nine_cells_filters_expands_and_turns_its_grid() {
    let run = Recorded::of(9);
    let answer = run.used(1200, &[]);
    run.is_used_as_offered(&answer);
    assert_eq!(answer["before"], serde_json::json!({"rows": 9, "columns": 1}));
    assert_eq!(answer["after"]["rows"], serde_json::json!(["p0"]));
    assert_eq!(answer["after"]["columns"], serde_json::json!(["beta"]));
    assert_eq!(answer["after"]["links"], 2, "a sign for those that hang, one for those that are well");
    assert_eq!(answer["swapped"], true, "no axis is row and column at once");
    assert_eq!(answer["pale"], serde_json::json!([]));
}

#[test]
fn in_the_dark_texts_have_contrast_too() {
    let run = Recorded::of(9);
    let answer = run.used(1200, &["--blink-settings=preferredColorScheme=0"]);
    run.is_used_as_offered(&answer);
    assert_eq!(answer["dark"], true);
    assert_eq!(answer["pale"], serde_json::json!([]));
}

#[test]
fn on_a_phone_nothing_is_wider_than_the_screen() {
    for cells in [9, 200] {
        let run = Recorded::of(cells);
        let answer = run.used(360, &[]);
        assert_eq!(answer["width"], 360);
        run.is_used_as_offered(&answer);
    }
}

#[test]
fn one_cell_and_hundreds_are_used_the_same_way() {
    for cells in [1, 200, 500] {
        let run = Recorded::of(cells);
        run.is_used_as_offered(&run.used(1200, &[]));
    }
}

#[test]
fn it_prints_and_a_client_gets_a_page_that_opens() {
    let run = Recorded::of(9);
    let client = run.dir.path().join("client.html");
    run.report(&["--format", "client", "--out", client.to_str().unwrap()]);
    for page in ["report.html", "client.html"] {
        let paper = run.dir.path().join("paper.pdf");
        let output = browse(run.dir.path(), page, &[], &format!("--print-to-pdf={}", paper.display()));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains(":CONSOLE"), "{page}: {errors}");
        assert!(fs::read(&paper).unwrap().starts_with(b"%PDF"), "{page}");
        fs::remove_file(paper).unwrap();
    }
}
