use std::{fs, path::Path};

use super::*;
use crate::{
    event::{
        Decision, RunEvent,
        testing::{Story, controlled, nine, three},
    },
    model::{
        AxisValue, CellId, KnownScreen, Phase, ReasonId, ScreenKind, Sha256, SignalKind, Subject, Verdict, is_hidden,
    },
};

fn page_of(state: &RunState, run_dir: &Path) -> String {
    String::from_utf8(render(state, run_dir, Links::Beside).unwrap()).unwrap()
}

fn page(story: &Story) -> String {
    page_of(&story.state(), Path::new("/nowhere"))
}

/// The markup as XML, without what is no markup; panics where a tag is not closed or an attribute not quoted.
fn well_formed(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some((before, after)) =
        ["<style>", "<script"].iter().filter_map(|tag| rest.find(tag)).min().map(|at| rest.split_at(at))
    {
        text.push_str(before);
        let end = if after.starts_with("<style>") { "</style>" } else { "</script>" };
        rest = after.split_once(end).unwrap_or_else(|| panic!("{end} is missing")).1;
    }
    text.push_str(rest);
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
    if let Err(error) = roxmltree::Document::parse_with_options(&text, options) {
        panic!("not well formed: {error}\n{text}");
    }
    text
}

/// The visible text of the element with this id.
fn text_of(html: &str, id: &str) -> String {
    let text = well_formed(html);
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
    let document = roxmltree::Document::parse_with_options(&text, options).unwrap();
    let element =
        document.descendants().find(|node| node.attribute("id") == Some(id)).unwrap_or_else(|| panic!("no {id}"));
    let texts = element.descendants().filter(|node| node.is_text()).filter_map(|node| node.text());
    texts.collect::<Vec<_>>().join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// So many cells, the last patch level broken.
fn many(cells: usize) -> Story {
    let ids: Vec<String> = (0..cells).map(|n| format!("os-{}.p{}", n / 10, n % 10)).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let mut story = Story::of(&ids);
    for id in &ids {
        if id.ends_with("p9") {
            story.failed(id, 1, Phase::Boot, ReasonId::BootHang, "nothing changed for 30.0 s");
        } else {
            story.healthy(id, 1);
        }
    }
    story.run_ended(Decision::Rejected);
    story
}

#[test]
fn the_first_screen_has_decision_reasons_candidate_and_matrix() {
    let html = page(&nine());
    let text = well_formed(&html);
    for told in [
        "<span class=\"word\">rejected</span>",
        "3 of 9 permutations break",
        "1 of 9 cells inconclusive",
        "It breaks wherever patch = p3, and only there, as far as is known.",
        "3 of 3 cells there unhealthy, 0 of 5 elsewhere",
        "content-291.bin",
        Sha256::of(b"candidate").as_ref(),
        "href=\"#cell-os-8.p3\"",
        "aria-label=\"os-8.p3: unhealthy, stop-error\"",
    ] {
        assert!(text.contains(told), "{told} is missing");
    }
    assert_eq!(
        text_of(&html, "grid"),
        "p1 p2 p3 os-8 ✓ healthy ✓ healthy ✗ stop-error os-9 ✓ healthy ✓ healthy ✗ stop-error os-10 ? host-lost ✓ healthy ✗ \
         boot-hang"
    );
}

#[test]
fn a_cell_tells_why_when_and_after_which_steps() {
    insta::assert_snapshot!(text_of(&page(&nine()), "cell-os-8.p3"));
}

#[test]
fn a_cell_stands_beside_its_control() {
    let cell = text_of(&page(&controlled()), "cell-os-8.p2");
    for told in [
        "Compared with control-os-8-p2",
        "Phase Here Control",
        "watch not reached",
        "check sensor not answered exited with 0",
    ] {
        assert!(cell.contains(told), "{told} is missing: {cell}");
    }
    let known = text_of(&page(&controlled()), "cell-control-os-8-p1");
    assert!(known.contains("known to be well from 20260101T000000Z-demo"), "{known}");
}

#[test]
fn what_failed_comes_first_and_a_flaky_cell_tells_of_its_earlier_attempt() {
    let mut story = Story::of(&["a.p1", "a.p2", "a.p3"]);
    story.healthy("a.p1", 1);
    story.failed("a.p2", 1, Phase::Boot, ReasonId::StopError, "the kernel panicked").healthy("a.p2", 2);
    story.failed("a.p3", 1, Phase::Boot, ReasonId::BootHang, "m").run_ended(Decision::Rejected);
    let html = page(&story);
    let at = |id: &str| html.find(&format!("id=\"cell-{id}\"")).unwrap();
    assert!(at("a.p3") < at("a.p2") && at("a.p2") < at("a.p1"));
    let flaky = text_of(&html, "cell-a.p2");
    assert!(flaky.contains("attempt 1: stop-error in boot: the kernel panicked"), "{flaky}");
    assert!(flaky.contains("Earlier attempts ✗ unhealthy"), "{flaky}");
}

#[test]
fn every_story_gives_well_formed_pages_and_the_same_bytes_again() {
    for story in [nine(), three(), controlled(), Story::of(&[]), many(1)] {
        let html = page(&story);
        well_formed(&html);
        assert_eq!(html, page(&story));
        well_formed(&String::from_utf8(render_client(&story.state()).unwrap()).unwrap());
    }
}

#[test]
fn a_run_without_a_start_is_an_error() {
    let state = RunState::new("r1".into());
    assert!(render(&state, Path::new("/nowhere"), Links::Beside).is_err() && render_client(&state).is_err());
}

#[test]
fn what_a_hostile_guest_or_matrix_says_stays_text() {
    let evil =
        "</script></style><script>alert(1)</script>\"'`--><!-- \u{202e}gnihton\u{200b} {{ x }} &amp; \u{1b}[2J\0";
    let mut story = Story::of(&["a.p1", "a.p2"]);
    let RunEvent::RunStarted { start } = &mut story.events[0].what else { panic!("no start") };
    (start.name, start.lab, start.utc) = (evil.into(), evil.into(), evil.into());
    start.candidate_name = Some(evil.into());
    start.cells[0].axes.push(AxisValue { axis: evil.into(), value: evil.into() });
    start.cells[0].checks.push(evil.into());
    start.cells[0].image = evil.into();
    let shows = Some(KnownScreen { kind: ScreenKind::Stop, name: evil.into() });
    story.start("a.p1", 1).until("a.p1", Phase::Apply);
    story.signal("a.p1", SignalKind::Screen { sha256: Sha256::of(b""), file: Some(evil.into()), shows });
    story.step("a.p1", Subject::Check { id: evil.into() }, false, evil);
    story.push(Some("a.p1"), RunEvent::Note { level: Level::Warning, text: evil.into() });
    let reason = crate::model::Reason {
        id: ReasonId::StopError,
        phase: Phase::Boot,
        at: crate::model::Millis(5000),
        message: evil.into(),
        check: None,
    };
    story.end("a.p1", 1, Verdict { outcome: Outcome::Unhealthy, reasons: vec![reason] });
    if let RunEvent::CellEnded { end } = &mut story.events.last_mut().unwrap().what {
        end.artifacts.extend([
            format!("cells/a.p1/{evil}.png"),
            "../../etc/passwd".into(),
            "javascript:alert(1)".into(),
        ]);
    }
    story.push(None, RunEvent::Note { level: Level::Warning, text: evil.into() });
    let html = page(&story);
    let text = well_formed(&html);
    let client = String::from_utf8(render_client(&story.state()).unwrap()).unwrap();
    well_formed(&client);
    assert_eq!(html.matches("<script").count(), 2, "the data and our own");
    assert!(!client.contains("<script"));
    for page in [&html, &client] {
        assert!(!page.contains(|c| c != '\n' && is_hidden(c)), "nothing hidden is left");
    }
    assert!(!text.contains("<script") && !text.contains("href=\"javascript:") && !text.contains("href=\"./../"));
}

#[test]
fn the_policy_lets_only_the_pages_own_script_run() {
    let html = page(&nine());
    let script = html.rsplit_once("<script>").unwrap().1.split_once("</script>").unwrap().0;
    let digest = BASE64_STANDARD.encode(sha2::Sha256::digest(script.as_bytes()));
    let style = html.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let style = BASE64_STANDARD.encode(sha2::Sha256::digest(style.as_bytes()));
    let policy = html.split_once("</title>").unwrap().0;
    assert!(policy.contains("default-src &#39;none&#39;"), "{policy}");
    assert!(policy.contains(&digest) && policy.contains(&style), "{policy}");
    for fetched in ["src=\"http", "href=\"http", "url(", "@import", "fetch(", "XMLHttp"] {
        assert!(!html.contains(fetched), "{fetched}");
    }
    assert!(!html.contains(" style=\"") && !html.contains(" onclick"), "the policy forbids these");
}

#[test]
fn huge_output_is_shown_by_its_end_and_five_hundred_cells_stay_small() {
    let mut story = many(500);
    let long = format!("{}the end of it", "0123456789 <&> ".repeat(700));
    for event in &mut story.events {
        if let RunEvent::Signal { signal: SignalKind::StepEnded { result, .. } } = &mut event.what {
            result.output.stdout.clone_from(&long);
            result.output.stderr.clone_from(&long);
        }
    }
    let html = page(&story);
    assert!(html.contains("the end of it") && html.contains("its end; junit.xml has"));
    assert_eq!(html.matches("<details").count(), 500);
    assert!(html.len() < 16 << 20, "{} bytes", html.len());
    let plain = page(&many(500));
    assert!(plain.len() < 6 << 20, "{} bytes", plain.len());
}

#[test]
fn pictures_are_in_the_page_as_far_as_there_is_room_the_failing_cells_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut story = Story::of(&["a.p1", "a.p2"]);
    story.healthy("a.p1", 1);
    story.failed("a.p2", 1, Phase::Boot, ReasonId::BootHang, "m").run_ended(Decision::Rejected);
    // Noise, so that it stays as large as it is.
    let noise: Vec<u8> = (0_u32..1_200_000).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\xd0\0\0\x01\x90".to_vec();
    png.extend(noise);
    for event in &mut story.events {
        let RunEvent::CellEnded { end } = &mut event.what else { continue };
        let cell: &CellId = event.cell.as_ref().unwrap();
        let folder = dir.path().join(format!("cells/{cell}/screens"));
        fs::create_dir_all(&folder).unwrap();
        end.artifacts.clear();
        for n in 1..=20 {
            fs::write(folder.join(format!("{n:02}.png")), &png).unwrap();
            end.artifacts.push(format!("cells/{cell}/screens/{n:02}.png"));
        }
        fs::write(folder.join("21.png"), "root:x:0:0").unwrap();
        end.artifacts.push(format!("cells/{cell}/screens/21.png"));
        end.artifacts.push("/etc/22.png".to_owned());
    }
    let html = page_of(&story.state(), dir.path());
    let cell = |id: &str| html.split_once(&format!("id=\"cell-{id}\"")).unwrap().1.split_once("</details>").unwrap().0;
    assert!(cell("a.p2").matches("<img").count() >= 8);
    assert!(cell("a.p2").contains("width=\"720\" height=\"400\""));
    assert_eq!(cell("a.p1").matches("<img").count(), 0, "no room is left");
    assert!(cell("a.p1").contains("22 pictures not shown here"));
    assert!(html.contains("Left out, so that this page opens quickly: "));
    assert!(html.len() < 20 << 20, "{} bytes", html.len());
}

#[test]
fn elsewhere_the_page_has_no_links_to_the_runs_files() {
    let html = String::from_utf8(render(&nine().state(), Path::new("/nowhere"), Links::None).unwrap()).unwrap();
    assert!(html.contains("<code>serial.log</code>") && !html.contains("href=\"./"));
    assert!(page(&nine()).contains("href=\"./cells/os-8.p1/serial.log\""));
}
