use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Transcript;
use crate::{
    lab::{AgentError, Vm},
    model::{Bytes, DiskState},
};

/// How much of a file goes into one `guest-file-write`. The agent's reader holds a request in memory
/// several times over, so larger pieces gain nothing.
pub const WRITE_CHUNK: usize = 48 * 1024;

/// `guest-file-read` answers with at most this much per call (QEMU's own limit is 48 MB).
const READ_CHUNK: usize = 48 * 1024;

/// A whole file may take so many times as long as one request.
const WHOLE: u32 = 6;

/// Longest complaint of a guest's agent that is passed on, in characters; and most facts, each as long.
const WORDS: usize = 1000;
const FACTS: usize = 40;

/// The commands without which nothing can be done in a guest.
const NEEDED: [&str; 9] = [
    "guest-exec",
    "guest-exec-status",
    "guest-file-open",
    "guest-file-close",
    "guest-file-read",
    "guest-file-write",
    "guest-shutdown",
    "guest-set-time",
    "guest-get-osinfo",
];

/// A typed client of the QEMU guest agent (QEMU, "QEMU Guest Agent Protocol Reference").
///
/// Replies are read tolerantly: unknown fields and unknown values are no errors.
#[derive(Clone)]
pub struct Agent<'a> {
    vm: Arc<dyn Vm>,
    /// The deadline of one request.
    timeout: Duration,
    transcript: &'a Transcript,
}

/// The reply to `guest-exec-status`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ExecStatus {
    pub exited: bool,
    #[serde(default)]
    pub exitcode: Option<i64>,
    /// Linux: the signal; Windows: the exception's code.
    #[serde(default)]
    pub signal: Option<i64>,
}

impl<'a> Agent<'a> {
    pub fn new(vm: Arc<dyn Vm>, timeout: Duration, transcript: &'a Transcript) -> Self {
        Agent { vm, timeout, transcript }
    }

    async fn call<T: DeserializeOwned>(&self, command: &str, arguments: Value) -> Result<T, AgentError> {
        let request = json!({"execute": command, "arguments": arguments}).to_string();
        let reply = self.vm.agent(&request, self.timeout).await;
        self.transcript.note(&request, &reply);
        let read = reply.and_then(|reply| {
            serde_json::from_str(&reply)
                .map_err(|error| AgentError::Refused(format!("{command}: the reply makes no sense: {error}")))
        });
        read.map_err(|error| match error {
            AgentError::Refused(words) => AgentError::Refused(words.chars().take(WORDS).collect()),
            other => other,
        })
    }

    pub async fn ping(&self) -> Result<(), AgentError> {
        self.call::<Value>("guest-ping", json!({})).await.map(drop)
    }

    /// What `guest-get-osinfo` tells: text values only, keys as the protocol names them.
    pub async fn os_info(&self) -> Result<BTreeMap<String, String>, AgentError> {
        let info: BTreeMap<String, Value> = self.call("guest-get-osinfo", json!({})).await?;
        let short = |text: &str| text.chars().take(200).collect::<String>();
        let fact = |(key, value): (String, Value)| Some((short(&key), short(value.as_str()?)));
        Ok(info.into_iter().filter_map(fact).take(FACTS).collect())
    }

    /// What `guest-info` tells: `agent-version`, and `agent-lacks`, the commands that bootgate needs and the agent does not
    /// have or may not run.
    pub async fn about(&self) -> Result<BTreeMap<String, String>, AgentError> {
        #[derive(Deserialize)]
        struct Info {
            version: String,
            #[serde(default)]
            supported_commands: Vec<Value>,
        }
        let info: Info = self.call("guest-info", json!({})).await?;
        let has = |wanted: &&&str| {
            info.supported_commands.iter().any(|command| command["name"] == **wanted && command["enabled"] != false)
        };
        let lacks: Vec<&str> = NEEDED.iter().filter(|wanted| !has(wanted)).copied().collect();
        let mut about = BTreeMap::from([("agent-version".to_owned(), info.version.chars().take(200).collect())]);
        if !lacks.is_empty() {
            about.insert("agent-lacks".to_owned(), lacks.join(", "));
        }
        Ok(about)
    }

    /// Starts a program and answers with its process id.
    pub async fn exec(&self, path: &str, args: &[String]) -> Result<i64, AgentError> {
        #[derive(Deserialize)]
        struct Started {
            pid: i64,
        }
        let arguments = json!({"path": path, "arg": args, "capture-output": false});
        self.call::<Started>("guest-exec", arguments).await.map(|started| started.pid)
    }

    pub async fn exec_status(&self, pid: i64) -> Result<ExecStatus, AgentError> {
        self.call("guest-exec-status", json!({"pid": pid})).await
    }

    /// Opens a file in the guest; `mode` as in C's `fopen`.
    pub async fn open(&self, path: &str, mode: &str) -> Result<i64, AgentError> {
        self.call("guest-file-open", json!({"path": path, "mode": mode})).await
    }

    pub async fn close(&self, handle: i64) -> Result<(), AgentError> {
        self.call::<Value>("guest-file-close", json!({"handle": handle})).await.map(drop)
    }

    /// Writes all of `bytes`, at most [`WRITE_CHUNK`] of them.
    pub async fn write(&self, handle: i64, bytes: &[u8]) -> Result<(), AgentError> {
        #[derive(Deserialize)]
        struct Written {
            count: usize,
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let arguments = json!({"handle": handle, "buf-b64": BASE64.encode(rest)});
            let written: Written = self.call("guest-file-write", arguments).await?;
            if written.count == 0 || written.count > rest.len() {
                return Err(AgentError::Refused("guest-file-write: wrote nothing".to_owned()));
            }
            rest = &rest[written.count..];
        }
        Ok(())
    }

    /// Writes a whole file.
    pub async fn write_file(&self, path: &str, bytes: &[u8]) -> Result<(), AgentError> {
        let handle = self.open(path, "w").await?;
        let mut written = Ok(());
        for piece in bytes.chunks(WRITE_CHUNK) {
            written = self.write(handle, piece).await;
            if written.is_err() {
                break;
            }
        }
        let closed = self.close(handle).await;
        written.and(closed)
    }

    /// The file's content up to `cap` bytes, and whether there was more.
    pub async fn read_file(&self, path: &str, cap: usize) -> Result<(Vec<u8>, bool), AgentError> {
        let handle = self.open(path, "r").await?;
        let content = self.read_up_to(handle, cap).await;
        let closed = self.close(handle).await;
        let content = content?;
        closed?;
        Ok(content)
    }

    async fn read_up_to(&self, handle: i64, cap: usize) -> Result<(Vec<u8>, bool), AgentError> {
        #[derive(Deserialize)]
        struct Read {
            #[serde(rename = "buf-b64", default)]
            buffer: String,
            #[serde(default)]
            eof: bool,
        }
        let mut content = Vec::new();
        let begun = Instant::now();
        loop {
            // A guest may give it byte by byte.
            if begun.elapsed() > self.timeout * WHOLE {
                return Err(AgentError::Timeout);
            }
            let arguments = json!({"handle": handle, "count": READ_CHUNK});
            let read: Read = self.call("guest-file-read", arguments).await?;
            let bytes = BASE64
                .decode(read.buffer.as_bytes())
                .map_err(|error| AgentError::Refused(format!("guest-file-read: bad base64: {error}")))?;
            let nothing = bytes.is_empty();
            content.extend_from_slice(&bytes);
            if content.len() > cap {
                content.truncate(cap);
                return Ok((content, true));
            }
            if read.eof || nothing {
                return Ok((content, false));
            }
        }
    }

    /// The guest's clock, in nanoseconds since 1970.
    pub async fn time(&self) -> Result<i64, AgentError> {
        self.call("guest-get-time", json!({})).await
    }

    /// Mounted file systems (`guest-get-fsinfo`) whose size the agent knows.
    pub async fn file_systems(&self) -> Result<Vec<DiskState>, AgentError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct FileSystem {
            mountpoint: String,
            used_bytes: Option<u64>,
            total_bytes: Option<u64>,
        }
        let all: Vec<Value> = self.call("guest-get-fsinfo", json!({})).await?;
        let known = all.into_iter().filter_map(|one| serde_json::from_value::<FileSystem>(one).ok());
        let disk = |one: FileSystem| {
            let (used, size) = (one.used_bytes?, one.total_bytes?);
            let free = Bytes(size.saturating_sub(used));
            Some(DiskState { mount: one.mountpoint, size: Bytes(size), free, ..DiskState::default() })
        };
        Ok(known.filter_map(disk).collect())
    }

    /// Network interfaces (`guest-network-get-interfaces`) that have an address beyond their own link: `NAME address`.
    pub async fn network(&self) -> Result<Vec<String>, AgentError> {
        let all: Vec<Value> = self.call("guest-network-get-interfaces", json!({})).await?;
        let has_address = |interface: &&Value| {
            let addresses = interface["ip-addresses"].as_array();
            let is_far = |address: &Value| {
                let address = address["ip-address"].as_str().and_then(|text| text.parse::<IpAddr>().ok());
                match address {
                    Some(IpAddr::V4(address)) => !address.is_loopback() && !address.is_link_local(),
                    Some(IpAddr::V6(address)) => !address.is_loopback() && !address.is_unicast_link_local(),
                    None => false,
                }
            };
            addresses.is_some_and(|addresses| addresses.iter().any(is_far))
        };
        let name = |interface: &Value| Some(format!("{} address", interface["name"].as_str()?));
        Ok(all.iter().filter(has_address).filter_map(name).collect())
    }

    /// Sets the guest's clock to the host's time.
    pub async fn set_time(&self, unix_ns: i64) -> Result<(), AgentError> {
        self.call::<Value>("guest-set-time", json!({"time": unix_ns})).await.map(drop)
    }

    /// Asks the guest to restart. The protocol has no reply for success: silence, or an agent that went
    /// away, says nothing either way.
    ///
    /// # Errors
    /// Only when the guest says that it cannot, or was surely not asked.
    pub async fn restart(&self) -> Result<(), AgentError> {
        self.shutdown("reboot").await
    }

    /// Asks the guest to turn itself off.
    ///
    /// # Errors
    /// As of [`Self::restart`].
    pub async fn power_off(&self) -> Result<(), AgentError> {
        self.shutdown("powerdown").await
    }

    async fn shutdown(&self, mode: &str) -> Result<(), AgentError> {
        match self.call::<Value>("guest-shutdown", json!({ "mode": mode })).await {
            Ok(_) | Err(AgentError::Timeout | AgentError::VmGone) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
