use super::judge;
use crate::model::{Millis, Outcome, ReasonId, Signal, Verdict};

/// With so many signals judged no more are looked for: a record of thousands that all count has to be told as it is.
const MOST_JUDGED: usize = 5_000_000;

/// The signals that a verdict rests on, in their order: with any one of them left out it would be another one.
///
/// Without the rest the judge says the same: the outcome, and each reason with its moment.
pub fn deciding(signals: &[Signal]) -> Vec<Signal> {
    let says = said(&judge(signals));
    let mut kept = signals.to_vec();
    // Large pieces first, from the end: what came after the verdict goes at once, and most samples do.
    let mut piece = kept.len().div_ceil(2);
    let mut judged = 0_usize;
    while piece > 0 && judged < MOST_JUDGED {
        let mut dropped = false;
        let mut end = kept.len();
        while end > 0 {
            let begin = end.saturating_sub(piece);
            judged += kept.len();
            let without = [&kept[..begin], &kept[end..]].concat();
            if said(&judge(&without)) == says {
                kept = without;
                dropped = true;
            }
            end = begin;
        }
        if piece > 1 {
            piece = piece.div_ceil(2);
        } else if !dropped {
            break;
        }
    }
    kept
}

/// What must stay the same. The phase of a cell that is healthy, and sentences, may change.
fn said(verdict: &Verdict) -> (Outcome, Vec<(ReasonId, Millis, Option<String>)>) {
    let reasons = verdict.reasons.iter().map(|reason| (reason.id, reason.at, reason.check.clone()));
    (verdict.outcome, reasons.collect())
}

/// Whether two verdicts are the same for whoever acts on them: the outcome, and what is to blame in which order.
pub fn agree(a: &Verdict, b: &Verdict) -> bool {
    let ids = |verdict: &Verdict| -> Vec<(ReasonId, Option<String>)> {
        verdict.reasons.iter().map(|reason| (reason.id, reason.check.clone())).collect()
    };
    a.outcome == b.outcome && ids(a) == ids(b)
}
