use std::{
    io::{self, Read as _, Seek as _, SeekFrom},
    path::PathBuf,
    sync::LazyLock,
};

use regex::bytes::{Regex, RegexSet};

use crate::{lab::open_guest_written, model::ConsoleMark};

/// Most that is read at once: a guest that floods its console is read in pieces, none of them lost.
const PIECE: u64 = 256 * 1024;

/// Reads what was added to a console's log and finds the telling lines.
#[derive(Debug)]
pub(super) struct Console {
    path: PathBuf,
    read: u64,
    /// The begin of a line whose end has not been written yet.
    rest: Vec<u8>,
    patterns: &'static Patterns,
    /// The running boot's kernel has written, with its time before each line.
    stamped: bool,
    /// What the boot loader, or another program, called an error last.
    error: Option<String>,
}

#[derive(Debug)]
pub(super) struct Patterns {
    set: RegexSet,
    marks: Vec<ConsoleMark>,
}

impl Patterns {
    fn new(table: &[(&str, ConsoleMark)]) -> Self {
        let set = RegexSet::new(table.iter().map(|(pattern, _)| pattern)).expect("the patterns are constants");
        Patterns { set, marks: table.iter().map(|(_, mark)| *mark).collect() }
    }
}

const PANIC: &str = "Kernel panic - not syncing";

/// What GRUB 2 says behind an error that it stops at (`grub-core/normal/menu.c`, `grub-core/kern/main.c`).
const STOPS: [&[u8]; 2] = [b"Press any key to continue", b"Entering rescue mode"];

/// A fault that the kernel reports and may survive. Sources: Linux `arch/x86/mm/fault.c`, `arch/x86/kernel/dumpstack.c`
/// (`Oops: 0002 [#1]`), `arch/x86/kernel/traps.c`, `lib/bug.c`; arm64 `arch/arm64/kernel/traps.c`.
const OOPS: &str = concat!(
    r"BUG: (unable to handle|kernel NULL pointer)|Oops: .*\[#\d+\]|general protection fault(, |: )",
    r"|kernel BUG at |Internal error: .*\[#\d+\]",
);

/// What EDK II's boot device selection is at (`MdeModulePkg/Library/UefiBootManagerLib/BmBoot.c`): on the consoles, and in
/// the log of a debug build.
const BDS: &str = r"^BdsDxe: (loading|starting|failed to (load|start)) ";

/// Where a boot ends that could not go on, in a shell or a prompt: systemd `units/{emergency,rescue}.service`, util-linux
/// `login-utils/sulogin.c`, dracut `dracut-lib.sh`, busybox `shell/ash.c`, initramfs-tools, Alpine's mkinitfs.
const RECOVERY: &str = concat!(
    r"^(You are in (emergency|rescue) mode|(Give root password|Press Enter) for maintenance|Entering emergency mode\.",
    r"|Enter 'help' for a list of built-in commands|\(initramfs\)|initramfs emergency recovery shell launched)",
);

/// The time in seconds that a kernel puts before each line, unless it is told not to (Linux `kernel/printk/printk.c`, `print_time`).
const STAMP: &str = r"\[ *\d+\.\d{6}\]";

/// Lines on a serial console. Sources: Linux `kernel/panic.c`; GRUB 2 `grub-core/kern/{main,err}.c` and
/// its rescue prompt; util-linux and busybox `getty`.
static SERIAL: LazyLock<Patterns> = LazyLock::new(|| {
    let kernel = format!("^{STAMP}");
    Patterns::new(&[
        (kernel.as_str(), ConsoleMark::Kernel),
        (PANIC, ConsoleMark::KernelPanic),
        (r"^\s*grub( rescue)?>", ConsoleMark::BootLoaderStopped),
        (r"^(boot:|Could not find kernel image)", ConsoleMark::BootLoaderStopped),
        (r"login:\s*$", ConsoleMark::Login),
        (RECOVERY, ConsoleMark::Recovery),
        (OOPS, ConsoleMark::KernelOops),
        (BDS, ConsoleMark::Firmware),
    ])
});

/// Lines in the firmware's debug log: SeaBIOS (`src/boot.c`), EDK II (`BdsDxe`).
static FIRMWARE: LazyLock<Patterns> = LazyLock::new(|| {
    Patterns::new(&[
        (r"No bootable (device|option or device)", ConsoleMark::NoBootDevice),
        (r"^Boot(ing from [A-Z0-9]| failed: )", ConsoleMark::Firmware),
        (BDS, ConsoleMark::Firmware),
    ])
});

impl Console {
    pub fn serial(path: PathBuf) -> Self {
        Self { path, read: 0, rest: Vec::new(), patterns: &SERIAL, stamped: false, error: None }
    }

    pub fn firmware(path: PathBuf) -> Self {
        Self { path, read: 0, rest: Vec::new(), patterns: &FIRMWARE, stamped: false, error: None }
    }

    /// How much of the log has been read, in bytes.
    pub fn bytes(&self) -> u64 {
        self.read
    }

    /// Another boot writes from here on.
    pub fn begin_boot(&mut self) {
        (self.stamped, self.error) = (false, None);
    }

    /// The telling lines since the last call, without control characters. A log that is not there yet has none.
    pub fn news(&mut self) -> Vec<(ConsoleMark, String)> {
        let Ok(added) = self.read_added() else { return Vec::new() };
        if added.is_empty() {
            return Vec::new();
        }
        self.rest.extend_from_slice(&added);
        let mut found = Vec::new();
        let text = std::mem::take(&mut self.rest);
        let mut lines = text.split(|&byte| byte == b'\n' || byte == b'\r').peekable();
        while let Some(line) = lines.next() {
            self.look(line, &mut found);
            if lines.peek().is_none() {
                // A prompt has no line end: the last piece is looked at now and again when it is whole.
                let keep = line.len().min(512);
                self.rest = line[line.len() - keep..].to_vec();
            }
        }
        found.dedup();
        found
    }

    fn look(&mut self, line: &[u8], found: &mut Vec<(ConsoleMark, String)>) {
        let line = strip_escapes(line);
        for index in self.patterns.set.matches(&line) {
            match self.patterns.marks[index] {
                ConsoleMark::Kernel if std::mem::replace(&mut self.stamped, true) => continue,
                // Words, of whoever else writes there.
                ConsoleMark::KernelPanic if self.stamped && !is_stamped(&line) => continue,
                _ => {}
            }
            // Without the kernel's `[   10.636073] `.
            let text = plain(&line);
            let text = text.trim_start_matches(|c: char| "[] .".contains(c) || c.is_ascii_digit());
            found.push((self.patterns.marks[index], text.to_owned()));
        }
        // GRUB waits behind its error, or goes on: any program may say such a thing.
        if line.starts_with(b"error: ") {
            self.error = Some(plain(&line));
        } else if STOPS.iter().any(|stops| line.starts_with(stops))
            && let Some(text) = self.error.take()
        {
            found.push((ConsoleMark::BootLoaderStopped, text));
        }
    }

    fn read_added(&mut self) -> io::Result<Vec<u8>> {
        let mut file = open_guest_written(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut added = Vec::new();
        file.take(PIECE).read_to_end(&mut added)?;
        self.read += added.len() as u64;
        Ok(added)
    }
}

/// A line without control characters.
fn plain(line: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(line).chars().filter(|c| !c.is_control()).collect();
    text.trim_end().to_owned()
}

/// Whether a line is a kernel's panic with its time before it: a program's unfinished line may stand before that.
fn is_stamped(line: &[u8]) -> bool {
    static STAMPED: LazyLock<Regex> = LazyLock::new(|| Regex::new(&format!("{STAMP}.*{PANIC}")).expect("a constant"));
    STAMPED.is_match(line)
}

/// Without terminal control sequences (ECMA-48), which boot loaders mix into their text.
fn strip_escapes(line: &[u8]) -> Vec<u8> {
    static ESCAPE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?-u)\x1b(\[[0-9;?]*[ -/]*[@-~]|[()][A-Z0-9]|[=>78cM])").expect("a constant"));
    ESCAPE.replace_all(line, &b""[..]).into_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn marks_of(pieces: &[&[u8]]) -> Vec<ConsoleMark> {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let mut console = Console::serial(log.path().to_owned());
        let mut marks = Vec::new();
        for piece in pieces {
            log.write_all(piece).unwrap();
            marks.extend(console.news().into_iter().map(|(mark, _)| mark));
        }
        marks
    }

    #[test]
    fn a_panic_line_is_found_though_it_comes_in_two_pieces() {
        let marks = marks_of(&[b"[ 1.2] Kernel panic - not", b" syncing: sysrq\n"]);
        assert_eq!(marks, [ConsoleMark::KernelPanic]);
    }

    #[test]
    fn a_boot_loader_prompt_is_found_among_control_sequences() {
        assert_eq!(marks_of(&[b"\x1b[H\x1b[Jgrub rescue> "]), [ConsoleMark::BootLoaderStopped]);
    }

    #[test]
    fn an_error_is_a_boot_loaders_where_it_stops_behind_it() {
        let grub = b"error: file `/vmlinuz' not found.\r\nerror: you need to load the kernel first.\r\n\r\n";
        assert_eq!(marks_of(&[grub]), [], "it may go on");
        assert_eq!(marks_of(&[grub, b"Press any key to con", b"tinue..."]), [ConsoleMark::BootLoaderStopped]);
        assert_eq!(marks_of(&[b"Press any key to continue"]), [], "of whatever asks for that");
    }

    #[test]
    fn a_login_prompt_has_no_line_end_and_is_found() {
        assert_eq!(marks_of(&[b"lab-os 10\r\nlab login: "]), [ConsoleMark::Login]);
    }

    #[test]
    fn a_shell_that_a_boot_ends_in_is_found() {
        for says in [
            "You are in emergency mode. After logging in, type",
            "Press Enter for maintenance",
            "Enter 'help' for a list of built-in commands.\r\n/ # ",
            "\r\n(initramfs) ",
        ] {
            assert_eq!(marks_of(&[says.as_bytes()]), [ConsoleMark::Recovery], "{says}");
        }
        assert_eq!(marks_of(&[b"(c) 2026\nNobody is in emergency mode\n"]), []);
    }

    #[test]
    fn a_kernels_oops_and_what_the_firmware_starts_are_found_and_talk_of_them_is_not() {
        for oops in [
            "[    4.1] BUG: unable to handle page fault for address: 0000000000001000",
            "[    4.1] BUG: kernel NULL pointer dereference, address: 0000000000000010",
            "[    4.1] Oops: 0002 [#1] PREEMPT SMP NOPTI",
            "[    4.1] general protection fault, probably for non-canonical address 0xdead: 0000 [#1]",
            "[    4.1] kernel BUG at fs/ext4/inode.c:2721!",
        ] {
            assert_eq!(marks_of(&[format!("{oops}\n").as_bytes()]), [ConsoleMark::KernelOops], "{oops}");
        }
        let bds = b"BdsDxe: starting Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x3,0x0)\r\n";
        assert_eq!(marks_of(&[bds]), [ConsoleMark::Firmware]);
        assert_eq!(marks_of(&[b"Oops: try again\nsetup: general protection\n"]), []);
    }

    #[test]
    fn where_a_kernel_tells_the_time_a_line_without_it_is_none_of_its_own() {
        let kernel = b"[    0.000000] Linux version 6.1\n[    0.100000] Command line: quiet\n";
        let words = b"Kernel panic - not syncing: words\n";
        assert_eq!(marks_of(&[kernel, words]), [ConsoleMark::Kernel]);
        assert_eq!(marks_of(&[words]), [ConsoleMark::KernelPanic], "one that tells none");
        let own = b"half a line[    9.123456][    T1] Kernel panic - not syncing: sysrq\n";
        assert_eq!(marks_of(&[kernel, own]), [ConsoleMark::Kernel, ConsoleMark::KernelPanic]);
    }

    #[test]
    fn any_bytes_are_read_without_a_fault() {
        assert_eq!(marks_of(&[&[0xff, 0, 0x1b, b'[', b'\n'], &[0x1b; 700], b"ordinary\n"]), []);
    }
}
