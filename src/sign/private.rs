use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use ed25519_dalek::{
    Signer as _, SigningKey,
    pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes, spki::der::pem::LineEnding},
};
use ssh_key::{
    Algorithm, HashAlg, SshSig,
    public::{Ed25519PublicKey, KeyData},
};

use super::{KeyError, PublicKey, agent::AgentKey, block, public::Kind as Public, read_text};

/// What our SSHSIG signatures are for: `ssh-keygen -Y verify -n` must be told the same.
const SSH_NAMESPACE: &str = "bootgate";

/// A key that signs.
pub struct PrivateKey {
    kind: Kind,
    /// It came in OpenSSH's form, so whoever checks its signatures may have nothing but `ssh-keygen`.
    is_openssh: bool,
    path: PathBuf,
}

enum Kind {
    Ed25519(SigningKey),
    P256(p256::ecdsa::SigningKey),
    /// An Ed25519 key.
    Agent(AgentKey, PublicKey),
}

impl PrivateKey {
    const WANTED: &str = "give an Ed25519 key (`openssl genpkey -algorithm ed25519`, `ssh-keygen -t ed25519 -N ''`), a P-256 \
                          key in PEM, or the public half of an Ed25519 key that the ssh-agent holds";

    /// Reads a key. An OpenSSH public key stands for the key that the ssh-agent at this socket holds.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(path: &Path, agent: Option<PathBuf>) -> Result<Self, KeyError> {
        Self::parse(&read_text(path)?, path, agent)
    }

    /// The key in a file's text; `path` is for errors.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(text: &str, path: &Path, agent: Option<PathBuf>) -> Result<Self, KeyError> {
        let unknown = || KeyError::Unknown { path: path.to_owned(), wanted: Self::WANTED };
        let damaged = |error| KeyError::damaged(path, error);
        let of = |kind, is_openssh| Self { kind, is_openssh, path: path.to_owned() };
        if text.starts_with("ssh-ed25519 ") {
            let public = PublicKey::parse(text, path)?;
            let socket = agent.ok_or_else(|| KeyError::NoAgent(path.to_owned()))?;
            let key = ssh_key::PublicKey::from_openssh(text.trim()).map_err(damaged)?;
            return Ok(of(Kind::Agent(AgentKey { socket, key }, public), true));
        }
        if let Some(pem) = block(text, "OPENSSH PRIVATE KEY") {
            let key = ssh_key::PrivateKey::from_openssh(pem).map_err(damaged)?;
            if key.is_encrypted() {
                return Err(KeyError::Encrypted(path.to_owned()));
            }
            let pair = key.key_data().ed25519().ok_or_else(unknown)?;
            return Ok(of(Kind::Ed25519(SigningKey::from_bytes(&pair.private.to_bytes())), true));
        }
        let encrypted = ["ENCRYPTED PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];
        if encrypted.iter().any(|label| block(text, label).is_some()) {
            return Err(KeyError::Encrypted(path.to_owned()));
        }
        let kind = if let Some(pem) = block(text, "PRIVATE KEY") {
            match SigningKey::from_pkcs8_pem(pem) {
                Ok(key) => Kind::Ed25519(key),
                Err(_) => Kind::P256(p256::ecdsa::SigningKey::from_pkcs8_pem(pem).map_err(|_| unknown())?),
            }
        } else {
            let pem = block(text, "EC PRIVATE KEY").ok_or_else(unknown)?;
            Kind::P256(p256::SecretKey::from_sec1_pem(pem).map_err(|_| unknown())?.into())
        };
        Ok(of(kind, false))
    }

    pub fn public(&self) -> PublicKey {
        match &self.kind {
            Kind::Ed25519(key) => PublicKey(Public::Ed25519(key.verifying_key())),
            Kind::P256(key) => PublicKey(Public::P256(*key.verifying_key())),
            Kind::Agent(_, public) => public.clone(),
        }
    }

    /// The signature, as [`PublicKey::verifies`] wants it.
    ///
    /// # Errors
    /// The agent did not sign.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.kind {
            Kind::Ed25519(key) => Ok(key.sign(message).to_bytes().to_vec()),
            Kind::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                Ok(signature.to_der().as_bytes().to_vec())
            }
            Kind::Agent(agent, public) => {
                let failed = |source| KeyError::Agent { path: self.path.clone(), source };
                let signature = agent.sign(message).map_err(failed)?;
                if public.verifies(message, &signature) {
                    Ok(signature)
                } else {
                    Err(failed(io::Error::other("its signature is wrong")))
                }
            }
        }
    }

    /// A signature for `ssh-keygen -Y verify`; none: it is no key of OpenSSH's.
    ///
    /// # Errors
    /// The agent did not sign.
    pub fn ssh_signature(&self, message: &[u8]) -> Result<Option<String>, KeyError> {
        let Public::Ed25519(key) = self.public().0 else { return Ok(None) };
        if !self.is_openssh {
            return Ok(None);
        }
        let damaged = |error| KeyError::damaged(&self.path, error);
        let hash = HashAlg::Sha512;
        let signed = self.sign(&SshSig::signed_data(SSH_NAMESPACE, hash, message).map_err(damaged)?)?;
        let signature = ssh_key::Signature::new(Algorithm::Ed25519, signed).map_err(damaged)?;
        let key = KeyData::Ed25519(Ed25519PublicKey(key.to_bytes()));
        let signature = SshSig::new(key, SSH_NAMESPACE, hash, signature).map_err(damaged)?;
        signature.to_pem(ssh_key::LineEnding::LF).map(Some).map_err(damaged)
    }
}

/// A new Ed25519 key as PKCS#8; without the public half, which OpenSSL 3.0 does not read.
pub(super) fn pem_of(seed: [u8; 32]) -> io::Result<String> {
    let pem = KeypairBytes { secret_key: seed, public_key: None }.to_pkcs8_pem(LineEnding::LF);
    pem.map(|pem| pem.to_string()).map_err(io::Error::other)
}

/// Never shows the secret.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public().id())
    }
}
