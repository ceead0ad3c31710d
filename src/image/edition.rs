//! Which of an installation medium's images is installed, and with which product key.

use super::{ImageError, WindowsVersion};

/// What Windows Setup is told of the edition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edition {
    /// None: the key alone decides ("ProductKey", Unattended Windows Setup Reference).
    pub choice: Option<Choice>,
    pub key: Option<ProductKey>,
}

/// An image in the medium's `install.wim` ("MetaData", Unattended Windows Setup Reference).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    Index(u32),
    Name(String),
}

/// Five times five letters and digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductKey(String);

impl ProductKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for ProductKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let groups: Vec<&str> = text.split('-').collect();
        let is_group = |group: &&str| group.len() == 5 && group.bytes().all(|b| b.is_ascii_alphanumeric());
        if groups.len() == 5 && groups.iter().all(is_group) {
            Ok(Self(text.to_ascii_uppercase()))
        } else {
            Err("a product key is five groups of five letters and digits, joined by `-`".into())
        }
    }
}

const CLIENTS: [&str; 4] = ["pro", "enterprise", "education", "enterprise-eval"];
const SERVERS: [&str; 8] = [
    "standard",
    "datacenter",
    "standard-core",
    "datacenter-core",
    "standard-eval",
    "datacenter-eval",
    "standard-core-eval",
    "datacenter-core-eval",
];

impl Edition {
    /// What is installed where the user doesn't say.
    pub fn usual(version: WindowsVersion) -> &'static str {
        if version.is_server() { "standard" } else { "pro" }
    }

    /// From one of the names in the documentation, `index:N` or `name:TEXT`; the latter two come without a key.
    ///
    /// # Errors
    /// A name that the version doesn't have.
    pub fn named(version: WindowsVersion, name: &str) -> Result<Self, ImageError> {
        let names: &[&str] = if version.is_server() { &SERVERS } else { &CLIENTS };
        let unknown = |why: &str| {
            ImageError::unfit(
                format!("{version} has no edition `{name}`{why}"),
                format!(
                    "give one of {}, or index:N or name:TEXT as `dism /Get-ImageInfo` shows them",
                    names.join(", ")
                ),
            )
        };
        if let Some(index) = name.strip_prefix("index:") {
            let index = index.parse().ok().filter(|index| (1..=99).contains(index));
            let index = index.ok_or_else(|| unknown(": an index is a number from 1"))?;
            return Ok(Self { choice: Some(Choice::Index(index)), key: None });
        }
        if let Some(name) = name.strip_prefix("name:") {
            if name.trim().is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
                return Err(unknown(": that is no name of an image"));
            }
            return Ok(Self { choice: Some(Choice::Name(name.to_owned())), key: None });
        }
        if !names.contains(&name) {
            return Err(unknown(""));
        }
        Ok(if version.is_server() { server(version, name) } else { client(name) })
    }
}

/// The names of Windows 11's images differ from one medium to the next (older ones say `Windows 10 Pro`), so the key
/// decides. Evaluation media have a single image, and take no key of another channel.
fn client(name: &str) -> Edition {
    if name == "enterprise-eval" {
        return Edition { choice: Some(Choice::Index(1)), key: None };
    }
    Edition { choice: None, key: setup_key(None, name) }
}

/// A server's images have the same names on every medium, evaluation media included.
fn server(version: WindowsVersion, name: &str) -> Edition {
    let (name, evaluation) = name.strip_suffix("-eval").map_or((name, false), |name| (name, true));
    let (kind, core) = name.strip_suffix("-core").map_or((name, ""), |kind| (kind, "CORE"));
    let year = version.as_str().trim_start_matches("server-");
    let image = format!("Windows Server {year} SERVER{}{core}", kind.to_ascii_uppercase());
    let key = if evaluation { None } else { setup_key(Some(version), kind) };
    Edition { choice: Some(Choice::Name(image)), key }
}

/// The keys with which an installation asks a KMS host for activation, and which choose the edition without one:
/// Microsoft's "Key Management Services (KMS) client activation and product keys".
fn setup_key(server: Option<WindowsVersion>, edition: &str) -> Option<ProductKey> {
    use WindowsVersion::*;
    let key = match (server, edition) {
        (None, "pro") => "W269N-WFGWX-YVC9B-4J6C9-T83GX",
        (None, "enterprise") => "NPPR9-FWDCX-D2C8J-H872K-2YT43",
        (None, "education") => "NW6C2-QMPVW-D7KKK-3GKT6-VCFB2",
        (Some(Server2016), "standard") => "WC2BQ-8NRM3-FDDYY-2BFGV-KHKQY",
        (Some(Server2016), "datacenter") => "CB7KF-BWN84-R7R2Y-793K2-8XDDG",
        (Some(Server2019), "standard") => "N69G4-B89J2-4G8F4-WWYCC-J464C",
        (Some(Server2019), "datacenter") => "WMDGN-G9PQG-XVVXX-R3X43-63DFG",
        (Some(Server2022), "standard") => "VDYBN-27WPP-V4HQT-9VMD4-VMK7H",
        (Some(Server2022), "datacenter") => "WX4NM-KYWYW-QJJR4-XV3QB-6VM33",
        (Some(Server2025), "standard") => "TVRH6-WHNXV-R9WG3-9XRFY-MY832",
        (Some(Server2025), "datacenter") => "D764K-2NDRG-47T6Q-P8T8W-YP6DF",
        _ => return None,
    };
    Some(ProductKey(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edition_that_is_offered_can_be_chosen_and_only_evaluations_lack_a_key() {
        for version in WindowsVersion::ALL {
            let names: &[&str] = if version.is_server() { &SERVERS } else { &CLIENTS };
            assert!(names.contains(&Edition::usual(version)));
            for name in names {
                let edition = Edition::named(version, name).unwrap();
                assert!(edition.choice.is_some() || edition.key.is_some(), "{version} {name}");
                assert_eq!(edition.key.is_none(), name.ends_with("-eval"), "{version} {name}");
                if let Some(key) = edition.key {
                    assert_eq!(key.as_str().parse(), Ok(key.clone()));
                }
            }
        }
    }

    #[test]
    fn a_servers_image_is_named_as_on_its_medium() {
        let choice = |name| Edition::named(WindowsVersion::Server2022, name).unwrap().choice;
        let named = |name: &str| Some(Choice::Name(name.to_owned()));
        assert_eq!(choice("standard"), named("Windows Server 2022 SERVERSTANDARD"));
        assert_eq!(choice("datacenter-core-eval"), named("Windows Server 2022 SERVERDATACENTERCORE"));
    }

    #[test]
    fn an_edition_that_is_not_there_is_refused_with_those_that_are() {
        for name in ["standard", "index:0", "index:x", "name:", "name:a\nb", ""] {
            let error = Edition::named(WindowsVersion::Win11_24H2, name).unwrap_err().to_string();
            assert!(error.contains("enterprise-eval"), "{error}");
        }
        let named = Edition::named(WindowsVersion::Win11_24H2, "name:Windows 11 Pro").unwrap();
        assert_eq!(named, Edition { choice: Some(Choice::Name("Windows 11 Pro".into())), key: None });
    }

    #[test]
    fn a_product_key_has_five_groups_of_five() {
        assert_eq!("abcde-12345-abcde-12345-abcde".parse(), Ok(ProductKey("ABCDE-12345-ABCDE-12345-ABCDE".into())));
        for wrong in ["", "abcde", "abcde-12345-abcde-12345-abcd<", "abcde-12345-abcde-12345-abcde-"] {
            assert!(wrong.parse::<ProductKey>().is_err());
        }
    }
}
