use std::io::{self, Read, Seek, SeekFrom};

/// Most bytes that are read of one file, however large it is.
pub(super) const BUDGET: u64 = 96 << 20;

/// What can be inspected.
pub trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

/// A file of which only so much is read.
pub(super) struct Source<'a> {
    inner: &'a mut dyn ReadSeek,
    pub len: u64,
    left: u64,
    /// The first error of the file itself: the disk's, not the content's.
    pub failure: Option<io::Error>,
}

impl<'a> Source<'a> {
    pub fn new(inner: &'a mut dyn ReadSeek) -> io::Result<Self> {
        let len = inner.seek(SeekFrom::End(0))?;
        inner.seek(SeekFrom::Start(0))?;
        Ok(Self { inner, len, left: BUDGET, failure: None })
    }

    /// Exactly these bytes; none if the file has not that many there. Callers bound `len`.
    pub fn at(&mut self, offset: u64, len: usize) -> Option<Vec<u8>> {
        let end = offset.checked_add(len as u64)?;
        if end > self.len || len as u64 > self.left {
            return None;
        }
        let mut bytes = vec![0; len];
        self.seek(SeekFrom::Start(offset)).and_then(|_| self.read_exact(&mut bytes)).ok()?;
        Some(bytes)
    }

    /// So many bytes from there, or fewer where the file ends.
    pub fn up_to(&mut self, offset: u64, most: usize) -> Option<Vec<u8>> {
        let there = self.len.saturating_sub(offset);
        let len = usize::try_from(there).unwrap_or(usize::MAX).min(most);
        self.at(offset, len)
    }

    fn keep<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let again = io::Error::new(error.kind(), error.to_string());
            if error.kind() != io::ErrorKind::Interrupted {
                self.failure.get_or_insert(error);
            }
            again
        })
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other("too much of it would have to be read"));
        }
        let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.inner.read(&mut buffer[..len]);
        let read = self.keep(read)?;
        // At the end of the file too, so that no loop around it goes on for ever.
        self.left = self.left.saturating_sub(read.max(1) as u64);
        Ok(read)
    }
}

impl Seek for Source<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        // Places that cannot be are the content's fault, and so no failure of the file.
        self.inner.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_budget_is_read() {
        let mut endless = io::Cursor::new(vec![7u8; 100]);
        let mut source = Source::new(&mut endless).unwrap();
        assert_eq!((source.at(98, 2).unwrap(), source.at(98, 3), source.at(u64::MAX, 1)), (vec![7, 7], None, None));
        assert_eq!(source.up_to(98, 50).unwrap(), [7, 7]);
        source.left = 10;
        assert_eq!(source.at(0, 11), None);
        let mut all = Vec::new();
        source.seek(SeekFrom::Start(0)).unwrap();
        assert!(source.read_to_end(&mut all).is_err());
        assert_eq!((all.len(), source.failure.is_none()), (10, true));
    }

    #[test]
    fn an_error_of_the_disk_is_told_apart_from_damaged_content() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(5))
            }
        }
        impl Seek for Broken {
            fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
                Ok(1000)
            }
        }
        let mut broken = Broken;
        let mut source = Source::new(&mut broken).unwrap();
        assert_eq!(source.at(0, 10), None);
        assert!(source.failure.is_some());
    }
}
