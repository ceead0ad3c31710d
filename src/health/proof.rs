use crate::model::Role;

/// What a cell sets out to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Planned {
    pub update_steps: usize,
    pub soak: u32,
    pub checks: Vec<String>,
    pub evidence: Vec<String>,
    pub implied: Vec<String>,
    pub role: Role,
}

/// What was proven so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    /// The machine settled before the update.
    pub settled: bool,
    /// Steps of the update, in their order.
    pub update_steps: usize,
    pub boots: u32,
    /// Boots that were watched for a while after they had settled.
    pub watches: u32,
    /// Checks that passed; of a control, checks that were asked.
    pub checks: Vec<String>,
    /// All were asked, and the machine was there to the end: what it does in its last moment counts too.
    pub checks_ended: bool,
}

impl Done {
    pub fn is_all_of(&self, planned: &Planned) -> bool {
        self.lacks(planned).is_none()
    }

    /// The first thing that is not proven.
    pub fn lacks(&self, planned: &Planned) -> Option<String> {
        let restarts = planned.soak.checked_add(1);
        if !self.settled {
            return Some("a boot that finished before the update".to_owned());
        }
        if self.update_steps != planned.update_steps {
            return Some(format!("all steps of the update ({} of {})", self.update_steps, planned.update_steps));
        }
        for (done, what) in [(self.boots, "new boots after the update"), (self.watches, "watches of these boots")] {
            if Some(done) != restarts {
                return Some(format!("{what} ({done} of {})", u64::from(planned.soak) + 1));
            }
        }
        if let Some(check) = planned.checks.iter().find(|check| !self.checks.contains(check)) {
            return Some(format!("check `{check}`"));
        }
        (!self.checks_ended).then(|| "the end of the checks".to_owned())
    }
}
