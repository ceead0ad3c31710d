//! What the end of a step or a check says.

use super::Judge;
use crate::{
    health::words,
    model::{Exit, Millis, ReasonId, Says, StepResult, Subject},
};

impl Judge {
    pub(super) fn step_ended(&mut self, at: Millis, subject: &Subject, name: &str, result: &StepResult) {
        // What never ended by itself has not succeeded, whatever the record says of it.
        let ok = result.ok && matches!(result.exit, Exit::Code { .. });
        match subject {
            Subject::Setup { .. } if !ok => {
                let message = format!("setup step `{name}` {}", words::ended(result));
                self.fault(at, ReasonId::StartFailed, message);
            }
            Subject::Setup { .. } => self.resets.expect(result.says),
            Subject::Update { .. } if self.done.boots > 0 => {
                let message = format!("step `{name}` of the update ended after the restart that was to prove it");
                self.fault(at, ReasonId::HarnessDied, message);
            }
            // One that was counted says nothing new.
            Subject::Update { step } if ok => {
                if *step == self.done.update_steps {
                    self.resets.expect(result.says);
                    self.done.update_steps += 1;
                }
            }
            Subject::Update { step } => self.update_step_failed(at, *step, name, result),
            // One that was asked on the way down, or up, proves nothing.
            Subject::Check { .. } if ok && !self.is_up() => {}
            Subject::Check { id } if ok => self.done.checks.push(id.clone()),
            Subject::Check { id } => self.check_failed(at, id, result),
        }
    }

    fn update_step_failed(&mut self, at: Millis, step: usize, name: &str, result: &StepResult) {
        let message = format!("step `{name}` {}", words::ended(result));
        match result.exit {
            Exit::Timeout => self.blame(at, ReasonId::UpdateTimeout, message),
            Exit::AgentGone if self.resets.step_was_hit && self.resets.unexplained == 0 => {
                let message = format!(
                    "step `{name}` was ended by a restart that a step before it may have begun: nobody knows how far it came"
                );
                self.fault(at, ReasonId::HarnessDied, message);
            }
            // What it came to, the boots and checks that follow will tell.
            Exit::AgentGone if self.resets.step_did => {
                self.done.update_steps += usize::from(step == self.done.update_steps);
            }
            // A reset explains it: whether the machine comes back decides between a crash and a loop.
            Exit::AgentGone if self.resets.unexplained > 0 => {}
            Exit::AgentGone => self.blame(at, ReasonId::AgentLost, message),
            // It was tried until there was no time left for another try.
            _ if result.says == Some(Says::Busy) => {
                let message = format!(
                    "step `{name}` found another installation at work for {}, up to its deadline; its last try {}",
                    result.took,
                    words::ended(result)
                );
                self.blame(at, ReasonId::UpdateTimeout, message);
            }
            _ if result.says == Some(Says::NotApplied) => self.blame(at, ReasonId::UpdateNotApplied, message),
            _ => self.blame(at, ReasonId::UpdateFailed, message),
        }
    }

    fn check_failed(&mut self, at: Millis, id: &str, result: &StepResult) {
        // A reset explains it, as above.
        if self.over || (result.exit == Exit::AgentGone && self.resets.unexplained > 0) {
            return;
        }
        let message = format!("check `{id}` {}", words::ended(result));
        if result.exit == Exit::AgentGone {
            self.blame(at, ReasonId::AgentLost, message);
            return;
        }
        if !self.update_began {
            self.blame(at, ReasonId::CheckFailed, message);
            return;
        }
        // It may ask for the updated product: a control was asked, and that is all.
        if self.role().is_control() {
            self.done.checks.push(id.to_owned());
            return;
        }
        let is_evidence = self
            .planned
            .as_ref()
            .is_some_and(|planned| planned.evidence.iter().chain(&planned.implied).any(|proof| proof == id));
        // One that could not be asked says nothing of the update.
        let was_asked = matches!(result.exit, Exit::Code { .. });
        let id_of = if is_evidence && was_asked { ReasonId::UpdateNotApplied } else { ReasonId::CheckFailed };
        let mut reason = self.reason(at, id_of, message);
        reason.check = Some(id.to_owned());
        // What was proven before leads.
        if self.reasons.is_empty() {
            self.reasons.extend(self.proven());
        }
        self.reasons.push(reason);
    }
}
