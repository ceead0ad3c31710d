use super::linux::Linux;
use crate::model::{Exit, Family, StepKind};

use super::ExecStatus;

/// A program to start in the guest, and where its output will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub path: String,
    pub args: Vec<String>,
    /// Files in the guest that hold standard output and standard error.
    pub stdout: String,
    pub stderr: String,
    /// The file that holds its exit code, in decimal, once it has ended.
    pub code: String,
}

/// A file to move to its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub to: String,
    pub mode: Option<u32>,
}

/// What an OS family needs to be told: data, no I/O.
pub trait GuestFamily: Send + Sync {
    /// How to run a step's program or script. `tag` makes the names of the output files unique. None:
    /// the step runs nothing, or this family does not know its kind.
    fn command(&self, kind: &StepKind, tag: &str) -> Option<Command>;

    /// The file that holds the identity of the running boot: it differs after every restart.
    fn boot_id(&self) -> &'static str;

    /// Exits with 0 when the boot has finished; it leaves no output. `probe`: the image's own way to tell.
    fn settled(&self, probe: Option<&str>) -> Command;

    /// Prints what runs, for [`Look::read`](super::Look::read): `program PID NAME` a line, or the blocks of `systemctl
    /// show`; and `time SECONDS`.
    fn services(&self, tag: &str) -> Command;

    /// Prints what runs and what the guest is like, for [`Look::read`](super::Look::read), a line each: `error TEXT`,
    /// `log LEVEL COUNT`, `memory TOTAL AVAILABLE` and `disk SIZE FREE MOUNT` in KiB, `readonly MOUNT`, `network WHAT`,
    /// `dump FILE`.
    fn inventory(&self, tag: &str) -> Command;

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

    /// What a finished program's status means.
    fn exit(&self, status: &ExecStatus) -> Exit;

    /// Files that say why a boot went wrong, fetched when a cell fails.
    fn evidence(&self) -> &'static [&'static str];
}

/// The data for an OS family; none for one that this version does not know.
pub fn family(family: Family) -> Option<&'static dyn GuestFamily> {
    match family {
        Family::Linux => Some(&Linux),
        Family::Windows => None,
    }
}
