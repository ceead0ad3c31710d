//! Requests to the guest agent, through libvirt (virDomainQemuAgentCommand): libvirt synchronises.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};
use virt::{
    domain::Domain,
    enumutil::Enum,
    error::{Error, ErrorNumber},
};

use crate::lab::AgentError;

/// libvirt itself takes at most 10 MiB from a guest's agent.
const MAX_REPLY: usize = 16 << 20;

/// The way to one machine's agent. One request at a time: libvirt makes others wait in any case, and a request that
/// nobody waits for any more still blocks a thread until libvirt gives up.
#[derive(Debug)]
pub struct Channel(Arc<Semaphore>);

impl Channel {
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    pub async fn ask(&self, domain: Arc<Domain>, request: &str, timeout: Duration) -> Result<String, AgentError> {
        let deadline = Instant::now() + timeout;
        let turn = timeout_at(deadline, Arc::clone(&self.0).acquire_owned()).await;
        let turn = turn.map_err(|_| AgentError::Timeout)?.map_err(|_| AgentError::VmGone)?;
        // libvirt counts whole seconds, and waits up to 5 s more for the agent to synchronise.
        let seconds = deadline.saturating_duration_since(Instant::now()).as_millis().div_ceil(1000).max(1);
        let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
        let request = request.to_owned();
        let call = spawn_blocking(move || {
            let result = domain.qemu_agent_command(&request, seconds, 0);
            drop(turn);
            result
        });
        match timeout_at(deadline, call).await {
            Err(_) => Err(AgentError::Timeout),
            Ok(Err(join)) => Err(AgentError::Lab(join.to_string())),
            Ok(Ok(Err(error))) => Err(agent_error(&error)),
            Ok(Ok(Ok(reply))) => return_value(&reply),
        }
    }
}

/// The `return` value of a reply.
fn return_value(reply: &str) -> Result<String, AgentError> {
    if reply.len() > MAX_REPLY {
        return Err(AgentError::Refused(format!("a reply of {} bytes", reply.len())));
    }
    let mut parsed: serde_json::Value = serde_json::from_str(reply)
        .map_err(|error| AgentError::Refused(format!("a reply that is no JSON: {error}")))?;
    match parsed.get_mut("return") {
        Some(value) => Ok(value.take().to_string()),
        None => Err(AgentError::Refused("a reply without a `return` value".to_owned())),
    }
}

fn agent_error(error: &Error) -> AgentError {
    let message = error.message().trim();
    let Enum::Known(code) = error.code() else { return AgentError::Lab(message.to_owned()) };
    match code {
        ErrorNumber::AgentCommandTimeout => AgentError::Timeout,
        // One code for an agent that is not there, for one that is silent before it is asked (`guest-sync`), and for one that
        // goes away afterwards.
        ErrorNumber::AgentUnresponsive if message.contains("not connected") => AgentError::NotConnected,
        ErrorNumber::AgentUnresponsive if message.contains("synchronization") => AgentError::NotAsked,
        ErrorNumber::AgentUnresponsive => AgentError::Timeout,
        ErrorNumber::OperationInvalid | ErrorNumber::NoDomain => AgentError::VmGone,
        ErrorNumber::AgentCommandFailed => AgentError::Refused(message.to_owned()),
        ErrorNumber::InternalError if message.contains("agent command") => AgentError::Refused(message.to_owned()),
        _ => AgentError::Lab(message.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_return_value_is_handed_on() {
        assert_eq!(return_value(r#"{"return": {"pid": 7}}"#).unwrap(), r#"{"pid":7}"#);
        assert_eq!(return_value(r#"{"return":{}}"#).unwrap(), "{}");
        for wrong in ["", "{}", "[1]", r#"{"return""#] {
            assert!(matches!(return_value(wrong), Err(AgentError::Refused(_))), "{wrong}");
        }
    }
}
