use std::collections::BTreeMap;

use super::{printable, reg::read_reg};

/// The packages that Windows' servicing knows, and the state of each.
///
/// `CurrentState` below `Component Based Servicing\Packages` (Microsoft: "CBS Servicing States Chart", archive of the blog "Tip
/// of the Day").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages(BTreeMap<String, u64>);

/// What came of an installation, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Installation {
    Done(String),
    /// It changed nothing, or what waited for the restart was not installed in it: Windows takes back what fails then.
    NotDone(String),
    /// Something is not installed, and nobody knows whether it was to be.
    Unknown(String),
}

const SUPERSEDED: u64 = 0x50;
const INSTALL_PENDING: u64 = 0x60;
const INSTALLED: u64 = 0x70;
const PERMANENT: u64 = 0x80;

impl Packages {
    /// Reads what `reg query …\Packages /s /v CurrentState` printed. None: no package, which no Windows is without.
    pub(super) fn read(printed: &str) -> Option<Self> {
        let keys = read_reg(printed).into_iter();
        let known =
            keys.filter_map(|key| Some((package_of(&key.path)?.to_owned(), key.value("CurrentState")?.number()?)));
        let all: BTreeMap<String, u64> = known.collect();
        (!all.is_empty()).then_some(Self(all))
    }

    /// What came of an installation that began with these packages, left those of `after` behind (none: nobody could ask) and
    /// came to `now` with the restart.
    pub fn installed(&self, after: Option<&Self>, now: &Self) -> Installation {
        let was = |name: &str| self.0.get(name).copied().unwrap_or_default();
        let is = |name: &str| now.0.get(name).copied().unwrap_or_default();
        // Superseded: by what a later step installed.
        let is_done = |name: &str| matches!(is(name), INSTALLED | PERMANENT | SUPERSEDED);
        let changed: Vec<(&String, u64)> =
            after.unwrap_or(now).0.iter().filter(|(name, state)| was(name) != **state).map(|(n, s)| (n, *s)).collect();
        let waiting = changed.iter().filter(|(_, state)| after.is_some() && *state == INSTALL_PENDING);
        let waiting: Vec<&String> = waiting.map(|(name, _)| *name).collect();
        let done = changed.iter().map(|(name, _)| *name).find(|name| is_done(name));
        // What needs no restart, such as the servicing stack that comes with an update, does not stand for what does.
        let missing = match after {
            Some(_) if waiting.is_empty() => changed.first().map(|(name, _)| *name).filter(|_| done.is_none()),
            Some(_) => waiting.iter().copied().find(|name| !is_done(name)),
            None => changed.iter().map(|(name, _)| *name).find(|name| !is_done(name)),
        };
        let told = |name: &str| format!("{} is {}", printable(name), told(is(name)));
        match (missing, waiting.first().copied().or(done)) {
            // It may have waited for the restart and been taken back, or never have been for this machine.
            (Some(name), Some(_)) if after.is_none() => {
                Installation::Unknown(format!("{}, and which packages waited for the restart is not known", told(name)))
            }
            (Some(name), _) => Installation::NotDone(format!("{} after the restart, and not installed", told(name))),
            (None, Some(name)) => Installation::Done(told(name)),
            (None, None) => Installation::NotDone("its installer changed no package of Windows".to_owned()),
        }
    }
}

/// `HKEY_LOCAL_MACHINE\…\Component Based Servicing\Packages\NAME`, and nothing below it.
fn package_of(key: &str) -> Option<&str> {
    let (packages, name) = key.rsplit_once('\\')?;
    packages.to_ascii_lowercase().ends_with(r"\component based servicing\packages").then_some(name)
}

fn told(state: u64) -> String {
    let name = match state {
        0 => "absent",
        0x5 => "to be removed",
        0x10 => "resolving",
        0x20 => "resolved",
        0x30 => "staging",
        0x40 => "staged",
        SUPERSEDED => "superseded",
        INSTALL_PENDING => "still waiting for a restart",
        0x65 => "partially installed",
        INSTALLED => "installed",
        PERMANENT => "permanently installed",
        other => return format!("in the unknown state 0x{other:x}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        r"HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\Packages";
    const OLD: &str = "Package_for_RollupFix~31bf3856ad364e35~amd64~~19041.4291.1.8";
    const NEW: &str = "Package_for_RollupFix~31bf3856ad364e35~amd64~~19041.4412.1.7";
    const STACK: &str = "Package_for_ServicingStack_4411~31bf3856ad364e35~amd64~~19041.4411.1.0";

    fn packages(all: &[(&str, u64)]) -> Packages {
        let keys = all.iter().map(|(name, state)| {
            format!(
                "\r\n{KEY}\\{name}\r\n    CurrentState    REG_DWORD    0x{state:x}\r\n\r\n{KEY}\\{name}\\Owners\r\n"
            )
        });
        Packages::read(&keys.collect::<String>()).expect("packages")
    }

    #[test]
    fn a_list_without_packages_is_no_list() {
        let nothing = "ERROR: The system was unable to find the specified registry key or value.\r\n";
        assert_eq!(Packages::read(nothing), None);
        assert_eq!(Packages::read(&format!("{KEY}\\x\\Owners\r\n    CurrentState    REG_DWORD    0x70\r\n")), None);
    }

    fn done(what: &str) -> Installation {
        Installation::Done(what.to_owned())
    }

    #[test]
    fn a_package_that_is_installed_before_or_by_the_restart_is_found() {
        let before = packages(&[(OLD, 0x70)]);
        let after = packages(&[(OLD, 0x70), (NEW, 0x60), (STACK, 0x70)]);
        let now = packages(&[(OLD, 0x50), (NEW, 0x70), (STACK, 0x70)]);
        assert_eq!(before.installed(Some(&after), &now), done(&format!("{NEW} is installed")));
        assert_eq!(before.installed(None, &now), done(&format!("{OLD} is superseded")));
        let at_once = packages(&[(OLD, 0x70), (STACK, 0x80)]);
        assert_eq!(before.installed(Some(&at_once), &at_once), done(&format!("{STACK} is permanently installed")));
    }

    #[test]
    fn what_a_later_step_supersedes_was_installed_all_the_same() {
        let (before, after) = (packages(&[(STACK, 0x70)]), packages(&[(STACK, 0x70), (OLD, 0x60)]));
        let now = packages(&[(STACK, 0x70), (OLD, 0x50), (NEW, 0x70)]);
        assert_eq!(before.installed(Some(&after), &now), done(&format!("{OLD} is superseded")));
    }

    #[test]
    fn an_installation_that_changed_nothing_or_was_taken_back_is_none() {
        let before = packages(&[(OLD, 0x70)]);
        let nothing = Installation::NotDone("its installer changed no package of Windows".to_owned());
        assert_eq!(before.installed(Some(&before), &before), nothing);
        assert_eq!(before.installed(None, &before), nothing);
        // The servicing stack stays when the update itself is taken back.
        let after = packages(&[(OLD, 0x70), (NEW, 0x60), (STACK, 0x70)]);
        for (left, word) in [(0x40, "staged"), (0x60, "still waiting for a restart"), (0, "absent"), (0x77, "0x77")] {
            let now = packages(&[(OLD, 0x70), (NEW, left), (STACK, 0x70)]);
            let Installation::NotDone(why) = before.installed(Some(&after), &now) else { panic!("{word}") };
            assert!(why.starts_with(NEW) && why.contains(word), "{why}");
        }
    }

    #[test]
    fn of_several_packages_that_waited_for_the_restart_each_has_to_be_installed() {
        let (before, after) = (packages(&[(STACK, 0x70)]), packages(&[(STACK, 0x70), (OLD, 0x60), (NEW, 0x60)]));
        let now = packages(&[(STACK, 0x70), (OLD, 0x70), (NEW, 0x40)]);
        let why = Installation::NotDone(format!("{NEW} is staged after the restart, and not installed"));
        assert_eq!(before.installed(Some(&after), &now), why);
    }

    #[test]
    fn where_nobody_could_ask_after_the_step_the_servicing_stack_proves_no_update() {
        let before = packages(&[(OLD, 0x70)]);
        let now = packages(&[(OLD, 0x70), (NEW, 0x40), (STACK, 0x70)]);
        let Installation::Unknown(why) = before.installed(None, &now) else { panic!("it is not known") };
        assert!(why.starts_with(&format!("{NEW} is staged")), "{why}");
        // Nothing at all was installed.
        let now = packages(&[(OLD, 0x70), (NEW, 0x40)]);
        let why = Installation::NotDone(format!("{NEW} is staged after the restart, and not installed"));
        assert_eq!(before.installed(None, &now), why);
    }
}
