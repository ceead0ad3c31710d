//! The head of a file that libvirt saved a machine's memory to: read, and rewritten for a clone of that machine.
//!
//! The layout is libvirt's (`qemu_saveimage.h`): a header of 92 bytes, `data_len` bytes with the machine's definition,
//! NUL, a cookie and zeros, then QEMU's migration stream. libvirt refuses to restore under another name or UUID
//! (virDomainRestoreFlags), so a clone gets a head of its own before the shared stream.

use std::io::{self, Read};

use super::domain_xml::METADATA;

const MAGIC: &[u8; 16] = b"LibvirtQemudSave";
/// What libvirt writes before it has saved all.
const PARTIAL: &[u8; 16] = b"LibvirtQemudPart";
const VERSION: u32 = 2;
const HEADER: usize = 92;
/// Definitions have some kilobytes.
const MAX_DATA: u32 = 4 << 20;

/// Why a saved image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SaveImageError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Foreign(String),
}

fn foreign(why: impl Into<String>) -> SaveImageError {
    SaveImageError::Foreign(why.into())
}

/// Names by which a machine is known on the host; all its paths are below `dir`, or below `root` where they are shared.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    pub name: String,
    pub uuid: String,
    pub root: String,
    pub dir: String,
}

/// The parts before QEMU's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    was_running: u32,
    xml: String,
    cookie: Vec<u8>,
    /// Where QEMU's stream begins, in bytes.
    pub stream_at: u64,
}

impl Head {
    /// # Errors
    /// Anything that is not a whole, uncompressed image of the known version.
    pub fn read(mut from: impl Read) -> Result<Self, SaveImageError> {
        let mut header = [0; HEADER];
        from.read_exact(&mut header)?;
        if header[..16] == *PARTIAL {
            return Err(foreign("libvirt did not finish saving it"));
        }
        if header[..16] != *MAGIC {
            return Err(foreign("it is no saved machine of libvirt's"));
        }
        // In the byte order of the host that wrote it.
        let word = |n: usize| {
            let at = 16 + 4 * n;
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let [version, data_len, was_running, compressed, cookie_at] = [0, 1, 2, 3, 4].map(word);
        if version != VERSION {
            return Err(foreign(format!("version {version} of libvirt's format is not known")));
        }
        if compressed != 0 {
            return Err(foreign("libvirt compressed it (save_image_format in qemu.conf)"));
        }
        if data_len > MAX_DATA || cookie_at > data_len {
            return Err(foreign("its header makes no sense"));
        }
        let mut data = vec![0; data_len as usize];
        from.read_exact(&mut data)?;
        let until = |bytes: &[u8]| bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let xml = String::from_utf8(data[..until(&data)].to_vec()).map_err(|_| foreign("its definition is no text"))?;
        let cookie = match cookie_at as usize {
            0 => Vec::new(),
            at => data[at..at + until(&data[at..])].to_vec(),
        };
        Ok(Self { was_running, xml, cookie, stream_at: HEADER as u64 + u64::from(data_len) })
    }

    /// The head under which a clone is restored. `metadata` and `layers` are elements of the clone's own definition:
    /// what says whose it is, and the files below its overlay (empty: libvirt finds them).
    ///
    /// # Errors
    /// A definition that is not of the machine with the identity `was`.
    pub fn for_clone(
        &self,
        was: &Identity,
        now: &Identity,
        metadata: &str,
        layers: &str,
    ) -> Result<Vec<u8>, SaveImageError> {
        for (what, text) in [("name", &was.name), ("UUID", &was.uuid), ("folder", &was.dir)] {
            if text.is_empty() || !self.xml.contains(text.as_str()) {
                return Err(foreign(format!("its definition lacks the {what} of the machine that was sealed")));
            }
        }
        let rename = |text: &str| {
            // The folder first: it lies below the root, and has a part of the UUID in it.
            let text = text.replace(&format!("{}/", was.dir), &format!("{}/", now.dir));
            let text = text.replace(&format!("{}/", was.root), &format!("{}/", now.root));
            text.replace(&was.uuid, &now.uuid).replace(&was.name, &now.name)
        };
        let xml = with_metadata(&rename(&self.xml), metadata).ok_or_else(|| foreign("its definition is not ours"))?;
        let xml = with_layers(&xml, layers).ok_or_else(|| foreign("its definition has no disk"))?;
        let cookie = rename(&String::from_utf8_lossy(&self.cookie));
        Ok(self.bytes(&xml, cookie.as_bytes()))
    }

    fn bytes(&self, xml: &str, cookie: &[u8]) -> Vec<u8> {
        let mut data = xml.as_bytes().to_vec();
        data.push(0);
        let cookie_at = if cookie.is_empty() { 0 } else { data.len() };
        if !cookie.is_empty() {
            data.extend_from_slice(cookie);
            data.push(0);
        }
        let mut bytes = MAGIC.to_vec();
        let [length, cookie_at] = [data.len(), cookie_at].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        for word in [VERSION, length, self.was_running, 0, cookie_at] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.resize(HEADER, 0);
        bytes.extend_from_slice(&data);
        bytes
    }
}

/// libvirt writes an element per line; ours has attributes only.
fn with_metadata(xml: &str, metadata: &str) -> Option<String> {
    let at = xml.find(METADATA)?;
    let from = xml[..at].rfind('<')?;
    let to = at + xml[at..].find("/>")? + "/>".len();
    Some(format!("{}{metadata}{}", &xml[..from], &xml[to..]))
}

/// Puts the files below the overlay into the definition of the (first) disk.
fn with_layers(xml: &str, layers: &str) -> Option<String> {
    let from = xml.find("<disk type='file' device='disk'")?;
    let to = from + xml[from..].find("</disk>")?;
    let disk = &xml[from..to];
    // Nested: the last end tag is the outer one's. `<backingStore/>` alone says that there is nothing below.
    let disk = match disk.find("<backingStore") {
        None => disk.to_owned(),
        Some(begin) => {
            let end = match disk.rfind("</backingStore>") {
                Some(end) => end + "</backingStore>".len(),
                None => begin + disk[begin..].find("/>")? + "/>".len(),
            };
            format!("{}{}", &disk[..begin], &disk[end..])
        }
    };
    let target = disk.find("<target")?;
    Some(format!("{}{}{layers}{}{}", &xml[..from], &disk[..target], &disk[target..], &xml[to..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const XML: &str = "<domain type='qemu'>\n  <name>bootgate-aaaaaa</name>\n  <uuid>aaaaaa00-1</uuid>\n  <metadata>\n    \
        <bootgate:machine xmlns:bootgate=\"urn:bootgate:machine:1\" run=\"r\" cell=\"c\" root=\"/s/lab/0\" owner=\"1-1\"/>\n  \
        </metadata>\n  <devices>\n    <emulator>/s/lab/0/cache/emulator/qemu</emulator>\n    \
        <disk type='file' device='disk'>\n      <source file='/s/lab/0/vms/aaaaaa/disk.qcow2'/>\n      \
        <backingStore type='file'><source file='/g'/><backingStore type='file'><backingStore/></backingStore></backingStore>\n      \
        <target dev='vda'/>\n    </disk>\n    <disk type='file' device='cdrom'>\n      <target dev='hda'/>\n    </disk>\n  \
        </devices>\n</domain>\n";

    fn identity(id: &str, root: &str) -> Identity {
        Identity {
            name: format!("bootgate-{id}"),
            uuid: format!("{id}00-1"),
            root: root.into(),
            dir: format!("{root}/vms/{id}"),
        }
    }

    fn saved() -> Vec<u8> {
        let head = Head { was_running: 1, xml: String::new(), cookie: Vec::new(), stream_at: 0 };
        let mut bytes = head.bytes(XML, b"<cookie>aaaaaa00-1</cookie>");
        bytes.extend_from_slice(b"stream");
        bytes
    }

    #[test]
    fn a_clone_gets_its_own_name_folder_owner_and_layers_and_the_same_stream() {
        let head = Head::read(&saved()[..]).unwrap();
        let clone = head
            .for_clone(
                &identity("aaaaaa", "/s/lab/0"),
                &identity("bbbbbb", "/s/lab/12"),
                "<bootgate:machine xmlns:bootgate='urn:bootgate:machine:1' owner='2-2'/>",
                "<backingStore type='file'><source file='/seal'/></backingStore>",
            )
            .unwrap();
        let clone = Head::read(&clone[..]).unwrap();
        assert!(!clone.xml.contains("aaaaaa") && !clone.xml.contains("/s/lab/0/"), "{}", clone.xml);
        assert!(clone.xml.contains("<source file='/s/lab/12/vms/bbbbbb/disk.qcow2'/>"));
        assert!(clone.xml.contains("<emulator>/s/lab/12/cache/emulator/qemu</emulator>"));
        assert!(clone.xml.contains("owner='2-2'/>\n  </metadata>") && !clone.xml.contains("1-1"));
        assert!(clone.xml.contains("<source file='/seal'/></backingStore><target dev='vda'/>"));
        assert!(!clone.xml.contains("/g"));
        assert_eq!(clone.cookie, b"<cookie>bbbbbb00-1</cookie>");
        assert_eq!(&saved()[head.stream_at as usize..], b"stream");
    }

    #[test]
    fn what_is_no_whole_image_of_the_sealed_machine_is_refused() {
        let whole = saved();
        let with = |at: usize, byte: u8| {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            Head::read(&bytes[..])
        };
        assert!(Head::read(&whole[..50]).is_err() && Head::read(&whole[..200]).is_err());
        assert!(with(0, b'X').unwrap_err().to_string().contains("no saved machine"));
        assert!(with(16, 9).unwrap_err().to_string().contains("version 9"));
        assert!(with(28, 1).unwrap_err().to_string().contains("compressed"));
        let head = Head::read(&whole[..]).unwrap();
        let other = identity("cccccc", "/s/lab/0");
        assert!(head.for_clone(&other, &other, "", "").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes: Vec<u8>, at in 0usize..200, byte: u8) {
            let _ = Head::read(&bytes[..]);
            bytes.splice(0..0, saved());
            bytes[at] = byte;
            if let Ok(head) = Head::read(&bytes[..]) {
                let _ = head.for_clone(&identity("aaaaaa", "/s/lab/0"), &identity("b", "/"), "", "");
            }
        }
    }
}
