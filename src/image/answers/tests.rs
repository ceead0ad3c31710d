use super::{
    super::{ImageError, ProductKey},
    rules::violations,
    *,
};

fn answers(version: WindowsVersion, firmware: Firmware, edition: &str) -> Answers {
    Answers {
        version,
        edition: Edition::named(version, edition).unwrap(),
        firmware,
        language: "en-US".into(),
        keyboard: "0409:00000409".into(),
        time_zone: "UTC".into(),
        computer: "GOLDEN".into(),
        user: "bootgate".into(),
        password: "Golden-1".into(),
    }
}

#[test]
fn every_versions_answers_are_as_they_were() {
    for version in WindowsVersion::ALL {
        let xml = answers(version, version.usual_firmware(), Edition::usual(version)).xml();
        // Forty paths of drivers: the first and the last will do.
        let driver =
            |line: &&str| line.contains("PathAndCredentials") || line.contains("<Path>C:") || line.contains("<Path>J:");
        let is_between = |line: &str| line.contains("<Path>") && !line.contains("reg.exe") && !driver(&line);
        let shown: Vec<&str> =
            xml.lines().filter(|line| !line.contains("PathAndCredentials") && !is_between(line)).collect();
        insta::assert_snapshot!(format!("answers_{version}"), shown.join("\n"));
    }
}

#[test]
fn a_bios_machine_has_an_active_system_partition_and_windows_on_the_second() {
    let xml = answers(WindowsVersion::Server2016, Firmware::Bios, "datacenter-core").xml();
    let start = xml.find("<DiskConfiguration>").unwrap();
    let end = xml.find("</ImageInstall>").unwrap();
    insta::assert_snapshot!(xml[start..end]);
}

#[test]
fn all_answers_keep_the_rules_of_the_reference() -> Result<(), ImageError> {
    for version in WindowsVersion::ALL {
        for firmware in [Firmware::Bios, Firmware::Uefi, Firmware::UefiSecure] {
            let mut editions = vec!["index:3", "name:A & B <\">"];
            editions.extend(if version.is_server() {
                ["standard", "datacenter-core", "standard-eval"]
            } else {
                ["pro", "education", "enterprise-eval"]
            });
            for edition in editions {
                let answers = answers(version, firmware, edition);
                assert_eq!(violations(&answers.xml()), Vec::<String>::new(), "{version} {firmware:?} {edition}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_a_user_gives_comes_out_as_it_was_given() {
    let mut answers = answers(WindowsVersion::Win11_25H2, Firmware::UefiSecure, "pro");
    answers.password = "a<b>&\"'c".into();
    answers.time_zone = "W. Europe Standard Time".into();
    answers.edition.key = Some("abcde-12345-abcde-12345-abcde".parse::<ProductKey>().unwrap());
    let xml = answers.xml();
    let read = roxmltree::Document::parse(&xml).unwrap();
    let texts: Vec<&str> = read.descendants().filter_map(|node| node.text()).collect();
    for expected in ["a<b>&\"'c", "W. Europe Standard Time", "ABCDE-12345-ABCDE-12345-ABCDE"] {
        assert!(texts.contains(&expected), "{expected}");
    }
    assert_eq!(violations(&xml), Vec::<String>::new());
}

#[test]
fn requirements_of_windows_11_are_met_and_not_evaded() {
    for version in WindowsVersion::ALL.into_iter().filter(|version| version.is_windows_11()) {
        assert_eq!(version.usual_firmware(), Firmware::UefiSecure);
        let xml = answers(version, Firmware::UefiSecure, "pro").xml();
        assert!(!xml.contains("LabConfig") && !xml.contains("Bypass"));
    }
}

#[test]
fn each_rule_is_seen_to_fail() {
    let good = answers(WindowsVersion::Server2022, Firmware::Uefi, "standard").xml();
    for (from, to, why) in [
        ("pass=\"windowsPE\"", "pass=\"windowspe\"", "no pass windowspe"),
        ("pass=\"specialize\"", "pass=\"oobeSystem\"", "oobeSystem is there twice"),
        ("processorArchitecture=\"amd64\"", "processorArchitecture=\"x86\"", "processorArchitecture is x86"),
        ("publicKeyToken=\"31bf3856ad364e35\"", "publicKeyToken=\"0\"", "publicKeyToken is 0"),
        ("versionScope=\"nonSxS\"", "versionScope=\"SxS\"", "versionScope is SxS"),
        (
            "name=\"Microsoft-Windows-Deployment\"",
            "name=\"Microsoft-Windows-Deploy\"",
            "no component Microsoft-Windows-Deploy",
        ),
        (
            "name=\"Microsoft-Windows-Deployment\"",
            "name=\"Microsoft-Windows-Setup\"",
            "Microsoft-Windows-Setup is not for specialize",
        ),
        ("<TimeZone>UTC</TimeZone>", "<Timezone>UTC</Timezone>", "no setting Timezone"),
        ("<TimeZone>UTC</TimeZone>", "<TimeZone></TimeZone>", "TimeZone is empty"),
        ("<Order>2</Order>", "<Order>1</Order>", "Order is [1, 1"),
        ("<Order>2</Order>", "<Order>7</Order>", "Order is [1, 7"),
        ("wcm:keyValue=\"2\"", "wcm:keyValue=\"1\"", "keyValue is there twice: 1"),
        ("<Disk wcm:action=\"add\">", "<Disk>", "Disk without wcm:action"),
        ("<DynamicUpdate>", "<DynamicUpdate wcm:action=\"add\">", "DynamicUpdate is no item of a list"),
        ("<Enable>false</Enable>", "<Enable>no</Enable>", "Enable is no"),
        ("<Type>MSR</Type>", "<Type>msr</Type>", "Type is msr"),
        ("<PartitionID>3</PartitionID>", "<PartitionID>4</PartitionID>", "no partition 4"),
        ("<Extend>true</Extend>", "<Extend>true</Extend><Size>5</Size>", "Extend and Size"),
        ("<ComputerName>GOLDEN", "<ComputerName>GOLDEN-BUT-TOO-LONG", "ComputerName is"),
        ("<ComputerName>GOLDEN", "<ComputerName>BootGate", "the computer and a user are both BootGate"),
        ("<Format>FAT32</Format>", "<Format>NTFS</Format>", "EFI partition is not FAT32"),
        ("<Format>FAT32</Format>", "<Format>FAT32</Format><Format>FAT32</Format>", "Format is there twice"),
        ("<Key>VDYBN-", "<Key>VDYB-", "Key is"),
        ("urn:schemas-microsoft-com:unattend", "urn:else", "root"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from} is not in the file");
        let found = violations(&bad);
        assert!(found.iter().any(|found| found.contains(why)), "{why}: {found:#?}");
    }
}
