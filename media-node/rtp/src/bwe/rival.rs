//! Whether somebody else keeps the path's queue full, as a bulk transfer does that slows down only
//! for loss. A queue of our own drains when we send less. One that does not may be another's, and
//! who gives way to it for ever gets nothing. A probe tells: on a path that is full of our own
//! packets it finds just what we send; in another's queue it gets a larger share than we have.

/// A queue that stands above this is not empty.
const STANDING_US: i64 = 20_000;

/// A queue that is down to this share drains.
const DRAINS: f64 = 0.75;

/// Who sends less than this share of what it did when the queue began has given way.
const GAVE_WAY: f64 = 0.7;

/// How long a queue stands, after way was given to it, before it is looked into, and how often then.
const SUSPICIOUS_AFTER_US: i64 = 1_200_000;
const LOOK_EVERY_US: i64 = 3_000_000;

/// A queue that stands for so long is more than a burst; how long there has been none such when the
/// other one is gone, and not only backing off.
const LONG_US: i64 = 1_000_000;
const GONE_AFTER_US: i64 = 8_000_000;

/// How much more than is sent a probe finds in another's queue at least, and at most in our own.
const SHARE_IS_ANOTHERS: f64 = 1.25;
const SHARE_IS_OURS: f64 = 1.1;

/// Probes in a row that found no more than is sent, until a queue is ours.
const OURS_AFTER: u32 = 2;

/// A queue that does not drain.
#[derive(Clone, Copy, Debug)]
struct Stand {
    since_us: i64,
    most_us: i64,
    /// The most that was sent meanwhile, in bit/s.
    sent_bps: f64,
    /// Since when much less is.
    gave_way_us: Option<i64>,
}

/// Looks for somebody else's queue.
#[derive(Debug, Default)]
pub(super) struct Rival {
    present: bool,
    stand: Option<Stand>,
    /// When a queue last stood for long.
    stood_us: i64,
    not_before_us: i64,
    ours: u32,
}

impl Rival {
    /// Whether somebody else keeps the queue full.
    pub(super) fn is_present(&self) -> bool {
        self.present
    }

    /// Whether a probe should look into the queue.
    pub(super) fn wants_probe(&self, now_us: i64) -> bool {
        let is_long = |since_us: i64| now_us - since_us > SUSPICIOUS_AFTER_US;
        now_us >= self.not_before_us
            && self.stand.is_some_and(|stand| {
                let since_us = if self.present {
                    Some(stand.since_us)
                } else {
                    stand.gave_way_us
                };
                since_us.is_some_and(is_long)
            })
    }

    /// Feedback came: what stands in the queue, and what was sent lately.
    pub(super) fn look(&mut self, now_us: i64, queue_us: i64, sent_bps: f64) {
        if queue_us < STANDING_US {
            self.stand = None;
        } else {
            let stand = self.stand.get_or_insert(Stand {
                since_us: now_us,
                most_us: queue_us,
                sent_bps,
                gave_way_us: None,
            });
            stand.follow(now_us, queue_us, sent_bps);
            if now_us - stand.since_us > LONG_US {
                self.stood_us = now_us;
            }
        }
        self.present &= now_us - self.stood_us < GONE_AFTER_US;
    }

    /// A probe found that so much is carried, while so much was sent otherwise.
    pub(super) fn probed(&mut self, now_us: i64, found_bps: f64, sent_bps: f64) {
        let Some(stand) = self.stand else {
            return;
        };
        self.not_before_us = now_us + LOOK_EVERY_US;
        if found_bps < SHARE_IS_OURS * sent_bps {
            self.ours += 1;
            self.present &= self.ours < OURS_AFTER;
        } else {
            self.ours = 0;
            let gave_way = stand.gave_way_us.is_some();
            self.present |= gave_way && found_bps > SHARE_IS_ANOTHERS * sent_bps;
        }
    }
}

impl Stand {
    fn follow(&mut self, now_us: i64, queue_us: i64, sent_bps: f64) {
        if (queue_us as f64) < DRAINS * self.most_us as f64 {
            // It drains: whatever was given way to is going.
            self.since_us = now_us;
            self.most_us = queue_us;
            self.gave_way_us = self.gave_way_us.map(|_| now_us);
        }
        self.most_us = self.most_us.max(queue_us);
        self.sent_bps = self.sent_bps.max(sent_bps);
        if sent_bps < GAVE_WAY * self.sent_bps {
            self.gave_way_us.get_or_insert(now_us);
        } else {
            self.gave_way_us = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So much stands in the queue from a time to another, and so much is sent.
    fn stand(rival: &mut Rival, ms: std::ops::Range<i64>, queue_us: i64, sent_bps: f64) {
        for ms in ms.step_by(50) {
            rival.look(ms * 1000, queue_us, sent_bps);
        }
    }

    #[test]
    fn a_queue_that_stands_and_gives_more_is_anothers() {
        let mut rival = Rival::default();
        stand(&mut rival, 0..500, 100_000, 2e6);
        stand(&mut rival, 500..1500, 90_000, 1e6);
        assert!(!rival.wants_probe(1_500_000), "too early to say");
        stand(&mut rival, 1500..1800, 90_000, 1e6);
        assert!(rival.wants_probe(1_800_000));
        rival.probed(1_800_000, 2e6, 1e6);
        assert!(rival.is_present());
        stand(&mut rival, 1800..4000, 5_000, 1e6);
        assert!(rival.is_present(), "it may back off only");
        stand(&mut rival, 4000..4500, 50_000, 1e6);
        stand(&mut rival, 4500..10_500, 5_000, 1e6);
        assert!(!rival.is_present(), "a burst is no rival");
    }

    #[test]
    fn who_gives_no_way_has_no_rival() {
        let mut rival = Rival::default();
        stand(&mut rival, 0..5_000, 200_000, 1e6);
        assert!(!rival.wants_probe(5_000_000));
        rival.probed(5_000_000, 2e6, 1e6);
        assert!(!rival.is_present());
    }

    #[test]
    fn our_own_queue_is_not() {
        let mut rival = Rival::default();
        stand(&mut rival, 0..500, 100_000, 2e6);
        stand(&mut rival, 500..1800, 100_000, 1e6);
        rival.probed(1_800_000, 1.05e6, 1e6);
        assert!(!rival.is_present());
        assert!(!rival.wants_probe(1_900_000));
        // One that drains asks for no probe.
        stand(&mut rival, 9_000..10_000, 0, 1e6);
        let mut queue_us = 800_000;
        for step in 0..8 {
            let ms = 10_000 + 300 * step;
            let sent_bps = if step == 0 { 2e6 } else { 1e6 };
            stand(&mut rival, ms..ms + 300, queue_us, sent_bps);
            assert!(!rival.wants_probe(1000 * ms));
            queue_us = queue_us * 7 / 10;
        }
    }
}
