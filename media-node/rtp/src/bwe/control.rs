//! The rate: up bit by bit while nothing speaks against it, down to a share of what comes through
//! when a queue grows (draft-ietf-rmcat-gcc-02 §5.5).

use super::loss::Verdict;
use super::trend::Usage;

/// Share of what comes through that is sent after over-use, so that the queue drains.
const BACK_OFF: f64 = 0.85;

/// The same with a queue so long that it has to drain faster.
const BACK_OFF_FAR: f64 = 0.7;
const LONG_QUEUE_US: i64 = 150_000;

/// Growth a second, of the rate, before the path was ever full.
const GROWTH: f64 = 0.15;

/// What the rate may be at most, of what comes through: not more is known to.
const HEADROOM: f64 = 1.3;

/// A rate is lower, and not just about the same, when it is below this share.
const LOWER: f64 = 0.97;

/// Share of what is sent that is all of it, but for chance.
const GETS_THROUGH: f64 = 0.95;

/// A trend is not believed while less than this stands in the queue: a frame that is larger than
/// the others makes one too.
const REAL_QUEUE_US: i64 = 15_000;

/// A queue that has grown to so much, and with two feedbacks in a row, needs no trend; nor does one
/// that has grown to so much more.
const PLAIN_QUEUE_US: i64 = 40_000;
const FAR_QUEUE_US: i64 = 90_000;

/// By how much the queue must have grown after the rate was lowered, to lower it once more before
/// the path can have answered.
const GROWN_ON_US: i64 = 20_000;

/// Share that is sent after loss beside somebody who gives way for loss only.
const BACK_OFF_BESIDE: f64 = 0.9;

/// A queue in which it is not grown further.
const CALM_QUEUE_US: i64 = 30_000;

/// Growth after over-use, in bit/s a second: slow at first, as the path's capacity is near, then
/// faster and faster, as it must have changed. It goes by time and not by rate, so that all that
/// share a path end up with equal shares.
const CAREFUL_GROWTH_BPS: f64 = 60_000.0;
const CAREFUL_FOR_US: f64 = 2_000_000.0;
const FASTEST_GROWTH: f64 = 0.5;

/// What is seen of the path with a feedback.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) now_us: i64,
    pub(super) usage: Usage,
    pub(super) verdict: Verdict,
    /// What stands in the queue, and by how much that grew.
    pub(super) queue_us: i64,
    pub(super) queue_growth_us: i64,
    /// It grew with the feedback before, too.
    pub(super) grows_on: bool,
    /// Somebody else keeps the queue full.
    pub(super) has_rival: bool,
    /// What was sent lately.
    pub(super) sent_bps: f64,
    /// What the path carried lately, with what it loses anyway counted in.
    pub(super) carried_bps: Option<f64>,
    pub(super) rtt_us: i64,
    /// About as much is sent as may be.
    pub(super) is_used: bool,
}

impl Sight {
    /// Whether more is sent than goes through.
    fn is_overused(&self) -> bool {
        let trend = self.usage == Usage::Over && self.queue_us > REAL_QUEUE_US;
        let far = self.queue_us > FAR_QUEUE_US || (self.grows_on && self.queue_us > PLAIN_QUEUE_US);
        trend || (far && self.queue_growth_us > 0)
    }
}

/// The rate that may be sent.
#[derive(Debug)]
pub(super) struct RateControl {
    target_bps: f64,
    min_bps: f64,
    max_bps: f64,
    updated_us: Option<i64>,
    decreased_us: Option<i64>,
    /// The queue when it was last lowered.
    decreased_at_queue_us: i64,
    /// The rate before a trial, or a silence, lowered it.
    before_trial_bps: Option<f64>,
    before_silence_bps: Option<f64>,
}

impl RateControl {
    pub(super) fn new(min_bps: f64, start_bps: f64, max_bps: f64) -> Self {
        Self {
            target_bps: start_bps.clamp(min_bps, max_bps),
            min_bps,
            max_bps,
            updated_us: None,
            decreased_us: None,
            decreased_at_queue_us: 0,
            before_trial_bps: None,
            before_silence_bps: None,
        }
    }

    /// Bit/s that may be sent.
    pub(super) fn target_bps(&self) -> f64 {
        self.target_bps
    }

    /// Whether it was lowered in the last `within_us`.
    pub(super) fn fell_within(&self, now_us: i64, within_us: i64) -> bool {
        self.decreased_us.is_some_and(|at| now_us - at < within_us)
    }

    fn set(&mut self, bps: f64) {
        self.target_bps = bps.clamp(self.min_bps, self.max_bps);
    }

    /// Feedback came. Gives whether the rate was lowered.
    pub(super) fn update(&mut self, sight: &Sight) -> bool {
        let before_us = self
            .updated_us
            .replace(sight.now_us)
            .unwrap_or(sight.now_us);
        let elapsed_us = (sight.now_us - before_us).clamp(0, 1_000_000);
        if let Some(before) = self.before_silence_bps.take() {
            self.set(before);
        }
        match sight.verdict {
            Verdict::Congested => {
                self.before_trial_bps = None;
                return self.decrease(sight);
            }
            Verdict::Try => {
                self.before_trial_bps = Some(self.target_bps);
                if let Some(carried) = sight.carried_bps {
                    self.set(self.target_bps.min(carried));
                }
                return false;
            }
            Verdict::Cleared => {
                if let Some(before) = self.before_trial_bps.take() {
                    self.set(self.target_bps.max(before));
                }
            }
            Verdict::Bearable => {}
        }
        if sight.has_rival {
            // Its queue is not ours to drain; loss says when there is too much of both.
            self.increase(sight, elapsed_us);
            return false;
        }
        if sight.is_overused() {
            return self.decrease(sight);
        }
        let growing = self.before_trial_bps.is_none() && sight.is_used;
        if growing && sight.usage == Usage::Normal && sight.queue_us < CALM_QUEUE_US {
            self.increase(sight, elapsed_us);
        }
        false
    }

    fn decrease(&mut self, sight: &Sight) -> bool {
        let Some(carried) = sight.carried_bps else {
            return false;
        };
        // What was sent before the last decrease still comes in: only a queue that grows on says
        // that it was not enough.
        let answered_us = sight.rtt_us + 150_000;
        if self.fell_within(sight.now_us, answered_us)
            && sight.queue_us < self.decreased_at_queue_us + GROWN_ON_US
        {
            return false;
        }
        let lowered = if sight.has_rival {
            BACK_OFF_BESIDE * carried.max(sight.sent_bps.min(self.target_bps))
        } else if sight.queue_us > LONG_QUEUE_US {
            BACK_OFF_FAR * carried
        } else if !sight.is_used && carried > GETS_THROUGH * sight.sent_bps {
            // All that is sent comes through: that more would not is only likely.
            (BACK_OFF * self.target_bps).max(carried)
        } else {
            BACK_OFF * carried
        };
        let before = self.target_bps;
        self.set(lowered.min(before));
        self.decreased_us = Some(sight.now_us);
        self.decreased_at_queue_us = sight.queue_us;
        self.target_bps < LOWER * before
    }

    fn increase(&mut self, sight: &Sight, elapsed_us: i64) {
        let Some(carried) = sight.carried_bps else {
            return;
        };
        let growth_bps = match self.decreased_us {
            Some(at_us) => {
                let since = (sight.now_us - at_us) as f64 / CAREFUL_FOR_US;
                let growth_bps = CAREFUL_GROWTH_BPS * (1.0 + since) * (1.0 + since);
                growth_bps.min(FASTEST_GROWTH * self.target_bps)
            }
            None => GROWTH * self.target_bps,
        };
        let most = (HEADROOM * carried + 10_000.0).max(self.target_bps);
        let grown = self.target_bps + growth_bps * elapsed_us as f64 / 1e6;
        self.set(grown.min(most));
    }

    /// A probe found that so much is carried, at least or at most.
    pub(super) fn probed(&mut self, bps: f64, is_limit: bool, carried_bps: Option<f64>) {
        if bps > self.target_bps {
            self.set(bps);
        } else if is_limit {
            let lowered = bps.max(carried_bps.unwrap_or(0.0));
            self.set(lowered.min(self.target_bps));
        }
    }

    /// Multiplies the rate, on the word of receiver reports.
    pub(super) fn scale(&mut self, factor: f64) {
        self.set(factor * self.target_bps);
    }

    /// Takes the rate that the peer says.
    pub(super) fn dictate(&mut self, bps: f64) {
        self.set(bps);
    }

    /// Nothing was heard for long: half of it, until something is.
    pub(super) fn silence(&mut self) {
        self.before_silence_bps.get_or_insert(self.target_bps);
        self.set(self.target_bps / 2.0);
    }
}
