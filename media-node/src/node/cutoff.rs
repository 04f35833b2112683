//! Whether a node is cut off from its viewers: its control port answers, and nobody of those who should be heard on its
//! media ports is. Pure: shards say what they hear, with their clocks.
//!
//! One viewer's silence says nothing of the node, and neither does that of two. Those who leave together, as at the end
//! of a show, fall silent before their sessions end; who can't be heard has no reason to leave. When a host falls silent
//! so do its viewers, but most of them have answered the last packets. Who is missed by a shard that had no time to listen
//! is its own affair (`shard/hearing.rs`).

use std::time::{Duration, Instant};

use crate::shard::hearing::Hearing;

/// So many must be missed.
const FEWEST: u32 = 3;
/// So many times in a row.
const ROUNDS: u32 = 2;
/// Those who are missed are leaving if there are fewer by more than this part from one round to the next.
const LEAVING: u32 = 100;
/// When nobody has been missed for so long, the node gets a new chance: those who come next will tell.
const REST: Duration = Duration::from_secs(10);
/// After each chance that came to nothing the next takes twice as long, up to this.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// What has just become known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nobody is heard of so many.
    CutOff { missed: u32 },
    /// Somebody is heard.
    Heard,
    /// Nobody has been missed for so long: it may be over.
    Rested(Duration),
}

/// What was heard so far.
#[derive(Debug, Default)]
pub(super) struct CutOff {
    /// What each shard has said in this round.
    shards: Vec<Option<Hearing>>,
    /// How many were missed in it.
    missed: u32,
    /// Rounds in a row in which nobody was heard.
    silent_rounds: u32,
    is_so: bool,
    /// Since when nobody has been missed.
    missed_by_none: Option<Instant>,
    /// Chances in a row that came to nothing.
    failed_chances: u32,
}

impl CutOff {
    /// Of a node with so many shards.
    pub(super) fn of(shards: usize) -> CutOff {
        CutOff {
            shards: vec![None; shards],
            ..CutOff::default()
        }
    }

    /// Whether it is cut off.
    pub(super) fn is_so(&self) -> bool {
        self.is_so
    }

    /// A shard says whom it hears. A round is over when all have.
    pub(super) fn on_hearing(
        &mut self,
        now: Instant,
        shard: usize,
        hearing: Hearing,
    ) -> Option<Change> {
        *self.shards.get_mut(shard)? = Some(hearing);
        let all = self.shards.iter().copied();
        let all = all.reduce(|sum, one| Some(sum?.plus(one?)))??;
        self.shards.fill(None);
        self.on_round(now, all)
    }

    fn on_round(&mut self, now: Instant, all: Hearing) -> Option<Change> {
        let missed_before = std::mem::replace(&mut self.missed, all.missed);
        if all.heard > 0 {
            self.silent_rounds = 0;
            self.failed_chances = 0;
            self.missed_by_none = None;
            return std::mem::take(&mut self.is_so).then_some(Change::Heard);
        }
        if self.is_so {
            return self.rest(now, all.missed);
        }
        let fewer = missed_before.saturating_sub(all.missed);
        let are_leaving = fewer > missed_before / LEAVING;
        let are_most = all.missed >= FEWEST && all.missed > all.answered;
        let is_silent = !are_leaving && are_most;
        self.silent_rounds = if is_silent { self.silent_rounds + 1 } else { 0 };
        self.is_so = self.silent_rounds >= ROUNDS;
        let missed = all.missed;
        self.is_so.then_some(Change::CutOff { missed })
    }

    fn rest(&mut self, now: Instant, missed: u32) -> Option<Change> {
        if missed > 0 {
            self.missed_by_none = None;
            return None;
        }
        let since = *self.missed_by_none.get_or_insert(now);
        let doubled = REST.saturating_mul(1 << self.failed_chances.min(16));
        let rest = doubled.min(LONGEST_REST);
        if now.saturating_duration_since(since) < rest {
            return None;
        }
        self.failed_chances += 1;
        self.missed_by_none = None;
        self.silent_rounds = 0;
        self.is_so = false;
        Some(Change::Rested(rest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How often shards say what they hear.
    const EVERY: Duration = Duration::from_millis(100);

    /// A node of one shard, by a clock that goes on a round at a time.
    struct Node {
        rule: CutOff,
        now: Instant,
    }

    impl Node {
        fn new() -> Node {
            Node {
                rule: CutOff::of(1),
                now: Instant::now(),
            }
        }

        fn round_after(&mut self, pause: Duration, heard: u32, missed: u32) -> Option<Change> {
            self.now += pause;
            self.hears(Hearing {
                heard,
                missed,
                ..Hearing::default()
            })
        }

        fn hears(&mut self, hearing: Hearing) -> Option<Change> {
            self.rule.on_hearing(self.now, 0, hearing)
        }

        fn round(&mut self, heard: u32, missed: u32) -> Option<Change> {
            self.round_after(EVERY, heard, missed)
        }

        fn is_cut_off(&mut self) {
            self.round(0, 3);
            assert_eq!(self.round(0, 3), Some(Change::CutOff { missed: 3 }));
        }

        /// Seconds until it gets a new chance.
        fn rests(&mut self) -> f64 {
            let since = self.now;
            loop {
                if let Some(change) = self.round(0, 0) {
                    let Change::Rested(_) = change else {
                        panic!("{change:?}");
                    };
                    return (self.now - since).as_secs_f64();
                }
            }
        }
    }

    #[test]
    fn it_is_cut_off_when_three_are_missed_twice_and_nobody_is_heard() {
        let mut node = Node::new();
        assert_eq!(node.round(0, 3), None, "once");
        assert_eq!(node.round(0, 7), Some(Change::CutOff { missed: 7 }));
        assert!(node.rule.is_so());
        assert_eq!(node.round(0, 7), None, "it is said once");
        assert_eq!(node.round(1, 6), Some(Change::Heard));
        assert!(!node.rule.is_so());
        for (heard, missed) in [(0, 2), (1, 900), (0, 0)] {
            let mut node = Node::new();
            for _ in 0..100 {
                assert_eq!(node.round(heard, missed), None, "{heard} {missed}");
            }
        }
    }

    #[test]
    fn one_that_is_heard_in_between_counts() {
        let mut node = Node::new();
        for _ in 0..100 {
            assert_eq!(node.round(0, 9), None);
            assert_eq!(node.round(1, 8), None);
        }
    }

    #[test]
    fn what_one_shard_hears_counts_for_all() {
        let mut rule = CutOff::of(2);
        let start = Instant::now();
        let at = |tick: u32| start + EVERY * tick;
        let silent = Hearing {
            missed: 2,
            ..Hearing::default()
        };
        assert_eq!(rule.on_hearing(at(0), 0, silent), None);
        assert_eq!(rule.on_hearing(at(0), 1, silent), None, "four, once");
        assert_eq!(rule.on_hearing(at(1), 0, silent), None);
        assert_eq!(rule.on_hearing(at(2), 0, silent), None, "the other lacks");
        let change = rule.on_hearing(at(2), 1, silent);
        assert_eq!(change, Some(Change::CutOff { missed: 4 }));
        let heard = Hearing {
            heard: 1,
            ..Hearing::default()
        };
        assert_eq!(rule.on_hearing(at(3), 1, heard), None);
        assert_eq!(rule.on_hearing(at(3), 0, silent), Some(Change::Heard));
        assert_eq!(rule.on_hearing(at(4), 2, silent), None, "there is none");
    }

    #[test]
    fn those_who_leave_together_are_not_missed() {
        let mut node = Node::new();
        node.round(600, 0);
        for left in (3..600).rev().step_by(7) {
            assert_eq!(node.round(0, left), None);
        }
        // One or the other does not wait.
        let mut node = Node::new();
        node.round(600, 0);
        node.round(0, 600);
        assert_eq!(node.round(0, 594), Some(Change::CutOff { missed: 594 }));
        let mut node = Node::new();
        node.round(0, 8);
        assert_eq!(node.round(0, 7), None);
        assert_eq!(node.round(0, 7), None, "once");
        assert!(node.round(0, 7).is_some());
    }

    #[test]
    fn viewers_who_answered_to_the_last_fall_silent_with_their_host() {
        for (missed, answered, is_cut_off) in [(10, 990, false), (9, 9, false), (7, 1, true)] {
            let mut node = Node::new();
            let changes = (0..20).filter_map(|_| {
                node.now += EVERY;
                node.hears(Hearing {
                    heard: 0,
                    missed,
                    answered,
                })
            });
            assert_eq!(changes.count() > 0, is_cut_off, "{missed} {answered}");
        }
    }

    #[test]
    fn it_stays_cut_off_whatever_time_the_node_has() {
        let mut node = Node::new();
        node.is_cut_off();
        assert_eq!(node.round_after(Duration::from_secs(3), 0, 3), None);
        assert!(node.rule.is_so());
    }

    #[test]
    fn it_gets_a_new_chance_when_nobody_is_missed_and_a_later_one_each_time() {
        let mut node = Node::new();
        let mut rests = Vec::new();
        for _ in 0..8 {
            node.is_cut_off();
            rests.push(node.rests().round());
        }
        assert_eq!(rests, [10., 20., 40., 80., 160., 300., 300., 300.]);
        node.round(1, 0);
        node.is_cut_off();
        assert_eq!(node.rests().round(), 10., "somebody was heard");
    }

    #[test]
    fn who_is_missed_in_between_takes_the_chance_away() {
        let mut node = Node::new();
        node.is_cut_off();
        for _ in 0..50 {
            node.round_after(REST - EVERY, 0, 0);
            assert_eq!(node.round(0, 1), None);
        }
        assert!(node.rule.is_so());
        assert_eq!(node.rests().round(), 10.);
    }

    proptest! {
        /// Whatever happens: it is cut off only with nobody heard and enough missed in the last rounds, is said to be
        /// so when that changes and at no other time, and ends at once when somebody is heard.
        #[test]
        fn it_follows_from_what_is_heard(
            rounds in prop::collection::vec((0u32..3, 0u32..6, 50u64..700), 1..200),
        ) {
            let mut node = Node::new();
            let mut before = (0, 0);
            let mut was = false;
            for (heard, missed, pause) in rounds {
                let heard = heard.saturating_sub(1);
                let change = node.round_after(Duration::from_millis(pause), heard, missed);
                let is = node.rule.is_so();
                prop_assert_eq!(change.is_some(), was != is);
                if heard > 0 {
                    prop_assert!(!is);
                }
                if is && !was {
                    prop_assert!(missed >= 3 && before.0 == 0 && before.1 >= 3);
                }
                (was, before) = (is, (heard, missed));
            }
        }
    }
}
