//! CoDel (RFC 8289): which packets to drop as they leave a queue, so that none stays long.

use std::time::Duration;

/// A standing queue that is shorter than this is good (RFC 8289 §4.3).
pub const TARGET: Duration = Duration::from_millis(5);

/// How long one may be longer (§4.3).
pub const INTERVAL: Duration = Duration::from_millis(100);

/// The state of the control law, with the names of §5.
#[derive(Clone, Copy, Debug, Default)]
pub struct Codel {
    /// When the queue will have been above the target for an interval.
    first_above: Option<Duration>,
    drop_next: Duration,
    count: u32,
    last_count: u32,
    is_dropping: bool,
}

impl Codel {
    /// Takes the next packet from a queue at `now`. `pop` gives the packet in front with the time
    /// since which it has waited, and the bytes that are left behind it; `dropped` takes those that
    /// are not to go on.
    pub fn dequeue<P>(
        &mut self,
        now: Duration,
        mut pop: impl FnMut() -> Option<(P, Duration, usize)>,
        mut dropped: impl FnMut(P),
    ) -> Option<P> {
        let mut next = |codel: &mut Self| match pop() {
            None => {
                codel.first_above = None;
                (None, false)
            }
            Some((packet, since, left)) => {
                let may_drop = codel.may_drop(now, now.saturating_sub(since), left);
                (Some(packet), may_drop)
            }
        };
        let (mut packet, mut may_drop) = next(self);
        if self.is_dropping {
            self.is_dropping = may_drop;
            while self.is_dropping && now >= self.drop_next {
                if let Some(packet) = packet.take() {
                    dropped(packet);
                }
                self.count = self.count.saturating_add(1);
                (packet, may_drop) = next(self);
                if may_drop {
                    self.drop_next = control_law(self.drop_next, self.count);
                } else {
                    self.is_dropping = false;
                }
            }
        } else if may_drop {
            if let Some(packet) = packet.take() {
                dropped(packet);
            }
            (packet, _) = next(self);
            self.is_dropping = true;
            // Who stopped dropping not long ago goes on about where it was (§5.5).
            let delta = self.count.saturating_sub(self.last_count);
            let is_recent = now.saturating_sub(self.drop_next) < 16 * INTERVAL;
            self.count = if delta > 1 && is_recent { delta } else { 1 };
            self.drop_next = control_law(now, self.count);
            self.last_count = self.count;
        }
        packet
    }

    /// Whether the queue has been too long for an interval, as this packet tells (§5.6).
    fn may_drop(&mut self, now: Duration, sojourn: Duration, left: usize) -> bool {
        const MAX_PACKET: usize = 1500;
        if sojourn < TARGET || left <= MAX_PACKET {
            self.first_above = None;
            return false;
        }
        let first_above = *self.first_above.get_or_insert(now + INTERVAL);
        now >= first_above
    }
}

/// §5.4
fn control_law(at: Duration, count: u32) -> Duration {
    at + INTERVAL.div_f64(f64::from(count.max(1)).sqrt())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A queue that is served a packet each millisecond and gets `arrivals(n)` in the n-th; when
    /// which packet was dropped, and the longest wait in the last second.
    fn run(arrivals: impl Fn(u64) -> u64, until: u64) -> (Vec<u64>, u64) {
        let mut queue: VecDeque<u64> = VecDeque::new();
        let mut codel = Codel::default();
        let (mut dropped, mut longest) = (Vec::new(), 0);
        for now in 0..until {
            queue.extend((0..arrivals(now)).map(|_| now));
            let queue_cell = std::cell::RefCell::new(&mut queue);
            let served = codel.dequeue(
                ms(now),
                || {
                    let mut queue = queue_cell.borrow_mut();
                    let since = queue.pop_front()?;
                    Some((since, ms(since), queue.len() * 1000))
                },
                |_| dropped.push(now),
            );
            if let Some(since) = served
                && now + 1000 >= until
            {
                longest = longest.max(now - since);
            }
        }
        (dropped, longest)
    }

    #[test]
    fn a_queue_that_drains_within_an_interval_loses_nothing() {
        // Fifty at once, each 200 ms.
        let (dropped, _) = run(|now| if now % 200 == 0 { 50 } else { 0 }, 5_000);
        assert!(dropped.is_empty());
    }

    #[test]
    fn a_standing_queue_is_dropped_from_ever_faster() {
        // Twenty that never get fewer, but for what is dropped.
        let (dropped, _) = run(|now| if now == 0 { 1000 } else { 1 }, 600);
        // First after an interval above the target, then by the control law.
        assert_eq!(dropped[..4], [105, 205, 276, 334]);
    }

    #[test]
    fn a_standing_queue_ends() {
        let (dropped, longest) = run(|now| if now == 0 { 60 } else { 1 }, 10_000);
        assert!(dropped.len() >= 50, "{}", dropped.len());
        assert!(longest <= 10, "{longest} ms at the end");
    }
}
