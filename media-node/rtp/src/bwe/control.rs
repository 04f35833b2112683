//! The rate: up bit by bit while nothing speaks against it, down to a share of what comes through
//! when a queue grows (draft-ietf-rmcat-gcc-02 §5.5).

use super::loss::Verdict;
use super::trend::Usage;

/// Share of what comes through that is sent after over-use, so that the queue drains.
const BACK_OFF: f64 = 0.85;

/// The same with a queue so long that it has to drain faster.
const BACK_OFF_FAR: f64 = 0.7;
const LONG_QUEUE_US: i64 = 150_000;

/// Growth a second, far from what the path is known to carry.
const GROWTH: f64 = 0.15;

/// What the rate may be at most, of what comes through: not more is known to.
const HEADROOM: f64 = 1.5;

/// A queue in which it is not grown further.
const CALM_QUEUE_US: i64 = 30_000;

/// Least rates of growth near the path's capacity, in bit/s a second.
const LEAST_GROWTH_BPS: f64 = 20_000.0;

/// What is seen of the path with a feedback.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) now_us: i64,
    pub(super) usage: Usage,
    pub(super) verdict: Verdict,
    /// What always waits in the queue.
    pub(super) queue_us: i64,
    pub(super) queue_drains: bool,
    /// What the path carried lately, with what it loses anyway counted in.
    pub(super) carried_bps: Option<f64>,
    pub(super) rtt_us: i64,
    /// Much less is sent than might be.
    pub(super) is_limited_by_source: bool,
}

/// What the path was found to carry when it was full.
#[derive(Clone, Copy, Debug, Default)]
struct Capacity {
    mean_bps: Option<f64>,
    /// Variance, in units of the mean.
    spread: f64,
}

impl Capacity {
    fn add(&mut self, bps: f64) {
        let mean = *self.mean_bps.get_or_insert(bps);
        let mean = mean + 0.05 * (bps - mean);
        let off = (mean - bps) / mean.max(1.0).sqrt();
        self.spread = (0.95 * self.spread + 0.05 * off * off / 1e3).clamp(0.4, 2.5);
        self.mean_bps = Some(mean);
    }

    /// Forgets a capacity that what was seen now contradicts.
    fn check(&mut self, bps: f64) {
        if let Some(mean) = self.mean_bps {
            let deviation = 3.0 * (self.spread * 1e3 * mean).sqrt();
            if (bps - mean).abs() > deviation {
                *self = Self::default();
            }
        }
    }
}

/// The rate that may be sent.
#[derive(Debug)]
pub(super) struct RateControl {
    target_bps: f64,
    min_bps: f64,
    max_bps: f64,
    capacity: Capacity,
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
            capacity: Capacity::default(),
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
        match sight.usage {
            Usage::Over => self.decrease(sight),
            Usage::Under => false,
            Usage::Normal => {
                let growing = self.before_trial_bps.is_none() && !sight.is_limited_by_source;
                if growing && sight.queue_us < CALM_QUEUE_US {
                    self.increase(sight, elapsed_us);
                }
                false
            }
        }
    }

    fn decrease(&mut self, sight: &Sight) -> bool {
        let Some(carried) = sight.carried_bps else {
            return false;
        };
        // What was sent before the last decrease still comes in: only a queue that grows on says
        // that it was not enough.
        let answered_us = sight.rtt_us + 150_000;
        if self.fell_within(sight.now_us, answered_us)
            && (sight.queue_drains || sight.queue_us <= self.decreased_at_queue_us)
        {
            return false;
        }
        self.capacity.check(carried);
        self.capacity.add(carried);
        let share = if sight.queue_us > LONG_QUEUE_US {
            BACK_OFF_FAR
        } else {
            BACK_OFF
        };
        let lowered = (share * carried).min(self.target_bps);
        self.set(lowered);
        self.decreased_us = Some(sight.now_us);
        self.decreased_at_queue_us = sight.queue_us;
        true
    }

    fn increase(&mut self, sight: &Sight, elapsed_us: i64) {
        let Some(carried) = sight.carried_bps else {
            return;
        };
        self.capacity.check(carried.max(self.target_bps));
        let elapsed_s = elapsed_us as f64 / 1e6;
        let growth_bps = if self.capacity.mean_bps.is_some() {
            // Half a packet a response time.
            let response_s = (sight.rtt_us + 100_000) as f64 / 1e6;
            (0.5 * 8.0 * 1200.0 / response_s).max(LEAST_GROWTH_BPS)
        } else {
            GROWTH * self.target_bps
        };
        let most = (HEADROOM * carried + 10_000.0).max(self.target_bps);
        self.set((self.target_bps + growth_bps * elapsed_s).min(most));
    }

    /// A probe found that so much is carried, at least or at most.
    pub(super) fn probed(&mut self, bps: f64, is_limit: bool, carried_bps: Option<f64>) {
        if bps > self.target_bps {
            self.capacity.check(bps);
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
