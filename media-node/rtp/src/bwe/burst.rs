//! The queue that our own bursts make. A keyframe leaves in a moment and takes a tenth of a second
//! to go through a narrow path: the packets behind it wait, and nothing is wrong. So much of a wait
//! as the estimate explains is taken off before delays are judged.

/// No more than this is explained: what queues for longer is too much, whatever it is.
const MOST_US: f64 = 200_000.0;

/// A bucket that fills with what is sent and drains at the rate that the path is held to carry.
#[derive(Debug, Default)]
pub(super) struct Burst {
    /// How long what is in it takes.
    level_us: f64,
    at_us: i64,
}

impl Burst {
    /// A packet leaves; how long it is expected to wait.
    pub(super) fn on_sent(&mut self, now_us: i64, bytes: usize, rate_bps: f64) -> i64 {
        let elapsed_us = now_us.saturating_sub(self.at_us).max(0);
        self.at_us = now_us;
        let waits_us = (self.level_us - elapsed_us as f64).max(0.0);
        self.level_us = (waits_us + bytes as f64 * 8e6 / rate_bps.max(1.0)).min(MOST_US);
        waits_us as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_waits_for_itself_and_a_steady_stream_does_not() {
        let mut burst = Burst::default();
        for n in 0..100 {
            // 1 Mbit/s.
            assert_eq!(burst.on_sent(n * 10_000, 1250, 1e6), 0);
        }
        assert_eq!(burst.on_sent(1_000_000, 12_500, 1e6), 0);
        assert_eq!(burst.on_sent(1_000_000, 100, 1e6), 100_000);
        assert_eq!(burst.on_sent(1_050_000, 100, 1e6), 50_800);
        assert_eq!(burst.on_sent(2_000_000, 100, 1e6), 0);
    }

    #[test]
    fn what_is_explained_is_bounded() {
        let mut burst = Burst::default();
        for n in 0..1000 {
            assert!(burst.on_sent(n * 1000, 1250, 1e6) <= 200_000);
        }
    }
}
