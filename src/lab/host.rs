//! What the host has: memory, programs.

use std::{env, fs, path::PathBuf, process::Command};

use crate::model::Bytes;

/// The host's memory, as /proc/meminfo has it (man page proc_meminfo(5)).
pub fn host_memory() -> Bytes {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Bytes(kib.unwrap_or(0) * Bytes::KIB)
}

/// The first program of this name in `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// The version of a program: the first number in what it says to `--version`.
pub fn program_version(name: &str) -> Option<String> {
    let said = Command::new(find_program(name)?).arg("--version").output().ok()?.stdout;
    let said = String::from_utf8_lossy(&said);
    let word = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    Some(word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned())
}
