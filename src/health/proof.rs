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
    /// The checks have begun and not ended: what the machine does in its last moment counts too.
    pub in_checks: bool,
}

impl Done {
    pub fn is_all_of(&self, planned: &Planned) -> bool {
        self.settled
            && self.update_steps == planned.update_steps
            && self.boots.checked_sub(1) == Some(planned.soak)
            && self.watches.checked_sub(1) == Some(planned.soak)
            && planned.checks.iter().all(|check| self.checks.contains(check))
            && !self.in_checks
    }
}
