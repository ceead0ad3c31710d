//! By whose rules something is decided.

use std::path::PathBuf;

use anyhow::bail;

use crate::{
    matrix::read_policy,
    model::{ApprovalPolicy, Ring, Sha256},
};

/// The approver's rules.
#[derive(Clone, Debug, clap::Args)]
pub struct PolicyArgs {
    /// Rules of one's own, in place of the run's
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The ring of the policy that the update is to go to
    #[arg(long, value_name = "NAME")]
    pub ring: Option<String>,
}

/// A policy, and whose it is.
pub(super) struct Chosen {
    pub policy: ApprovalPolicy,
    /// Of its file; none: the matrix has it.
    pub sha256: Option<Sha256>,
}

impl PolicyArgs {
    pub fn path(&self) -> Option<&PathBuf> {
        self.policy.as_ref()
    }

    /// Whether something else is asked for than the run's rules.
    pub fn is_given(&self) -> bool {
        self.policy.is_some() || self.ring.is_some()
    }

    /// The file's policy.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(&self) -> anyhow::Result<Option<Chosen>> {
        let Some(path) = &self.policy else { return Ok(None) };
        let (policy, sha256) = read_policy(path)?;
        Ok(Some(Chosen { policy, sha256: Some(sha256) }))
    }
}

impl Chosen {
    /// The policy of the run's matrix.
    pub fn of_run(policy: &ApprovalPolicy) -> Self {
        Self { policy: policy.clone(), sha256: None }
    }

    /// The ring that is meant: where there are some, one has to be named.
    ///
    /// # Errors
    /// None is named, or one that the policy does not have.
    pub fn ring(&self, name: Option<&str>) -> anyhow::Result<Option<&Ring>> {
        let policy = &self.policy;
        match (name, name.and_then(|name| policy.ring(name))) {
            (None, _) if policy.rings.is_empty() => Ok(None),
            (Some(_), Some(ring)) => Ok(Some(ring)),
            (None, _) => {
                bail!("the policy `{}` has rings: say with --ring which is meant; {}", policy.name, rings(policy))
            }
            (Some(name), None) => bail!("the policy `{}` has no ring `{name}`: {}", policy.name, rings(policy)),
        }
    }
}

/// For people: which rings there are.
fn rings(policy: &ApprovalPolicy) -> String {
    match &policy.rings[..] {
        [] => "it has none".to_owned(),
        rings => {
            let names: Vec<&str> = rings.iter().map(|ring| ring.name.as_str()).collect();
            format!("its rings are {}", names.join(", "))
        }
    }
}
