//! Which packets of a stream are missing, and when to ask for them again (RFC 4585 §6.2.1).

use std::time::{Duration, Instant};

/// How often a packet is asked for before it is given up.
pub const MAX_RETRIES: u8 = 10;

/// Packets asked for at a time; a longer gap is not worth repairing.
const MAX_MISSING: usize = 512;

/// A gap of more than this is a restart of the stream, not loss.
const MAX_GAP: u64 = 1024;

/// A packet that is this far behind the newest comes too late to be shown.
const MAX_AGE: u64 = 1024;

/// The least time between two requests for a packet.
const MIN_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug)]
struct Missing {
    seq: u64,
    next_request: Instant,
    requests: u8,
}

/// Counts of a stream's losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossCounters {
    /// Packets that were missing when a later one came.
    pub missing: u64,
    /// Of those, how many came after all.
    pub recovered: u64,
    /// Of those, how many were given up.
    pub given_up: u64,
}

/// The gaps in one stream. Takes extended sequence numbers, and packets recovered by RTX as any
/// other.
#[derive(Clone, Debug, Default)]
pub struct LossTracker {
    highest: Option<u64>,
    /// In ascending order.
    missing: Vec<Missing>,
    counters: LossCounters,
}

impl LossTracker {
    /// Of a stream that begins with whatever comes first.
    pub fn new() -> Self {
        Self::default()
    }

    /// A packet has come, of itself or recovered.
    pub fn on_packet(&mut self, now: Instant, seq: u64) {
        let Some(highest) = self.highest else {
            self.highest = Some(seq);
            return;
        };
        if seq <= highest {
            if let Ok(at) = self.missing.binary_search_by_key(&seq, |m| m.seq) {
                self.missing.remove(at);
                self.counters.recovered += 1;
            }
            return;
        }
        self.highest = Some(seq);
        if seq - highest > MAX_GAP {
            self.give_up_all();
            return;
        }
        for gap in highest + 1..seq {
            self.counters.missing += 1;
            if self.missing.len() == MAX_MISSING {
                self.missing.remove(0);
                self.counters.given_up += 1;
            }
            self.missing.push(Missing {
                seq: gap,
                next_request: now,
                requests: 0,
            });
        }
    }

    /// Whether a packet is missing and wanted.
    pub fn is_missing(&self, seq: u64) -> bool {
        self.missing.binary_search_by_key(&seq, |m| m.seq).is_ok()
    }

    /// Puts the low 16 bits of the packets to ask for now into `out`, in order. Each is asked for
    /// at once and then after `rtt`, with longer and longer pauses, [`MAX_RETRIES`] times in all.
    pub fn poll(&mut self, now: Instant, rtt: Duration, out: &mut Vec<u16>) {
        if self.missing.is_empty() {
            return;
        }
        let oldest = self.highest.unwrap_or(0).saturating_sub(MAX_AGE);
        let before = self.missing.len();
        self.missing
            .retain(|m| m.requests < MAX_RETRIES && m.seq >= oldest);
        self.counters.given_up += (before - self.missing.len()) as u64;
        let interval = rtt.max(MIN_INTERVAL);
        for missing in self.missing.iter_mut().filter(|m| m.next_request <= now) {
            // Half as long again with each request, up to five times the first pause.
            let pause = interval + interval / 2 * u32::from(missing.requests.min(8));
            missing.next_request = now + pause;
            missing.requests += 1;
            out.push(missing.seq as u16);
        }
    }

    /// Counts since the start.
    pub fn counters(&self) -> LossCounters {
        self.counters
    }

    fn give_up_all(&mut self) {
        self.counters.given_up += self.missing.len() as u64;
        self.missing.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    fn poll(tracker: &mut LossTracker, now: Instant) -> Vec<u16> {
        let mut out = Vec::new();
        tracker.poll(now, RTT, &mut out);
        out
    }

    #[test]
    fn a_gap_is_asked_for_at_once_and_again_after_a_round_trip() {
        let start = Instant::now();
        let mut tracker = LossTracker::new();
        tracker.on_packet(start, 65_534);
        tracker.on_packet(start, 65_537);
        assert_eq!(poll(&mut tracker, start), [65_535, 0]);
        assert!(poll(&mut tracker, start + RTT / 2).is_empty());
        tracker.on_packet(start + RTT / 2, 65_535);
        assert_eq!(poll(&mut tracker, start + RTT), [0]);
        assert_eq!(
            tracker.counters(),
            LossCounters {
                missing: 2,
                recovered: 1,
                given_up: 0
            }
        );
    }

    #[test]
    fn a_packet_that_never_comes_is_given_up() {
        let start = Instant::now();
        let mut tracker = LossTracker::new();
        tracker.on_packet(start, 1);
        tracker.on_packet(start, 3);
        let requests: usize = (0..1000)
            .map(|ms| poll(&mut tracker, start + ms * RTT / 5).len())
            .sum();
        assert_eq!(requests, usize::from(MAX_RETRIES));
        assert!(!tracker.is_missing(2));
        assert_eq!(tracker.counters().given_up, 1);
    }

    #[test]
    fn a_restarted_stream_is_not_repaired() {
        let start = Instant::now();
        let mut tracker = LossTracker::new();
        tracker.on_packet(start, 1);
        tracker.on_packet(start, 1 + MAX_GAP + 1);
        assert!(poll(&mut tracker, start).is_empty());
    }

    proptest! {
        #[test]
        fn memory_is_bounded_and_counts_add_up(seqs in prop::collection::vec(0u64..50_000, 1..500)) {
            let start = Instant::now();
            let mut tracker = LossTracker::new();
            for (ms, seq) in seqs.into_iter().enumerate() {
                let now = start + Duration::from_millis(ms as u64);
                tracker.on_packet(now, seq);
                prop_assert!(tracker.missing.len() <= MAX_MISSING);
                poll(&mut tracker, now);
                let LossCounters { missing, recovered, given_up } = tracker.counters();
                prop_assert_eq!(missing, recovered + given_up + tracker.missing.len() as u64);
            }
        }
    }
}
