use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, thread};

use ed25519_dalek::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, spki::der::pem::LineEnding};
use proptest::prelude::*;
use ssh_key::private::Ed25519Keypair;

use super::{dsse::pae, *};
use crate::model::StateDir;

const TYPE: &str = "application/vnd.in-toto+json";

fn pem(n: u8) -> String {
    private::pem_of([n; 32]).unwrap()
}

fn ed25519(n: u8) -> PrivateKey {
    private(&pem(n)).unwrap()
}

fn p256_secret(n: u8) -> p256::SecretKey {
    p256::SecretKey::from_slice(&[n; 32]).unwrap()
}

fn private(text: &str) -> Result<PrivateKey, KeyError> {
    PrivateKey::parse(text, Path::new("KEY"), None)
}

fn public(text: &str) -> Result<PublicKey, KeyError> {
    PublicKey::parse(text, Path::new("PUB"))
}

fn openssh(n: u8) -> ssh_key::PrivateKey {
    Ed25519Keypair::from_seed(&[n; 32]).into()
}

#[test]
fn what_is_signed_is_encoded_as_dsse_says() {
    assert_eq!(
        pae("http://example.com/HelloWorld", b"hello world"),
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
    assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
}

#[test]
fn a_key_is_the_same_in_every_form_it_is_read_from() {
    let ed = ed25519(7).public();
    let ssh = openssh(7);
    let signing = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let with_public_half = signing.to_pkcs8_pem(LineEnding::LF).unwrap();
    for text in [
        pem(7),
        with_public_half.to_string(),
        format!("\r\nsome words\n{}\n", pem(7)),
        ssh.to_openssh(ssh_key::LineEnding::LF).unwrap().to_string(),
    ] {
        assert_eq!(private(&text).unwrap().public(), ed);
    }
    let pem = signing.verifying_key().to_public_key_pem(LineEnding::LF).unwrap();
    for text in [
        pem,
        ssh.public_key().to_openssh().unwrap(),
        format!("{} someone@host\n", ssh.public_key().to_openssh().unwrap()),
    ] {
        assert_eq!(public(&text).unwrap(), ed);
    }

    let secret = p256_secret(7);
    let ec = secret.public_key().to_public_key_pem(LineEnding::LF).unwrap();
    let sec1 = secret.to_sec1_pem(LineEnding::LF).unwrap();
    let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    for text in
        [secret.to_pkcs8_pem(LineEnding::LF).unwrap().to_string(), sec1.to_string(), format!("{parameters}{}", *sec1)]
    {
        assert_eq!(private(&text).unwrap().public(), public(&ec).unwrap());
    }
}

#[test]
fn what_is_no_key_is_refused_with_its_path_and_what_would_do() {
    let pem = pem(7);
    for text in [
        "",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        "ssh-rsa AAAA",
    ] {
        let error = private(text).unwrap_err().to_string();
        assert!(error.contains("KEY") && error.contains("openssl genpkey"), "{error}");
    }
    for text in [
        "",
        &pem,
        "ssh-rsa AAAA",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        "a b\nssh-ed25519 AAAA",
    ] {
        let error = public(text).unwrap_err().to_string();
        assert!(error.contains("PUB") && error.contains("openssl pkey"), "{error}");
    }
    assert!(matches!(public("ssh-ed25519 AAAA").unwrap_err(), KeyError::Damaged { .. }));
    assert!(matches!(private("ssh-ed25519 AAAA").unwrap_err(), KeyError::Damaged { .. }));
    let encrypted =
        "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----";
    assert!(matches!(private(encrypted).unwrap_err(), KeyError::Encrypted(_)));
}

#[test]
fn a_secret_is_never_shown() {
    let shown = format!("{:?}", private(&pem(7)).unwrap());
    assert_eq!(shown, format!("PrivateKey({})", ed25519(7).public().id()));
}

#[test]
fn an_envelope_opens_for_its_key_and_its_type_only() {
    for key in [ed25519(1), private(&p256_secret(1).to_pkcs8_pem(LineEnding::LF).unwrap()).unwrap()] {
        let envelope = Envelope::sign(TYPE, b"{}", &key).unwrap();
        let mut read = Envelope::parse(envelope.to_line().as_bytes()).unwrap();
        assert_eq!(read, envelope);
        assert_eq!(read.open(TYPE, &key.public()).unwrap(), b"{}");
        let other = ed25519(2).public();
        assert!(matches!(read.open(TYPE, &other).unwrap_err(), EnvelopeError::OtherKey { .. }));
        assert!(matches!(read.open("text/plain", &key.public()).unwrap_err(), EnvelopeError::WrongType { .. }));
        // Whose it is, others may not say.
        read.signatures[0].keyid.clear();
        assert_eq!(read.open(TYPE, &key.public()).unwrap(), b"{}");
        assert!(matches!(read.open(TYPE, &other).unwrap_err(), EnvelopeError::BadSignature));
        read.signatures.clear();
        assert!(read.open(TYPE, &key.public()).unwrap_err().to_string().contains("nobody"));
    }
    assert!(Envelope::parse(b"{}").unwrap_err().is_unreadable());
}

proptest! {
    // Arithmetic on curves is slow without optimisation.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_changed_of_an_envelope_is_refused(
        payload in prop::collection::vec(any::<u8>(), 1..200),
        at in any::<prop::sample::Index>(),
        bit in 0..8u32,
        with_p256 in any::<bool>(),
    ) {
        let key = if with_p256 { private(&p256_secret(1).to_pkcs8_pem(LineEnding::LF).unwrap()).unwrap() } else { ed25519(1) };
        let envelope = Envelope::sign(TYPE, &payload, &key).unwrap();
        let flip = |text: &str| {
            use base64::{Engine as _, engine::general_purpose::STANDARD};
            let mut bytes = STANDARD.decode(text).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            STANDARD.encode(bytes)
        };
        let mut changed = vec![envelope.clone(); 3];
        changed[0].payload = flip(&envelope.payload);
        changed[1].signatures[0].sig = flip(&envelope.signatures[0].sig);
        changed[2].payload_type.push(' ');
        for envelope in changed {
            prop_assert!(envelope.open(TYPE, &key.public()).is_err());
        }
        prop_assert!(envelope.open(TYPE, &ed25519(2).public()).is_err());
        prop_assert!(envelope.open(TYPE, &key.public()).is_ok());
    }

    #[test]
    fn no_bytes_make_a_reader_of_keys_or_envelopes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Envelope::parse(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        for label in ["PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "PUBLIC KEY"] {
            use base64::{Engine as _, engine::general_purpose::STANDARD};
            let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(&bytes));
            for text in [&pem, &*text] {
                prop_assert!(private(text).is_err());
                prop_assert!(public(text).is_err());
            }
        }
    }
}

#[test]
fn processes_that_make_the_labs_key_at_once_get_the_same_and_nobody_else_may_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::new(folder.path().join("state"));
    assert!(known_lab_key(&state).unwrap_err().to_string().contains("--lab-key"));
    let makers: Vec<_> = (0..8)
        .map(|_| {
            let state = state.clone();
            thread::spawn(move || lab_key(&state).unwrap().public())
        })
        .collect();
    let keys: Vec<PublicKey> = makers.into_iter().map(|maker| maker.join().unwrap()).collect();
    assert!(keys.iter().all(|key| *key == keys[0]));
    assert_eq!(known_lab_key(&state).unwrap(), keys[0]);
    assert_eq!(fs::metadata(state.lab_key()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(state.path()).unwrap().count(), 1);

    fs::set_permissions(state.lab_key(), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(lab_key(&state).unwrap_err(), KeyError::Open(_)));
}

#[test]
fn a_damaged_lab_key_is_told_and_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::new(folder.path());
    fs::write(state.lab_key(), "").unwrap();
    fs::set_permissions(state.lab_key(), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(lab_key(&state).is_err());
    assert_eq!(fs::read(state.lab_key()).unwrap(), b"");
}
