//! The vocabulary every stage shares: ids, units, the plan, signals and verdicts.
//!
//! Pure data. Imports nothing of ours, may be imported by anyone; everything here is serialisable,
//! because all of it ends up in `plan.json` or in the journal.

mod about;
mod accelerator;
mod canonical;
mod control;
mod hardware;
mod ids;
mod lab_time;
mod package;
mod phase;
mod plan;
mod rules;
mod screen;
mod secrets;
mod signal;
mod state_dir;
mod step;
mod text;
mod units;
mod verdict;
mod windows_names;

pub use about::{About, Cabinet, Content, Inf, MAX_LISTED, Machine, Msi, Msp, Pe, PeRole, Signature};
pub use accelerator::Accelerator;
pub use canonical::canonical;
pub use control::{Activity, BOOT_NOISE, ControlFacts, DiskState, GuestState, Tolerances};
pub use hardware::{Clock, DiskBus, Firmware, NetworkModel, StateFile};
pub use ids::{CellId, RunId, Sha256};
pub use lab_time::LabTime;
pub use package::{Package, PackageKind, Says};
pub use phase::Phase;
pub use plan::{
    AxisValue, BackingFile, Candidate, Cell, DirectBoot, Family, GoldenImage, Network, PLAN_VERSION, Plan, Policy,
    Quirks, Role, Start,
};
pub use rules::{ApprovalPolicy, Labels, Quarantine, Ring, Rules};
pub use screen::{KnownScreen, ScreenKind};
pub use secrets::Secrets;
pub use signal::{
    Bugcheck, CURSOR_PPM, ConsoleMark, Exit, Limits, LimitsFrom, ONE_RESET, Output, Progress, RestartVia, Signal,
    SignalKind, StepResult,
};
pub use state_dir::StateDir;
pub(crate) use step::soak;
pub use step::{Check, Collect, GuestFile, Health, HostFile, MAX_SOAK, Step, StepKind, Subject};
pub use text::{
    count, cut, escape_xml, is_guid, is_guid_in_braces, is_hidden, is_label, is_shown, one_line, plain, short_words,
    without_hex_numbers, without_number_words, without_numbers,
};
pub use units::{Bytes, Millis, ParseUnitError, parse_day};
pub use verdict::{Outcome, Reason, ReasonId, Verdict, is_only_slow};
pub use windows_names::{bugcheck_name, windows_code_name};
