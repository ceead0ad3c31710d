//! The command line of each kind of package's installer.

use super::batch::{caret, line, quoted};
use crate::{
    guest::Facts,
    model::{Package, PackageKind},
};

const SYSTEM: &str = r"C:\Windows\System32";

/// From this build on (Windows 11 24H2, Server 2025) cumulative updates build on checkpoints, which `dism` finds beside
/// the package (Microsoft: "Checkpoint cumulative updates and Microsoft Update Catalog usage").
const CHECKPOINTS: u32 = 26_100;

/// The installer's log, where it is told to write one: beside the package.
pub(super) fn log(package: &Package) -> Option<String> {
    let (folder, _) = package.path().rsplit_once('\\')?;
    // `wusa` writes none that is text.
    let writes = matches!(package.kind, PackageKind::Msi | PackageKind::Msp | PackageKind::Msu | PackageKind::Cab);
    writes.then(|| format!(r"{folder}\bootgate-install.log"))
}

/// The line of a batch script that installs a package.
pub(super) fn install(package: &Package, facts: &Facts) -> String {
    let path = package.path();
    let program = |name: &str| format!(r"{SYSTEM}\{name}.exe");
    let log = log(package).unwrap_or_default();
    match package.kind {
        // Microsoft: "Standard Installer command-line options". /l*v: all there is to log.
        PackageKind::Msi | PackageKind::Msp => {
            let how = if package.kind == PackageKind::Msi { "/i" } else { "/p" };
            let msiexec = program("msiexec");
            let start = line(&msiexec, [how, path, "/qn", "/norestart", "/l*v", log.as_str()]);
            let further = package.args.iter().map(|word| caret(&property(word)));
            [start].into_iter().chain(further).collect::<Vec<_>>().join(" ")
        }
        PackageKind::Exe => line(path, package.args.iter().map(String::as_str)),
        // Microsoft: "Windows Update Standalone Installer in Windows".
        PackageKind::Msu if build(facts).is_none_or(|build| build < CHECKPOINTS) => {
            line(&program("wusa"), [path, "/quiet", "/norestart"])
        }
        // Microsoft: "DISM Operating System Package (.cab or .msu) Servicing Command-Line Options".
        PackageKind::Msu | PackageKind::Cab => {
            let (path, log) = (format!("/packagepath:{path}"), format!("/logpath:{log}"));
            line(&program("dism"), ["/online", "/add-package", &path, "/quiet", "/norestart", &log])
        }
        // Microsoft: "PnPUtil Command Syntax".
        PackageKind::Inf => line(&program("pnputil"), ["/add-driver", path, "/install"]),
        PackageKind::Reg => line(&program("reg"), ["import", path]),
    }
}

/// An argument of `msiexec`, which wants a property's value quoted and not the whole word, and in it quotes doubled
/// (Microsoft: "Command-Line Options", on public properties).
fn property(word: &str) -> String {
    let is_name =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.".contains(&b));
    match word.split_once('=') {
        Some((name, value)) if is_name(name) && value.contains([' ', '\t', '"']) => {
            format!("{name}=\"{}\"", value.replace('"', "\"\""))
        }
        _ => quoted(word),
    }
}

/// The build number, as the agent of Windows tells it (QEMU qga/commands-win32.c, `qmp_guest_get_osinfo`).
fn build(facts: &Facts) -> Option<u32> {
    facts.get("kernel-release")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bytes, GuestFile, HostFile, Sha256};

    fn package(kind: PackageKind, name: &str, args: &[&str]) -> Package {
        let from = HostFile { path: format!("/updates/{name}").into(), size: Bytes(1), sha256: Sha256::of(b"") };
        let to = format!(r"C:\Windows\Temp\bootgate-0a1b2c3d\{name}");
        let args = args.iter().map(|&word| word.to_owned()).collect();
        Package { kind, files: vec![GuestFile { from, to, mode: None }], args }
    }

    fn with_build(build: &str) -> Facts {
        Facts::from([("kernel-release".to_owned(), build.to_owned())])
    }

    #[test]
    fn each_kind_has_its_installer() {
        let lines: Vec<String> = [
            package(PackageKind::Msi, "a b.msi", &["INSTALLDIR=C:\\Program Files\\S", "ADDLOCAL=ALL"]),
            package(PackageKind::Msp, "a.msp", &[]),
            package(PackageKind::Exe, "setup.exe", &["/S", "100% sure"]),
            package(PackageKind::Msu, "kb.msu", &[]),
            package(PackageKind::Cab, "kb.cab", &[]),
            package(PackageKind::Inf, "sensor.inf", &[]),
            package(PackageKind::Reg, "a.reg", &[]),
        ]
        .iter()
        .map(|package| install(package, &with_build("19045")))
        .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn updates_that_build_on_checkpoints_are_installed_by_dism() {
        let msu = package(PackageKind::Msu, "kb.msu", &[]);
        for (facts, program) in [(with_build("26099"), "wusa"), (with_build("26100"), "dism"), (Facts::new(), "wusa")] {
            assert!(install(&msu, &facts).contains(program), "{facts:?}");
        }
    }

    #[test]
    fn a_property_of_windows_installer_has_its_value_quoted() {
        assert_eq!(property("A=b c"), "A=\"b c\"");
        assert_eq!(property("A=say \"x\""), "A=\"say \"\"x\"\"\"");
        assert_eq!(property("A=b"), "A=b");
        assert_eq!(property("/log file"), "\"/log file\"");
    }
}
