//! How long a QEMU's threads beside its virtual CPUs waited for a core of the host: what the guest's disk, timers and screen
//! wait for, while its CPUs have nothing to do.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::{lab::sweep, model::Millis};

/// The threads of one machine, looked at again and again: some end, and their wait with them.
#[derive(Debug, Default)]
pub struct Threads {
    /// `/proc/PID/task`, once it was found.
    tasks: Option<PathBuf>,
    /// Nanoseconds that each had waited when it was looked at last.
    seen: BTreeMap<String, u64>,
    total: u64,
}

impl Threads {
    /// Up to now, of the machine whose files are in this folder. Zero where the host does not tell.
    pub fn waited(&mut self, dir: &Path) -> Millis {
        if self.tasks.is_none() {
            self.tasks = sweep::process_of(dir).map(|pid| format!("/proc/{pid}/task").into());
        }
        let waits = self.tasks.as_deref().map(waits).unwrap_or_default();
        for (thread, wait) in &waits {
            self.total += wait.saturating_sub(self.seen.get(thread).copied().unwrap_or_default());
        }
        self.seen = waits;
        Millis(self.total / 1_000_000)
    }
}

/// Nanoseconds that each thread was ready to run and did not (the kernel's sched-stats.rst, `/proc/PID/schedstat`). The
/// virtual CPUs, which QEMU calls `CPU 0/KVM`, are counted by libvirt.
fn waits(tasks: &Path) -> BTreeMap<String, u64> {
    let threads = fs::read_dir(tasks).into_iter().flatten().flatten();
    let wait = |entry: fs::DirEntry| {
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        let told = fs::read_to_string(entry.path().join("schedstat")).ok()?;
        let waited = told.split_whitespace().nth(1)?.parse().ok()?;
        (!name.starts_with("CPU ")).then(|| (entry.file_name().to_string_lossy().into_owned(), waited))
    };
    threads.filter_map(wait).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_of_all_threads_but_the_virtual_cpus_add_up_also_of_those_that_end() {
        let folder = tempfile::tempdir().unwrap();
        let thread = |id: &str, name: &str, ns: u64| {
            let dir = folder.path().join(id);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("comm"), format!("{name}\n")).unwrap();
            fs::write(dir.join("schedstat"), format!("900000000 {ns} 17\n")).unwrap();
        };
        let mut threads = Threads { tasks: Some(folder.path().to_owned()), ..Threads::default() };
        let mut waited = || threads.waited(Path::new("/none"));
        thread("10", "qemu-system-x86", 5_000_000);
        thread("11", "CPU 0/TCG", 700_000_000);
        assert_eq!(waited(), Millis(5));
        thread("12", "worker", 3_000_000);
        assert_eq!(waited(), Millis(8));
        fs::remove_dir_all(folder.path().join("12")).unwrap();
        thread("10", "qemu-system-x86", 9_000_000);
        assert_eq!(waited(), Millis(12));
        fs::remove_dir_all(folder.path()).unwrap();
        assert_eq!(waited(), Millis(12));
    }
}
