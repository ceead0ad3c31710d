use std::{
    collections::VecDeque,
    io::Cursor,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use evtx::{EvtxChunkData, EvtxParser, EvtxRecord, ParserSettings};
use serde_json::Value;
use thiserror::Error;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Longest log that is read; Windows keeps 20 MiB of the System log by default.
const MOST_BYTES: usize = 256 << 20;

/// Most data that is kept of an event, and most characters of one: more is a dump or an attack.
const MOST_DATA: usize = 64;
const LONGEST_TEXT: usize = 4096;

/// What a Windows event log (`.evtx`) tells, as far as it can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventLog {
    /// Oldest record first; the newest ones, if there are more than were asked for.
    pub events: Vec<LogEvent>,
    /// Readable ones that were left out, all older.
    pub left_out: usize,
    /// Records that could not be read, and chunks of which nothing could.
    pub unreadable: usize,
}

/// A record of an event log. All texts are the guest's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    pub channel: String,
    pub provider: String,
    pub id: u32,
    /// 1 critical, 2 error, 3 warning, 4 information, 5 verbose; 0 always.
    pub level: u8,
    /// Its number: counts up from the log's beginning, also when the guest's clock goes back.
    pub record: u64,
    /// By the guest's clock, in Unix milliseconds.
    pub time: i64,
    /// The values that the provider gave, with their names; classic events give some without (empty), and `Binary` in
    /// hexadecimal. An empty value may be missing.
    pub data: Vec<(String, String)>,
}

#[derive(Debug, Error)]
pub enum EventLogError {
    #[error("not a Windows event log: {0}")]
    NotALog(String),
    #[error("an event log of {got} bytes is not read: {MOST_BYTES} are the most")]
    Large { got: usize },
}

impl EventLog {
    /// Reads a log, and keeps the newest `keep` events.
    ///
    /// The file's header may be old, for Windows writes it when it closes the log: every chunk in the file is read, and behind
    /// the end of a chunk whatever goes on with its numbers. So a machine that stopped dead is read to its last flushed event.
    ///
    /// # Errors
    /// [`EventLogError`]. Damage inside costs the damaged records alone.
    pub fn read(bytes: &[u8], keep: usize) -> Result<Self, EventLogError> {
        if bytes.len() > MOST_BYTES {
            return Err(EventLogError::Large { got: bytes.len() });
        }
        let opened = caught(|| EvtxParser::from_read_seek(Cursor::new(bytes)));
        let mut parser = match opened {
            Some(Ok(parser)) => parser,
            Some(Err(error)) => return Err(EventLogError::NotALog(error.to_string())),
            None => return Err(EventLogError::NotALog("its header makes no sense".to_owned())),
        };
        let mut kept = Kept { keep, events: VecDeque::new(), log: Self::default() };
        let settings = Arc::new(ParserSettings::new().recover_records(true));
        let mut chunks = parser.chunks();
        // A panic here is not one of a chunk's content: there is no way to go on.
        while let Some(Some(chunk)) = caught(|| chunks.next()) {
            let read = chunk.ok().and_then(|mut chunk| caught(|| read_chunk(&mut chunk, &settings, &mut kept)));
            if read.flatten().is_none() {
                kept.log.unreadable += 1;
            }
        }
        Ok(Self { events: kept.events.into(), ..kept.log })
    }
}

/// The evtx crate checks what it reads, but it reads what a guest wrote.
fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

struct Kept {
    keep: usize,
    events: VecDeque<LogEvent>,
    /// Its counts.
    log: EventLog,
}

impl Kept {
    fn add(&mut self, event: LogEvent) {
        self.events.push_back(event);
        if self.events.len() > self.keep {
            self.events.pop_front();
            self.log.left_out += 1;
        }
    }
}

/// None: nothing could be read, as the chunk's own header is damaged.
fn read_chunk(chunk: &mut EvtxChunkData, settings: &Arc<ParserSettings>, kept: &mut Kept) -> Option<()> {
    let mut chunk = chunk.parse(Arc::clone(settings)).ok()?;
    let mut last = None;
    for record in chunk.iter() {
        let Ok(record) = record else {
            kept.log.unreadable += 1;
            continue;
        };
        let (id, recovered) = (record.event_record_id, record.recovered);
        // Behind a chunk's end lie what it was not yet told of, which follows, and rests of what was there before.
        if recovered && last.is_none_or(|last: u64| last.checked_add(1) != Some(id)) {
            continue;
        }
        match event(record) {
            Some(event) => kept.add(event),
            None if recovered => continue,
            None => kept.log.unreadable += 1,
        }
        last = Some(id);
    }
    Some(())
}

fn event(record: EvtxRecord<'_>) -> Option<LogEvent> {
    let written = record.timestamp.as_millisecond();
    let record = record.into_json_value().ok()?;
    let event = record.data.get("Event")?;
    let system = event.get("System")?;
    let number = |name: &str| text_of(system.get(name)?)?.parse::<u32>().ok();
    let attribute = |name: &str, attribute: &str| system.get(name)?.get("#attributes")?.get(attribute)?.as_str();
    let created = attribute("TimeCreated", "SystemTime").and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok());
    let mut data = Vec::new();
    for part in ["EventData", "UserData"] {
        event.get(part).into_iter().for_each(|part| leaves("", part, &mut data));
    }
    Some(LogEvent {
        channel: short(text_of(system.get("Channel")?)?),
        provider: short(attribute("Provider", "Name")?.to_owned()),
        id: number("EventID")?,
        level: number("Level").and_then(|level| level.try_into().ok()).unwrap_or(0),
        record: record.event_record_id,
        time: created.map_or(written, |time| (time.unix_timestamp_nanos() / 1_000_000) as i64),
        data,
    })
}

/// A value, with or without attributes beside it.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        Value::Object(fields) => text_of(fields.get("#text")?),
        Value::Null | Value::Array(_) => None,
    }
}

/// All values in a part of an event, in its order.
fn leaves(name: &str, value: &Value, found: &mut Vec<(String, String)>) {
    if found.len() == MOST_DATA {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (key, value) in fields.iter().filter(|(key, _)| *key != "#attributes") {
                let name = match key.as_str() {
                    "#text" => name,
                    // What has no name is called after its element.
                    "Data" => "",
                    key => key,
                };
                leaves(name, value, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| leaves(name, value, found)),
        Value::Null => found.push((short(name.to_owned()), String::new())),
        value => found.extend(text_of(value).map(|text| (short(name.to_owned()), short(text)))),
    }
}

fn short(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST_TEXT) {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        guest::windows::{
            look,
            telling::{TellingKind, telling},
            testing::sample,
        },
        lab::sim::{LogEntry, event_log},
    };

    fn count(events: &[LogEvent], provider: &str, id: u32) -> usize {
        events.iter().filter(|event| event.provider == provider && event.id == id).count()
    }

    /// The other tools' numbers are of what the file's header admits to: three chunks of fifteen, the first 326 records.
    #[test]
    fn the_sample_is_read_as_other_tools_read_it() {
        let Some(bytes) = sample("system.evtx") else { return };
        let log = EventLog::read(&bytes, usize::MAX).unwrap();
        let told: Vec<LogEvent> = log.events.iter().filter(|event| event.record <= 326).cloned().collect();
        let utc = |seconds: i64| OffsetDateTime::from_unix_timestamp(seconds).unwrap().format(&Rfc3339).unwrap();
        let seconds = |event: &LogEvent| event.time.div_euclid(1000);
        assert_eq!(told.len(), 326);
        assert_eq!(utc(told.iter().map(seconds).min().unwrap()), "2017-07-12T07:18:24Z");
        assert_eq!(utc(told.iter().map(seconds).max().unwrap()), "2017-07-12T17:20:37Z");
        const GENERAL: &str = "Microsoft-Windows-Kernel-General";
        const SERVICES: &str = "Service Control Manager";
        for (provider, id, wanted) in [
            (GENERAL, 12, 3),
            (GENERAL, 13, 2),
            ("EventLog", 6005, 3),
            ("EventLog", 6006, 2),
            (SERVICES, 7000, 2),
            (SERVICES, 7023, 2),
            (SERVICES, 7026, 2),
            (SERVICES, 7045, 31),
            ("Microsoft-Windows-Kernel-Power", 41, 0),
            ("EventLog", 6008, 0),
            ("Microsoft-Windows-WER-SystemErrorReporting", 1001, 0),
        ] {
            assert_eq!(count(&told, provider, id), wanted, "{provider} {id}");
        }
        assert!(told.iter().all(|event| ![41, 6008, 1001].contains(&event.id)));
        let boots = told.iter().filter_map(telling).filter(|told| told.kind == TellingKind::Boot).count();
        assert_eq!(boots, 3);
    }

    /// The log was not closed: its header knows of three chunks, and twelve more follow without a gap.
    #[test]
    fn the_sample_is_read_beyond_what_its_stale_header_admits_to() {
        let Some(bytes) = sample("system.evtx") else { return };
        assert_eq!(bytes[42..44], [3, 0], "chunks by the header");
        let log = EventLog::read(&bytes, usize::MAX).unwrap();
        let records: Vec<u64> = log.events.iter().map(|event| event.record).collect();
        assert_eq!(records, (1..=1881).collect::<Vec<u64>>());
        assert_eq!((log.unreadable, log.left_out), (0, 0));
        let newest = EventLog::read(&bytes, 100).unwrap();
        assert_eq!((newest.events.len(), newest.left_out), (100, 1781));
        assert_eq!(newest.events[..], log.events[1781..]);
    }

    #[test]
    fn the_samples_services_have_their_key_names() {
        let Some(bytes) = sample("system.evtx") else { return };
        let log = EventLog::read(&bytes, usize::MAX).unwrap();
        let mut told: Vec<String> = log.events.iter().filter_map(telling).map(|told| told.stable).collect();
        told.retain(|stable| stable.starts_with("service-"));
        told.sort();
        told.dedup();
        let wanted = [
            "service-7000 CldFlt",
            "service-7023 Spooler",
            "service-7023 UI0Detect",
            "service-7023 iphlpsvc",
            "service-7026 CSC dam",
            "service-7026 dam",
        ];
        assert_eq!(told, wanted);
    }

    const CRASHED: [LogEntry<'_>; 3] = [
        LogEntry { provider: "Microsoft-Windows-Kernel-General", id: 12, level: 4, data: &[("BootMode", "0")] },
        LogEntry { provider: "Disk", id: 7, level: 2, data: &[("", r"\Device\Harddisk0\DR0"), ("Binary", "0300")] },
        LogEntry { provider: "EventLog", id: 6008, level: 2, data: &[("", "04:09:00"), ("", "19.07.2024")] },
    ];

    #[test]
    fn names_values_and_times_are_read() {
        let log = EventLog::read(&event_log(&CRASHED, 3), 10).unwrap();
        assert_eq!((log.events.len(), log.left_out, log.unreadable), (3, 0, 0));
        let data = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
        let disk = LogEvent {
            channel: "System".into(),
            provider: "Disk".into(),
            id: 7,
            level: 2,
            record: 2,
            time: 1_721_362_140_500,
            data: data(&[("", r"\Device\Harddisk0\DR0"), ("Binary", "0300")]),
        };
        assert_eq!(log.events[1], disk);
        assert_eq!(log.events[0].field("BootMode", 9), Some("0"));
        assert_eq!(log.events[2].field("none", 1), Some("19.07.2024"));
    }

    #[test]
    fn what_a_crash_left_behind_the_chunks_end_is_read_too() {
        let ids = |log: &EventLog| log.events.iter().map(|event| event.id).collect::<Vec<_>>();
        for told in 1..=3 {
            assert_eq!(ids(&EventLog::read(&event_log(&CRASHED, told), 10).unwrap()), [12, 7, 6008], "{told} told");
        }
        // What was in the chunk before has other numbers.
        let mut reused = event_log(&CRASHED, 2);
        let at = reused.windows(4).rposition(|window| window == b"**\0\0").unwrap();
        reused[at + 8] = 77;
        assert_eq!(ids(&EventLog::read(&reused, 10).unwrap()), [12, 7]);
    }

    #[test]
    fn damage_costs_what_is_damaged() {
        let mut bytes = event_log(&CRASHED, 3);
        let at = bytes.windows(8).position(|window| window == b"D\0i\0s\0k\0").unwrap();
        // The value before the name is of no type.
        bytes[at - 3] = 0xee;
        let log = EventLog::read(&bytes, 10).unwrap();
        assert_eq!(log.events.iter().map(|event| event.id).collect::<Vec<_>>(), [12, 6008]);
        assert_eq!(log.unreadable, 1);
        assert!(look::log(&bytes).unwrap().1, "nobody knows what else it told");
        assert_eq!(look::log(&event_log(&[], 0)), Some((Vec::new(), false)));
    }

    #[test]
    fn what_is_no_log_is_refused() {
        for bytes in [&b""[..], b"ElfFile\0", &[0; 8192]] {
            assert!(matches!(EventLog::read(bytes, 1), Err(EventLogError::NotALog(_))));
        }
        let empty = EventLog::read(&event_log(&[], 0)[..4096], 1).unwrap();
        assert_eq!(empty, EventLog::default());
    }

    #[test]
    fn much_and_long_data_is_cut() {
        let long = "x".repeat(9000);
        let many: Vec<(&str, &str)> = vec![("", "y"); 200];
        let events = [
            LogEntry { provider: "A", id: 1, level: 0, data: &[("a", &long)] },
            LogEntry { provider: "A", id: 2, level: 0, data: &many },
        ];
        let log = EventLog::read(&event_log(&events, 2), 10).unwrap();
        assert_eq!(log.events[0].data[0].1.len(), LONGEST_TEXT);
        assert_eq!(log.events[1].data.len(), MOST_DATA);
    }

    fn damaged(bytes: &[u8], cut: usize, flips: &[(usize, u8)]) -> Vec<u8> {
        let mut bytes = bytes[..bytes.len() - cut % bytes.len()].to_vec();
        let length = bytes.len();
        flips.iter().for_each(|(at, bit)| bytes[at % length] ^= 1 << (bit % 8));
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Flips fall into the header and the records.
        #[test]
        fn a_damaged_log_never_panics(flips in proptest::collection::vec((4096usize..6200, any::<u8>()), 0..8), told in 0usize..5) {
            let bytes = damaged(&event_log(&CRASHED, told), 0, &flips);
            if let Ok(log) = EventLog::read(&bytes, 10) {
                log.events.iter().for_each(|event| drop(telling(event)));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Of the real file two chunks: the rest is more of the same.
        #[test]
        fn a_damaged_sample_never_panics(
            cut in 0usize..0x20000,
            flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..40),
            chunk in 0usize..14,
        ) {
            let Some(bytes) = sample("system.evtx") else { return Ok(()) };
            let begin = 4096 + chunk * 0x10000;
            let bytes = [&bytes[..4096], &bytes[begin..begin + 0x20000]].concat();
            for bytes in [damaged(&bytes, 0, &flips), damaged(&bytes, cut, &flips)] {
                if let Ok(log) = EventLog::read(&bytes, 1000) {
                    log.events.iter().for_each(|event| drop(telling(event)));
                }
            }
        }
    }
}
