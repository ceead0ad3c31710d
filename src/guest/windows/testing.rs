use std::{
    env, fs,
    io::{Write as _, stderr},
    path::Path,
    sync::Once,
};

/// A real Windows file of those that are never part of the project; none, and says so, where they are not to be had.
pub(super) fn sample(name: &str) -> Option<Vec<u8>> {
    let Some(folder) = env::var_os("BOOTGATE_SAMPLES") else {
        static SAID: Once = Once::new();
        // Past the test harness, which hides what a passing test prints.
        let say = || drop(writeln!(stderr(), "SKIPPED: tests of real Windows files, as BOOTGATE_SAMPLES is not set"));
        SAID.call_once(say);
        return None;
    };
    let path = Path::new(&folder).join("windows").join(name);
    Some(fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}
