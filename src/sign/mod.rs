//! Keys, and envelopes that are signed with them.
//!
//! An [`Envelope`] is DSSE: what is signed is the payload together with its type, so that nothing signed for one
//! purpose can be shown for another. Whoever checks one names the key and the type that it must have.

mod agent;
mod dsse;
mod lab_key;
mod private;
mod public;

pub use dsse::{Envelope, EnvelopeError};
pub use lab_key::{known_lab_key, lab_key};
pub use private::PrivateKey;
pub use public::PublicKey;

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// Largest key file that is read, in bytes.
const MAX_KEY: u64 = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot {action} the key {}: {source}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is no key that can be used here: {wanted}", .path.display())]
    Unknown { path: PathBuf, wanted: &'static str },
    #[error("the key {} is damaged: {why}", .path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("the key {} is protected by a passphrase, which nobody could type in a pipeline: give one without", .0.display())]
    Encrypted(PathBuf),
    #[error("{} is a public key, and there is no ssh-agent that could hold the other half (SSH_AUTH_SOCK is not set)", .0.display())]
    NoAgent(PathBuf),
    #[error("the ssh-agent does not sign with {}: {source}", .path.display())]
    Agent { path: PathBuf, source: io::Error },
    #[error("the lab's key {} may be read by others: `chmod 600` it if nobody did, else remove it", .0.display())]
    Open(PathBuf),
    #[error(
        "this machine has no lab key ({} is not there): check the run where it was made, or give the public key of that lab with --lab-key",
        .0.display()
    )]
    NoLabKey(PathBuf),
}

impl KeyError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    fn damaged(path: &Path, why: impl ToString) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.to_string() }
    }
}

fn read_text(path: &Path) -> Result<String, KeyError> {
    // A pipe is fine: shells make keys out of secrets that way.
    let file = File::open(path).map_err(KeyError::io("open", path))?;
    let mut text = String::new();
    file.take(MAX_KEY).read_to_string(&mut text).map_err(KeyError::io("read", path))?;
    Ok(text)
}

/// The PEM block of this label, without what stands before and after it.
fn block<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let end = format!("-----END {label}-----");
    let from = text.find(&format!("-----BEGIN {label}-----"))?;
    let until = from + text[from..].find(&end)? + end.len();
    Some(&text[from..until])
}

#[cfg(test)]
mod tests;
