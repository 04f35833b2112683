//! Whether somebody else keeps the path's queue full, as a bulk transfer does that slows down only
//! for loss. A queue of our own drains when we send less. One that does not may be another's, and
//! who gives way to it for ever gets nothing. A probe tells: on a path that is full of our own
//! packets it finds just what we send; in another's queue it gets a larger share than we have.

/// A queue that stands above this is not empty, and one below it is.
const STANDING_US: i64 = 20_000;
const EMPTY_US: i64 = 8_000;

/// How long it is empty when the other one is gone, and not only backing off.
const GONE_AFTER_US: i64 = 3_000_000;

/// How long a queue stands before it is looked into, and how often after that.
const SUSPICIOUS_AFTER_US: i64 = 1_200_000;
const LOOK_EVERY_US: i64 = 3_000_000;

/// A queue that is down to this share drains.
const DRAINS: f64 = 0.75;

/// How much more than is sent a probe finds in another's queue at least.
const SHARE_IS_ANOTHERS: f64 = 1.4;
const SHARE_IS_OURS: f64 = 1.15;

/// Looks for somebody else's queue.
#[derive(Debug, Default)]
pub(super) struct Rival {
    present: bool,
    /// Since when, and with how much at most, a queue stands.
    stands: Option<(i64, i64)>,
    empty_since_us: Option<i64>,
    not_before_us: i64,
}

impl Rival {
    /// Whether somebody else keeps the queue full.
    pub(super) fn is_present(&self) -> bool {
        self.present
    }

    /// Whether a probe should look into the queue.
    pub(super) fn wants_probe(&self, now_us: i64) -> bool {
        now_us >= self.not_before_us
            && self
                .stands
                .is_some_and(|(since_us, _)| now_us - since_us > SUSPICIOUS_AFTER_US)
    }

    /// Feedback came; so much stands in the queue.
    pub(super) fn look(&mut self, now_us: i64, queue_us: i64) {
        if queue_us < EMPTY_US {
            let since_us = *self.empty_since_us.get_or_insert(now_us);
            if now_us - since_us >= GONE_AFTER_US {
                self.present = false;
            }
        } else {
            self.empty_since_us = None;
        }
        let (since_us, most_us) = self.stands.unwrap_or((now_us, queue_us));
        self.stands = if queue_us < STANDING_US {
            None
        } else if (queue_us as f64) < DRAINS * most_us as f64 {
            Some((now_us, queue_us))
        } else {
            Some((since_us, most_us.max(queue_us)))
        };
    }

    /// A probe found that so much is carried, while so much was sent otherwise.
    pub(super) fn probed(&mut self, now_us: i64, found_bps: f64, sent_bps: f64) {
        if self.stands.is_none() {
            return;
        }
        self.not_before_us = now_us + LOOK_EVERY_US;
        if found_bps > SHARE_IS_ANOTHERS * sent_bps {
            self.present = true;
        } else if found_bps < SHARE_IS_OURS * sent_bps {
            self.present = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So much stands in the queue from a time to another.
    fn stand(rival: &mut Rival, ms: std::ops::Range<i64>, queue_us: i64) {
        for ms in ms.step_by(50) {
            rival.look(ms * 1000, queue_us);
        }
    }

    #[test]
    fn a_queue_that_stands_and_gives_more_is_anothers() {
        let mut rival = Rival::default();
        stand(&mut rival, 0..500, 100_000);
        assert!(!rival.wants_probe(500_000), "too early to say");
        stand(&mut rival, 500..1300, 90_000);
        assert!(rival.wants_probe(1_300_000));
        rival.probed(1_300_000, 2e6, 1e6);
        assert!(rival.is_present());
        stand(&mut rival, 1300..3000, 5_000);
        assert!(rival.is_present(), "a moment is not enough");
        stand(&mut rival, 3000..4500, 5_000);
        assert!(!rival.is_present());
    }

    #[test]
    fn our_own_queue_is_not() {
        let mut rival = Rival::default();
        stand(&mut rival, 0..1300, 100_000);
        rival.probed(1_300_000, 1.05e6, 1e6);
        assert!(!rival.is_present());
        assert!(!rival.wants_probe(1_400_000));
        // One that drains asks for no probe.
        stand(&mut rival, 9_000..10_000, 0);
        let mut queue_us = 800_000;
        for step in 0..8 {
            let ms = 10_000 + 300 * step;
            stand(&mut rival, ms..ms + 300, queue_us);
            assert!(!rival.wants_probe(1000 * ms));
            queue_us = queue_us * 7 / 10;
        }
    }
}
