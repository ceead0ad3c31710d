use super::*;

#[tokio::test(start_paused = true)]
async fn a_command_exits_as_its_rule_says_and_its_output_is_kept() {
    let rule = Rule::on("install").takes(30 * S).exits(3010).prints("done").complains("restart needed");
    let mut guest = Guest::started(GuestScript::healthy(BOOT).rule(rule)).await;
    guest.up().await;
    let begun = Instant::now();
    let status = guest.run(&["/opt/install", "--quiet"]).await.unwrap();
    assert_eq!(status["exitcode"], 3010);
    assert_eq!(status["out-data"], BASE64.encode("done"));
    assert_eq!(status["err-data"], BASE64.encode("restart needed"));
    assert!(begun.elapsed() >= 30 * S && begun.elapsed() < 31 * S);
    assert_eq!(guest.run(&["/bin/true"]).await.unwrap(), json!({"exited": true, "exitcode": 0}));
}

#[tokio::test(start_paused = true)]
async fn output_that_the_engine_sends_to_files_is_found_in_them() {
    let rule = Rule::on("install").prints("done").complains("hm");
    let mut guest = Guest::started(GuestScript::healthy(BOOT).rule(rule)).await;
    guest.up().await;
    let words = ["/bin/sh", "-c", "exec \"$@\" # reinstall", "bootgate", "/run/bootgate-1", "/opt/install"];
    assert_eq!(guest.run(&words).await.unwrap(), json!({"exited": true, "exitcode": 0}));
    assert_eq!(guest.read("/run/bootgate-1.out").await.unwrap(), b"done");
    assert_eq!(guest.read("/run/bootgate-1.err").await.unwrap(), b"hm");

    guest.run(&["/bin/rm", "-f", "/run/bootgate-1.out"]).await.unwrap();
    assert!(matches!(guest.read("/run/bootgate-1.out").await, Err(AgentError::Refused(_))));
}

#[tokio::test(start_paused = true)]
async fn only_the_command_itself_is_matched_not_the_shell_around_it() {
    let mut guest = Guest::started(GuestScript::healthy(BOOT).fails("exec", 9)).await;
    guest.up().await;
    let words = ["/bin/sh", "-c", "exec \"$@\"", "bootgate", "/run/bootgate-1", "/opt/install"];
    assert_eq!(guest.run(&words).await.unwrap()["exitcode"], 0);
}

#[tokio::test(start_paused = true)]
async fn copied_files_survive_a_reset_but_not_in_run() {
    let mut guest = Guest::started(GuestScript::healthy(BOOT)).await;
    guest.up().await;
    for path in ["/opt/sensor.bin", "/run/sensor.bin"] {
        let handle = guest.ask("guest-file-open", json!({"path": path, "mode": "w"})).await.unwrap();
        for part in ["21 ", "fields"] {
            let arguments = json!({"handle": handle, "buf-b64": BASE64.encode(part)});
            assert_eq!(guest.ask("guest-file-write", arguments).await.unwrap()["count"], part.len());
        }
        guest.ask("guest-file-flush", json!({"handle": handle})).await.unwrap();
        guest.ask("guest-file-close", json!({"handle": handle})).await.unwrap();
    }
    guest.vm.reset().await.unwrap();
    guest.expect([VmEvent::AgentDisconnected, VmEvent::Reset, VmEvent::AgentConnected]).await;
    assert_eq!(guest.read("/opt/sensor.bin").await.unwrap(), b"21 fields");
    let gone = guest.read("/run/sensor.bin").await.unwrap_err();
    assert_eq!(
        gone.to_string(),
        "the agent refused: failed to open file '/run/sensor.bin' (mode: 'r'): No such file or directory"
    );
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_in_pieces_and_from_where_one_seeks() {
    let mut guest = Guest::started(GuestScript::healthy(BOOT).file("/etc/release", "abcdef")).await;
    guest.up().await;
    let handle = guest.ask("guest-file-open", json!({"path": "/etc/release"})).await.unwrap();
    let piece = json!({"handle": handle, "count": 4});
    let expected = |text: &str, eof: bool| json!({"count": text.len(), "buf-b64": BASE64.encode(text), "eof": eof});
    assert_eq!(guest.ask("guest-file-read", piece.clone()).await.unwrap(), expected("abcd", false));
    assert_eq!(guest.ask("guest-file-read", piece.clone()).await.unwrap(), expected("ef", true));
    let back = json!({"handle": handle, "offset": -3, "whence": "end"});
    assert_eq!(guest.ask("guest-file-seek", back).await.unwrap(), json!({"position": 3, "eof": false}));
    assert_eq!(guest.ask("guest-file-read", piece).await.unwrap(), expected("def", true));
}

#[tokio::test(start_paused = true)]
async fn the_agent_refuses_what_it_does_not_know() {
    let mut guest =
        Guest::started(GuestScript::healthy(BOOT).rule(Rule::on("gone").ends(Outcome::NoSuchProgram))).await;
    guest.up().await;
    let refused = |text: &str| Err(AgentError::Refused(text.to_owned()));
    assert_eq!(guest.ask("guest-fly", json!({})).await, refused("The command guest-fly has not been found"));
    assert_eq!(guest.ask("guest-exec-status", json!({"pid": 1})).await, refused("Invalid parameter 'pid'"));
    assert_eq!(guest.ask("guest-file-close", json!({"handle": 7})).await, refused("handle '7' has not been found"));
    assert!(matches!(guest.begin(&["/opt/gone"]).await, Err(AgentError::Refused(_))));
    assert!(matches!(guest.vm.agent("{", S).await, Err(AgentError::Refused(_))));
    assert_eq!(guest.ask("guest-sync", json!({"id": 5})).await, Ok(json!(5)));
    assert!(guest.ask("guest-info", json!({})).await.unwrap()["supported_commands"].is_array());
}

#[tokio::test(start_paused = true)]
async fn a_mute_agent_is_silent_until_the_deadline_and_one_that_goes_away_ends_the_wait() {
    let boot =
        Boot::silent().at(S, Happening::AgentUp).at(2 * S, Happening::AgentMute).at(20 * S, Happening::AgentGone);
    let mut guest = Guest::started(GuestScript::with_boots(vec![boot])).await;
    assert_eq!(guest.ask("guest-ping", json!({})).await, Err(AgentError::NotConnected));
    guest.up().await;
    assert!(guest.ask("guest-ping", json!({})).await.is_ok());
    tokio::time::sleep(2 * S).await;
    let asked = Instant::now();
    assert_eq!(guest.ask("guest-ping", json!({})).await, Err(AgentError::Timeout));
    assert_eq!(asked.elapsed(), 5 * S);
    let request = json!({"execute": "guest-ping"}).to_string();
    assert_eq!(guest.vm.agent(&request, 60 * S).await, Err(AgentError::NotConnected));
    assert!(asked.elapsed() < 20 * S);
    guest.expect([VmEvent::AgentDisconnected]).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_agent_knows_nothing_of_what_an_older_one_started() {
    let effect = Rule::on("update").happens(Happening::AgentGone);
    let mut guest = Guest::started(GuestScript::healthy(BOOT).rule(effect).during("hang", Happening::AgentMute)).await;
    guest.up().await;
    let pid = guest.begin(&["/opt/update"]).await.unwrap();
    guest.expect([VmEvent::AgentDisconnected]).await;
    assert_eq!(guest.ask("guest-exec-status", json!({"pid": pid})).await, Err(AgentError::NotConnected));
    guest.vm.reset().await.unwrap();
    guest.expect([VmEvent::Reset, VmEvent::AgentConnected]).await;
    assert!(matches!(guest.ask("guest-exec-status", json!({"pid": pid})).await, Err(AgentError::Refused(_))));
    assert_eq!(guest.run(&["/opt/hang"]).await, Err(AgentError::Timeout));
}
