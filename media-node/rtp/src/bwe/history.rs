//! What was sent and is not yet reported on: when each transport-wide number left, and how large it
//! was. Eight bytes a packet, in a ring that grows with what is on the way and never past a bound.

use crate::seq::nearest;

/// Packets remembered at first, once there is one.
const FIRST_LEN: usize = 128;

/// The most that are remembered: what 20 Mbit/s send in two seconds.
pub(super) const MAX_LEN: usize = 4096;

/// A packet that was not reported on for so long is not worth growing for.
const WORTH_KEEPING_US: u32 = 2_000_000;

/// What is known of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// No feedback has named it.
    Unknown,
    /// Feedback has gone past it without a word: that on it was lost itself.
    PassedOver,
    /// Reported as not come, which later feedback may put right.
    Lost,
    /// Reported as come.
    Received,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Lower 32 bits of the time it left.
    sent_us: u32,
    bytes: u16,
    /// How long it was expected to wait, in 2 ms.
    expected: u8,
    fate: Fate,
}

/// Unit of the expected wait.
const EXPECTED_US: i64 = 2_000;

/// A packet, as feedback finds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentPacket {
    pub(super) number: u64,
    pub(super) sent_us: i64,
    pub(super) bytes: usize,
    /// How long it was expected to wait behind packets of its own stream.
    pub(super) expected_us: i64,
    pub(super) fate: Fate,
}

/// The packets sent last, by transport-wide number.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Length is zero or a power of two.
    ring: Vec<Entry>,
    next: u64,
}

impl History {
    /// The number that the next packet gets, beyond 16 bits.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// How many packets can be found at most.
    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }

    /// Bytes that the ring takes.
    pub(super) fn memory(&self) -> usize {
        self.ring.capacity() * size_of::<Entry>()
    }

    /// Notes a packet that leaves; its number.
    pub(super) fn push(&mut self, now_us: i64, bytes: usize, expected_us: i64) -> u64 {
        let number = self.next;
        self.next += 1;
        if !self.has_place(number, now_us) {
            self.grow();
        }
        let slot = self.slot(number);
        self.ring[slot] = Entry {
            sent_us: now_us as u32,
            bytes: bytes.min(usize::from(u16::MAX)) as u16,
            expected: (expected_us / EXPECTED_US).clamp(0, i64::from(u8::MAX)) as u8,
            fate: Fate::Unknown,
        };
        number
    }

    /// Whether what is in a number's place may go.
    fn has_place(&self, number: u64, now_us: i64) -> bool {
        let len = self.ring.len();
        if len == MAX_LEN || number < len as u64 {
            return true;
        }
        len > 0 && {
            let old = self.ring[self.slot(number)];
            let age = (now_us as u32).wrapping_sub(old.sent_us);
            old.fate != Fate::Unknown || age > WORTH_KEEPING_US
        }
    }

    fn grow(&mut self) {
        let len = (2 * self.ring.len()).max(FIRST_LEN);
        let empty = Entry {
            sent_us: 0,
            bytes: 0,
            expected: 0,
            fate: Fate::Received,
        };
        let mut ring = vec![empty; len];
        // The packet that asked for the place is not in the old ring.
        let newest = self.next.saturating_sub(1);
        for number in newest.saturating_sub(self.ring.len() as u64)..newest {
            ring[number as usize & (len - 1)] = self.ring[self.slot(number)];
        }
        self.ring = ring;
    }

    /// The full number that a 16-bit one means: the nearest to the last one sent.
    pub(super) fn full(&self, seq: u16) -> u64 {
        nearest(self.next.saturating_sub(1), seq)
    }

    /// A packet, if it is remembered.
    pub(super) fn get(&self, number: u64, now_us: i64) -> Option<SentPacket> {
        if number >= self.next || number + (self.ring.len() as u64) < self.next {
            return None;
        }
        let entry = self.ring[self.slot(number)];
        let age = (now_us as u32).wrapping_sub(entry.sent_us);
        Some(SentPacket {
            number,
            sent_us: now_us - i64::from(age),
            bytes: usize::from(entry.bytes),
            expected_us: i64::from(entry.expected) * EXPECTED_US,
            fate: entry.fate,
        })
    }

    /// Notes what became of a packet that [`Self::get`] gave.
    pub(super) fn settle(&mut self, number: u64, fate: Fate) {
        let slot = self.slot(number);
        self.ring[slot].fate = fate;
    }

    fn slot(&self, number: u64) -> usize {
        number as usize & (self.ring.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_the_way_is_found_across_the_wrap() {
        let mut history = History::default();
        for n in 0..70_000_i64 {
            let number = history.push(n * 1000, 100 + n as usize % 7, 0);
            assert_eq!(number, n as u64);
            if n % 100 == 99 {
                for number in number - 99..=number {
                    let found = history.get(history.full(number as u16), n * 1000);
                    let found = found.expect("sent just now");
                    assert_eq!(found.sent_us, number as i64 * 1000);
                    assert_eq!(found.bytes, 100 + number as usize % 7);
                    history.settle(number, Fate::Received);
                }
            }
        }
        assert!(history.len() <= 256, "{}", history.len());
        assert!(history.get(70_000, 0).is_none(), "not sent yet");
        assert!(history.get(0, 0).is_none(), "long forgotten");
    }

    #[test]
    fn it_grows_with_what_is_on_the_way_and_stops() {
        let mut history = History::default();
        assert_eq!(history.len(), 0);
        for n in 0..1000 {
            history.push(n, 1200, 0);
        }
        assert_eq!(history.len(), 1024);
        for n in 0..1000 {
            let found = history.get(n, 1000).expect("all are kept");
            assert_eq!(found.sent_us, n as i64);
        }
        for n in 0..100_000 {
            history.push(n, 1200, 0);
        }
        assert_eq!(history.len(), MAX_LEN);
    }
}
