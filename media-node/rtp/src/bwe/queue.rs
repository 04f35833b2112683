//! How long packets wait in the path's queues: the one-way delay above the least that was seen
//! lately. The clocks of both ends need not agree, only run alike.

use super::history::SentPacket;

/// The least delay counts for two to three times as long.
const EPOCH_US: i64 = 5_000_000;

/// What stands in the queue is the least wait of the last so many arrivals: a frame's own burst
/// waits for itself, but not for longer than it lasts.
const RECENT_US: i64 = 20_000;
const RECENT: usize = 3;

/// The one-way delay above its floor.
#[derive(Debug, Default)]
pub(super) struct QueueDelay {
    /// The least of this epoch and of the two before it.
    floors: [Option<i64>; 3],
    epoch_began_us: Option<i64>,
    /// The least waits of the last stretches of arrivals, and the number of the first of them.
    recent: [Option<i64>; RECENT],
    stretch: i64,
    standing_us: i64,
    growth_us: i64,
    grows_on: bool,
}

impl QueueDelay {
    /// A packet came. Gives how long it waited.
    pub(super) fn add(&mut self, now_us: i64, packet: &SentPacket, arrival_us: i64) -> i64 {
        let delay_us = arrival_us.saturating_sub(packet.sent_us);
        let began_us = *self.epoch_began_us.get_or_insert(now_us);
        if now_us - began_us > EPOCH_US {
            self.epoch_began_us = Some(now_us);
            self.floors.rotate_right(1);
            self.floors[0] = None;
        }
        let least = self.floors[0].map_or(delay_us, |floor| floor.min(delay_us));
        self.floors[0] = Some(least);
        let floor_us = self.floors.iter().flatten().min().unwrap_or(&delay_us);
        let waited_us = delay_us.saturating_sub(*floor_us);
        let unexplained_us = (waited_us - packet.expected_us).max(0);
        self.note(arrival_us.div_euclid(RECENT_US), unexplained_us);
        waited_us
    }

    fn note(&mut self, stretch: i64, waited_us: i64) {
        if stretch > self.stretch || stretch < self.stretch - 100 {
            let steps = stretch.abs_diff(self.stretch).min(RECENT as u64) as usize;
            self.recent.rotate_right(steps);
            self.recent[..steps].fill(None);
            self.stretch = stretch;
        }
        let place = (self.stretch - stretch) as usize;
        if let Some(least) = self.recent.get_mut(place) {
            *least = Some(least.map_or(waited_us, |l| l.min(waited_us)));
        }
    }

    /// All packets of a feedback have been added.
    pub(super) fn close_batch(&mut self) {
        if let Some(least) = self.recent.iter().flatten().min() {
            let growth_us = least - self.standing_us;
            self.grows_on = growth_us > 0 && self.growth_us > 0;
            self.growth_us = growth_us;
            self.standing_us = *least;
        }
    }

    /// What every packet waits by the last arrivals, beyond what was expected of it.
    pub(super) fn standing_us(&self) -> i64 {
        self.standing_us
    }

    /// By how much that has grown since the feedback before.
    pub(super) fn growth_us(&self) -> i64 {
        self.growth_us
    }

    /// Whether it has grown with the last two feedbacks.
    pub(super) fn grows_on(&self) -> bool {
        self.grows_on
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::Fate;
    use super::*;

    /// A packet that left so long before it came.
    fn packet(arrival_us: i64, delay_us: i64, expected_us: i64) -> SentPacket {
        SentPacket {
            number: 0,
            sent_us: arrival_us - delay_us,
            bytes: 1200,
            expected_us,
            fate: Fate::Unknown,
        }
    }

    fn add(queue: &mut QueueDelay, arrival_us: i64, delay_us: i64) -> i64 {
        queue.add(arrival_us, &packet(arrival_us, delay_us, 0), arrival_us)
    }

    #[test]
    fn waits_are_above_the_floor_whatever_the_clocks_say() {
        for offset in [-1_000_000, 0, 5_000_000] {
            let mut queue = QueueDelay::default();
            assert_eq!(add(&mut queue, 0, offset + 50_000), 0);
            assert_eq!(add(&mut queue, 10, offset + 80_000), 30_000);
            assert_eq!(add(&mut queue, 20, offset + 60_000), 10_000);
        }
    }

    #[test]
    fn what_stands_is_the_least_of_the_last_arrivals() {
        let mut queue = QueueDelay::default();
        add(&mut queue, 0, 0);
        queue.close_batch();
        assert_eq!(queue.standing_us(), 0);
        for (arrival, delay) in [(100_000, 40_000), (110_000, 30_000), (130_000, 50_000)] {
            add(&mut queue, arrival, delay);
        }
        queue.close_batch();
        assert_eq!((queue.standing_us(), queue.growth_us()), (30_000, 30_000));
        add(&mut queue, 170_000, 60_000);
        queue.close_batch();
        assert_eq!(queue.standing_us(), 50_000);
        // What was expected to wait stands for nothing; its wait is a wait all the same.
        assert_eq!(
            queue.add(0, &packet(200_000, 60_000, 80_000), 200_000),
            60_000
        );
        queue.close_batch();
        assert_eq!(queue.standing_us(), 0);
    }

    #[test]
    fn an_old_floor_is_forgotten() {
        let mut queue = QueueDelay::default();
        add(&mut queue, 0, 10_000);
        for second in 1..30 {
            add(&mut queue, second * 1_000_000, 50_000);
        }
        assert_eq!(add(&mut queue, 30_000_000, 50_000), 0);
    }
}
