use std::collections::BTreeMap;

use super::{ExecStatus, Look, Packages, linux::Linux, windows::Windows};
use crate::model::{Exit, Family, Package, StepKind};

/// What the guest's agent tells of its operating system (`guest-get-osinfo`), by the protocol's names.
pub type Facts = BTreeMap<String, String>;

/// A program to start in the guest, and where its output will be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Files to write first.
    pub scripts: Vec<Script>,
    pub path: String,
    pub args: Vec<String>,
    /// Files in the guest that hold standard output and standard error; empty: nobody wants them.
    pub stdout: String,
    pub stderr: String,
    /// The file that holds its exit code, in decimal, once it has ended.
    pub code: String,
}

/// A file that a command needs in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    pub path: String,
    pub content: Vec<u8>,
}

/// Where the identity of the running boot is found: it differs after every restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootId {
    /// The content of this file.
    File(&'static str),
    /// What [`GuestFamily::read_boot_id`] finds in what this prints.
    Printed(Command),
}

/// A file to move to its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub to: String,
    pub mode: Option<u32>,
}

/// What an OS family needs to be told: data, no I/O.
pub trait GuestFamily: Send + Sync {
    /// How to run a step's program, script or installer. `tag` makes the names of its files unique. None:
    /// the step runs nothing, or this family does not know its kind.
    fn command(&self, kind: &StepKind, facts: &Facts, tag: &str) -> Option<Command>;

    fn boot_id(&self, tag: &str) -> BootId;

    /// What the boot's identity is, where it is printed. None: it is not known yet.
    fn read_boot_id(&self, _printed: &str) -> Option<String> {
        None
    }

    /// Asks whether the boot has finished. `probe`: the image's own way to tell. None: an agent that answers is enough.
    fn settled(&self, probe: Option<&str>, tag: &str) -> Option<Command>;

    /// Whether that is the answer of a guest whose boot has finished.
    fn has_settled(&self, _probe: Option<&str>, exit: &Exit, _printed: &str) -> bool {
        *exit == Exit::Code { code: 0 }
    }

    /// Prints more about the operating system than the agent tells, for [`GuestFamily::read_facts`].
    fn facts(&self, _tag: &str) -> Option<Command> {
        None
    }

    fn read_facts(&self, _printed: &str) -> Facts {
        Facts::new()
    }

    /// Prints what runs, for [`GuestFamily::read_look`].
    fn services(&self, tag: &str) -> Command;

    /// Prints what runs and what the guest is like, for [`GuestFamily::read_look`].
    fn inventory(&self, tag: &str) -> Command;

    /// Reads what [`GuestFamily::services`] or [`GuestFamily::inventory`] printed.
    fn read_look(&self, printed: &str) -> Look;

    /// Exports the logs' events since this moment of the guest's clock, in Unix milliseconds, and prints a line for each file
    /// that is there then; and all files that may be. None: [`GuestFamily::inventory`] prints what logs tell.
    fn export_logs(&self, _since: i64, _tag: &str) -> Option<(Command, Vec<String>)> {
        None
    }

    /// What an exported log tells, for comparison: the same of the same happening on any machine; and whether the log has
    /// more. None: it is no log.
    fn read_log(&self, _content: &[u8]) -> Option<(Vec<String>, bool)> {
        None
    }

    /// Whether what is wrong is in logs that are to be exported.
    fn leaves_logs(&self) -> bool {
        self.export_logs(0, "").is_some()
    }

    /// Prints the packages that its servicing knows, for [`GuestFamily::read_packages`]. None: it has no such thing.
    fn packages(&self, _tag: &str) -> Option<Command> {
        None
    }

    /// None: that is no list of packages, or not all of one.
    fn read_packages(&self, _printed: &str) -> Option<Packages> {
        None
    }

    /// Whether its kernel writes a dump when it stops with an error, and restarts then.
    fn leaves_dumps(&self) -> bool {
        false
    }

    /// What a crash dump tells of its cause, from as much of it as was read.
    fn read_dump(&self, _content: &[u8]) -> Option<String> {
        None
    }

    /// A program's output as text.
    fn decode(&self, output: &[u8], _facts: &Facts) -> String {
        String::from_utf8_lossy(output).into_owned()
    }

    /// Whether the agent itself is asked for the clock, disks and network, which no program tells.
    fn asks_agent(&self) -> bool {
        false
    }

    /// Whether a medium in the CD drive can be read.
    fn reads_media(&self) -> bool {
        true
    }

    /// Makes the folders of these files.
    fn make_parents(&self, files: &[&str], tag: &str) -> Command;

    /// Moves files that were written beside their places (see [`GuestFamily::beside`]) to where they
    /// belong, with their permission bits: the given ones, else those of the file that was there.
    fn place(&self, files: &[Placed], tag: &str) -> Command;

    /// Copies files of the medium in the CD drive to beside their places. `files`: the name in the
    /// medium's root folder, the place.
    fn copy_from_medium(&self, files: &[(String, String)], tag: &str) -> Command;

    /// Where a file is written before it is moved to its place: a running program's own file cannot be
    /// written, but it can be replaced.
    fn beside(&self, path: &str) -> String;

    /// Removes what [`GuestFamily::command`] left in the guest.
    fn remove_output(&self, command: &Command) -> Command;

    /// Removes the folder that a package was put in. None: such guests have no packages.
    fn remove_package(&self, _package: &Package) -> Option<Command> {
        None
    }

    /// What a finished program's status means.
    fn exit(&self, status: &ExecStatus) -> Exit;

    /// Files that say why a boot went wrong, fetched when a cell fails.
    fn evidence(&self) -> &'static [&'static str];

    /// The log that a step's installer writes, if it does.
    fn log_of(&self, _kind: &StepKind) -> Option<String> {
        None
    }
}

/// The data for an OS family.
pub fn family(family: Family) -> &'static dyn GuestFamily {
    match family {
        Family::Linux => &Linux,
        Family::Windows => &Windows { wine: false },
        Family::Wine => &Windows { wine: true },
    }
}
