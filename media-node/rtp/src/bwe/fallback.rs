//! Peers without transport-wide feedback: the rate that they estimate themselves
//! (draft-alvestrand-rmcat-remb-03), or what their receiver reports say of loss and round trip.

use std::time::Duration;

/// An estimate of the peer's counts for so long.
const REMB_LASTS_US: i64 = 10_000_000;

/// Loss that calls for less when the round trip has grown too.
const LOSS: f32 = 0.1;

/// A round trip so much longer than the shortest says that something queues.
const QUEUED: Duration = Duration::from_millis(50);

/// Growth with each report.
const GROWTH: f64 = 0.05;

/// What a peer says without transport-wide feedback.
#[derive(Debug, Default)]
pub(super) struct Fallback {
    remb: Option<(i64, u64)>,
    shortest: Option<Duration>,
    loss: f32,
}

impl Fallback {
    /// The peer's own estimate.
    pub(super) fn remb(&mut self, now_us: i64, bps: u64) {
        self.remb = Some((now_us, bps));
    }

    /// The peer's estimate, while it is fresh.
    pub(super) fn remb_bps(&self, now_us: i64) -> Option<u64> {
        let (at_us, bps) = self.remb?;
        (now_us - at_us < REMB_LASTS_US).then_some(bps)
    }

    /// Share of packets lost by the last reports.
    pub(super) fn loss(&self) -> f32 {
        self.loss
    }

    /// By how much to multiply the rate after a receiver report. `is_used` says that about as much
    /// is sent as may be.
    pub(super) fn report(&mut self, loss: f32, rtt: Option<Duration>, is_used: bool) -> f64 {
        let loss = if loss.is_finite() {
            loss.clamp(0.0, 1.0)
        } else {
            0.0
        };
        self.loss = loss;
        let queued = rtt.is_some_and(|rtt| {
            let shortest = self.shortest.map_or(rtt, |least| least.min(rtt));
            self.shortest = Some(shortest);
            rtt > shortest + QUEUED.max(shortest / 2)
        });
        if loss > LOSS && queued {
            1.0 - 0.5 * f64::from(loss)
        } else if queued && rtt.is_some_and(|rtt| rtt > Duration::from_millis(500)) {
            0.85
        } else if is_used && !queued {
            1.0 + GROWTH
        } else {
            1.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loss_with_a_queue_lowers_the_rate() {
        let mut fallback = Fallback::default();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert!(fallback.report(0.0, ms(100), true) > 1.0);
        assert!(fallback.report(0.3, ms(105), false) >= 1.0);
        assert!(fallback.report(0.3, ms(300), true) < 0.9);
        assert!(fallback.report(f32::NAN, None, true) >= 1.0);
    }

    #[test]
    fn an_old_estimate_of_the_peer_is_none() {
        let mut fallback = Fallback::default();
        fallback.remb(0, 1_000_000);
        assert_eq!(fallback.remb_bps(1_000_000), Some(1_000_000));
        assert_eq!(fallback.remb_bps(REMB_LASTS_US), None);
    }
}
