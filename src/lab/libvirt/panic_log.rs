//! What libvirt writes into a machine's log when its guest tells of a panic: with the panic device of Hyper-V's kind, the
//! code and the parameters of a Windows' stop error.

use std::{
    io::{self, Read as _, Seek as _, SeekFrom},
    path::PathBuf,
};

use crate::{lab::open_guest_written, model::Bugcheck};

/// Most that is read of the log at once, its end, in bytes: QEMU's own words are in it, too.
const MOST: u64 = 64 << 10;

/// A machine's log, read from panic to panic.
#[derive(Debug)]
pub struct PanicLog {
    path: PathBuf,
    /// What was said before.
    read: u64,
}

impl PanicLog {
    pub fn new(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    /// The stop error of the panic that was told just now: libvirt writes it before it sends the event
    /// (`qemuProcessGuestPanicEventInfo`). None: the device told none, or the log is not ours to read.
    pub fn next(&mut self) -> Option<Bugcheck> {
        let text = self.news().ok()?;
        text.lines().rev().find_map(bugcheck)
    }

    fn news(&mut self) -> io::Result<String> {
        let mut file = open_guest_written(&self.path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(self.read.max(length.saturating_sub(MOST)).min(length)))?;
        self.read = length;
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Of a line such as `TIME: panic hyper-v: arg1='0x50', arg2='0x0', ...` with five arguments
/// (`qemuMonitorGuestPanicEventInfoFormatMsg`).
fn bugcheck(line: &str) -> Option<Bugcheck> {
    let (_, mut rest) = line.split_once("panic hyper-v: ")?;
    let mut arguments = [0; 5];
    for (n, argument) in arguments.iter_mut().enumerate() {
        let (_, after) = rest.split_once(&format!("arg{}='0x", n + 1))?;
        let (digits, after) = after.split_once('\'')?;
        *argument = u64::from_str_radix(digits, 16).ok()?;
        rest = after;
    }
    let [code, parameters @ ..] = arguments;
    Some(Bugcheck { code, parameters })
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::*;

    #[test]
    fn each_panic_has_the_stop_error_that_was_told_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("machine.log");
        let mut log = PanicLog::new(path.clone());
        assert_eq!(log.next(), None);
        let add = |text: &str| {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        add("2026-01-02 03:04:05.678+0000: starting up libvirt version: 9.0.0\nchar device redirected\n");
        assert_eq!(log.next(), None);
        add(
            "2026-01-02 03:05:05.678+0000: panic hyper-v: arg1='0x50', arg2='0xffff9c', arg3='0x0', arg4='0x1', arg5='0x2'\n",
        );
        assert_eq!(log.next(), Some(Bugcheck { code: 0x50, parameters: [0xffff9c, 0, 1, 2] }));
        // A panic of another device right after it says nothing of its own.
        assert_eq!(log.next(), None);
        add(&"x".repeat(200_000));
        add("\nT: panic hyper-v: arg1='0x7e', arg2='0x1', arg3='0x2', arg4='0x3', arg5='0x4'\n");
        assert_eq!(log.next().unwrap().code, 0x7e);
    }

    #[test]
    fn a_line_that_is_cut_or_not_libvirts_is_no_stop_error() {
        for line in [
            "panic hyper-v: ",
            "panic hyper-v: arg1='0x50', arg2='0x0', arg3='0x0', arg4='0x0'",
            "panic hyper-v: arg1='0x50', arg2='0x0', arg3='0x0', arg4='0x0', arg5='0x0",
            "panic hyper-v: arg1='0xZZ', arg2='0x0', arg3='0x0', arg4='0x0', arg5='0x0'",
            "panic hyper-v: arg1='0x10000000000000000', arg2='0x0', arg3='0x0', arg4='0x0', arg5='0x0'",
            "panic s390: core='0' psw-mask='0x1' psw-addr='0x2' reason='x'",
        ] {
            assert_eq!(bugcheck(line), None, "{line}");
        }
    }
}
