//! What libvirt tells of a user's own domain. Nothing is changed.

use virt::{connect::Connect, domain::Domain, sys};

use super::{
    connection::{Connection, could_not_connect, failed},
    patience::{CONNECT, bounded},
};
use crate::lab::LabError;

/// A domain's definitions (libvirt's "Domain XML format", "Snapshot XML format").
#[derive(Clone, Debug)]
pub struct Described {
    /// What it starts with.
    pub xml: String,
    /// What it runs with, if it does.
    pub runs: Option<String>,
    /// Its memory was saved when it was stopped (`virsh managedsave`): its disk alone is no whole machine.
    pub is_saved: bool,
    /// The definition of the snapshot that was asked for.
    pub snapshot: Option<String>,
}

/// Reads a domain's definition, and that of one of its snapshots.
///
/// # Errors
/// No connection, no answer; no such domain or snapshot, with those that there are.
pub fn describe(uri: &str, domain: &str, snapshot: Option<&str>) -> Result<Described, LabError> {
    let (owned, domain, snapshot) = (uri.to_owned(), domain.to_owned(), snapshot.map(str::to_owned));
    bounded("look at the domain", uri, CONNECT, move || {
        let look = |connect: &Connect| read(&find(connect, &domain)?, snapshot.as_deref());
        if owned.starts_with("qemu:///embed") {
            // This driver is in our own process, and needs its event loop there.
            return look(Connection::open(&owned, Box::new(|_, _| ()))?.connect());
        }
        virt::error::clear_error_callback();
        let connect = Connect::open_read_only(Some(&owned)).map_err(|error| could_not_connect(&owned, &error))?;
        look(&connect)
    })
}

fn find(connect: &Connect, name: &str) -> Result<Domain, LabError> {
    connect.lookup_domain_by_name(name).map_err(|error| {
        let domains = connect.list_all_domains(0).unwrap_or_default();
        let names = listed(domains.iter().filter_map(|domain| domain.name().ok()).collect());
        LabError::Libvirt {
            action: "find the domain",
            message: format!("{}; there is {names}", error.message().trim()),
        }
    })
}

fn read(domain: &Domain, snapshot: Option<&str>) -> Result<Described, LabError> {
    let snapshot = match snapshot {
        None => None,
        Some(name) => Some(Domain::lookup_snapshot_by_name(domain, name, 0).map_err(|error| {
            let all = domain.list_all_snapshots(0).unwrap_or_default();
            let names = listed(all.iter().filter_map(|snapshot| snapshot.name().ok()).collect());
            let message = format!("{}; there is {names}", error.message().trim());
            LabError::Libvirt { action: "find the snapshot", message }
        })?),
    };
    let read = || -> Result<Described, virt::error::Error> {
        let is_persistent = domain.is_persistent()?;
        Ok(Described {
            xml: domain.xml_desc(if is_persistent { sys::VIR_DOMAIN_XML_INACTIVE } else { 0 })?,
            runs: if domain.is_active()? { Some(domain.xml_desc(0)?) } else { None },
            is_saved: domain.has_managed_save(0).unwrap_or(false),
            snapshot: snapshot.map(|snapshot| snapshot.xml_desc(0)).transpose()?,
        })
    };
    read().map_err(|error| failed("read the domain", &error))
}

/// For people; a host may have hundreds.
fn listed(mut names: Vec<String>) -> String {
    names.sort_unstable();
    match names.len() {
        0 => "none".to_owned(),
        1..=20 => names.join(", "),
        more => format!("{}, and {} more", names[..20].join(", "), more - 20),
    }
}
