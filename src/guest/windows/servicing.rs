use std::collections::BTreeMap;

use super::{printable, reg::read_reg};

/// The packages that Windows' servicing knows, and the state of each.
///
/// `CurrentState` below `Component Based Servicing\Packages` (Microsoft: "CBS Servicing States Chart", archive of the blog "Tip
/// of the Day").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages(BTreeMap<String, u64>);

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

    /// What an installation did that began with these packages, left those of `after` behind (none: nobody could ask) and came
    /// to `now` with the restart, in words.
    ///
    /// # Errors
    /// It installed nothing, or what waited for the restart was not installed in it: Windows takes back what fails then.
    pub fn installed(&self, after: Option<&Self>, now: &Self) -> Result<String, String> {
        let was = |name: &str| self.0.get(name).copied().unwrap_or_default();
        let changed: Vec<(&String, u64)> =
            after.unwrap_or(now).0.iter().filter(|(name, state)| was(name) != **state).map(|(n, s)| (n, *s)).collect();
        let waiting: Vec<&String> =
            changed.iter().filter(|(_, state)| *state == INSTALL_PENDING).map(|(n, _)| *n).collect();
        // What needs no restart, such as the servicing stack that comes with an update, does not stand for what does.
        let names = if waiting.is_empty() { changed.iter().map(|(name, _)| *name).collect() } else { waiting };
        let Some(first) = names.first() else { return Err("its installer changed no package of Windows".to_owned()) };
        let is = |name: &str| now.0.get(name).copied().unwrap_or_default();
        // Superseded: by what a later step installed.
        let done = names.iter().find(|name| matches!(is(name), INSTALLED | PERMANENT | SUPERSEDED));
        match done {
            Some(name) => Ok(format!("{} is {}", printable(name), told(is(name)))),
            None => Err(format!("{} is {} after the restart, and not installed", printable(first), told(is(first)))),
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

    #[test]
    fn a_package_that_is_installed_before_or_by_the_restart_is_found() {
        let before = packages(&[(OLD, 0x70)]);
        let after = packages(&[(OLD, 0x70), (NEW, 0x60), (STACK, 0x70)]);
        let now = packages(&[(OLD, 0x50), (NEW, 0x70), (STACK, 0x70)]);
        assert_eq!(before.installed(Some(&after), &now), Ok(format!("{NEW} is installed")));
        assert_eq!(before.installed(None, &now), Ok(format!("{OLD} is superseded")));
        let at_once = packages(&[(OLD, 0x70), (STACK, 0x80)]);
        assert!(before.installed(Some(&at_once), &at_once).is_ok());
    }

    #[test]
    fn what_a_later_step_supersedes_was_installed_all_the_same() {
        let (before, after) = (packages(&[(STACK, 0x70)]), packages(&[(STACK, 0x70), (OLD, 0x60)]));
        let now = packages(&[(STACK, 0x70), (OLD, 0x50), (NEW, 0x70)]);
        assert_eq!(before.installed(Some(&after), &now), Ok(format!("{OLD} is superseded")));
    }

    #[test]
    fn an_installation_that_changed_nothing_or_was_taken_back_is_none() {
        let before = packages(&[(OLD, 0x70)]);
        let nothing = Err("its installer changed no package of Windows".to_owned());
        assert_eq!(before.installed(Some(&before), &before), nothing);
        assert_eq!(before.installed(None, &before), nothing);
        // The servicing stack stays when the update itself is taken back.
        let after = packages(&[(OLD, 0x70), (NEW, 0x60), (STACK, 0x70)]);
        for (left, word) in [(0x40, "staged"), (0x60, "still waiting for a restart"), (0, "absent"), (0x77, "0x77")] {
            let now = packages(&[(OLD, 0x70), (NEW, left), (STACK, 0x70)]);
            let why = before.installed(Some(&after), &now).unwrap_err();
            assert!(why.starts_with(NEW) && why.contains(word), "{why}");
        }
    }
}
