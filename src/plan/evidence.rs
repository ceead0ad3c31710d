use super::pin::Pins;
use crate::model::{Check, Content, Millis, Package, PackageKind, Says, Step, StepKind, is_guid_in_braces};

/// The deadline of the question whether a package is installed.
const TIMEOUT: Millis = Millis::from_secs(120);

/// What proves that an update took effect, where its steps' kinds tell: a product that an MSI installs is registered under
/// its product code (Microsoft: "Uninstall Registry Key"), and what an MSU or a cabinet brings is among the packages of
/// Windows' servicing. Which packages that will be is not read from the file: names in it are not those in the guest, where
/// cumulative updates are all called `Package_for_RollupFix`, and newer ones are WIM archives. The guest's list before
/// and after the step tells.
pub(super) fn implied(update: &[Step], named: &[Check], pins: &Pins) -> Vec<Check> {
    let mut found = Vec::new();
    for (n, step) in update.iter().enumerate() {
        let StepKind::Package { package } = &step.kind else { continue };
        let kind = match package.kind {
            PackageKind::Msi => product(package, pins).map(|code| StepKind::Cmd { script: registered(&code) }),
            PackageKind::Msu | PackageKind::Cab if !may_not_apply(step, package) => {
                Some(StepKind::Serviced { step: n })
            }
            _ => None,
        };
        if let Some(kind) = kind {
            let ids = std::iter::once(format!("installed-{}", n + 1))
                .chain((2..).map(|again| format!("installed-{}-{again}", n + 1)));
            let Some(id) = ids.into_iter().find(|id| named.iter().all(|check| check.id != *id)) else { continue };
            found.push(Check { id, kind, timeout: TIMEOUT, success: vec![0], evidence: false, implied: true });
        }
    }
    found
}

/// Whether the step's author takes an installer that changes nothing for a success.
fn may_not_apply(step: &Step, package: &Package) -> bool {
    step.success.iter().any(|code| package.kind.says(*code) == Some(Says::NotApplied))
}

/// The product that an MSI installs.
fn product(package: &Package, pins: &Pins) -> Option<String> {
    // Removing is an installer's work, too.
    let removes = package.args.iter().any(|word| word.to_ascii_uppercase().starts_with("REMOVE="));
    if removes {
        return None;
    }
    let about = pins.about(&package.files.first()?.from.path)?;
    let Content::Msi(msi) = &about.content else { return None };
    // It becomes a part of a script.
    msi.product_code.clone().filter(|code| is_guid_in_braces(code))
}

/// 32-bit products have a place of their own, and so have those that are not for all users: the agent's user has them then.
fn registered(code: &str) -> String {
    let of = |software: &str| {
        format!(
            "reg query \"{software}\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\{code}\" >nul 2>nul\nif not errorlevel 1 exit 0\n"
        )
    };
    let places = [r"HKLM\SOFTWARE", r"HKLM\SOFTWARE\WOW6432Node", r"HKCU\SOFTWARE"].map(of).concat();
    format!("{places}echo the product {code} is not installed>&2\nexit 1\n")
}
