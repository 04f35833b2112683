//! Arrival groups: packets that left together, and how much later than the group before them they
//! came than they left (draft-ietf-rmcat-gcc-02 §5.2).

/// Packets within so much of the first of their group belong to it.
const BURST_US: i64 = 5_000;

/// A gap in arrivals beyond this says that a clock jumped.
const LEAP_US: i64 = 3_000_000;

#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent_us: i64,
    last_sent_us: i64,
    first_arrival_us: i64,
    last_arrival_us: i64,
}

/// How one group compares with the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delta {
    /// Time between them when they left.
    pub(super) sent_us: i64,
    /// Time between them when they came.
    pub(super) arrival_us: i64,
    /// When the later one came.
    pub(super) at_us: i64,
}

/// Puts packets together to groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    current: Option<Group>,
    before: Option<Group>,
}

impl Groups {
    /// A packet came. Gives the delta between the two groups before its own, when it begins one.
    pub(super) fn add(&mut self, sent_us: i64, arrival_us: i64) -> Option<Delta> {
        let fresh = Group {
            first_sent_us: sent_us,
            last_sent_us: sent_us,
            first_arrival_us: arrival_us,
            last_arrival_us: arrival_us,
        };
        let Some(current) = &mut self.current else {
            self.current = Some(fresh);
            return None;
        };
        if sent_us < current.first_sent_us {
            return None; // of a group that is over
        }
        if arrival_us.saturating_sub(current.last_arrival_us).abs() > LEAP_US {
            *self = Self {
                current: Some(fresh),
                before: None,
            };
            return None;
        }
        if current.takes(sent_us, arrival_us) {
            current.last_sent_us = current.last_sent_us.max(sent_us);
            current.last_arrival_us = current.last_arrival_us.max(arrival_us);
            return None;
        }
        let whole = *current;
        self.current = Some(fresh);
        let before = self.before.replace(whole)?;
        Some(Delta {
            sent_us: whole.last_sent_us - before.last_sent_us,
            arrival_us: whole.last_arrival_us - before.last_arrival_us,
            at_us: whole.last_arrival_us,
        })
    }
}

impl Group {
    /// Whether a packet belongs to it: it left with it, or came in a bunch with it from a queue
    /// that let both go at once (as a radio does).
    fn takes(&self, sent_us: i64, arrival_us: i64) -> bool {
        if sent_us - self.first_sent_us <= BURST_US {
            return true;
        }
        let apart_us = arrival_us - self.last_arrival_us;
        let slower_us = apart_us - (sent_us - self.last_sent_us);
        let spread_us = arrival_us - self.first_arrival_us;
        slower_us < 0 && apart_us <= BURST_US && spread_us < 100_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_compared_by_their_last_packets() {
        let mut groups = Groups::default();
        let packets = [
            (0, 50_000),
            (1_000, 51_000),
            (33_000, 90_000),
            (34_000, 95_000),
        ];
        for (sent, arrival) in packets {
            assert_eq!(groups.add(sent, arrival), None);
        }
        let expected = Delta {
            sent_us: 33_000,
            arrival_us: 44_000,
            at_us: 95_000,
        };
        assert_eq!(groups.add(66_000, 130_000), Some(expected));
    }

    #[test]
    fn a_bunch_is_one_group() {
        let mut groups = Groups::default();
        groups.add(0, 50_000);
        groups.add(10_000, 60_000);
        // Held up for 40 ms, then let go at once.
        for (sent, arrival) in [(20_000, 100_000), (30_000, 100_100), (40_000, 100_200)] {
            groups.add(sent, arrival);
        }
        let delta = groups.add(50_000, 110_000).expect("a group is whole");
        assert_eq!((delta.sent_us, delta.arrival_us), (30_000, 40_200));
    }
}
