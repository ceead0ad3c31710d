use std::{
    env,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    catalog::DigestCache,
    model::{StateDir, plain, short_words},
    report::terminal::Look,
    seal::SealCache,
    source::{Diagnostics, Severity},
};

/// Longest error that is printed, in characters.
const LONGEST_ERROR: usize = 8000;

/// Options of every verb.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// Where bootgate keeps its state [default: $XDG_STATE_HOME/bootgate, or /var/lib/bootgate for root]
    #[arg(long, global = true, value_name = "DIR", env = "BOOTGATE_STATE", help_heading = "Global options")]
    state: Option<PathBuf>,
    /// Say more of what happens, on standard error (-vv: everything)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    verbose: u8,
}

/// What every verb gets: the state folder and how to talk to the user.
#[derive(Debug)]
pub struct Context {
    pub state: StateDir,
    /// The user wants to see more of what happens.
    pub verbose: bool,
}

impl Context {
    pub(super) fn new(global: Global) -> anyhow::Result<Self> {
        start_logging(global.verbose);
        let state = match global.state {
            Some(dir) => dir,
            None => default_state_dir()?,
        };
        Ok(Self { state: StateDir::new(std::path::absolute(state)?), verbose: global.verbose > 0 })
    }

    /// The seals of the state folder, to look at and to remove.
    pub fn seals(&self) -> SealCache {
        let digests = Arc::new(DigestCache::open(self.state.digests()));
        SealCache::new(&self.state, digests, SealCache::LIMIT)
    }

    /// Prints an error and its causes to standard error.
    pub fn print_error(&self, error: &anyhow::Error) {
        if let Some(diagnostics) = error.downcast_ref::<Diagnostics>() {
            return self.print_diagnostics(diagnostics);
        }
        let style = console::Style::new().for_stderr().red().bold();
        // Some errors name their cause themselves: nothing is told twice.
        let mut text = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            if !text.contains(&cause) {
                text = format!("{text}: {cause}");
            }
        }
        // It may quote a damaged file.
        let text: String = short_words(&plain(&text)).chars().take(LONGEST_ERROR).collect();
        tell!("{} {text}", style.apply_to("error:"));
    }

    /// Prints errors and warnings about the user's files to standard error.
    pub fn print_diagnostics(&self, diagnostics: &Diagnostics) {
        for diagnostic in &diagnostics.0 {
            let text = diagnostic.to_string();
            let (word, rest) = text.split_once(':').unwrap_or(("error", &text));
            let style = match diagnostic.severity {
                Severity::Error => console::Style::new().red(),
                Severity::Warning => console::Style::new().yellow(),
            };
            tell!("{}{rest}", style.for_stderr().bold().apply_to(format!("{word}:")));
        }
    }

    /// Writes to standard output. That the reader has gone (`| head`) is no error.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print(&self, text: &str) -> anyhow::Result<()> {
        self.print_bytes(text.as_bytes())
    }

    /// The same of bytes.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print_bytes(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(anyhow::Error::from(error).context("cannot write to standard output"))
            }
            _ => Ok(()),
        }
    }
}

fn default_state_dir() -> anyhow::Result<PathBuf> {
    // Not root's home: the account that QEMU runs under for root cannot enter it.
    if rustix::process::geteuid().is_root() {
        return Ok(Path::new("/var/lib/bootgate").to_owned());
    }
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .map(|dir| dir.join("bootgate"))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state/bootgate")))
        .ok_or_else(|| {
            anyhow::anyhow!("no place for bootgate's state: neither HOME nor XDG_STATE_HOME is set; give --state DIR")
        })
}

fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "bootgate=info,warn",
        2 => "bootgate=debug,info",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("BOOTGATE_LOG").unwrap_or_else(|_| level.into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).without_time();
    let _ = log.with_ansi(Look::of_stderr().color).try_init();
}
