//! Calls into libvirt that may never return, from where nobody else gives them up.

use std::{
    sync::mpsc::{RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

use crate::lab::LabError;

/// How long libvirt may take to answer when it is connected to. The embedded driver takes seconds, a libvirtd that
/// systemd starts only now some more; one that hangs accepts the connection and then says nothing, for ever.
pub const CONNECT: Duration = Duration::from_secs(120);

/// Runs blocking work on a thread of its own, which is left alone when its time is over: neither the caller nor the
/// end of the process waits for it. What it answers too late is dropped there.
pub fn bounded<T: Send + 'static>(
    action: &'static str,
    whom: &str,
    patience: Duration,
    work: impl FnOnce() -> Result<T, LabError> + Send + 'static,
) -> Result<T, LabError> {
    let failed = |message: String| LabError::Libvirt { action, message };
    let (answer, answered) = sync_channel(1);
    let work = move || drop(answer.send(work()));
    thread::Builder::new()
        .name("libvirt-call".to_owned())
        .spawn(work)
        .map_err(|error| failed(format!("{whom}: {error}")))?;
    answered.recv_timeout(patience).unwrap_or_else(|error| {
        Err(failed(match error {
            RecvTimeoutError::Timeout => {
                format!("{whom}: no answer within {} s; is it running, and not stuck?", patience.as_secs())
            }
            RecvTimeoutError::Disconnected => format!("{whom}: the call panicked"),
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_never_returns_is_given_up_with_the_reason() {
        let (_sender, never) = std::sync::mpsc::channel::<()>();
        let hang = move || never.recv().map_err(|error| LabError::Other(error.to_string()));
        let error = bounded("connect", "to qemu:///x", Duration::from_millis(20), hang).unwrap_err().to_string();
        assert!(error.contains("cannot connect: to qemu:///x: no answer"), "{error}");
    }

    #[test]
    fn an_answer_in_time_is_handed_on() {
        assert_eq!(bounded("connect", "x", CONNECT, || Ok(7)).unwrap(), 7);
        let panics = || -> Result<(), LabError> { panic!("as meant") };
        assert!(bounded("connect", "x", CONNECT, panics).unwrap_err().to_string().contains("panicked"));
    }
}
