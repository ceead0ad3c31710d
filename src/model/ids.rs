use std::fmt;

use serde::{Deserialize, Serialize};

/// Names one cell inside a run: its axis values in the matrix's order, slugged and joined with `.`.
///
/// Safe as a folder name and as a part of a libvirt domain name: only `[a-z0-9._-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[a-z0-9_-][a-z0-9._-]*$"))]
pub struct CellId(pub String);

/// Names one run: `<UTC time>-<matrix name>`, also the name of its run directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[A-Za-z0-9_-][A-Za-z0-9._-]*$"))]
pub struct RunId(pub String);

/// A SHA-256 digest as 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[0-9a-f]{64}$"))]
pub struct Sha256(pub String);

impl Sha256 {
    /// The digest of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self::from_digest(sha2::Sha256::digest(bytes).as_slice())
    }

    /// From the 32 raw bytes of a finished hasher.
    pub fn from_digest(digest: &[u8]) -> Self {
        // By hand, because each line of a journal has one.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        Self(digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect())
    }

    /// The first 12 digits: enough for people, never for comparisons.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }

    /// Whether this is 64 lower-case hexadecimal digits.
    pub fn is_well_formed(&self) -> bool {
        self.0.len() == 64 && self.0.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    }
}

/// Longest id, in bytes: it is a file's name.
const MAX_ID: usize = 255;

/// What may be shown, and be a file's name, wherever it was read from.
fn is_file_name(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    (1..=MAX_ID).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(allowed)
}

impl CellId {
    /// Whether this is made of `[a-z0-9._-]`.
    pub fn is_well_formed(&self) -> bool {
        is_file_name(&self.0, |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
    }
}

impl RunId {
    /// Whether this is made of `[A-Za-z0-9._-]`.
    pub fn is_well_formed(&self) -> bool {
        is_file_name(&self.0, |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    }
}

macro_rules! text_id {
    ($($name:ident is $what:literal),*) => {$(
        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                let id = Self(text);
                // The text may be hostile, and errors are shown.
                if id.is_well_formed() { Ok(id) } else { Err(format!("{:?} is no {}", id.0, $what)) }
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    )*};
}
text_id!(CellId is "cell's id", RunId is "run's id", Sha256 is "SHA-256 digest");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_id_is_not_read_as_one() {
        let read = |text: &str| serde_json::from_str::<CellId>(&serde_json::to_string(text).unwrap());
        assert_eq!(read("lab-os-10.p1_2").unwrap(), CellId("lab-os-10.p1_2".into()));
        for bad in ["", "../x", "a/b", "A", "a b", "a\u{1b}[2J", &"a".repeat(256)] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains("is no cell's id") && !error.contains('\u{1b}'), "{error}");
        }
        assert!(serde_json::from_str::<Sha256>("\"ab\"").is_err());
        assert!(serde_json::from_str::<RunId>("\"20260102T030405Z-nightly\"").is_ok());
    }
}
