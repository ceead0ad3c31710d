//! The command line: a file per verb, each with its `Args` and a `run` that returns the exit code.

/// Writes a line to standard error. One that cannot be written is dropped: a closed terminal or a full disk
/// under a log changes no verdict.
macro_rules! tell {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($line)*);
    }};
}

mod approve;
mod clean;
mod completions;
mod context;
mod doctor;
mod explain;
mod gate;
mod images;
mod judge;
mod ledger;
mod notify;
mod outs;
mod plan;
mod policy;
mod reading;
mod report;
mod revoke;
mod ring;
mod run;
mod schema;
mod select;
mod session;
mod signed;
mod table;
mod verify;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use context::Context;
pub use notify::NotifyArgs;
pub use select::Select;

use crate::{
    event::Decision,
    image::ImageError,
    model::{is_hidden, plain},
};

/// Exit code for usage and configuration errors.
pub const EXIT_USAGE: u8 = 2;
/// Exit code when bootgate could not tell, its own internal errors included.
pub const EXIT_INCONCLUSIVE: u8 = 3;

/// Proves on real VMs that an update leaves every OS version and patch level booting.
#[derive(Debug, Parser)]
#[command(name = "bootgate", version, propagate_version = true, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: context::Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a matrix: clone, update, restart, judge; the exit code is the gate
    Run(run::Args),
    /// Test every candidate that comes into a folder
    Watch(watch::Args),
    /// Show what a run would do, without starting anything
    Plan(plan::Args),
    /// Check whether this machine can run VMs, and how fast
    Doctor(doctor::Args),
    /// List, verify, check, import, build and bake golden images
    Images(images::Args),
    /// Rebuild every report of a run from its journal
    Report(report::Args),
    /// Judge a run's cells again from its journal, and show what each verdict rests on
    Judge(judge::Args),
    /// Tell the story of one cell of a run
    Explain(explain::Args),
    /// Decide over a run by a policy
    Gate(gate::Args),
    /// Sign what a run says of the update, for whoever deploys it
    Approve(approve::Args),
    /// Check an approval and the files that it is about, offline
    Verify(verify::Args),
    /// Take an approval back
    Revoke(revoke::Args),
    /// Record what came of an update in a ring, and show where each candidate stands
    Ring(ring::Args),
    /// Remove what a killed bootgate left behind
    Clean(clean::Args),
    /// Print the JSON Schema of a matrix, catalogue or policy, for editors, or of result.json
    Schema(schema::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

/// The command line's definition, for whoever checks a command without running it.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the command line, runs the verb, and answers with its exit code.
pub fn main() -> ExitCode {
    // A panic is bootgate's own fault, already told on standard error: it says nothing about the update.
    std::panic::catch_unwind(verb).unwrap_or(ExitCode::from(EXIT_INCONCLUSIVE))
}

fn verb() -> ExitCode {
    crate::lab::libvirt::quiet();
    let cli = match Cli::command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            // It may quote an argument as it is.
            if std::env::args_os().any(|arg| arg.to_string_lossy().chars().any(is_hidden)) {
                tell!("{}", plain(&error.render().to_string()).trim_end());
            } else {
                let _ = error.print();
            }
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
        }
    };
    let context = match Context::new(cli.global) {
        Ok(context) => context,
        Err(error) => {
            tell!("error: {error:#}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let result = match cli.verb {
        Verb::Run(args) => run::run(args, &context),
        Verb::Watch(args) => watch::run(args, &context),
        Verb::Plan(args) => plan::run(args, &context),
        Verb::Doctor(args) => doctor::run(args, &context),
        Verb::Images(args) => images::run(args, &context),
        Verb::Report(args) => report::run(args, &context),
        Verb::Judge(args) => judge::run(args, &context),
        Verb::Explain(args) => explain::run(args, &context),
        Verb::Gate(args) => gate::run(&args, &context),
        Verb::Approve(args) => approve::run(args, &context),
        Verb::Verify(args) => verify::run(args, &context),
        Verb::Revoke(args) => revoke::run(args, &context),
        Verb::Ring(args) => ring::run(args, &context),
        Verb::Clean(args) => clean::run(args, &context),
        Verb::Schema(args) => schema::run(args, &context),
        Verb::Completions(args) => completions::run(args, &context),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            context.print_error(&error);
            let is_stopped = matches!(error.downcast_ref::<ImageError>(), Some(ImageError::Stopped));
            ExitCode::from(if is_stopped { Decision::Cancelled.exit_code() } else { EXIT_USAGE })
        }
    }
}
