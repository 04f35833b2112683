//! How long packets wait in the path's queues: the one-way delay above the least that was seen
//! lately. The clocks of both ends need not agree, only run alike.

/// The least delay counts for two to three times as long.
const EPOCH_US: i64 = 5_000_000;

/// The one-way delay above its floor.
#[derive(Debug, Default)]
pub(super) struct QueueDelay {
    /// The least of this epoch and of the two before it.
    floors: [Option<i64>; 3],
    epoch_began_us: Option<i64>,
    /// The least of the batch that is being added, and of the one before.
    batch_us: Option<i64>,
    standing_us: i64,
    before_us: i64,
}

impl QueueDelay {
    /// A packet came; `delay_us` is by both ends' clocks. Gives how long it waited.
    pub(super) fn add(&mut self, now_us: i64, delay_us: i64) -> i64 {
        let began_us = *self.epoch_began_us.get_or_insert(now_us);
        if now_us - began_us > EPOCH_US {
            self.epoch_began_us = Some(now_us);
            self.floors.rotate_right(1);
            self.floors[0] = None;
        }
        let least = self.floors[0].map_or(delay_us, |floor| floor.min(delay_us));
        self.floors[0] = Some(least);
        let waited_us = delay_us - self.floor().unwrap_or(delay_us);
        self.batch_us = Some(self.batch_us.map_or(waited_us, |w| w.min(waited_us)));
        waited_us
    }

    /// All packets of a feedback have been added.
    pub(super) fn close_batch(&mut self) {
        if let Some(least) = self.batch_us.take() {
            self.before_us = self.standing_us;
            self.standing_us = least;
        }
    }

    /// The least wait of the packets in the last feedback: what is always in the queue.
    pub(super) fn standing_us(&self) -> i64 {
        self.standing_us
    }

    /// Whether less waits than at the feedback before.
    pub(super) fn drains(&self) -> bool {
        self.standing_us < self.before_us
    }

    fn floor(&self) -> Option<i64> {
        self.floors.iter().flatten().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_above_the_floor_whatever_the_clocks_say() {
        let mut queue = QueueDelay::default();
        for offset in [-1_000_000, 0, 5_000_000] {
            let mut queue = QueueDelay::default();
            assert_eq!(queue.add(0, offset + 50_000), 0);
            assert_eq!(queue.add(10, offset + 80_000), 30_000);
            assert_eq!(queue.add(20, offset + 60_000), 10_000);
        }
        queue.add(0, 0);
        queue.close_batch();
        queue.add(1, 40_000);
        queue.add(1, 30_000);
        queue.close_batch();
        assert_eq!(queue.standing_us(), 30_000);
        assert!(!queue.drains());
    }

    #[test]
    fn an_old_floor_is_forgotten() {
        let mut queue = QueueDelay::default();
        queue.add(0, 10_000);
        for second in 1..30 {
            queue.add(second * 1_000_000, 50_000);
        }
        assert_eq!(queue.add(30_000_000, 50_000), 0);
    }
}
