//! The rate: up bit by bit while nothing speaks against it, down to a share of what comes through
//! when a queue grows (draft-ietf-rmcat-gcc-02 §5.5).

use super::loss::Verdict;
use super::trend::Usage;

/// Share of what comes through that is sent after over-use, so that the queue drains.
const BACK_OFF: f64 = 0.85;

/// The same with a queue so long that it has to drain faster.
const BACK_OFF_FAR: f64 = 0.7;
const LONG_QUEUE_US: i64 = 200_000;

/// Growth a second, of the rate, before the path was ever full.
const GROWTH: f64 = 0.15;

/// What the rate may be at most, of what comes through: not more is known to.
const HEADROOM: f64 = 1.3;

/// … and beside somebody who takes what is not taken.
const HEADROOM_BESIDE: f64 = 5.0;

/// Who sends less than this is small on any path that carries pictures.
const SMALL_BPS: f64 = 450_000.0;

/// A rate is lower, and not just about the same, when it is below this share.
const LOWER: f64 = 0.97;

/// A queue that stands for longer is no burst.
const FRESH_US: i64 = 500_000;

/// Share of what is wanted that is all of it, but for chance.
const GETS_THROUGH: f64 = 0.9;

/// … and a share that is more: what stands in the queue are large frames that go through it.
const MORE_GETS_THROUGH: f64 = 1.08;

/// A trend is not believed while less than this stands in the queue: a frame that is larger than
/// the others makes one too.
const REAL_QUEUE_US: i64 = 15_000;

/// A queue that has grown to so much, and with two feedbacks in a row, needs no trend; nor does one
/// that has grown to so much more.
const PLAIN_QUEUE_US: i64 = 60_000;
const FAR_QUEUE_US: i64 = 120_000;

/// The path has become narrower when the packets of a frame come late and at less than this share of what is sent.
const NARROW: f64 = 0.7;

/// By how much the queue must have grown after the rate was lowered, to lower it once more before
/// the path can have answered.
const GROWN_ON_US: i64 = 20_000;

/// A rate of less than this share of what it was has given way, when no more than so much of it is
/// sent; for so long nothing more is given.
const GAVE_WAY: f64 = 0.4;
const OBEYS: f64 = 1.2;
const GIVES_WAY_US: i64 = 4_000_000;

/// Share of what the path carried while the queue drained that is sent afterwards, if it drained
/// within this time.
const RECOVERS: f64 = 0.92;
const RECOVERS_US: i64 = 3_000_000;

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
    /// What was sent in the time that this is about.
    pub(super) sent_bps: f64,
    /// What is sent by decision.
    pub(super) wanted_bps: f64,
    /// What the path carried lately, with what it loses anyway counted in: while the queue grew,
    /// and over a longer time.
    pub(super) carried_bps: Option<f64>,
    pub(super) came_bps: f64,
    /// At what rate the packets of the last large frame came, if they came late.
    pub(super) train_bps: Option<f64>,
    pub(super) rtt_us: i64,
    /// About as much is sent as may be.
    pub(super) is_used: bool,
}

impl Sight {
    /// Whether more is sent than goes through.
    fn is_overused(&self) -> bool {
        let trend = self.usage == Usage::Over && self.queue_us > REAL_QUEUE_US;
        let far = self.queue_us > FAR_QUEUE_US || (self.grows_on && self.queue_us > PLAIN_QUEUE_US);
        trend || (far && self.queue_growth_us > 0) || self.narrowed_to_bps().is_some()
    }

    /// What the path carries, if it has become narrower. Rates over time are still of the path as it was.
    fn narrowed_to_bps(&self) -> Option<f64> {
        self.train_bps
            .filter(|bps| *bps < NARROW * self.asked_bps())
    }

    /// What was asked of the path. More may be wanted as of just now.
    fn asked_bps(&self) -> f64 {
        self.wanted_bps.min(self.sent_bps)
    }

    /// Whether so little is sent, and comes through, that whatever fills the path is somebody else.
    fn is_small(&self, carried_bps: f64) -> bool {
        self.sent_bps < SMALL_BPS
            && carried_bps > GETS_THROUGH * self.sent_bps
            && self.verdict != Verdict::Congested
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
    narrowed_us: Option<i64>,
    /// The queue when it was last lowered.
    decreased_at_queue_us: i64,
    /// Since when a queue stands, and the rate then.
    stands: Option<(i64, f64)>,
    /// What came through last while a queue stood: the path was full then.
    full_bps: Option<f64>,
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
            narrowed_us: None,
            decreased_at_queue_us: 0,
            stands: None,
            full_bps: None,
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

    /// Whether the path was seen to have become narrower in the last `within_us`.
    pub(super) fn narrowed_within(&self, now_us: i64, within_us: i64) -> bool {
        self.narrowed_us.is_some_and(|at| now_us - at < within_us)
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
        if sight.queue_us < REAL_QUEUE_US {
            self.stands = None;
            self.recover(sight);
        } else {
            self.stands.get_or_insert((sight.now_us, self.target_bps));
            self.full_bps = sight.carried_bps;
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
        if !sight.has_rival && (self.gave_way(sight) || sight.is_small(carried)) {
            return false;
        }
        let lowered = if sight.has_rival {
            BACK_OFF_BESIDE * self.target_bps
        } else if let Some(narrowed) = sight.narrowed_to_bps() {
            self.narrowed_us = Some(sight.now_us);
            BACK_OFF * narrowed.min(carried)
        } else if sight.queue_us > LONG_QUEUE_US {
            BACK_OFF_FAR * carried
        } else if sight.came_bps > MORE_GETS_THROUGH * sight.wanted_bps
            || (sight.came_bps > GETS_THROUGH * sight.asked_bps() && self.is_fresh(sight))
        {
            // What is wanted comes through: it may be another's burst, and soon gone.
            (BACK_OFF * self.target_bps).max(carried.max(sight.wanted_bps))
        } else {
            BACK_OFF * carried
        };
        let before = self.target_bps;
        self.set(lowered.min(before));
        self.decreased_us = Some(sight.now_us);
        self.decreased_at_queue_us = sight.queue_us;
        self.target_bps < LOWER * before
    }

    /// Whether the queue may be a burst yet.
    fn is_fresh(&self, sight: &Sight) -> bool {
        self.stands
            .is_none_or(|(since_us, _)| sight.now_us - since_us < FRESH_US)
    }

    /// The queue is gone that the rate was lowered for: back to what the path carried while it drained.
    fn recover(&mut self, sight: &Sight) {
        let full_bps = self.full_bps.take();
        if let Some(full_bps) = full_bps
            && self.fell_within(sight.now_us, RECOVERS_US)
        {
            self.set(self.target_bps.max(RECOVERS * full_bps));
        }
    }

    /// Whether much less is sent already than when the queue began to stand, and it stands all the
    /// same. More of that would not help before it is known whose queue it is.
    fn gave_way(&self, sight: &Sight) -> bool {
        self.stands.is_some_and(|(since_us, before_bps)| {
            self.target_bps < GAVE_WAY * before_bps
                && sight.sent_bps < OBEYS * self.target_bps
                && sight.now_us - since_us < GIVES_WAY_US
        })
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
        let headroom = if sight.has_rival {
            HEADROOM_BESIDE
        } else {
            HEADROOM
        };
        let most = (headroom * carried + 10_000.0).max(self.target_bps);
        let grown = self.target_bps + growth_bps * elapsed_us as f64 / 1e6;
        self.set(grown.min(most));
    }

    /// A probe found that so much is carried: at least, or at most. What is sent and comes through
    /// all the same (`in_use_bps`) is not given up for it.
    pub(super) fn probed(&mut self, bps: f64, is_limit: bool, in_use_bps: f64) {
        if is_limit && bps < self.target_bps {
            self.set(bps.max(in_use_bps).min(self.target_bps));
        } else {
            self.believe(bps);
        }
    }

    /// So much is carried at least.
    pub(super) fn believe(&mut self, bps: f64) {
        self.set(self.target_bps.max(bps));
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
