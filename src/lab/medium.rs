use std::{
    fs::{self, File},
    io::{self, BufWriter, Read as _, Write},
    path::Path,
};

pub(super) const SECTOR: usize = 2048;

/// The longest file that one extent holds in whole sectors: its length is a 32-bit number of bytes.
const MAX_FILE: u64 = (1 << 32) - SECTOR as u64;

/// Where things are, in sectors (ECMA-119: descriptors begin at sector 16, all else is free to choose).
const PRIMARY: usize = 16;
const TERMINATOR: usize = 17;
const PATHS_LITTLE: usize = 18;
const PATHS_BIG: usize = 19;
const ROOT: usize = 20;

/// The path table's one record, of the root.
const PATHS_LENGTH: u32 = 10;

/// A file, or the root folder, as a directory record describes it.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    pub(super) sector: u32,
    /// In bytes.
    pub(super) length: u32,
}

/// Writes a read-only medium (ISO 9660 as in ECMA-119, interchange level 1) with these files of the host in
/// its root folder, and answers with their names there, in the same order.
///
/// The names are in lower case: so Linux shows them, which then tells cases apart; Windows does not. The same
/// contents give the same bytes. The medium appears at `path` as a whole or not at all, readable for nobody else:
/// [`super::Vm::insert_medium`] lets the machine have it. Blocks for as long as the copying takes.
///
/// # Errors
/// With the path in the text: a file that cannot be read, is no regular file, is longer than 4 GiB less 2 KiB or
/// changes its length meanwhile; a medium that cannot be written.
pub fn write_iso(path: &Path, files: &[&Path]) -> io::Result<Vec<String>> {
    let mut sources = Vec::with_capacity(files.len());
    for &file in files {
        sources.push(open(file).map_err(|error| about(file, error))?);
    }
    let lengths: Vec<u32> = sources.iter().map(|(_, length)| *length).collect();
    let (root, extents, end) = lay_out(&lengths).ok_or_else(|| about(path, too_much()))?;

    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let medium = tempfile::NamedTempFile::new_in(parent).map_err(|error| about(path, error))?;
    let mut out = BufWriter::new(medium.as_file());
    write_head(&mut out, root, &extents, end).map_err(|error| about(path, error))?;
    for ((source, length), &file) in sources.into_iter().zip(files) {
        // The standard library does not tell which side failed; the kind of error does.
        copy(source, length, &mut out).map_err(|error| about(file, error))?;
    }
    out.flush().map_err(|error| about(path, error))?;
    drop(out);
    medium.persist(path).map_err(|error| about(path, error.error))?;
    Ok((1..=files.len()).map(|number| name(number).to_lowercase()).collect())
}

/// The n-th file's name, from 1: eight characters, a dot and three, all that level 1 allows.
fn name(number: usize) -> String {
    format!("F{number:07}.BIN")
}

/// In a directory record, the name with a version.
fn identifier(number: usize) -> String {
    name(number) + ";1"
}

fn about(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn too_much() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "too many or too large files for one medium")
}

fn open(path: &Path) -> io::Result<(File, u32)> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, why);
    // Asked before the opening, which waits for a writer if this is a pipe.
    if !fs::metadata(path)?.is_file() {
        return Err(invalid("not a regular file"));
    }
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let fitting = u32::try_from(length).ok().filter(|_| length <= MAX_FILE);
    let length = fitting.ok_or_else(|| invalid("longer than 4 GiB less 2 KiB, which no file on a medium may be"))?;
    Ok((file, length))
}

/// Where the root folder and the files are, and the number of sectors in all. None: more than fits.
fn lay_out(lengths: &[u32]) -> Option<(Extent, Vec<Extent>, u32)> {
    if lengths.len() > 9_999_999 {
        return None;
    }
    let sample = Extent { sector: 0, length: 0 };
    let own = 2 * record(&[0], sample, true).len();
    let each = record(identifier(1).as_bytes(), sample, false).len();
    // A record never lies across two sectors.
    let first = (SECTOR - own) / each;
    let more = lengths.len().saturating_sub(first).div_ceil(SECTOR / each);
    let sectors = u32::try_from(1 + more).ok()?;
    let root = Extent { sector: ROOT as u32, length: sectors.checked_mul(SECTOR as u32)? };
    let mut next = root.sector + sectors;
    let mut extents = Vec::with_capacity(lengths.len());
    for &length in lengths {
        // An empty file is nowhere.
        extents.push(Extent { sector: if length == 0 { 0 } else { next }, length });
        next = next.checked_add(length.div_ceil(SECTOR as u32))?;
    }
    Some((root, extents, next))
}

/// Everything before the first file's content.
fn write_head(out: &mut impl Write, root: Extent, extents: &[Extent], end: u32) -> io::Result<()> {
    let mut head = vec![0; PRIMARY * SECTOR];
    head.extend(primary_descriptor(root, end));
    let mut terminator = [0; SECTOR];
    terminator[..7].copy_from_slice(b"\xffCD001\x01");
    head.extend(terminator);
    debug_assert_eq!(head.len(), (TERMINATOR + 1) * SECTOR);
    for big in [false, true] {
        let sector = if big { root.sector.to_be_bytes() } else { root.sector.to_le_bytes() };
        let parent = if big { 1_u16.to_be_bytes() } else { 1_u16.to_le_bytes() };
        // A name of one zero byte, which a pad byte makes even.
        let mut record = vec![1, 0];
        record.extend(sector);
        record.extend(parent);
        record.extend([0, 0]);
        head.extend(record);
        pad(&mut head);
    }
    for name in [0, 1] {
        head.extend(record(&[name], root, true));
    }
    for (at, &extent) in extents.iter().enumerate() {
        let record = record(identifier(at + 1).as_bytes(), extent, false);
        if head.len() % SECTOR + record.len() > SECTOR {
            pad(&mut head);
        }
        head.extend(record);
    }
    pad(&mut head);
    debug_assert_eq!(head.len(), root.sector as usize * SECTOR + root.length as usize);
    out.write_all(&head)
}

/// Zeroes up to a whole sector.
pub(super) fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
}

/// ECMA-119, 8.4.
pub(super) fn primary_descriptor(root: Extent, end: u32) -> [u8; SECTOR] {
    let mut descriptor = [0; SECTOR];
    let mut put = |at: usize, bytes: &[u8]| descriptor[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x01CD001\x01");
    // System and volume identifiers, and from 190 who made it and which files tell more: unused is blank.
    put(8, &[b' '; 64]);
    put(40, b"BOOTGATE");
    put(80, &both_32(end));
    put(120, &both_16(1));
    put(124, &both_16(1));
    put(128, &both_16(SECTOR as u16));
    put(132, &both_32(PATHS_LENGTH));
    put(140, &(PATHS_LITTLE as u32).to_le_bytes());
    put(148, &(PATHS_BIG as u32).to_be_bytes());
    put(156, &record(&[0], root, true));
    put(190, &[b' '; 623]);
    // Made and changed; then the dates of expiry and of effect, which nobody gave.
    for at in [813, 830] {
        put(at, b"2000010100000000\0");
    }
    for at in [847, 864] {
        put(at, b"0000000000000000\0");
    }
    put(881, &[1]);
    descriptor
}

/// A directory record: ECMA-119, 9.1.
pub(super) fn record(name: &[u8], extent: Extent, folder: bool) -> Vec<u8> {
    let padding = (name.len() + 1) % 2;
    let mut record = vec![(33 + name.len() + padding) as u8, 0];
    record.extend(both_32(extent.sector));
    record.extend(both_32(extent.length));
    // 2000-01-01 00:00:00 UTC, counted from 1900.
    record.extend([100, 1, 1, 0, 0, 0, 0]);
    record.extend([if folder { 2 } else { 0 }, 0, 0]);
    record.extend(both_16(1));
    record.push(name.len() as u8);
    record.extend(name);
    record.extend(std::iter::repeat_n(0, padding));
    record
}

pub(super) fn both_16(number: u16) -> [u8; 4] {
    let [a, b] = number.to_le_bytes();
    [a, b, b, a]
}

pub(super) fn both_32(number: u32) -> [u8; 8] {
    let [a, b, c, d] = number.to_le_bytes();
    [a, b, c, d, d, c, b, a]
}

/// The file's content and zeroes up to a whole sector.
fn copy(source: File, length: u32, out: &mut impl Write) -> io::Result<()> {
    // A byte more than announced, to notice a file that grows.
    let copied = io::copy(&mut source.take(u64::from(length) + 1), out)?;
    if copied != u64::from(length) {
        return Err(io::Error::other("changed its length while it was copied"));
    }
    let missing = length.next_multiple_of(SECTOR as u32) - length;
    out.write_all(&[0; SECTOR][..missing as usize])
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Reads a medium back, by the standard's offsets and with nothing of the writer's: names and contents.
    fn read(iso: &[u8]) -> Vec<(String, Vec<u8>)> {
        let primary = &iso[0x8000..0x8800];
        assert_eq!(&primary[..8], b"\x01CD001\x01\0");
        assert_eq!(&iso[0x8800..0x8807], b"\xffCD001\x01");
        assert_eq!(number(&primary[80..88]) as usize * 2048, iso.len(), "the volume is the whole file");
        assert_eq!(primary[128..132], [0, 8, 8, 0]);
        let root = &primary[156..190];
        let (start, length) = (number(&root[2..10]), number(&root[10..18]));
        let little = u32::from_le_bytes(primary[140..144].try_into().unwrap()) as usize * 2048;
        assert_eq!(iso[little..little + 2], [1, 0]);
        assert_eq!(iso[little + 2..little + 6], start.to_le_bytes());
        assert_eq!(iso[little + 6..little + 10], [1, 0, 0, 0]);
        let big = u32::from_be_bytes(primary[148..152].try_into().unwrap()) as usize * 2048;
        assert_eq!(iso[big + 2..big + 6], start.to_be_bytes());
        assert_eq!(iso[big + 6..big + 10], [0, 1, 0, 0]);

        let mut found = Vec::new();
        for sector in iso[start as usize * 2048..][..length as usize].chunks(2048) {
            let mut rest = sector;
            while rest.first().is_some_and(|length| *length > 0) {
                let (record, after) = rest.split_at(usize::from(rest[0]));
                rest = after;
                assert_eq!(record.len() % 2, 0);
                let name = &record[33..][..usize::from(record[32])];
                let (at, length) = (number(&record[2..10]) as usize * 2048, number(&record[10..18]) as usize);
                if record[25] & 2 == 0 {
                    found.push((String::from_utf8(name.to_vec()).unwrap(), iso[at..][..length].to_vec()));
                } else {
                    assert_eq!((at, length), (start as usize * 2048, sector.len().max(length)));
                }
            }
            assert!(rest.iter().all(|byte| *byte == 0));
        }
        found
    }

    /// A number in both byte orders, which must agree.
    fn number(both: &[u8]) -> u32 {
        let little = u32::from_le_bytes(both[..4].try_into().unwrap());
        assert_eq!(little, u32::from_be_bytes(both[4..].try_into().unwrap()));
        little
    }

    fn files(folder: &Path, contents: &[Vec<u8>]) -> Vec<PathBuf> {
        let write = |(n, content): (usize, &Vec<u8>)| {
            let path = folder.join(format!("Some long name {n}.msi"));
            fs::write(&path, content).unwrap();
            path
        };
        contents.iter().enumerate().map(write).collect()
    }

    fn write(folder: &Path, name: &str, contents: &[Vec<u8>]) -> (Vec<String>, Vec<u8>) {
        let paths = files(folder, contents);
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        let iso = folder.join(name);
        (write_iso(&iso, &paths).unwrap(), fs::read(iso).unwrap())
    }

    #[test]
    fn every_file_is_read_back_whole_whatever_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let contents = [0, 1, 2047, 2048, 2049, 0, 100_000].map(|length| vec![length as u8 | 1; length]);
        let (names, iso) = write(folder.path(), "a.iso", &contents);
        assert_eq!(iso.len() % 2048, 0);
        let found = read(&iso);
        assert_eq!(found.len(), contents.len());
        for (n, (name, content)) in found.iter().enumerate() {
            assert_eq!(name, &format!("F000000{}.BIN;1", n + 1));
            assert_eq!(names[n], format!("f000000{}.bin", n + 1));
            assert_eq!(content, &contents[n]);
        }
    }

    #[test]
    fn a_folder_of_many_sectors_holds_all_its_files() {
        let folder = tempfile::tempdir().unwrap();
        for count in [0, 41, 42, 83, 84, 300] {
            let contents: Vec<Vec<u8>> = (0..count).map(|n: u32| n.to_be_bytes().to_vec()).collect();
            let (_, iso) = write(folder.path(), "a.iso", &contents);
            let found: Vec<Vec<u8>> = read(&iso).into_iter().map(|(_, content)| content).collect();
            assert_eq!(found, contents);
        }
    }

    #[test]
    fn the_same_contents_give_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let contents = [b"21 fields".to_vec(), b"20 fields".to_vec()];
        let first = write(folder.path(), "a.iso", &contents);
        assert_eq!(first, write(folder.path(), "b.iso", &contents));
    }

    #[test]
    fn a_file_too_long_for_one_extent_is_refused_by_name_and_leaves_no_medium() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("long.msi");
        File::create(&long).unwrap().set_len(MAX_FILE + 1).unwrap();
        let error = write_iso(&folder.path().join("a.iso"), &[&long]).unwrap_err();
        assert!(error.to_string().contains("long.msi: longer than 4 GiB"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        File::options().write(true).open(&long).unwrap().set_len(MAX_FILE).unwrap();
        assert_eq!(u64::from(open(&long).unwrap().1), MAX_FILE);
    }

    #[test]
    fn a_file_that_is_absent_or_none_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path(), &folder.path().join("absent")] {
            let error = write_iso(&folder.path().join("a.iso"), &[path]).unwrap_err();
            assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_changes_its_length_meanwhile_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = &files(folder.path(), &[b"12345".to_vec()])[0];
        for announced in [4, 6] {
            assert!(copy(File::open(path).unwrap(), announced, &mut Vec::new()).is_err());
        }
    }

    #[test]
    fn more_than_a_medium_holds_is_refused() {
        assert!(lay_out(&vec![u32::MAX - 2047; 2049]).is_none());
        assert!(lay_out(&vec![u32::MAX - 2047; 2048]).is_some());
    }
}
