use proptest::prelude::*;

use super::*;

const SETTLE: Millis = Millis::from_secs(10);

fn stamp(n: u64) -> Stamp {
    Stamp { dev: 1, ino: 1, size: n, modified: (0, 0), changed: (0, 0) }
}

fn bytes(n: u64) -> Sha256 {
    Sha256::of(&n.to_le_bytes())
}

/// Answers what is due now as a file with these looks and bytes would. Whether it is complete then.
fn answer(settling: &mut Settling, looks: u64, content: u64, now: u64) -> bool {
    let Some(due) = settling.due(Millis(now)) else { return false };
    if due.stamp == stamp(looks) {
        return settling.read(&due.name, &due.stamp, bytes(content), Millis(now));
    }
    settling.seen(&due.name, stamp(looks), Millis(now));
    false
}

#[test]
fn a_file_is_complete_when_it_was_the_same_through_the_settle_time() {
    let mut settling = Settling::new(SETTLE);
    assert!(settling.seen("a", stamp(1), Millis(0)));
    assert_eq!((settling.due(Millis(999)), settling.next()), (None, Some(Millis(1000))));
    assert!(!answer(&mut settling, 1, 1, 1000));
    assert_eq!(settling.next(), Some(Millis(11_000)));
    assert!(!answer(&mut settling, 1, 1, 10_999));
    assert!(answer(&mut settling, 1, 1, 11_000));
    assert_eq!((settling.complete("a", &stamp(1)), settling.next()), (Some(&bytes(1)), None));
    assert!(!settling.seen("a", stamp(1), Millis(12_000)));
    assert!(settling.seen("a", stamp(2), Millis(13_000)), "another file in its place is news");
}

#[test]
fn a_writer_that_pauses_and_has_not_closed_the_file_is_waited_for() {
    let mut settling = Settling::new(SETTLE);
    settling.seen("a", stamp(1), Millis(0));
    settling.written("a", Millis(0));
    assert_eq!((settling.due(Millis(3_600_000)), settling.next()), (None, None));
    settling.closed("a");
    assert_eq!(settling.next(), Some(Millis(1000)));
    settling.written("a", Millis(5000));
    settling.forget_writers();
    assert_eq!(settling.next(), Some(Millis(6000)));
    // One of which nothing is known yet.
    assert!(!settling.written("b", Millis(0)) && !settling.has("b"));
    settling.enough("a", bytes(1));
    assert!(settling.written("a", Millis(9000)), "a complete file that is written to is news");
}

#[test]
fn bytes_that_change_behind_the_same_looks_begin_anew() {
    let mut settling = Settling::new(SETTLE);
    settling.seen("a", stamp(1), Millis(0));
    assert!(!answer(&mut settling, 1, 1, 1000));
    assert!(!answer(&mut settling, 1, 2, 11_000));
    assert!(!answer(&mut settling, 1, 2, 12_000));
    assert!(answer(&mut settling, 1, 2, 22_000));
}

#[test]
fn what_waited_longest_is_read_first_and_of_those_the_oldest_file() {
    let mut settling = Settling::new(SETTLE);
    let older = Stamp { modified: (-5, 0), ..stamp(1) };
    settling.seen("a", stamp(1), Millis(5));
    settling.seen("b", older, Millis(5));
    settling.seen("c", stamp(1), Millis(4));
    let mut order = Vec::new();
    while let Some(due) = settling.due(Millis(2000)) {
        settling.enough(&due.name, bytes(1));
        order.push(due.name);
    }
    assert_eq!(order, ["c", "b", "a"]);
    assert_eq!(settling.all_complete().count(), 3);
}

#[test]
fn a_file_that_cannot_be_read_is_tried_again_later() {
    let mut settling = Settling::new(SETTLE);
    settling.seen("a", stamp(1), Millis(0));
    settling.later("a", Millis(11_000));
    assert_eq!(settling.next(), Some(Millis(12_000)));
    settling.retain(|name| name != "a");
    assert!(!settling.has("a"));
}

proptest! {
    /// A writer writes at these times, sometimes without a sign of it in what the file looks like. Whatever is taken for
    /// complete was so for the settle time, and once the writer is silent, the file is complete soon.
    #[test]
    fn what_is_complete_had_the_same_bytes_a_settle_time_ago(
        writes in proptest::collection::vec((1u64..40_000, any::<bool>()), 0..12),
        settle in 100u64..15_000,
    ) {
        let mut settling = Settling::new(Millis(settle));
        let mut times: Vec<(u64, bool)> = writes;
        times.sort_unstable();
        let hidden_at = |now: u64| times.iter().filter(|(at, _)| *at <= now).count() as u64;
        let looks_at = |now: u64| times.iter().filter(|(at, shows)| *at <= now && *shows).count() as u64;
        let mut done_at = None;
        for now in (0..80_000).step_by(50) {
            settling.seen("a", stamp(looks_at(now)), Millis(now));
            if answer(&mut settling, looks_at(now), hidden_at(now), now) {
                done_at = Some(now);
                prop_assert_eq!(hidden_at(now), hidden_at(now - settle));
                prop_assert_eq!(looks_at(now), looks_at(now - settle));
            }
        }
        let last_that_shows = times.iter().filter(|(_, shows)| *shows).map(|(at, _)| *at).max().unwrap_or(0);
        prop_assert!(done_at.is_some_and(|at| at >= last_that_shows));
        prop_assert!(settling.complete("a", &stamp(looks_at(80_000))).is_some());
    }
}
