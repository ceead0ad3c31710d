use std::collections::BTreeMap;

/// The guest's files: outlive resets, but for what lies in `/run`, which is in memory on Linux.
#[derive(Default)]
pub(super) struct Filesystem {
    files: BTreeMap<String, Vec<u8>>,
}

/// An open file, as the agent holds it.
pub(super) struct Handle {
    path: String,
    position: usize,
    readable: bool,
    writable: bool,
    append: bool,
}

/// Where a seek counts from.
#[derive(Clone, Copy)]
pub(super) enum Whence {
    Set,
    Current,
    End,
}

impl Filesystem {
    pub fn write(&mut self, path: &str, content: &[u8]) {
        self.files.insert(path.to_owned(), content.to_vec());
    }

    /// Nothing, if there is no such file.
    pub fn content(&self, path: &str) -> &[u8] {
        self.files.get(path).map_or(&[], Vec::as_slice)
    }

    /// All files whose paths begin so, sorted: what follows that, and their content.
    pub fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let from =
            self.files.range(prefix.to_owned()..).map(move |(path, content)| (path.strip_prefix(prefix), content));
        from.map_while(|(rest, content)| Some((rest?, content.as_slice())))
    }

    pub fn remove(&mut self, path: &str) {
        self.files.remove(path);
    }

    pub fn restart(&mut self) {
        self.files.retain(|path, _| !path.starts_with("/run/"));
    }

    /// Opens as C's `fopen` does.
    pub fn open(&mut self, path: &str, mode: &str) -> Result<Handle, &'static str> {
        let plus = mode.contains('+');
        let letters: String = mode.chars().filter(|c| !matches!(c, 'b' | '+')).collect();
        let (readable, writable) = match letters.as_str() {
            "r" => (true, plus),
            "w" | "a" => (plus, true),
            _ => return Err("Invalid argument"),
        };
        match letters.as_str() {
            "r" if !self.files.contains_key(path) => return Err("No such file or directory"),
            "w" => self.write(path, &[]),
            "a" => drop(self.files.entry(path.to_owned()).or_default()),
            _ => {}
        }
        Ok(Handle { path: path.to_owned(), position: 0, readable, writable, append: letters == "a" })
    }

    /// At most `count` bytes, and whether the end was met.
    pub fn read(&self, handle: &mut Handle, count: usize) -> Option<(Vec<u8>, bool)> {
        let content = self.files.get(&handle.path).map_or(&[][..], Vec::as_slice);
        if !handle.readable {
            return None;
        }
        let rest = content.get(handle.position..).unwrap_or_default();
        // As C's `feof`: only a read that wanted more than there was has met the end.
        let at_end = rest.len() < count;
        let read = &rest[..rest.len().min(count)];
        handle.position += read.len();
        Some((read.to_vec(), at_end))
    }

    pub fn write_at(&mut self, handle: &mut Handle, bytes: &[u8]) -> Option<()> {
        if !handle.writable {
            return None;
        }
        let content = self.files.entry(handle.path.clone()).or_default();
        if handle.append {
            handle.position = content.len();
        }
        let end = handle.position + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[handle.position..end].copy_from_slice(bytes);
        handle.position = end;
        Some(())
    }

    /// The new position, from the start.
    pub fn seek(&self, handle: &mut Handle, offset: i64, whence: Whence) -> Option<usize> {
        let from = match whence {
            Whence::Set => 0,
            Whence::Current => handle.position,
            Whence::End => self.files.get(&handle.path).map_or(0, Vec::len),
        };
        let position = i64::try_from(from).ok()?.checked_add(offset)?;
        handle.position = usize::try_from(position).ok().filter(|position| *position <= MAX_FILE)?;
        Some(handle.position)
    }
}

/// A seek beyond this is refused, so that a write after it cannot eat the host's memory.
const MAX_FILE: usize = 64 << 20;
