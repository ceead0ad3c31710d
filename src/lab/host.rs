//! What the host has: memory, programs.

use std::{env, fs, path::PathBuf, process::Command};

use crate::model::Bytes;

/// How much memory the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostMemory {
    pub total: Bytes,
    /// What can be had without swapping.
    pub available: Bytes,
}

/// The host's memory, as /proc/meminfo has it (man page proc_meminfo(5)); none where it cannot be read.
pub fn host_memory() -> Option<HostMemory> {
    parse_meminfo(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_meminfo(text: &str) -> Option<HostMemory> {
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(Bytes(kib.checked_mul(Bytes::KIB)?))
    };
    Some(HostMemory { total: field("MemTotal")?, available: field("MemAvailable")? })
}

/// The first program of this name in `PATH`.
pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// The version of a program: the first number in what it says to `--version`.
pub fn program_version(name: &str) -> Option<String> {
    let said = Command::new(find_program(name)?).arg("--version").output().ok()?.stdout;
    let said = String::from_utf8_lossy(&said);
    let word = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    Some(word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_and_available_memory_are_read_from_the_kernels_table() {
        let text = "MemTotal:        8000 kB\nMemFree:  1 kB\nMemAvailable:    5000 kB\n";
        let expected = HostMemory { total: Bytes(8000 << 10), available: Bytes(5000 << 10) };
        assert_eq!(parse_meminfo(text), Some(expected));
        assert_eq!(parse_meminfo("MemTotal: 8000 kB\n"), None);
        assert!(host_memory().is_some_and(|memory| memory.available <= memory.total));
    }
}
