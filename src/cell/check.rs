use super::{
    life::Cellmate,
    observe::Observer,
    step::{self, Work},
};
use crate::model::{Check, Phase, Subject};

/// Asks every health question, also after one has a bad answer. False: the judge is over.
pub(super) async fn checks(watcher: &mut Observer, mate: &Cellmate<'_>, checks: &[Check]) -> bool {
    watcher.enter(Phase::Check);
    for check in checks {
        let Check { id, kind, timeout, success, .. } = check;
        let subject = Subject::Check { id: id.clone() };
        let work = Work { subject, name: id, kind, timeout: *timeout, success, restarts: 0 };
        if step::run(watcher, mate, &work).await.is_none() {
            return false;
        }
    }
    true
}
