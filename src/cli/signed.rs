use std::path::{Path, PathBuf};

use super::{Context, report::read_journal};
use crate::{
    event::{Journal, RunState},
    gate::{self, RunSignatureError},
    sign::{PublicKey, known_lab_key},
};

/// Whose signature a run needs.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct LabKeyArg {
    /// The public key of the lab that ran it, if that was another machine [default: this machine's own]
    #[arg(long, value_name = "PUB")]
    lab_key: Option<PathBuf>,
}

impl LabKeyArg {
    /// # Errors
    /// There is no such key.
    pub(super) fn read(&self, context: &Context) -> anyhow::Result<PublicKey> {
        match &self.lab_key {
            Some(path) => PublicKey::read(path).map_err(Into::into),
            None => known_lab_key(&context.state).map_err(Into::into),
        }
    }
}

impl LabKeyArg {
    /// What speaks against a run, as far as this lab signed it: that is told. None: nothing, or nobody here can tell.
    pub(super) fn doubt(&self, run: &Path, journal: &Journal, context: &Context) -> Option<RunSignatureError> {
        let key = self.read(context).ok()?;
        let checked = match gate::check_run(run, journal, &key) {
            Err(RunSignatureError::NotEnded) => gate::check_resumable(run, journal, &key),
            checked => checked,
        };
        match checked {
            Ok(()) | Err(RunSignatureError::Key(_)) => None,
            Err(why) => {
                tell!("warning: this is not what the lab signed, and nothing should rest on it: {why}");
                Some(why)
            }
        }
    }
}

/// A run that is as its lab signed it.
pub(super) struct SignedRun {
    pub journal: Journal,
    pub state: RunState,
}

/// Reads a run on which something is to rest: whole, unchanged since its end, and judged again.
///
/// # Errors
/// There is no such run, it did not come to its end, or it is not what the lab's key signed.
pub(super) fn read_signed(run: &Path, lab_key: &LabKeyArg, context: &Context) -> anyhow::Result<SignedRun> {
    let journal = read_journal(run)?;
    gate::check_run(run, &journal, &lab_key.read(context)?)?;
    let mut state = RunState::of(journal.run.clone(), &journal.events);
    gate::judge_again(&mut state);
    Ok(SignedRun { journal, state })
}
