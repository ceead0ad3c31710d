//! Tests of the scripted lab: a guest and what one asks of it.

mod agent;
mod boots;
mod lab;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Asked, Boot, Effect, GuestScript, Happening, Outcome, Rule, SimHost, SimLab};
use crate::{
    lab::{AgentError, Lab, LabError, Vm, VmEvent, VmEvents, VmSpec},
    model::{Bugcheck, Bytes, GoldenImage, Network},
};

const S: Duration = Duration::from_secs(1);
const BOOT: Duration = Duration::from_secs(20);

fn spec(cell: &str) -> VmSpec {
    let image = GoldenImage {
        settled: Some("test -e /run/settled".to_owned()),
        ..GoldenImage::plain("widget", "/golden/widget.qcow2")
    };
    VmSpec { run: "run".into(), cell: cell.into(), image, network: Network::None, seal: None }
}

struct Guest {
    vm: Arc<dyn Vm>,
    events: VmEvents,
    lab: SimLab,
}

impl Guest {
    async fn started(script: GuestScript) -> Self {
        let lab = SimLab::new(SimHost::default(), move |_| script.clone());
        let (vm, events) = lab.create(spec("cell")).await.unwrap();
        vm.start().await.unwrap();
        Guest { vm, events, lab }
    }

    async fn event(&mut self) -> Option<VmEvent> {
        self.events.recv().await
    }

    async fn expect<const N: usize>(&mut self, expected: [VmEvent; N]) {
        for event in expected {
            assert_eq!(self.event().await, Some(event));
        }
    }

    async fn up(&mut self) {
        self.expect([VmEvent::Started, VmEvent::AgentConnected]).await;
    }

    async fn ask(&self, command: &str, arguments: Value) -> Result<Value, AgentError> {
        let request = json!({"execute": command, "arguments": arguments}).to_string();
        self.vm.agent(&request, 5 * S).await.map(|reply| serde_json::from_str(&reply).unwrap())
    }

    async fn begin(&self, words: &[&str]) -> Result<i64, AgentError> {
        let arguments = json!({"path": words[0], "arg": words[1..], "capture-output": true});
        Ok(self.ask("guest-exec", arguments).await?["pid"].as_i64().unwrap())
    }

    async fn run(&self, words: &[&str]) -> Result<Value, AgentError> {
        let pid = self.begin(words).await?;
        loop {
            let status = self.ask("guest-exec-status", json!({"pid": pid})).await?;
            if status["exited"] == true {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn boot_id(&self) -> String {
        let status = self.run(&["/bin/cat", "/proc/sys/kernel/random/boot_id"]).await.unwrap();
        String::from_utf8(BASE64.decode(status["out-data"].as_str().unwrap()).unwrap()).unwrap()
    }

    async fn settled(&self) -> bool {
        self.run(&["/bin/sh", "-c", "test -e /run/settled"]).await.unwrap()["exitcode"] == 0
    }

    async fn read(&self, path: &str) -> Result<Vec<u8>, AgentError> {
        let handle = self.ask("guest-file-open", json!({"path": path, "mode": "r"})).await?;
        let read = self.ask("guest-file-read", json!({"handle": handle, "count": 100})).await?;
        self.ask("guest-file-close", json!({"handle": handle})).await?;
        Ok(BASE64.decode(read["buf-b64"].as_str().unwrap()).unwrap())
    }
}
