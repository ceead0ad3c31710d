use std::{collections::BTreeMap, fmt::Write as _};

use time::Date;

use crate::model::{Bytes, Family, Firmware, Sha256};

/// A golden image's entry in the catalogue, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Absolute, or relative to the catalogue.
    pub disk: String,
    pub sha256: Sha256,
    pub firmware: Firmware,
    pub nvram: Option<(String, Sha256)>,
    pub tpm: bool,
    pub tpm_state: Option<(String, Sha256)>,
    pub disk_bus: &'static str,
    pub network_model: &'static str,
    /// None: the family's own.
    pub clock: Option<&'static str>,
    pub memory: Bytes,
    pub vcpus: u32,
    pub family: Family,
    /// The day, UTC.
    pub made: Option<Date>,
}

impl Entry {
    /// As an item of `images:`. What the catalogue takes for granted is left out.
    pub fn yaml(&self, indent: usize) -> String {
        let mut out = String::new();
        let mut line = |key: &str, value: &str| {
            let start = if out.is_empty() { "- " } else { "  " };
            let _ = writeln!(out, "{}{start}{key}: {value}", " ".repeat(indent));
        };
        line("name", &scalar(&self.name));
        let labels: Vec<String> =
            self.labels.iter().map(|(key, value)| format!("{}: {}", scalar(key), scalar(value))).collect();
        line("labels", &format!("{{{}}}", labels.join(", ")));
        line("disk", &scalar(&self.disk));
        line("sha256", &self.sha256.0);
        match self.firmware {
            Firmware::Bios => {}
            Firmware::Uefi => line("firmware", "uefi"),
            Firmware::UefiSecure => line("firmware", "uefi-secure"),
        }
        if self.tpm {
            line("tpm", "true");
        }
        for (key, state) in [("nvram", &self.nvram), ("tpm_state", &self.tpm_state)] {
            if let Some((file, sha256)) = state {
                line(key, &scalar(file));
                line(&format!("{key}_sha256"), &sha256.0);
            }
        }
        if self.disk_bus != "virtio" {
            line("disk_bus", self.disk_bus);
        }
        if self.network_model != "virtio" {
            line("network_model", self.network_model);
        }
        let usual = if self.family == Family::Windows { "localtime" } else { "utc" };
        if let Some(clock) = self.clock.filter(|clock| *clock != usual) {
            line("clock", clock);
        }
        line("memory", &size(self.memory));
        line("vcpus", &self.vcpus.to_string());
        line("family", self.family.as_str());
        if let Some(made) = self.made {
            line("made", &made.to_string());
        }
        out
    }
}

/// Exactly.
fn size(bytes: Bytes) -> String {
    for (unit, name) in [(Bytes::GIB, "GiB"), (Bytes::MIB, "MiB"), (Bytes::KIB, "KiB")] {
        if bytes.0.is_multiple_of(unit) {
            return format!("{}{name}", bytes.0 / unit);
        }
    }
    format!("{}B", bytes.0)
}

/// Plain where every reader of YAML takes that for the same text, else in double quotes (YAML 1.2, 7.3.1, which JSON's
/// strings are a part of).
fn scalar(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n"
    );
    // Numbers, dates, versions: whatever begins so.
    let begins_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    if begins_plain && text.chars().all(is_plain) && !word { text.to_owned() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    let mut out = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Also those that break lines in YAML 1.1.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn entry(name: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            labels: BTreeMap::from([("os".to_owned(), name.to_owned()), ("patch".to_owned(), "1".to_owned())]),
            disk: format!("golden/{name}.qcow2"),
            sha256: Sha256::of(b"disk"),
            firmware: Firmware::Bios,
            nvram: None,
            tpm: false,
            tpm_state: None,
            disk_bus: "virtio",
            network_model: "virtio",
            clock: Some("utc"),
            memory: Bytes::mib(2048),
            vcpus: 2,
            family: Family::Linux,
            made: None,
        }
    }

    #[test]
    fn an_entry_says_all_that_is_not_usual() {
        let full = Entry {
            firmware: Firmware::UefiSecure,
            nvram: Some(("golden/w.nvram.fd".into(), Sha256::of(b"nvram"))),
            tpm: true,
            tpm_state: Some(("golden/w.tpm2".into(), Sha256::of(b"tpm"))),
            disk_bus: "sata",
            network_model: "e1000e",
            memory: Bytes::mib(4097),
            family: Family::Windows,
            made: Date::from_ordinal_date(2026, 1).ok(),
            ..entry("win11-24h2")
        };
        insta::assert_snapshot!(full.yaml(2));
        insta::assert_snapshot!(entry("debian-12").yaml(0));
    }

    #[test]
    fn texts_that_yaml_would_take_for_something_else_are_quoted() {
        for (text, written) in [
            ("win11-24h2", "win11-24h2"),
            ("/golden/a.qcow2", "/golden/a.qcow2"),
            ("10", "\"10\""),
            ("7.10", "\"7.10\""),
            ("No", "\"No\""),
            ("", "\"\""),
            ("a: b", "\"a: b\""),
            ("a#b", "\"a#b\""),
            ("a\"\\\n", "\"a\\\"\\\\\\u000a\""),
        ] {
            assert_eq!(scalar(text), written);
        }
    }
}
