//! The guest agent: requests and replies as in QEMU's "QEMU Guest Agent Protocol Reference", refusals in the
//! words of QEMU's qga/commands-posix.c.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Outcome, Rule,
    agenda::Ending,
    filesystem::Whence,
    state::{Channel, State},
    windows,
};

/// What the agent makes of a request.
pub(super) enum Reply {
    /// The `return` value, or the guest's own words why not.
    Now(Result<Value, String>),
    /// The request is taken and has no reply.
    Never,
    /// Nobody reads the request, for now.
    NotYet,
}

const COMMANDS: [&str; 16] = [
    "guest-sync-delimited",
    "guest-sync",
    "guest-ping",
    "guest-get-time",
    "guest-set-time",
    "guest-info",
    "guest-shutdown",
    "guest-file-open",
    "guest-file-close",
    "guest-file-read",
    "guest-file-write",
    "guest-file-seek",
    "guest-file-flush",
    "guest-get-osinfo",
    "guest-exec-status",
    "guest-exec",
];

/// The most that one `guest-file-read` may ask for (QEMU, qga/commands.c).
const MAX_READ: usize = 48 << 20;

/// What a script contains that asks what runs in a Linux guest.
const RUNNING: &str = "systemctl show";

#[derive(Deserialize)]
struct Request {
    execute: String,
    #[serde(default)]
    arguments: Value,
}

#[derive(Deserialize)]
struct Exec {
    path: String,
    #[serde(default)]
    arg: Vec<String>,
    #[serde(rename = "capture-output", default)]
    capture: Value,
}

pub(super) fn answer(state: &mut State, request: &str, now: Instant) -> Reply {
    if state.channel != Channel::Open {
        return Reply::NotYet;
    }
    let request: Request = match serde_json::from_str(request) {
        Ok(request) => request,
        Err(error) => return Reply::Now(Err(format!("Invalid JSON syntax: {error}"))),
    };
    if request.execute == "guest-shutdown" {
        let restart = request.arguments["mode"] == "reboot";
        return match state.asked_by_agent(restart, now) {
            Some(()) => Reply::Never,
            None => Reply::Now(Err("child process has failed to shutdown".to_owned())),
        };
    }
    Reply::Now(run(state, &request.execute, request.arguments, now))
}

fn run(state: &mut State, command: &str, arguments: Value, now: Instant) -> Result<Value, String> {
    match command {
        "guest-ping" | "guest-set-time" => Ok(json!({})),
        "guest-sync" | "guest-sync-delimited" => arguments["id"].as_i64().map(Value::from).ok_or_else(|| missing("id")),
        "guest-get-time" => Ok(json!(1_700_000_000_000_000_000_i64)),
        "guest-info" => {
            let command = |name: &&str| {
                let replies = *name != "guest-shutdown";
                json!({"name": name, "enabled": true, "success-response": replies})
            };
            let commands: Vec<Value> = COMMANDS.iter().map(command).collect();
            Ok(json!({"version": "7.2.22", "supported_commands": commands}))
        }
        "guest-get-osinfo" if state.windows => Ok(json!({
            "id": "mswindows", "name": "Microsoft Windows", "version-id": "10", "machine": "x86_64",
            "kernel-release": "19045", "kernel-version": "10.0",
        })),
        "guest-get-osinfo" => Ok(json!({
            "id": "scripted", "name": "Scripted Linux", "pretty-name": "Scripted Linux 1.0", "version": "1.0",
            "version-id": "1.0", "machine": "x86_64", "kernel-release": "6.1.0-1-amd64", "kernel-version": "#1 SMP",
        })),
        "guest-exec" => exec(state, arguments, now),
        "guest-exec-status" => {
            let pid = arguments["pid"].as_i64().ok_or_else(|| missing("pid"))?;
            state.processes.status(pid).ok_or_else(|| "Invalid parameter 'pid'".to_owned())
        }
        _ if command.starts_with("guest-file-") => file(state, command, &arguments),
        _ => Err(unknown(command)),
    }
}

fn exec(state: &mut State, arguments: Value, now: Instant) -> Result<Value, String> {
    let exec: Exec = serde_json::from_value(arguments).map_err(|error| error.to_string())?;
    let batch = exec.arg.get(2).filter(|_| state.windows).and_then(|script| windows::asked(&state.disk, script));
    let (line, output) = match batch {
        Some((line, prefix)) => (line, Some(prefix)),
        None => (command_line(&exec), captured_in(&exec.arg)),
    };
    if let Some(observer) = &state.script.observer {
        observer(&line);
    }
    let rule = match state.script.rules.iter().find(|rule| line.contains(&rule.contains)) {
        Some(rule) => rule.clone(),
        None => unscripted(state, &line, &exec),
    };
    if rule.outcome == Outcome::NoSuchProgram {
        let why = format!("Failed to execute child process \u{201c}{}\u{201d} (No such file or directory)", exec.path);
        return Err(format!("Guest agent command failed, error was '{why}'"));
    }
    // A flag at first, since QEMU 8.0 also the name of a stream.
    let captured = !matches!(exec.capture, Value::Null | Value::Bool(false)) && exec.capture != "none";
    let pid = state.processes.begin(captured);
    state.command_begins(Ending { pid, rule, output }, now);
    Ok(json!({"pid": pid}))
}

/// `sh -c SCRIPT bootgate PREFIX WORD...` is how the engine gets output into PREFIX.out and PREFIX.err.
fn captured_in(args: &[String]) -> Option<String> {
    match args {
        [flag, _, name, prefix, ..] if flag == "-c" && name == "bootgate" => Some(prefix.clone()),
        _ => None,
    }
}

/// The words of a command, without the engine's own scripts around it: `-c SCRIPT bootgate`.
fn command_line(exec: &Exec) -> String {
    let words: Vec<&str> = std::iter::once(&exec.path).chain(&exec.arg).map(String::as_str).collect();
    let mut rest = words.as_slice();
    if captured_in(&exec.arg).is_some() {
        rest = &rest[5..];
    }
    let mut line = Vec::with_capacity(rest.len());
    while let [word, after @ ..] = rest {
        rest = match rest {
            ["-c", _, "bootgate", after @ ..] => after,
            _ => {
                line.push(*word);
                after
            }
        };
    }
    line.join(" ")
}

/// What commands do that no rule is about.
fn unscripted(state: &mut State, line: &str, exec: &Exec) -> Rule {
    if state.windows {
        // `cmd /d /c del /f /q FILE…`
        if exec.arg.get(2).is_some_and(|word| word == "del") {
            exec.arg.iter().for_each(|path| state.disk.remove(path));
            return Rule::on("");
        }
        return windows::run(&mut state.disk, state.ready, line);
    }
    if let Some(path) = line.strip_prefix("/bin/cat ") {
        return Rule::on("").prints(state.disk.content(path));
    }
    if line.contains(RUNNING) {
        return Rule::on("").prints("program 1 init\n");
    }
    if line.contains(&state.probe) {
        return Rule::on("").exits(i32::from(!state.ready));
    }
    if exec.path.ends_with("/rm") {
        exec.arg.iter().for_each(|path| state.disk.remove(path));
    }
    Rule::on("")
}

fn file(state: &mut State, command: &str, arguments: &Value) -> Result<Value, String> {
    if command == "guest-file-open" {
        let path = arguments["path"].as_str().ok_or_else(|| missing("path"))?;
        let mode = arguments["mode"].as_str().unwrap_or("r");
        let opened = state.disk.open(path, mode);
        let opened = opened.map_err(|why| format!("failed to open file '{path}' (mode: '{mode}'): {why}"))?;
        return Ok(json!(state.processes.keep(opened)));
    }
    let number = arguments["handle"].as_i64().ok_or_else(|| missing("handle"))?;
    let lost = || format!("handle '{number}' has not been found");
    if command == "guest-file-close" {
        return state.processes.close(number).map(|()| json!({})).ok_or_else(lost);
    }
    let handle = state.processes.handle(number).ok_or_else(lost)?;
    match command {
        "guest-file-flush" => Ok(json!({})),
        "guest-file-read" => {
            let count = arguments["count"].as_u64().unwrap_or(4096);
            let invalid = || format!("value '{count}' is invalid for argument count");
            let count = usize::try_from(count).ok().filter(|count| *count <= MAX_READ).ok_or_else(invalid)?;
            let read = state.disk.read(handle, count);
            let (bytes, eof) = read.ok_or_else(|| "failed to read file: Bad file descriptor".to_owned())?;
            Ok(json!({"count": bytes.len(), "buf-b64": BASE64.encode(bytes), "eof": eof}))
        }
        "guest-file-write" => {
            let text = arguments["buf-b64"].as_str().ok_or_else(|| missing("buf-b64"))?;
            let mut bytes = BASE64.decode(text).map_err(|error| format!("Invalid base64 data: {error}"))?;
            if let Some(count) = arguments["count"].as_u64() {
                bytes.truncate(usize::try_from(count).unwrap_or(usize::MAX));
            }
            let written = state.disk.write_at(handle, &bytes);
            written.ok_or_else(|| "failed to write to file: Bad file descriptor".to_owned())?;
            Ok(json!({"count": bytes.len(), "eof": false}))
        }
        "guest-file-seek" => {
            let offset = arguments["offset"].as_i64().ok_or_else(|| missing("offset"))?;
            let whence = match &arguments["whence"] {
                whence if *whence == 0 || whence == "set" => Whence::Set,
                whence if *whence == 1 || whence == "cur" => Whence::Current,
                whence if *whence == 2 || whence == "end" => Whence::End,
                whence => return Err(format!("invalid whence code {whence}")),
            };
            let position = state.disk.seek(handle, offset, whence);
            let position = position.ok_or_else(|| "failed to seek file: Invalid argument".to_owned())?;
            Ok(json!({"position": position, "eof": false}))
        }
        _ => Err(unknown(command)),
    }
}

fn missing(parameter: &str) -> String {
    format!("Parameter '{parameter}' is missing")
}

fn unknown(command: &str) -> String {
    format!("The command {command} has not been found")
}
