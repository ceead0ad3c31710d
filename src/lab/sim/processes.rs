use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value, json};

use super::{Outcome, filesystem::Handle};

/// What one life of the agent knows: the programs it started and the files it opened.
#[derive(Default)]
pub(super) struct Processes {
    programs: HashMap<i64, Program>,
    last_pid: i64,
    handles: HashMap<i64, Handle>,
    last_handle: i64,
}

struct Program {
    captured: bool,
    end: Option<End>,
}

struct End {
    outcome: Outcome,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// The agent keeps no more than this of either output (QEMU, qga/commands.c).
const MAX_OUTPUT: usize = 16 << 20;

impl Processes {
    pub fn begin(&mut self, captured: bool) -> i64 {
        self.last_pid = self.last_pid.max(1000) + 1;
        self.programs.insert(self.last_pid, Program { captured, end: None });
        self.last_pid
    }

    /// A program that an agent before this one started is nobody's.
    pub fn ended(&mut self, pid: i64, outcome: Outcome, stdout: Vec<u8>, stderr: Vec<u8>) {
        if let Some(program) = self.programs.get_mut(&pid) {
            program.end = Some(End { outcome, stdout, stderr });
        }
    }

    /// The reply to `guest-exec-status`, which tells of an end once and then forgets the program.
    pub fn status(&mut self, pid: i64) -> Option<Value> {
        let program = self.programs.get(&pid)?;
        if program.end.is_none() {
            return Some(json!({"exited": false}));
        }
        let Program { captured, end } = self.programs.remove(&pid)?;
        let End { outcome, stdout, stderr } = end?;
        let mut status = Map::from_iter([("exited".to_owned(), Value::Bool(true))]);
        match outcome {
            Outcome::Killed(signal) => status.insert("signal".to_owned(), signal.into()),
            Outcome::Exits(code) => status.insert("exitcode".to_owned(), code.into()),
            Outcome::NeverEnds | Outcome::NoSuchProgram => None,
        };
        for (name, output) in [("out", stdout), ("err", stderr)] {
            if captured && !output.is_empty() {
                let kept = &output[..output.len().min(MAX_OUTPUT)];
                status.insert(format!("{name}-data"), BASE64.encode(kept).into());
                if kept.len() < output.len() {
                    status.insert(format!("{name}-truncated"), true.into());
                }
            }
        }
        Some(Value::Object(status))
    }

    pub fn keep(&mut self, handle: Handle) -> i64 {
        self.last_handle = self.last_handle.max(1000) + 1;
        self.handles.insert(self.last_handle, handle);
        self.last_handle
    }

    pub fn handle(&mut self, number: i64) -> Option<&mut Handle> {
        self.handles.get_mut(&number)
    }

    pub fn close(&mut self, number: i64) -> Option<()> {
        self.handles.remove(&number).map(drop)
    }
}
