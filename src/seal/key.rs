use std::fmt;

use serde_json::{Value, json};

use crate::model::{GoldenImage, Sha256, Step, canonical};

/// The version of what a seal's folder holds; another one is another key.
const VERSION: u32 = 1;

/// Names a seal by everything that makes it valid: the golden image's content and definition, the setup steps that
/// ran before it was sealed, and what the lab says of machine, host and hypervisor
/// ([`Lab::seal_subject`](crate::lab::Lab::seal_subject)).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealKey(Sha256);

impl SealKey {
    /// `setup`: what is to run before the machine is sealed. `subject`: the lab's part.
    pub fn new(image: &GoldenImage, setup: &[Step], subject: &str) -> Self {
        let mut about = json!({
            "version": VERSION,
            // Its name too: cards and serial numbers are made of it.
            "image": image.name,
            "sha256": image.sha256,
            "backing": image.backing.iter().map(|file| &file.sha256).collect::<Vec<_>>(),
            // Where it lies, for its path is in the sealed disk.
            "disk": image.disk,
            "family": image.family,
            "settled": image.settled,
            "setup": steps(setup),
            "subject": subject,
        });
        // Only where there are some: the keys of seals from before there were any stay what they are.
        let states: Vec<_> = image.states().map(|state| &state.sha256).collect();
        if !states.is_empty() {
            about["states"] = json!(states);
        }
        Self(Sha256::of(canonical(about).as_bytes()))
    }

    /// All of it.
    pub fn sha256(&self) -> &Sha256 {
        &self.0
    }

    /// The name of the seal's folder, and what reports call it.
    pub fn name(&self) -> &str {
        self.0.short()
    }
}

impl fmt::Display for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Steps as they matter to a guest: content by digest, no host path.
pub(super) fn steps(steps: &[Step]) -> Value {
    let one = |step: &Step| json!({ "kind": step.kind.in_guest(), "success": step.success });
    steps.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Millis, StateFile, StepKind};

    fn sh(script: &str) -> Step {
        let kind = StepKind::Sh { script: script.into() };
        Step { name: script.into(), kind, timeout: Millis::from_secs(1), restarts: 0, success: vec![0] }
    }

    #[test]
    fn whatever_makes_a_seal_valid_changes_its_key() {
        let image = GoldenImage::plain("a", "/a");
        let key = |image: &GoldenImage, setup: &[Step], subject: &str| SealKey::new(image, setup, subject);
        let first = key(&image, &[sh("one")], "qemu 7");
        assert_eq!(first, key(&image, &[sh("one")], "qemu 7"));
        let patched = GoldenImage { sha256: Sha256::of(b"patched"), ..image.clone() };
        let probed = GoldenImage { settled: Some("true".into()), ..image.clone() };
        let state = StateFile { file: "/nvram.fd".into(), sha256: Sha256::of(b"nvram") };
        let remembering = GoldenImage { nvram: Some(state), ..image.clone() };
        for other in [
            key(&patched, &[sh("one")], "qemu 7"),
            key(&probed, &[sh("one")], "qemu 7"),
            key(&remembering, &[sh("one")], "qemu 7"),
            key(&image, &[sh("two")], "qemu 7"),
            key(&image, &[], "qemu 7"),
            key(&image, &[sh("one")], "qemu 8"),
        ] {
            assert_ne!(first, other);
        }
    }
}
