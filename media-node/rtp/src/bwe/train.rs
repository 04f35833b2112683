//! How fast packets come that left together. The bottleneck lets them out one by one, at its own rate, whatever
//! waits before them: the first frame on a path that has become narrower tells so, long before a queue or a rate over
//! time does. Another's packets before them delay them all, but leave them as close together as they were.

/// Packets that leave within so much are of one frame, or of a large one that is paced.
const TOGETHER_US: i64 = 15_000;

/// The rate is that of so many packets, after the one before them: most of a frame's, so that not all of it has to be
/// there.
const MEASURED: usize = 3;

/// One gap that is a larger share of the time than this is a hold-up on the way, or another's packets.
const MOST_OF_IT: f64 = 0.5;

/// Who comes so late, beyond what its own stream explains, and by so many times more than is usual on this path,
/// comes from a queue that has just grown.
const LATE_US: f64 = 15_000.0;
const UNUSUAL: f64 = 2.0;

/// Weight of a packet in what is usual.
const WEIGHT: f64 = 1.0 / 128.0;

#[derive(Clone, Copy, Debug, Default)]
struct Came {
    sent_us: i64,
    arrival_us: i64,
    bytes: usize,
}

/// Measures trains.
#[derive(Debug, Default)]
pub(super) struct Trains {
    /// The packets that came last, the latest last.
    latest: [Came; MEASURED + 1],
    count: usize,
    /// How late packets are as a rule, in microseconds.
    usual_us: f64,
    /// Bit/s of the last train, if it was late, as far as feedback has told since this was taken.
    late_bps: Option<f64>,
}

impl Trains {
    /// A packet came, later by so much than is explained by its own stream.
    pub(super) fn add(&mut self, sent_us: i64, bytes: usize, arrival_us: i64, late_us: i64) {
        self.latest.rotate_left(1);
        self.latest[MEASURED] = Came {
            sent_us,
            arrival_us,
            bytes,
        };
        self.count = (self.count + 1).min(self.latest.len());
        let late_us = late_us.max(0) as f64;
        let is_late = late_us > LATE_US + UNUSUAL * self.usual_us;
        self.usual_us += WEIGHT * (late_us - self.usual_us);
        let together_us = sent_us - self.latest[0].sent_us;
        if self.count == self.latest.len() && together_us <= TOGETHER_US {
            self.late_bps = self.bps().filter(|_| is_late);
        }
    }

    /// The rate of the latest packets, if they came evenly.
    fn bps(&self) -> Option<f64> {
        let took_us = self.latest[MEASURED].arrival_us - self.latest[0].arrival_us;
        let gaps = self
            .latest
            .windows(2)
            .map(|w| w[1].arrival_us - w[0].arrival_us);
        let is_even = gaps.clone().all(|gap| gap >= 0)
            && gaps.max().unwrap_or(0) as f64 <= MOST_OF_IT * took_us as f64;
        let bytes: usize = self.latest[1..].iter().map(|came| came.bytes).sum();
        (took_us > 0 && is_even).then(|| bytes as f64 * 8e6 / took_us as f64)
    }

    /// Bit/s at which the last train came, if it was of this feedback and came late.
    pub(super) fn take_late_bps(&mut self) -> Option<f64> {
        self.late_bps.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of 1,000 bytes a packet, through a bottleneck. What each is late by is all that it waits.
    #[derive(Default)]
    struct Path {
        trains: Trains,
        free_us: i64,
    }

    impl Path {
        fn frame(&mut self, sent_us: i64, packets: i64, bps: i64) -> Option<f64> {
            for _ in 0..packets {
                self.free_us = self.free_us.max(sent_us) + 8_000_000_000 / bps;
                let late_us = self.free_us - sent_us;
                self.trains
                    .add(sent_us, 1000, self.free_us + 50_000, late_us);
            }
            self.trains.take_late_bps()
        }
    }

    #[test]
    fn the_first_frame_on_a_narrow_path_tells_its_rate() {
        let mut path = Path::default();
        assert_eq!(path.frame(0, 7, 4_000_000), None);
        assert_eq!(path.frame(33_000, 7, 1_000_000), Some(1e6));
        assert_eq!(path.frame(66_000, 5, 1_000_000), Some(1e6));
        assert_eq!(path.frame(99_000, 3, 1_000_000), None, "too few to tell");
        assert_eq!(path.trains.take_late_bps(), None, "each tells once");
    }

    #[test]
    fn a_frame_that_waits_for_others_is_as_close_together_as_ever() {
        let mut path = Path {
            free_us: 100_000,
            ..Path::default()
        };
        assert_eq!(path.frame(0, 7, 4_000_000), Some(4e6));
    }

    #[test]
    fn a_frame_that_is_paced_is_a_train_and_a_trickle_is_none() {
        for (every_us, told) in [(4_000, Some(1e6)), (6_000, None)] {
            let mut path = Path::default();
            let last = (0..10).filter_map(|n| path.frame(n * every_us, 1, 1_000_000));
            assert_eq!(last.last(), told);
        }
    }

    #[test]
    fn what_is_usual_on_a_path_is_no_sign() {
        let mut path = Path::default();
        let late = |path: &mut Path, sent_us: i64, by_us: i64| {
            path.free_us = sent_us + by_us;
            path.frame(sent_us, 6, 1_000_000)
        };
        let told: Vec<_> = (1..100).map(|n| late(&mut path, n * 100_000, 0)).collect();
        assert_eq!(told[0], Some(1e6));
        assert_eq!(told[98], None);
        assert_eq!(late(&mut path, 10_000_000, 100_000), Some(1e6));
    }

    #[test]
    fn a_hold_up_is_no_rate() {
        let mut trains = Trains::default();
        for at_us in [50_000, 52_000, 54_000, 120_000, 122_000, 124_000] {
            trains.add(0, 1000, at_us, at_us - 50_000);
        }
        assert_eq!(trains.take_late_bps(), None);
        for _ in 0..10 {
            trains.add(33_000, 1000, 150_000, 100_000);
        }
        assert_eq!(trains.take_late_bps(), None, "all at once");
    }
}
