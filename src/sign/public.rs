use std::path::Path;

use ed25519_dalek::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use p256::ecdsa::signature::Verifier as _;

use super::{KeyError, block, read_text};
use crate::model::Sha256;

/// A key that signatures are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(pub(super) Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ed25519(ed25519_dalek::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
}

impl PublicKey {
    const WANTED: &str = "give an Ed25519 or P-256 public key in PEM (`openssl pkey -in KEY -pubout`), or an OpenSSH \
                          public key (ssh-ed25519)";

    /// # Errors
    /// [`KeyError`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        Self::parse(&read_text(path)?, path)
    }

    /// The key in a file's text; `path` is for errors.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, KeyError> {
        let unknown = || KeyError::Unknown { path: path.to_owned(), wanted: Self::WANTED };
        if let Some(pem) = block(text, "PUBLIC KEY") {
            if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_pem(pem) {
                return Ok(Self(Kind::Ed25519(key)));
            }
            let key = p256::ecdsa::VerifyingKey::from_public_key_pem(pem).map_err(|_| unknown())?;
            return Ok(Self(Kind::P256(key)));
        }
        let line = text.trim();
        if !line.starts_with("ssh-ed25519 ") || line.lines().count() != 1 {
            return Err(unknown());
        }
        let key = ssh_key::PublicKey::from_openssh(line).map_err(|error| KeyError::damaged(path, error))?;
        let key = key.key_data().ed25519().ok_or_else(unknown)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&key.0).map_err(|error| KeyError::damaged(path, error))?;
        Ok(Self(Kind::Ed25519(key)))
    }

    /// The SHA-256 of the key's DER form (SubjectPublicKeyInfo): a name for it, whatever file it came in.
    pub fn id(&self) -> String {
        let der = match &self.0 {
            Kind::Ed25519(key) => key.to_public_key_der(),
            Kind::P256(key) => key.to_public_key_der(),
        };
        // A key that was read has such a form.
        der.map(|der| Sha256::of(der.as_bytes()).0).unwrap_or_default()
    }

    /// Ed25519 signatures are 64 bytes, those of P-256 are DER, over the SHA-256 of the message.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Kind::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Kind::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }
}
