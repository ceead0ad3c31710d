use thiserror::Error;

use super::printable;
use crate::{
    bytes::{slice, u32_at, u64_at, utf16},
    model::Bugcheck,
};

/// Most drivers that are kept of a dump; a machine loads some hundreds.
const MOST_DRIVERS: u32 = 4096;

/// Longest driver's name, in UTF-16 units.
const LONGEST_NAME: usize = 1024;

/// What the head of a kernel's memory dump says.
///
/// The layout is that of `DUMP_HEADER64`, `DUMP_HEADER32` and `TRIAGE_DUMP64`, which Microsoft publishes as debug symbols;
/// volatility (`crash_vtypes`) and rizin (`dmp64`) read the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    pub kind: DumpKind,
    pub bugcheck: Bugcheck,
    /// Of Windows: 19041, 26100, …
    pub build: u32,
    /// `IMAGE_FILE_MACHINE_…`: 0x8664 is x64, 0xaa64 ARM64, 0x14c 32-bit x86.
    pub machine: u32,
    /// When the kernel stopped by the guest's clock, in Unix milliseconds.
    pub time: Option<i64>,
    /// Those that were loaded; only a small dump of a 64-bit Windows lists them.
    pub drivers: Vec<Driver>,
    /// Where the processor was when it took an exception that was not meant.
    pub exception: Option<u64>,
}

/// How much of the memory a dump has (`DumpType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpKind {
    Full,
    Kernel,
    /// Of 64 KiB to some MiB, in `Minidump\`.
    Triage,
    Other(u32),
}

/// A module of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Its file's name, without folders.
    pub name: String,
    pub base: u64,
    pub size: u32,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum DumpError {
    #[error("not a kernel's memory dump: it begins with neither PAGEDU64 nor PAGEDUMP (a dump that was not finished?)")]
    NotADump,
    #[error("a dump's header is cut off after {got} bytes: {need} are needed")]
    Short { got: usize, need: usize },
}

/// Where the header has what.
struct Layout {
    length: usize,
    machine: usize,
    code: usize,
    parameters: usize,
    exception: usize,
    kind: usize,
    time: usize,
    is_64: bool,
}

const HEADER_64: Layout = Layout {
    length: 0x2000,
    machine: 0x30,
    code: 0x38,
    parameters: 0x40,
    exception: 0xf00,
    kind: 0xf98,
    time: 0xfa8,
    is_64: true,
};

const HEADER_32: Layout = Layout {
    length: 0x1000,
    machine: 0x20,
    code: 0x28,
    parameters: 0x2c,
    exception: 0x7d0,
    kind: 0xf88,
    time: 0xfc0,
    is_64: false,
};

/// Where `TRIAGE_DUMP64`, behind the header, has what; and the size of `DUMP_DRIVER_ENTRY64`.
mod triage {
    pub(super) const DRIVERS: usize = 0x2030;
    pub(super) const DRIVER_COUNT: usize = 0x2034;
    pub(super) const ENTRY: usize = 144;
    pub(super) const ENTRY_BASE: usize = 0x38;
    pub(super) const ENTRY_SIZE: usize = 0x48;
}

impl Dump {
    /// Reads a dump of which these are the first bytes: 8 KiB are enough for all but a small dump's drivers, which need the
    /// whole file.
    ///
    /// # Errors
    /// [`DumpError`]. Damage behind the header costs the drivers, never the bugcheck.
    pub fn read(bytes: &[u8]) -> Result<Self, DumpError> {
        let layout = match bytes.get(..8) {
            Some(b"PAGEDU64") => HEADER_64,
            Some(b"PAGEDUMP") => HEADER_32,
            _ => return Err(DumpError::NotADump),
        };
        let short = DumpError::Short { got: bytes.len(), need: layout.length };
        Self::read_as(&layout, bytes).ok_or(short)
    }

    fn read_as(layout: &Layout, bytes: &[u8]) -> Option<Self> {
        bytes.get(..layout.length)?;
        let word = |at: usize| if layout.is_64 { u64_at(bytes, at) } else { u32_at(bytes, at).map(u64::from) };
        let width = if layout.is_64 { 8 } else { 4 };
        let mut parameters = [0; 4];
        for (place, parameter) in parameters.iter_mut().enumerate() {
            *parameter = word(layout.parameters + place * width)?;
        }
        let kind = match u32_at(bytes, layout.kind)? {
            // 5: all pages that are in use, as Windows 8 and later write it.
            1 | 5 => DumpKind::Full,
            // 6 and 7 likewise; 7 is what "automatic memory dump" writes.
            2 | 6 | 7 => DumpKind::Kernel,
            4 => DumpKind::Triage,
            other => DumpKind::Other(other),
        };
        let drivers = if layout.is_64 && kind == DumpKind::Triage { drivers(bytes) } else { Vec::new() };
        // ExceptionCode, ExceptionFlags, ExceptionRecord, ExceptionAddress.
        let (code, address) = (u32_at(bytes, layout.exception)?, word(layout.exception + 8 + width)?);
        // A kernel that stops by its own decision has its own breakpoint there.
        let is_fault = !matches!(code, 0 | BREAKPOINT | UNUSED) && address != 0;
        Some(Self {
            kind,
            bugcheck: Bugcheck { code: u32_at(bytes, layout.code)?.into(), parameters },
            build: u32_at(bytes, 0xc)?,
            machine: u32_at(bytes, layout.machine)?,
            time: unix_ms(u64_at(bytes, layout.time)?),
            drivers,
            exception: is_fault.then_some(address),
        })
    }

    /// The driver that holds this address.
    pub fn driver_at(&self, address: u64) -> Option<&Driver> {
        let holds = |driver: &&Driver| address.checked_sub(driver.base).is_some_and(|at| at < driver.size.into());
        self.drivers.iter().find(holds)
    }

    /// The code that the kernel stopped for: the bugcheck's parameter for it, else where the exception was.
    pub fn fault_address(&self) -> Option<u64> {
        let [_, second, third, fourth] = self.bugcheck.parameters;
        // The pages of these in the "Bug Check Code Reference": "the address where the exception occurred", "the instruction
        // pointer at the time of the fault", "address that referenced memory (if known)".
        let told = match self.bugcheck.code {
            0x1e | 0x3b | 0x7e | 0x8e | 0x1000_007e | 0x1000_008e => second,
            0x50 | 0xcc | 0xcd | 0xce | 0xcf | 0xd5 | 0xd6 | 0x1000_0050 | 0x1000_00d6 => third,
            0x0a | 0xc5 | 0xd0 | 0xd1 | 0xd3 | 0xd4 | 0xdb => fourth,
            _ => 0,
        };
        Some(told).filter(|address| *address != 0).or(self.exception)
    }

    /// The driver whose code the kernel stopped for. What it tripped over may be another's doing.
    pub fn fault_driver(&self) -> Option<&Driver> {
        self.driver_at(self.fault_address()?)
    }
}

/// `STATUS_BREAKPOINT`.
const BREAKPOINT: u32 = 0x8000_0003;

/// Windows fills a header with `PAGE` before it writes fields.
const UNUSED: u32 = u32::from_le_bytes(*b"PAGE");

/// Of a `FILETIME`; none outside the years 1980 to 2200, which are no clock's.
fn unix_ms(filetime: u64) -> Option<i64> {
    const UNIX_EPOCH: u64 = 116_444_736_000_000_000;
    let ms = i64::try_from(filetime.checked_sub(UNIX_EPOCH)? / 10_000).ok()?;
    (315_532_800_000..7_258_118_400_000).contains(&ms).then_some(ms)
}

/// As far as they can be read.
fn drivers(bytes: &[u8]) -> Vec<Driver> {
    let (Some(list), Some(count)) = (u32_at(bytes, triage::DRIVERS), u32_at(bytes, triage::DRIVER_COUNT)) else {
        return Vec::new();
    };
    let list = list as usize;
    (0..count.min(MOST_DRIVERS) as usize)
        .map_while(|place| list.checked_add(place * triage::ENTRY))
        .map_while(|entry| driver(bytes, entry))
        .collect()
}

fn driver(bytes: &[u8], entry: usize) -> Option<Driver> {
    // DUMP_STRING: its length in characters, then they.
    let name = u32_at(bytes, entry)? as usize;
    let length = (u32_at(bytes, name)? as usize).min(LONGEST_NAME);
    let name = utf16(slice(bytes, name.checked_add(4)?, length * 2)?, u16::from_le_bytes);
    let file = name.rsplit(['\\', '/']).next().unwrap_or_default();
    Some(Driver {
        name: printable(file),
        base: u64_at(bytes, entry.checked_add(triage::ENTRY_BASE)?)?,
        size: u32_at(bytes, entry.checked_add(triage::ENTRY_SIZE)?)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::guest::windows::testing::sample;

    fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
        bytes[at..at + what.len()].copy_from_slice(what);
    }

    /// A header, with what Windows does not set as Windows leaves it.
    fn header(layout: &Layout, kind: u32, code: u32, parameters: [u64; 4]) -> Vec<u8> {
        let mut bytes = b"PAGE".repeat(layout.length / 4);
        let width = if layout.is_64 { 8 } else { 4 };
        put(&mut bytes, 4, if layout.is_64 { b"DU64" } else { b"DUMP" });
        put(&mut bytes, 0xc, &26100u32.to_le_bytes());
        put(&mut bytes, layout.machine, &0x8664u32.to_le_bytes());
        put(&mut bytes, layout.code, &code.to_le_bytes());
        for (place, parameter) in parameters.iter().enumerate() {
            put(&mut bytes, layout.parameters + place * width, &parameter.to_le_bytes()[..width]);
        }
        put(&mut bytes, layout.kind, &kind.to_le_bytes());
        bytes
    }

    /// A small dump with two drivers.
    fn triage(code: u32, parameters: [u64; 4]) -> Vec<u8> {
        let mut bytes = header(&HEADER_64, 4, code, parameters);
        let drivers: [(&str, u64, u32); 2] = [
            (r"\SystemRoot\system32\ntoskrnl.exe", 0xffff_f800_0000_0000, 0x10_0000),
            (r"\??\C:\Windows\System32\drivers\our sensor.sys", 0xffff_f800_0100_0000, 0x1000),
        ];
        bytes.resize(0x3000, 0);
        put(&mut bytes, triage::DRIVERS, &0x3000u32.to_le_bytes());
        put(&mut bytes, triage::DRIVER_COUNT, &2u32.to_le_bytes());
        let mut names = Vec::new();
        for (name, base, size) in drivers {
            let mut entry = [0; triage::ENTRY];
            put(&mut entry, 0, &(0x3000 + 2 * triage::ENTRY as u32 + names.len() as u32).to_le_bytes());
            put(&mut entry, triage::ENTRY_BASE, &base.to_le_bytes());
            put(&mut entry, triage::ENTRY_SIZE, &size.to_le_bytes());
            bytes.extend(entry);
            names.extend((name.len() as u32).to_le_bytes());
            names.extend(name.encode_utf16().flat_map(u16::to_le_bytes));
        }
        bytes.extend(names);
        bytes
    }

    #[test]
    fn the_sample_is_read_as_other_tools_read_it() {
        let Some(bytes) = sample("triage_x64.dmp") else { return };
        let dump = Dump::read(&bytes).unwrap();
        assert_eq!(dump.kind, DumpKind::Triage);
        assert_eq!((dump.machine, dump.build), (0x8664, 19041));
        let parameters = [0xffff_ffff_c000_0005, 0xffff_f804_8b58_334c, 0xffff_8504_2989_1ee8, 0xffff_8504_2989_1720];
        assert_eq!(dump.bugcheck, Bugcheck { code: 0x1000_007e, parameters });
        assert_eq!(dump.drivers.len(), 151);
        assert_eq!(dump.drivers[0].name, "ntoskrnl.exe");
        let amdppm = Driver { name: "amdppm.sys".into(), base: 0xffff_f804_8b58_0000, size: 0x3b000 };
        assert_eq!(dump.driver_at(parameters[1]), Some(&amdppm));
        assert_eq!(dump.fault_driver(), Some(&amdppm));
        // 2021-02-21, by the FILETIME in it; and its exception is the kernel's own breakpoint.
        assert_eq!((dump.time, dump.exception), (Some(1_613_871_502_987), None));
        let head = Dump::read(&bytes[..0x2000]).unwrap();
        assert_eq!(head, Dump { drivers: vec![], ..dump });
    }

    #[test]
    fn full_and_kernel_dumps_are_read_from_their_first_pages() {
        for (number, kind) in [
            (1, DumpKind::Full),
            (2, DumpKind::Kernel),
            (3, DumpKind::Other(3)),
            (5, DumpKind::Full),
            (6, DumpKind::Kernel),
            (7, DumpKind::Kernel),
        ] {
            let mut bytes = header(&HEADER_64, number, 0x7b, [1, 2, 3, u64::MAX]);
            // 2024-07-19T04:09:00Z.
            put(&mut bytes, 0xfa8, &133_658_357_400_000_000u64.to_le_bytes());
            let dump = Dump::read(&bytes).unwrap();
            assert_eq!(dump.kind, kind);
            assert_eq!(dump.bugcheck, Bugcheck { code: 0x7b, parameters: [1, 2, 3, u64::MAX] });
            assert_eq!((dump.build, dump.time), (26100, Some(1_721_362_140_000)));
            assert_eq!((dump.exception, dump.fault_driver()), (None, None));
        }
    }

    #[test]
    fn a_32_bit_dump_is_read() {
        let dump = Dump::read(&header(&HEADER_32, 4, 0xd1, [1, 2, 3, 0x8000_1234])).unwrap();
        assert_eq!(dump.kind, DumpKind::Triage);
        assert_eq!(dump.bugcheck, Bugcheck { code: 0xd1, parameters: [1, 2, 3, 0x8000_1234] });
        assert_eq!((dump.build, dump.time, dump.fault_address()), (26100, None, Some(0x8000_1234)));
    }

    #[test]
    fn the_driver_at_fault_is_that_of_the_bugchecks_own_address() {
        let (kernel, sensor) = (0xffff_f800_0000_0123, 0xffff_f800_0100_0fff);
        for (code, place) in [(0x1e, 1), (0x7e, 1), (0x1000_008e, 1), (0x50, 2), (0xd5, 2), (0x0a, 3), (0xd1, 3)] {
            let mut parameters = [kernel; 4];
            parameters[place] = sensor;
            let dump = Dump::read(&triage(code, parameters)).unwrap();
            assert_eq!(dump.fault_driver().unwrap().name, "our sensor.sys", "{code:#x}");
        }
        let of = |bytes: &[u8]| Dump::read(bytes).unwrap().fault_driver().map(|driver| driver.name.clone());
        // Another bugcheck: by the exception, if one was taken that was not meant.
        let mut other = triage(0x139, [sensor; 4]);
        assert_eq!(of(&other), None);
        put(&mut other, 0xf00, &0xc000_0005u32.to_le_bytes());
        put(&mut other, 0xf10, &kernel.to_le_bytes());
        assert_eq!(of(&other).unwrap(), "ntoskrnl.exe");
        put(&mut other, 0xf00, &BREAKPOINT.to_le_bytes());
        assert_eq!(of(&other), None);
        // Behind a driver's end.
        assert_eq!(of(&triage(0xd1, [0, 0, 0, sensor + 1])), None);
    }

    #[test]
    fn what_is_no_dump_or_cut_off_is_refused() {
        assert_eq!(Dump::read(b""), Err(DumpError::NotADump));
        assert_eq!(Dump::read(&[0; 0x3000]), Err(DumpError::NotADump));
        assert_eq!(Dump::read(b"MDMP\x93\xa7\0\0"), Err(DumpError::NotADump));
        assert_eq!(Dump::read(&b"PAGEDU64".repeat(100)), Err(DumpError::Short { got: 800, need: 0x2000 }));
    }

    #[test]
    fn counts_and_offsets_that_make_no_sense_cost_the_drivers_alone() {
        for (list, count) in [(u32::MAX, u32::MAX), (0, u32::MAX), (0x3000, u32::MAX), (0x3001, 2)] {
            let mut bytes = triage(0xd1, [0; 4]);
            put(&mut bytes, triage::DRIVERS, &list.to_le_bytes());
            put(&mut bytes, triage::DRIVER_COUNT, &count.to_le_bytes());
            let dump = Dump::read(&bytes).unwrap();
            assert!(dump.drivers.len() <= MOST_DRIVERS as usize);
            assert_eq!(dump.bugcheck.code, 0xd1);
        }
    }

    proptest! {
        #[test]
        fn a_damaged_dump_never_panics(
            cut in 0usize..0x3400,
            // Into the header's fields, the triage part and what it points to.
            flips in proptest::collection::vec((prop_oneof![0usize..0x100, 0xf00usize..0x1000, 0x2000..0x3200usize], any::<u8>()), 0..12),
        ) {
            let mut bytes = triage(0x50, [1, 2, 3, 4]);
            let length = bytes.len();
            flips.iter().for_each(|(at, bits)| bytes[at % length] ^= bits);
            bytes.truncate(cut.max(8));
            if let Ok(dump) = Dump::read(&bytes) {
                dump.fault_driver();
            }
        }

        #[test]
        fn a_damaged_sample_never_panics(
            cut in any::<usize>(),
            flips in proptest::collection::vec((prop_oneof![0usize..0x100, 0xf00usize..0x1000, 0x2000..0x2100usize, 0x10828..0x19400usize], any::<u8>()), 0..40),
        ) {
            let Some(mut bytes) = sample("triage_x64.dmp") else { return Ok(()) };
            flips.iter().for_each(|(at, bits)| bytes[*at] ^= bits);
            for bytes in [&bytes[..], &bytes[..cut % bytes.len()]] {
                if let Ok(dump) = Dump::read(bytes) {
                    dump.fault_driver();
                }
            }
        }
    }
}
