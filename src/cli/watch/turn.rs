use std::{fs, path::Path};

use anyhow::{Context as _, bail};

use super::{matrix::whatever_the_candidate, worker::Worker};
use crate::{
    cli::{
        approve,
        run::{resume, ruling_as, shown, write_reports},
        session::{Begun, Session, Use},
    },
    event::{Decision, JournalError},
    model::Sha256,
    plan::Planned,
    run::Finished,
    source::Diagnostics,
    watch::{Entry, MOST_DEATHS, Record},
};

/// What came of an entry's turn.
pub(super) enum Turn {
    /// It has its answer, or waits for another try.
    Over,
    /// The user stopped it.
    Stopped,
    /// No candidate can be tested.
    Wrong(Diagnostics),
}

/// What an entry's turn begins with.
enum Beginning {
    /// The run that was interrupted.
    GoesOn(Box<Begun>, Sha256),
    New(Box<Planned>, Sha256),
    /// There is nothing to run.
    None(Turn),
}

impl Worker<'_> {
    /// One entry's run, or another try of it.
    ///
    /// # Errors
    /// The lab's fault: the entry is in the queue as before.
    pub(super) async fn turn(&mut self, entry: &Entry) -> anyhow::Result<Turn> {
        if entry.deaths >= MOST_DEATHS {
            return self.give_up(entry);
        }
        let beginning = self.begin(entry)?;
        let has_plan = matches!(beginning, Beginning::New(..) | Beginning::None(Turn::Over));
        if has_plan && self.wrong.take().is_some() {
            self.say.line(&format!("{} can be used again", self.asked.path().display()));
        }
        if let Beginning::None(turn) = beginning {
            return Ok(turn);
        }
        if self.session.is_none() {
            match Session::open(self.context, &self.args.lab, self.stop).await? {
                Some(session) => self.session = Some(session),
                None => return Ok(Turn::Stopped),
            }
        }
        let (begun, question) = match beginning {
            Beginning::GoesOn(begun, question) => (*begun, question),
            Beginning::New(planned, question) => {
                (Begun::new(&self.args.runs, planned.plan, planned.secrets)?, question)
            }
            Beginning::None(turn) => return Ok(turn),
        };
        let dir = begun.folder.dir.clone();
        let goes_on = if begun.resumed.is_some() { " goes on" } else { "" };
        self.record(&Record::Started { entry: entry.id, question, run: dir.clone() })?;
        self.say.line(&format!("{}: testing{goes_on}, {}", entry.name, shown(&dir).display()));
        self.show(Some(entry));
        let how = Use { quiet: true, ..self.args.room.how() };
        let Some(session) = &self.session else { bail!("the lab is closed") };
        let finished = match session.run(begun, how).await {
            Ok(Some(finished)) if finished.ruling.decision != Decision::Cancelled => finished,
            stopped => {
                // Nobody died: the run is to go on, as often as it takes.
                self.record(&Record::Stopped { entry: entry.id })?;
                let Some(finished) = stopped? else { bail!("the run of {} broke", entry.name) };
                write_reports(&finished, &dir);
                self.say.line(&format!("{}: stopped, goes on at the next start", entry.name));
                return Ok(Turn::Stopped);
            }
        };
        self.decided(entry, &dir, &finished).await
    }

    /// Every try ended with the process that made it.
    fn give_up(&self, entry: &Entry) -> anyhow::Result<Turn> {
        let (entry_id, decision) = (entry.id, Decision::Inconclusive);
        self.close(entry, &Record::Ended { entry: entry_id, decision, again: false, approval: None })?;
        let text = format!("{}: given up, bootgate died {MOST_DEATHS} times while it was tested", entry.name);
        self.say.line(&text);
        Ok(Turn::Over)
    }

    fn begin(&self, entry: &Entry) -> anyhow::Result<Beginning> {
        if let (Some(run), Some(question)) = (entry.run(), &entry.question) {
            // Before the lab is opened, for which nobody should wait in vain.
            match resume(run, self.context) {
                Ok(begun) => return Ok(Beginning::GoesOn(Box::new(begun), question.clone())),
                Err(error) if is_at_work(&error) => return Err(error),
                Err(_) if remove_unbegun(run) => {}
                Err(error) => {
                    self.say.around(|| self.context.print_error(&error));
                    self.say.line(&format!("{}: begins anew", entry.name));
                }
            }
        }
        let candidate = self.store.path(&entry.sha256, &entry.name);
        let planned = match self.asked.plan(&candidate) {
            Ok(planned) => planned,
            Err(errors) => return self.refused(entry, errors, &candidate),
        };
        let question = planned.plan.matrix_sha256.as_ref().map(|sha256| self.asked.question_of(sha256));
        let question = question.context("the plan has no matrix")?;
        if let Some(by) = self.file().queue().answered(entry, &question).map(|other| other.id) {
            return self.is_answered(entry, question, by);
        }
        let is_same = planned.plan.candidate.as_ref().is_some_and(|candidate| candidate.sha256 == entry.sha256);
        if !is_same {
            return self.refuse(entry, question, "its copy in the state folder is not what it was".to_owned());
        }
        Ok(Beginning::New(Box::new(planned), question))
    }

    /// There is no plan: either for this candidate, or for none.
    fn refused(&self, entry: &Entry, errors: Diagnostics, candidate: &Path) -> anyhow::Result<Beginning> {
        let others = whatever_the_candidate(errors.clone(), candidate);
        match self.asked.question() {
            Some(question) if !others.has_errors() => {
                self.say.around(|| self.context.print_diagnostics(&errors));
                let messages: Vec<&str> = errors.0.iter().map(|error| error.message.as_str()).collect();
                self.refuse(entry, question, messages.join("; "))
            }
            _ => Ok(Beginning::None(Turn::Wrong(if others.has_errors() { others } else { errors }))),
        }
    }

    fn refuse(&self, entry: &Entry, question: Sha256, why: String) -> anyhow::Result<Beginning> {
        self.say.line(&format!("{}: cannot be tested: {why}", entry.name));
        self.close(entry, &Record::Refused { entry: entry.id, question, why })?;
        Ok(Beginning::None(Turn::Over))
    }

    fn is_answered(&self, entry: &Entry, question: Sha256, by: u64) -> anyhow::Result<Beginning> {
        self.say.line(&format!("{}: not tested again, the matrix is one that it was tested with before", entry.name));
        self.close(entry, &Record::Answered { entry: entry.id, question, by })?;
        Ok(Beginning::None(Turn::Over))
    }

    /// A run has come to its end.
    async fn decided(&mut self, entry: &Entry, dir: &Path, finished: &Finished) -> anyhow::Result<Turn> {
        let by_run = write_reports(finished, dir);
        if by_run == Decision::Inconclusive {
            self.doubt_lab().await;
        }
        // Without all reports it is no approval, whatever the run came to; and what is undecided is signed only where the
        // approver's rules may say otherwise.
        let is_for_approver = by_run != Decision::Inconclusive || self.args.policy.is_given();
        let is_reported = by_run == finished.ruling.decision;
        let signed = if is_for_approver && is_reported { self.sign(dir) } else { None };
        let decision = signed.unwrap_or(by_run);
        let again = decision == Decision::Inconclusive && entry.tries < self.args.retry;
        let is_signed = signed.is_some_and(|decision| decision != Decision::Inconclusive);
        let approval = is_signed.then(|| dir.join("approval.json"));
        self.close(entry, &Record::Ended { entry: entry.id, decision, again, approval })?;
        let ruling = ruling_as(&finished.state, by_run);
        let word = decision.as_str().to_uppercase();
        let signed = if is_signed { ", signed" } else { "" };
        let why = ruling.reasons.first().map(|why| format!(", {why}")).unwrap_or_default();
        let then = if again { "; to be tried again" } else { "" };
        let run = shown(dir);
        self.say.line(&format!("{}: {word}{signed}{why}{then}: {}", entry.name, run.display()));
        if !again {
            self.args.notify.tell_of_until(&self.stop.interrupt, &finished.state, &ruling).await;
        }
        Ok(Turn::Over)
    }

    /// What the approver's key signed of the run, or would not; none: nobody was to sign, or could.
    fn sign(&self, dir: &Path) -> Option<Decision> {
        let key = self.args.key.clone()?;
        let args = approve::Args::of(dir.to_owned(), key, self.args.policy.clone());
        match self.say.around(|| approve::run(args, self.context)) {
            Ok(0) => Some(Decision::Approved),
            Ok(1) => Some(Decision::Rejected),
            Ok(_) => Some(Decision::Inconclusive),
            Err(error) => {
                self.say.around(|| self.context.print_error(&error));
                self.say.line(&format!("not signed; to do it: bootgate approve {} --key KEY", shown(dir).display()));
                None
            }
        }
    }
}

/// Removes a run's directory in which nothing is recorded: bootgate died, or the lab failed, before its first event. Others
/// stay.
fn remove_unbegun(run: &Path) -> bool {
    let journal = run.join("events.jsonl");
    let is_unbegun = fs::metadata(&journal).is_ok_and(|about| about.is_file() && about.len() == 0);
    // A folder with anything else in it is not removed.
    is_unbegun
        && fs::remove_file(&journal).is_ok()
        && fs::remove_file(run.join("plan.json")).is_ok()
        && fs::remove_dir(run).is_ok()
}

/// Whether another process has the run: it will be free some time.
fn is_at_work(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(JournalError::Busy { .. })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_that_never_began_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let run = |name: &str, journal: &str, more: Option<&str>| {
            let run = dir.path().join(name);
            fs::create_dir(&run).unwrap();
            fs::write(run.join("plan.json"), "{}").unwrap();
            fs::write(run.join("events.jsonl"), journal).unwrap();
            more.iter().for_each(|more| fs::write(run.join(more), "").unwrap());
            (remove_unbegun(&run), run.exists())
        };
        assert_eq!(run("unbegun", "", None), (true, false));
        assert_eq!(run("begun", "{", None), (false, true));
        assert_eq!(run("others", "", Some("notes")), (false, true));
        assert!(!remove_unbegun(&dir.path().join("absent")));
    }
}
