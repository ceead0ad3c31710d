//! Which file a golden image is made of, and what can be said of it: a pure function of what libvirt tells.

use std::path::PathBuf;

use roxmltree::Node;

use super::{
    ImageError, Machine,
    domain::{child, parse},
};
use crate::model::Firmware;

/// A machine at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As it was at the moment of the snapshot, if there is one.
    pub machine: Machine,
    pub pick: Pick,
    /// What a user has to know, the machine's own notes included.
    pub notes: Vec<String>,
}

/// What is converted. Files below it in a chain come along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    pub file: PathBuf,
    pub format: String,
    /// A snapshot within the file.
    pub snapshot: Option<String>,
}

impl Source {
    /// From the definition of a domain that does not run.
    ///
    /// # Errors
    /// [`Machine::read`]'s.
    pub fn domain(xml: &str) -> Result<Self, ImageError> {
        let machine = Machine::read(xml)?;
        let pick = Pick { file: machine.disk.path.clone(), format: machine.disk.format.clone(), snapshot: None };
        Ok(Self { notes: machine.notes.clone(), pick, machine })
    }

    /// From the definition of a domain's snapshot (libvirt's "Snapshot XML format"). `now`: the domain's own definition,
    /// `runs`: the one that it runs with.
    ///
    /// # Errors
    /// [`Machine::read`]'s; a snapshot whose disk is written, or was not kept.
    pub fn snapshot(xml: &str, name: &str, now: &str, runs: Option<&str>) -> Result<Self, ImageError> {
        let document = parse(xml, "the snapshot's definition")?;
        let root = document.root_element();
        let unreadable =
            |why: &str| ImageError::Unreadable { what: "the snapshot's definition".to_owned(), why: why.to_owned() };
        let then = child(root, "domain").filter(|_| root.has_tag_name("domainsnapshot"));
        let then = then.ok_or_else(|| unreadable("it does not say what the domain was"))?;
        let machine = Machine::from_node(then)?;
        let mut notes = machine.notes.clone();
        let pick = Pick { file: machine.disk.path.clone(), format: machine.disk.format.clone(), snapshot: None };
        let pick = match kept(root, &machine.disk.target) {
            Some("internal") => {
                if runs.is_some() {
                    let hint = "shut it down first: the snapshot is in the file that it writes";
                    return Err(ImageError::unfit("the domain runs, and the snapshot is an internal one", hint));
                }
                if pick.format != "qcow2" {
                    let what = format!("the snapshot is said to be in a {} file", pick.format);
                    return Err(ImageError::unfit(what, "only qcow2 files have snapshots inside"));
                }
                Pick { snapshot: Some(name.to_owned()), ..pick }
            }
            Some("external") => {
                // The file below the one that the domain has gone on with.
                for written in std::iter::once(now).chain(runs) {
                    if Machine::read(written).is_ok_and(|machine| machine.disk.path == pick.file) {
                        let what = format!("the domain writes to the snapshot's own file `{}`", pick.file.display());
                        return Err(ImageError::unfit(what, "the snapshot was reverted to, or merged: make another"));
                    }
                }
                pick
            }
            _ => return Err(ImageError::unfit("the snapshot left the disk out", "make one with the disk in it")),
        };
        let state = child(root, "state").and_then(|state| state.text()).unwrap_or_default().trim();
        if state != "shutoff" {
            let note =
                format!("the domain was not shut off at the snapshot ({state}): the disk is as after a power cut");
            notes.push(note);
        }
        if machine.firmware != Firmware::Bios || machine.tpm {
            notes.push("UEFI variables and TPM state are those of now: a snapshot of a disk has none".to_owned());
        }
        Ok(Self { machine, pick, notes })
    }
}

/// Where the snapshot of the disk with this target is.
fn kept<'a>(root: Node<'a, '_>, target: &str) -> Option<&'a str> {
    let mut disks = child(root, "disks")?.children();
    disks.find(|disk| disk.attribute("name") == Some(target))?.attribute("snapshot")
}

#[cfg(test)]
mod tests;
