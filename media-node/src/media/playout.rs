//! How long a viewer is told to hold pictures back (the playout-delay header extension,
//! <http://www.webrtc.org/experiments/rtp-hdrext/playout-delay>): not at all on a clean path, and
//! on one that loses, long enough for what is sent again to come in time. The browser holds sound
//! back as long, so lips and words stay together.

use std::time::{Duration, Instant};

use super::quality::Quality;

/// Below this share of losses a rare late frame is a lesser evil than delay for all.
const MIN_LOSS: f32 = 0.005;

/// Frames that miss a packet for longer than the delay: at most this share.
const LATE_FRAMES: f32 = 0.03;

/// Packets of a frame, which all have to be there.
const PACKETS: f32 = 8.0;

/// What a round of asking takes beyond a round trip: to notice the gap, and to answer.
const REACTION: Duration = Duration::from_millis(20);

/// Pictures that come later than this from the host already aren't waited for: a host whose packets are lost that far away
/// is far from its viewers as it is.
const MAX_LATE: Duration = Duration::from_millis(150);

/// More delay than this is worse than a stutter now and then.
const MAX: Duration = Duration::from_millis(500);

/// Less is taken back only when it has been enough for this long, …
const HOLD: Duration = Duration::from_secs(10);

/// … by this much at a time, each so small that nobody sees it.
const STEP: Duration = Duration::from_millis(30);

/// A new bound is repeated with all frames of this time, since any of them can get lost.
const REPEAT: Duration = Duration::from_secs(2);

/// The bounds' unit.
const UNIT_MS: u128 = 10;

/// The upper bound: as long as browsers let it be without one. A shorter one would have them show
/// frames at once, without a jitter buffer.
const UPPER_UNITS: u32 = 1000;

/// One viewer's delay.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlayoutDelay {
    least: Duration,
    /// Since when less would do.
    ample_since: Option<Instant>,
    /// Until when frames say so.
    told_until: Option<Instant>,
}

impl PlayoutDelay {
    /// How long frames are held back at least.
    pub fn least(&self) -> Duration {
        self.least
    }

    /// Goes by what the path does now. `copies` is how often each packet is sent to begin with; many pictures are late
    /// by `late_by` before they are.
    pub fn update(&mut self, now: Instant, path: Quality, copies: u8, late_by: Duration) {
        let late_by = Some(late_by).filter(|by| *by <= MAX_LATE);
        let needed = in_units(needed(path, copies) + late_by.unwrap_or_default());
        if needed >= self.least {
            self.ample_since = None;
            if needed > self.least {
                self.set(now, needed);
            }
            return;
        }
        let since = *self.ample_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= HOLD {
            self.ample_since = Some(now - HOLD + REPEAT);
            self.set(now, self.least.saturating_sub(STEP).max(needed));
        }
    }

    /// What the packets of a frame that is sent now carry, if anything.
    pub fn to_write(&self, now: Instant) -> Option<[u8; 3]> {
        self.told_until.filter(|until| now < *until)?;
        let lower = (self.least.as_millis() / UNIT_MS) as u32;
        let [_, bounds @ ..] = (lower << 12 | UPPER_UNITS).to_be_bytes();
        Some(bounds)
    }

    fn set(&mut self, now: Instant, least: Duration) {
        self.least = least;
        self.told_until = Some(now + REPEAT);
    }
}

/// The delay that leaves no more than [`LATE_FRAMES`] incomplete.
fn needed(path: Quality, copies: u8) -> Duration {
    if path.loss < MIN_LOSS {
        return Duration::ZERO;
    }
    // A packet is lost if each of its copies is, and again each time that it is asked for. Losses
    // come together: a second copy counts for three quarters.
    let lost_each_round = path.loss.min(0.9);
    let worth = 0.25 + 0.75 * f32::from(copies.max(1));
    let mut missing = PACKETS * lost_each_round.powf(worth);
    let mut delay = Duration::ZERO;
    while missing > LATE_FRAMES && delay < MAX {
        delay += path.rtt + REACTION;
        missing *= lost_each_round;
    }
    delay
}

/// In whole units, and no more than the most.
fn in_units(delay: Duration) -> Duration {
    let units = delay.min(MAX).as_millis().div_ceil(UNIT_MS);
    Duration::from_millis((units * UNIT_MS) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(loss: f32, rtt_ms: u64) -> Quality {
        Quality {
            loss,
            rtt: Duration::from_millis(rtt_ms),
        }
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_clean_path_is_told_nothing() {
        let now = Instant::now();
        let mut delay = PlayoutDelay::default();
        delay.update(now, path(0.0, 300), 1, ms(0));
        delay.update(now, path(0.004, 300), 1, ms(0));
        assert_eq!((delay.least(), delay.to_write(now)), (ms(0), None));
    }

    #[test]
    fn each_round_of_asking_that_is_needed_takes_a_round_trip() {
        assert_eq!(needed(path(0.01, 100), 1), ms(120));
        assert_eq!(needed(path(0.1, 100), 1), ms(240));
        assert_eq!(needed(path(0.3, 60), 1), ms(320), "four rounds");
        assert_eq!(needed(path(0.3, 100), 1), ms(480));
        assert_eq!(in_units(needed(path(0.3, 200), 1)), MAX);
        assert_eq!(
            needed(path(0.1, 100), 2),
            ms(120),
            "fewer if all comes twice"
        );
        assert_eq!(needed(path(0.05, 100), 2), ms(120), "losses come together");
        assert_eq!(needed(path(0.01, 250), 2), ms(0));
    }

    #[test]
    fn pictures_that_the_host_loses_are_waited_for_unless_it_is_far_away() {
        let least = |loss, late_by| {
            let mut delay = PlayoutDelay::default();
            delay.update(Instant::now(), path(loss, 100), 2, late_by);
            delay.least()
        };
        assert_eq!(least(0.0, ms(122)), ms(130));
        assert_eq!(least(0.05, ms(122)), ms(250));
        assert_eq!(least(0.0, ms(270)), ms(0));
    }

    #[test]
    fn the_bounds_are_written_while_they_are_new() {
        let now = Instant::now();
        let mut delay = PlayoutDelay::default();
        delay.update(now, path(0.1, 100), 1, ms(0));
        // 12 bits of least, 12 of most, in 10 ms.
        assert_eq!(delay.to_write(now), Some([0x01, 0x83, 0xe8]));
        delay.update(now + ms(1000), path(0.1, 100), 1, ms(0));
        assert_eq!(delay.to_write(now + REPEAT), None, "it is no news any more");
        delay.update(now + ms(3000), path(0.1, 110), 1, ms(0));
        assert_eq!(delay.to_write(now + ms(3000)), Some([0x01, 0xa3, 0xe8]));
    }

    #[test]
    fn delay_comes_at_once_and_goes_slowly() {
        let start = Instant::now();
        let mut delay = PlayoutDelay::default();
        delay.update(start, path(0.1, 100), 1, ms(0));
        let mut before = delay.least();
        let mut gone = None;
        for ms_after in (0..60_000).step_by(100) {
            let now = start + ms(ms_after);
            delay.update(now, path(0.0, 100), 1, ms(0));
            assert!(before - delay.least() <= STEP);
            before = delay.least();
            if before.is_zero() {
                gone.get_or_insert(ms_after);
            }
        }
        let expected = HOLD + 7 * REPEAT;
        assert_eq!(gone.map(ms), Some(expected), "240 ms in steps of 30");
        let end = start + expected;
        assert_eq!(delay.to_write(end), Some([0x00, 0x03, 0xe8]));
    }

    proptest! {
        #[test]
        fn the_delay_is_bounded(reports in prop::collection::vec((0.0f32..=1.0, 0u64..3000, 0u64..5000, 0u8..4, 0u64..400), 1..50)) {
            let mut now = Instant::now();
            let mut delay = PlayoutDelay::default();
            for (loss, rtt, pause, copies, late_ms) in reports {
                now += ms(pause);
                delay.update(now, path(loss, rtt), copies, ms(late_ms));
                prop_assert!(delay.least() <= MAX);
                prop_assert!(delay.least().as_millis().is_multiple_of(UNIT_MS));
                let written = delay.to_write(now).map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]));
                if let Some(bounds) = written {
                    prop_assert_eq!(u128::from(bounds >> 12) * UNIT_MS, delay.least().as_millis());
                }
            }
        }
    }
}
