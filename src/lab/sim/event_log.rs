//! Windows event logs, as scripted guests keep them.

/// An event for [`event_log`]; a value without a name is a classic event's.
#[derive(Clone, Copy, Debug)]
pub struct LogEntry<'a> {
    pub provider: &'a str,
    pub id: u32,
    pub level: u8,
    pub data: &'a [(&'a str, &'a str)],
}

/// A log of one chunk with these events, numbered from 1, of which the chunk's header knows `told`: as after a crash, when
/// more was written than the header was told of ([MS-EVEN6], "BinXml"; Metz, "Windows XML Event Log (EVTX) format").
pub fn event_log(events: &[LogEntry<'_>], told: usize) -> Vec<u8> {
    let mut chunk = vec![0; 512];
    let (mut last, mut free) = (512, 512);
    for (place, event) in events.iter().enumerate() {
        let begin = chunk.len();
        let id = place as u64 + 1;
        chunk.extend(b"**\0\0\0\0\0\0");
        chunk.extend(id.to_le_bytes());
        chunk.extend(FILETIME.to_le_bytes());
        write_event(&mut chunk, event, id);
        let size = (chunk.len() + 4 - begin) as u32;
        chunk[begin + 4..begin + 8].copy_from_slice(&size.to_le_bytes());
        chunk.extend(size.to_le_bytes());
        if place < told {
            (last, free) = (begin as u32, chunk.len() as u32);
        }
    }
    let mut header = b"ElfChnk\0".to_vec();
    [1, told as u64, 1, told as u64].iter().for_each(|number| header.extend(number.to_le_bytes()));
    [128, last, free].iter().for_each(|number: &u32| header.extend(number.to_le_bytes()));
    chunk[..header.len()].copy_from_slice(&header);
    chunk.resize(0x10000, 0);

    let mut file = b"ElfFile\0".to_vec();
    [0u64, 0, 1].iter().for_each(|number| file.extend(number.to_le_bytes()));
    file.extend(128u32.to_le_bytes());
    [1u16, 3, 4096, 1].iter().for_each(|number| file.extend(number.to_le_bytes()));
    file.resize(4096, 0);
    file.extend(chunk);
    file
}

/// 2024-07-19T04:09:00Z.
const FILETIME: u64 = (1_721_362_140 + 11_644_473_600) * 10_000_000;

fn write_event(out: &mut Vec<u8>, event: &LogEntry<'_>, record: u64) {
    out.extend([0x0f, 1, 1, 0]);
    open(out, "Event", &[]);
    open(out, "System", &[]);
    for (name, attributes, text) in [
        ("Provider", &[("Name", event.provider)][..], ""),
        ("EventID", &[], &*event.id.to_string()),
        ("Level", &[], &*event.level.to_string()),
        ("TimeCreated", &[("SystemTime", "2024-07-19T04:09:00.5000000Z")], ""),
        ("EventRecordID", &[], &*record.to_string()),
        ("Channel", &[], "System"),
    ] {
        element(out, name, attributes, text);
    }
    out.push(4);
    open(out, "EventData", &[]);
    for (name, text) in event.data {
        let is_element = name.is_empty() || *name == "Binary";
        let element_name = if *name == "Binary" { name } else { "Data" };
        let attributes = [("Name", *name)];
        element(out, element_name, if is_element { &[] } else { &attributes }, text);
    }
    out.extend([4, 4, 0]);
}

fn element(out: &mut Vec<u8>, name: &str, attributes: &[(&str, &str)], text: &str) {
    open(out, name, attributes);
    value(out, text);
    out.push(4);
}

fn open(out: &mut Vec<u8>, name: &str, attributes: &[(&str, &str)]) {
    out.push(if attributes.is_empty() { 0x01 } else { 0x41 });
    out.extend([0; 4]);
    name_of(out, name);
    if !attributes.is_empty() {
        out.extend([0; 4]);
    }
    for (name, text) in attributes {
        out.push(6);
        name_of(out, name);
        value(out, text);
    }
    out.push(2);
}

/// Where it lies in the chunk: right here.
fn name_of(out: &mut Vec<u8>, name: &str) {
    out.extend((out.len() as u32 + 4).to_le_bytes());
    out.extend([0; 6]);
    text_of(out, name);
    out.extend([0; 2]);
}

fn value(out: &mut Vec<u8>, text: &str) {
    out.extend([5, 1]);
    text_of(out, text);
}

fn text_of(out: &mut Vec<u8>, text: &str) {
    let units: Vec<u16> = text.encode_utf16().collect();
    out.extend((units.len() as u16).to_le_bytes());
    units.iter().for_each(|unit| out.extend(unit.to_le_bytes()));
}
