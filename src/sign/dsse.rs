use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{KeyError, PrivateKey, PublicKey};
use crate::model::one_line;

/// Ed25519 has 64 bytes, ECDSA over P-256 in DER some 70.
const SHORTEST_SIGNATURE: usize = 60;

/// Most keys that a message names.
const NAMED: usize = 4;

/// Something signed (DSSE, <https://github.com/secure-systems-lab/dsse>).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    pub payload_type: String,
    /// Base64.
    pub payload: String,
    pub signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// A hint; other programs may leave it out.
    #[serde(default)]
    pub keyid: String,
    /// Base64.
    pub sig: String,
}

#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    #[error("it does not have the form it should: {0}")]
    NotJson(#[from] serde_json::Error),
    #[error("the envelope's {what} is no base64: {source}")]
    NotBase64 { what: &'static str, source: base64::DecodeError },
    #[error("it holds `{found}`, and `{wanted}` is asked for")]
    WrongType { found: String, wanted: &'static str },
    #[error("it is signed by another key: {found}, and not {wanted}")]
    OtherKey { found: String, wanted: String },
    #[error("its signature is wrong: what was signed was changed, or it was signed by another key")]
    BadSignature,
}

impl EnvelopeError {
    /// Whether nothing can be said of it at all.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::NotJson(_) | Self::NotBase64 { .. })
    }
}

/// What is signed: DSSE's pre-authentication encoding.
pub(super) fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

impl Envelope {
    /// # Errors
    /// The key does not sign: an ssh-agent holds it.
    pub fn sign(payload_type: &str, payload: &[u8], key: &PrivateKey) -> Result<Self, KeyError> {
        let signature =
            Signature { keyid: key.public().id(), sig: STANDARD.encode(key.sign(&pae(payload_type, payload))?) };
        let payload = STANDARD.encode(payload);
        Ok(Self { payload_type: payload_type.to_owned(), payload, signatures: vec![signature] })
    }

    /// # Errors
    /// [`EnvelopeError::NotJson`].
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The payload, if it is of this type and this key signed it.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn open(&self, payload_type: &'static str, key: &PublicKey) -> Result<Vec<u8>, EnvelopeError> {
        let payload = decode("payload", &self.payload)?;
        if self.payload_type != payload_type {
            return Err(EnvelopeError::WrongType { found: shown(&self.payload_type), wanted: payload_type });
        }
        // The name of a key is not signed: another one there makes a signature no less its own.
        let signed = pae(&self.payload_type, &payload);
        for signature in &self.signatures {
            if key.verifies(&signed, &decode("signature", &signature.sig)?) {
                return Ok(payload);
            }
        }
        let id = key.id();
        if self.signatures.iter().any(|signature| signature.keyid.is_empty() || signature.keyid == id) {
            return Err(EnvelopeError::BadSignature);
        }
        let found: Vec<String> = self.signatures.iter().take(NAMED).map(|signature| shown(&signature.keyid)).collect();
        let found = if found.is_empty() { "nobody".to_owned() } else { found.join(", ") };
        Err(EnvelopeError::OtherKey { found, wanted: id })
    }

    /// Whether something in it has the length of a signature, whoever's it is.
    pub fn has_signature(&self) -> bool {
        let bytes = |signature: &Signature| STANDARD.decode(&signature.sig).map_or(0, |bytes| bytes.len());
        !self.signatures.is_empty() && self.signatures.iter().all(|signature| bytes(signature) >= SHORTEST_SIGNATURE)
    }

    /// As a file's content: one line.
    pub fn to_line(&self) -> String {
        // Strings only: it cannot fail.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

/// What somebody else wrote, for a message: no more than a key's name is long.
fn shown(text: &str) -> String {
    one_line(text).chars().take(64).collect()
}

fn decode(what: &'static str, text: &str) -> Result<Vec<u8>, EnvelopeError> {
    STANDARD.decode(text).map_err(|source| EnvelopeError::NotBase64 { what, source })
}
