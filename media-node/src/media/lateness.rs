//! How late a layer's packets come that its publisher had to send again. A viewer whose own path
//! is clean waits for them all the same, and is told to hold pictures back as long: for one round
//! of asking. Who waits for the rare second one has delay for all frames for the sake of a few.

use std::time::{Duration, Instant};

/// Late frames that are remembered. Fewer within [`MEMORY`] are chance: no delay for all of them.
const REMEMBERED: usize = 4;

/// For how long.
const MEMORY: Duration = Duration::from_secs(10);

/// Packets that overtook each other are no later than this.
const DISORDER: Duration = Duration::from_millis(20);

/// The latest late frames of a layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lateness {
    /// When, the frame's timestamp, and by how much; the oldest first.
    frames: [Option<(Instant, u32, Duration)>; REMEMBERED],
}

impl Lateness {
    /// A packet of this frame came at `now`, so much later than the one after it.
    pub fn on_late(&mut self, now: Instant, timestamp: u32, late: Duration) {
        if late <= DISORDER {
            return;
        }
        if let Some(Some((at, known, by))) = self.frames.last_mut()
            && *known == timestamp
        {
            *at = now;
            *by = late.max(*by);
            return;
        }
        self.frames.rotate_left(1);
        if let Some(newest) = self.frames.last_mut() {
            *newest = Some((now, timestamp, late));
        }
    }

    /// How late they come now: the shortest, if there are enough.
    pub fn usual(&self, now: Instant) -> Duration {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < MEMORY;
        let late = self.frames.iter().map(|frame| match frame {
            Some((at, _, late)) if is_recent(*at) => Some(*late),
            _ => None,
        });
        let all: Option<Duration> = late
            .reduce(|a, b| a.zip(b).map(|(a, b)| a.min(b)))
            .flatten();
        all.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn what_comes_late_again_and_again_counts_by_the_shortest() {
        let now = Instant::now();
        let mut lateness = Lateness::default();
        for (frame, late) in [(1, 105), (2, 260), (3, 110)] {
            lateness.on_late(now, frame, ms(late));
        }
        assert_eq!(lateness.usual(now), ms(0), "three are chance");
        lateness.on_late(now + ms(10), 3, ms(120));
        assert_eq!(lateness.usual(now), ms(0), "the same frame");
        lateness.on_late(now + ms(500), 4, ms(125));
        assert_eq!(lateness.usual(now + ms(500)), ms(105));
        lateness.on_late(now + ms(600), 5, ms(125));
        assert_eq!(lateness.usual(now + ms(600)), ms(120), "105 ms is past");
    }

    #[test]
    fn it_is_forgotten() {
        let now = Instant::now();
        let mut lateness = Lateness::default();
        for frame in 0..4 {
            lateness.on_late(now, frame, ms(100));
        }
        assert_eq!(lateness.usual(now + MEMORY - ms(1)), ms(100));
        assert_eq!(lateness.usual(now + MEMORY), ms(0));
    }

    #[test]
    fn disorder_is_not_lateness() {
        let now = Instant::now();
        let mut lateness = Lateness::default();
        for frame in 0..9 {
            lateness.on_late(now, frame, DISORDER);
        }
        assert_eq!(lateness.usual(now), ms(0));
    }
}
