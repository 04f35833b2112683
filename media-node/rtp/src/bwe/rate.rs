//! Bits a second over a sliding window, of bytes that come with their times.

/// Width of a bucket.
const BUCKET_US: i64 = 20_000;

/// Buckets kept: 1.28 s.
const BUCKETS: usize = 64;

/// Counts bytes in buckets of 20 ms. Times may come in disorder; what is older than a second counts
/// no more.
#[derive(Clone, Debug)]
pub(super) struct RateMeter {
    buckets: [u32; BUCKETS],
    /// Bucket of the first bytes ever, and of the last.
    first: Option<i64>,
    last: i64,
}

impl Default for RateMeter {
    fn default() -> Self {
        Self {
            buckets: [0; BUCKETS],
            first: None,
            last: 0,
        }
    }
}

impl RateMeter {
    /// Counts bytes of a moment.
    pub(super) fn add(&mut self, at_us: i64, bytes: usize) {
        let bucket = at_us.div_euclid(BUCKET_US);
        if self.first.is_none() || bucket.abs_diff(self.last) >= 100 * BUCKETS as u64 {
            *self = Self {
                first: Some(bucket),
                last: bucket,
                ..Self::default()
            };
        }
        while self.last < bucket {
            self.last += 1;
            if bucket - self.last < BUCKETS as i64 {
                self.buckets[slot(self.last)] = 0;
            }
        }
        if self.last - bucket < BUCKETS as i64 {
            let count = &mut self.buckets[slot(bucket)];
            *count = count.saturating_add(bytes as u32);
        }
    }

    /// Bit/s over the last `window_us` before `until_us`; none while it has not counted for half of that.
    pub(super) fn bps(&self, until_us: i64, window_us: i64) -> Option<f64> {
        let until = until_us.div_euclid(BUCKET_US);
        let first = self.first?;
        // The bucket of `until` is not over: the window ends before it.
        let from = (until - window_us / BUCKET_US).max(until - BUCKETS as i64 + 1);
        let seen_us = (until - from.max(first)) * BUCKET_US;
        if seen_us < window_us / 2 || seen_us <= 0 {
            return None;
        }
        let bytes: u64 = (from.max(first)..until)
            .filter(|bucket| *bucket <= self.last && self.last - bucket < BUCKETS as i64)
            .map(|bucket| u64::from(self.buckets[slot(bucket)]))
            .sum();
        Some(bytes as f64 * 8e6 / seen_us as f64)
    }

    /// The time up to which all is counted, as far as anything is: the start of the last bucket.
    pub(super) fn until_us(&self) -> i64 {
        self.last * BUCKET_US
    }
}

fn slot(bucket: i64) -> usize {
    bucket.rem_euclid(BUCKETS as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_measures_over_the_window_asked_for() {
        let mut meter = RateMeter::default();
        assert_eq!(meter.bps(0, 100_000), None);
        // 1 Mbit/s for a second, then 4.
        for ms in 0..2000 {
            let bytes = if ms < 1000 { 125 } else { 500 };
            meter.add(ms * 1000, bytes);
        }
        assert_eq!(meter.bps(2_000_000, 200_000), Some(4e6));
        assert_eq!(meter.bps(2_000_000, 1_000_000), Some(4e6));
        assert_eq!(meter.bps(1_100_000, 200_000), Some(2.5e6));
        assert_eq!(meter.bps(60_000_000, 200_000), Some(0.0));
    }

    #[test]
    fn disorder_and_leaps_are_taken() {
        let mut meter = RateMeter::default();
        for at in [i64::MAX / 2, 0, -5, 40_000, 20_000, i64::MIN / 2, 1_000_000] {
            meter.add(at, 1000);
        }
        assert_eq!(meter.bps(1_200_000, 200_000), Some(40_000.0));
    }
}
