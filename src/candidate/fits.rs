use crate::model::{About, Cabinet, Content, Machine, Pe, PeRole};

/// Whether a file is what a step of this kind (`msi`, `msp`, `exe`, `msu`, `cab`, `inf`, `ps1`, `cmd`, `reg`) needs. Other
/// kinds take any file.
///
/// # Errors
/// What it is instead: `this is a ZIP archive, not an MSI package`.
pub fn fits(kind: &str, about: &About) -> Result<(), String> {
    let content = &about.content;
    let (wanted, is_it) = match kind {
        "msi" => ("an MSI package", matches!(content, Content::Msi(_))),
        "msp" => ("an MSP patch", matches!(content, Content::Msp(_))),
        "exe" => ("a program for Windows", matches!(content, Content::Pe(Pe { role: PeRole::Exe, .. }))),
        // Which files a WIM holds is not read.
        "msu" => ("a standalone update (MSU)", matches!(content, Content::Msu(_) | Content::Wim)),
        "cab" => ("a cabinet with an update", is_package(about)),
        "inf" => ("an INF", matches!(content, Content::Inf(_))),
        "ps1" => ("a PowerShell script", is_script(content, &["powershell", "pwsh"])),
        "cmd" => ("a batch file", is_script(content, &["cmd"])),
        "reg" => ("a file of registry entries", matches!(content, Content::Reg)),
        _ => return Ok(()),
    };
    if is_it { Ok(()) } else { Err(format!("this is {}, not {wanted}", noun(content))) }
}

/// A cabinet that DISM can add, as far as its list of files could be read.
fn is_package(about: &About) -> bool {
    matches!(&about.content, Content::Cab(Cabinet { package, .. }) if *package || about.unread.is_some())
}

/// Most scripts do not say what runs them.
fn is_script(content: &Content, by: &[&str]) -> bool {
    match content {
        Content::Text => true,
        Content::Script { interpreter } => by.contains(&interpreter.as_str()),
        _ => false,
    }
}

/// Why Windows on such a machine cannot use a file at all, whatever a step does with it; none: it can, or nothing is
/// known. Programs of other machines are not among it: they may lie there unused.
pub fn foreign(about: &About, on: Machine) -> Option<String> {
    match &about.content {
        Content::Pe(Pe { role: PeRole::Driver, machine, .. }) if *machine != on => {
            Some(format!("it is a driver for {machine}, and Windows loads only drivers of its own architecture"))
        }
        // The models that fit may be in the part that was not read.
        Content::Inf(_) if about.unread.is_some() => None,
        Content::Inf(inf) if !inf.machines.is_empty() && !inf.machines.contains(&on) => {
            let machines: Vec<String> = inf.machines.iter().map(ToString::to_string).collect();
            let decoration = if on == Machine::X64 { "amd64".to_owned() } else { on.to_string() };
            Some(format!("it is an INF for {}: it has no models for NT{decoration}", machines.join(" and ")))
        }
        Content::Msi(msi) => {
            let machine = msi.machine.filter(|machine| !installs(*machine, on))?;
            Some(format!("it is an MSI package for {machine}"))
        }
        _ => None,
    }
}

/// Whether a package for a platform can be installed ("Template Summary Property"); 64-bit Windows takes 32-bit ones too.
fn installs(package: Machine, on: Machine) -> bool {
    match on {
        Machine::X64 => matches!(package, Machine::X86 | Machine::X64),
        // By emulation.
        Machine::Arm64 => matches!(package, Machine::X86 | Machine::X64 | Machine::Arm | Machine::Arm64),
        on => package == on,
    }
}

fn noun(content: &Content) -> &'static str {
    match content {
        Content::Msi(_) => "an MSI package",
        Content::Msp(_) => "an MSP patch",
        Content::Ole => "an OLE compound file of another kind",
        Content::Pe(Pe { role: PeRole::Exe, .. }) => "a program for Windows",
        Content::Pe(Pe { role: PeRole::Dll, .. }) => "a DLL",
        Content::Pe(Pe { role: PeRole::Driver, .. }) => "a driver",
        Content::Pe(Pe { role: PeRole::Efi, .. }) => "a UEFI program",
        Content::Dos => "a program for DOS or 16-bit Windows",
        Content::Cab(Cabinet { package: true, .. }) => "a cabinet with an update",
        Content::Cab(_) => "a cabinet without an update.mum",
        Content::Msu(_) => "a standalone update (MSU)",
        Content::Wim => "a Windows image archive (WIM)",
        Content::Inf(_) => "an INF",
        Content::Catalog => "a security catalogue",
        Content::Reg => "a file of registry entries",
        Content::Script { .. } => "a script for another interpreter",
        Content::Elf => "an ELF program",
        Content::Deb => "a Debian package",
        Content::Rpm => "an RPM package",
        Content::Zip => "a ZIP archive",
        Content::Text => "a text",
        Content::Unknown => "data of no known kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        candidate::testing::{INF, MsiFile, PeFile, about, cab},
        model::Inf,
    };

    #[test]
    fn each_kind_of_step_takes_its_own_content_and_says_what_another_is() {
        let files: [(&str, Vec<u8>); 9] = [
            ("msi", MsiFile::default().bytes()),
            ("msp", MsiFile { patch: true, ..MsiFile::default() }.bytes()),
            ("exe", PeFile::default().bytes()),
            ("msu", cab(&["WSUSSCAN.cab", "x.cab"])),
            ("cab", cab(&["update.mum"])),
            ("inf", INF.into()),
            ("ps1", b"#Requires -Version 5\n".into()),
            ("cmd", b"@echo off\n".into()),
            ("reg", b"REGEDIT4\n".into()),
        ];
        for (kind, _) in &files {
            for (other, bytes) in &files {
                assert_eq!(fits(kind, &about(bytes)).is_ok(), kind == other, "{kind} {other}");
            }
            let zip = fits(kind, &about(b"PK\x03\x04")).unwrap_err();
            assert!(zip.starts_with("this is a ZIP archive, not a"), "{zip}");
            assert_eq!(fits(kind, &about(b"Write-Host")).is_ok(), matches!(*kind, "ps1" | "cmd"));
        }
        assert_eq!(fits("msi", &about(b"PK\x03\x04")).unwrap_err(), "this is a ZIP archive, not an MSI package");
        assert_eq!(
            fits("cab", &about(&cab(&["x"]))).unwrap_err(),
            "this is a cabinet without an update.mum, not a cabinet with an update"
        );
        assert_eq!(fits("copy", &about(b"PK\x03\x04")), Ok(()));
    }

    #[test]
    fn drivers_and_infs_must_be_of_the_machine_and_programs_need_not() {
        let on_x64 = |bytes: &[u8]| foreign(&about(bytes), Machine::X64);
        let pe =
            |machine, subsystem| PeFile { machine, wide: machine != 0x14c, subsystem, ..PeFile::default() }.bytes();
        assert_eq!(on_x64(&pe(0x8664, 1)), None);
        assert_eq!(on_x64(&pe(0x14c, 3)), None);
        assert_eq!(
            on_x64(&pe(0x14c, 1)).unwrap(),
            "it is a driver for x86, and Windows loads only drivers of its own architecture"
        );
        assert!(on_x64(&pe(0xaa64, 1)).is_some() && on_x64(&pe(0x5064, 1)).is_some());
        assert_eq!(on_x64(INF.as_bytes()), None);
        let inf = |machines: &[Machine]| {
            foreign(&About::of(Content::Inf(Inf { machines: machines.into(), ..Inf::default() })), Machine::X64)
        };
        assert_eq!(inf(&[]), None);
        assert_eq!(
            inf(&[Machine::X86, Machine::Arm64]).unwrap(),
            "it is an INF for x86 and arm64: it has no models for NTamd64"
        );
        let msi = |template| on_x64(&MsiFile { template, ..MsiFile::default() }.bytes());
        assert_eq!((msi("x64;0"), msi("Intel;0"), msi(";0")), (None, None, None));
        assert_eq!(msi("Arm64;0").unwrap(), "it is an MSI package for arm64");
        assert!(msi("Intel64;0").is_some());
    }
}
