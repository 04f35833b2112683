//! The trend of the one-way delay: a line through the last groups' delays, whose slope against a
//! threshold that adapts says whether a queue grows (draft-ietf-rmcat-gcc-02 §5.4, with the line in
//! place of the Kalman filter, as practice has it).

use super::groups::Delta;

/// Groups that the line goes through.
const WINDOW: usize = 20;

/// Weight of what was, in the smoothed delay.
const SMOOTHING: f64 = 0.9;

/// Scales a slope to the threshold's milliseconds.
const GAIN: f64 = 4.0;

/// A slope counts in full once so many groups have been seen.
const FULL_WEIGHT: u32 = 60;

/// Threshold in the beginning, and its bounds, in ms.
const THRESHOLD_MS: f64 = 12.5;
const THRESHOLD_BOUNDS_MS: (f64, f64) = (6.0, 600.0);

/// How fast the threshold follows a trend that is above it, and one below.
const FOLLOW_UP: f64 = 0.0087;
const FOLLOW_DOWN: f64 = 0.039;

/// A trend so far above the threshold is an outlier, which it does not follow.
const OUTLIER_MS: f64 = 15.0;

/// How long a trend must hold before it counts as over-use.
const OVERUSE_US: i64 = 10_000;

/// What the delay does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Usage {
    /// It falls: a queue drains.
    Under,
    /// It stays.
    #[default]
    Normal,
    /// It rises: more is sent than goes through.
    Over,
}

/// Follows the trend of the delay.
#[derive(Debug)]
pub(super) struct Trend {
    /// Arrival and smoothed delay of the last groups, in ms.
    points: [(f64, f64); WINDOW],
    /// Groups on this line, and in all.
    on_line: usize,
    groups: u32,
    first_arrival_us: Option<i64>,
    delay_ms: f64,
    smoothed_ms: f64,
    slope_before: f64,
    threshold_ms: f64,
    adapted_us: Option<i64>,
    over_for_us: i64,
    over_groups: u32,
    usage: Usage,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            points: [(0.0, 0.0); WINDOW],
            on_line: 0,
            groups: 0,
            first_arrival_us: None,
            delay_ms: 0.0,
            smoothed_ms: 0.0,
            slope_before: 0.0,
            threshold_ms: THRESHOLD_MS,
            adapted_us: None,
            over_for_us: 0,
            over_groups: 0,
            usage: Usage::Normal,
        }
    }
}

impl Trend {
    /// What the delay does now.
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// Begins a new line, with the threshold that was learnt.
    pub(super) fn restart(&mut self) {
        *self = Self {
            threshold_ms: self.threshold_ms,
            adapted_us: self.adapted_us,
            groups: self.groups,
            ..Self::default()
        };
    }

    /// A group is whole.
    pub(super) fn add(&mut self, delta: Delta) {
        let first_us = *self.first_arrival_us.get_or_insert(delta.at_us);
        self.delay_ms += (delta.arrival_us - delta.sent_us) as f64 / 1e3;
        self.smoothed_ms = SMOOTHING * self.smoothed_ms + (1.0 - SMOOTHING) * self.delay_ms;
        self.points[self.on_line % WINDOW] =
            ((delta.at_us - first_us) as f64 / 1e3, self.smoothed_ms);
        self.on_line += 1;
        self.groups = self.groups.saturating_add(1);
        let slope = self.slope();
        self.judge(slope, delta);
        self.slope_before = slope;
    }

    /// Slope of the line of least squares, in ms a ms.
    fn slope(&self) -> f64 {
        let filled = self.on_line.min(WINDOW);
        if filled < 2 {
            return 0.0;
        }
        let points = &self.points[..filled];
        let count = filled as f64;
        let mean_x = points.iter().map(|p| p.0).sum::<f64>() / count;
        let mean_y = points.iter().map(|p| p.1).sum::<f64>() / count;
        let (mut above, mut below) = (0.0, 0.0);
        for (x, y) in points {
            above += (x - mean_x) * (y - mean_y);
            below += (x - mean_x) * (x - mean_x);
        }
        if below > 0.0 { above / below } else { 0.0 }
    }

    fn judge(&mut self, slope: f64, delta: Delta) {
        let trend_ms = f64::from(self.groups.min(FULL_WEIGHT)) * slope * GAIN;
        if trend_ms > self.threshold_ms {
            // Of the first group, it is not known since when.
            self.over_for_us += if self.over_groups == 0 {
                delta.sent_us / 2
            } else {
                delta.sent_us
            };
            self.over_groups += 1;
            if self.over_for_us > OVERUSE_US && self.over_groups > 1 && slope >= self.slope_before {
                self.usage = Usage::Over;
            }
        } else {
            self.over_for_us = 0;
            self.over_groups = 0;
            self.usage = if trend_ms < -self.threshold_ms {
                Usage::Under
            } else {
                Usage::Normal
            };
        }
        self.adapt(trend_ms.abs(), delta.at_us);
    }

    fn adapt(&mut self, trend_ms: f64, at_us: i64) {
        let before_us = self.adapted_us.replace(at_us).unwrap_or(at_us);
        if trend_ms > self.threshold_ms + OUTLIER_MS {
            return;
        }
        let follow = if trend_ms < self.threshold_ms {
            FOLLOW_DOWN
        } else {
            FOLLOW_UP
        };
        let elapsed_ms = (at_us - before_us).clamp(0, 100_000) as f64 / 1e3;
        let (least, most) = THRESHOLD_BOUNDS_MS;
        self.threshold_ms += follow * (trend_ms - self.threshold_ms) * elapsed_ms;
        self.threshold_ms = self.threshold_ms.clamp(least, most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups of 20 ms whose delay grows by so much each.
    fn feed(trend: &mut Trend, groups: i64, growth_us: i64, at_us: &mut i64) -> Option<i64> {
        for n in 0..groups {
            *at_us += 20_000 + growth_us;
            trend.add(Delta {
                sent_us: 20_000,
                arrival_us: 20_000 + growth_us,
                at_us: *at_us,
            });
            if trend.usage() == Usage::Over {
                return Some(n);
            }
        }
        None
    }

    #[test]
    fn a_growing_queue_is_overuse_at_once_and_a_steady_one_is_not() {
        let (mut trend, mut at) = (Trend::default(), 0);
        assert_eq!(feed(&mut trend, 200, 0, &mut at), None);
        // 4 Mbit/s on a path of 1: 20 ms of it take 80.
        let seen_after = feed(&mut trend, 10, 60_000, &mut at);
        assert!(seen_after.is_some_and(|n| n <= 3), "{seen_after:?}");
    }

    #[test]
    fn a_draining_queue_is_underuse() {
        let (mut trend, mut at) = (Trend::default(), 0);
        feed(&mut trend, 40, 0, &mut at);
        feed(&mut trend, 20, -5_000, &mut at);
        assert_eq!(trend.usage(), Usage::Under);
        feed(&mut trend, 60, 0, &mut at);
        assert_eq!(trend.usage(), Usage::Normal);
    }

    #[test]
    fn jitter_is_no_trend() {
        let (mut trend, mut at) = (Trend::default(), 0);
        for n in 0..2000_i64 {
            // Up and down by as much as 10 ms.
            let late = |n: i64| (n * 7919 % 10) * 1000;
            at += 20_000;
            trend.add(Delta {
                sent_us: 20_000,
                arrival_us: 20_000 + late(n) - late(n - 1),
                at_us: at + late(n),
            });
            assert_ne!(trend.usage(), Usage::Over, "group {n}");
        }
    }
}
