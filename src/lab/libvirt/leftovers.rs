//! Machines that a dead process left in a libvirtd.

use virt::{connect::Connect, domain::Domain, sys};

use super::{
    connection::{Connection, failed},
    domain_xml::METADATA,
    patience::{CONNECT, bounded},
};
use crate::{
    lab::{CleanReport, LabError, root},
    model::StateDir,
};

/// Connects and removes the machines whose lab root, below this state folder, has a new owner or none.
///
/// # Errors
/// No connection, or no answer; what could not be removed is in the report.
pub fn clean_domains(uri: &str, state: &StateDir) -> Result<CleanReport, LabError> {
    let (owned, state) = (uri.to_owned(), state.clone());
    bounded("clean", uri, CONNECT, move || {
        let connection = Connection::open(&owned, Box::new(|_, _| ()))?;
        Ok(clean_stale(connection.connect(), &state))
    })
}

pub(super) fn clean_stale(connect: &Connect, state: &StateDir) -> CleanReport {
    let mut report = CleanReport::default();
    let domains = match connect.list_all_domains(0) {
        Ok(domains) => domains,
        Err(error) => {
            report.failed.push(failed("list its machines", &error).to_string());
            return report;
        }
    };
    for domain in domains.iter().filter(|domain| is_stale(domain, state)) {
        let name = domain.name().unwrap_or_default();
        match remove(domain) {
            Ok(()) => report.domains.push(name),
            Err(error) => report.failed.push(format!("{name}: {error}")),
        }
    }
    report
}

/// Ends the machine if it runs, and removes what libvirt keeps of one that was defined: its NVRAM, and its TPM's state,
/// which goes with a domain that does not ask for it to be kept.
pub(super) fn remove(domain: &Domain) -> Result<(), LabError> {
    // A transient one is gone once it has ended.
    let is_defined = domain.is_persistent().unwrap_or(true);
    if domain.is_active().unwrap_or(false) {
        domain.destroy().map_err(|error| failed("end the machine", &error))?;
    }
    if is_defined {
        let undefined = domain.undefine_flags(sys::VIR_DOMAIN_UNDEFINE_NVRAM);
        undefined.map_err(|error| failed("remove the machine", &error))?;
    }
    Ok(())
}

fn is_stale(domain: &Domain, state: &StateDir) -> bool {
    let Ok(metadata) = domain.metadata(sys::VIR_DOMAIN_METADATA_ELEMENT as i32, Some(METADATA), 0) else {
        return false;
    };
    let (Some(lab_root), Some(owner)) = (attribute(&metadata, "root"), attribute(&metadata, "owner")) else {
        return false;
    };
    let lab_root = std::path::Path::new(lab_root);
    // Roots elsewhere may be held by processes whose locks we cannot see.
    lab_root.starts_with(state.lab_roots()) && !root::is_held_by(lab_root, owner)
}

/// An attribute of the one element that we wrote ourselves: its values have nothing to unescape.
fn attribute<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let start = format!(" {name}=");
    let value = &xml[xml.find(&start)? + start.len()..];
    let quote = value.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    value[1..].split(quote).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_metadata_is_read_back_with_either_quote() {
        let xml = r#"<machine xmlns="urn:x" run='a' cell="b" root='/s/lab/3' owner="12-99"/>"#;
        assert_eq!(attribute(xml, "root"), Some("/s/lab/3"));
        assert_eq!(attribute(xml, "owner"), Some("12-99"));
        assert_eq!(attribute(xml, "other"), None);
    }
}
