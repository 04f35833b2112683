//! Transport-wide congestion control, receiver's side
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01): remembers when each packet of a publisher
//! came and reports it, so that the publisher's estimate can follow its path.

use crate::rtcp::{Arrivals, BufferFull, Writer};
use crate::seq::Unwrapper;

/// Packets remembered between two reports; more than come in 100 ms at 100 Mbit/s.
const WINDOW: usize = 1024;

/// Arrival deltas are in units of 250 µs.
const TICK_US: u64 = 250;

/// Reference times are in units of 64 ms.
const REFERENCE_US: u64 = 64_000;

/// Packets in one feedback: what fits a datagram at two bytes a delta.
const MAX_REPORTED: usize = 400;

/// Arrivals since the last report.
#[derive(Debug)]
pub struct Recorder {
    unwrapper: Unwrapper,
    /// Ring by number: the number, and when it came.
    arrivals: Box<[Option<(u64, u64)>]>,
    /// The first number that was not reported yet.
    next: Option<u64>,
    highest: u64,
    feedback_count: u8,
    symbols: Vec<u8>,
    deltas: Vec<i16>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self {
            unwrapper: Unwrapper::new(),
            arrivals: vec![None; WINDOW].into_boxed_slice(),
            next: None,
            highest: 0,
            feedback_count: 0,
            symbols: Vec::with_capacity(MAX_REPORTED),
            deltas: Vec::with_capacity(MAX_REPORTED),
        }
    }

    /// A packet came, at a time in microseconds of any clock.
    pub fn record(&mut self, seq: u16, arrival_us: u64) {
        let seq = self.unwrapper.unwrap(seq);
        let slot = &mut self.arrivals[seq as usize % WINDOW];
        if slot.is_some_and(|(known, _)| known >= seq) {
            return; // a duplicate, or older than what is remembered
        }
        *slot = Some((seq, arrival_us));
        self.highest = self.highest.max(seq);
        // One that came after it was reported lost is reported again, as come.
        let next = self.next.get_or_insert(seq);
        *next = (*next).min(seq);
    }

    /// How many packets there may be to report, those that did not come included.
    pub fn unreported(&self) -> u64 {
        self.next
            .map_or(0, |next| (self.highest + 1).saturating_sub(next))
    }

    /// Writes feedback on all that came since the last call, and on what is missing between. Writes
    /// nothing if nothing came.
    ///
    /// # Errors
    /// If the writer has no room; the rest is reported by the next call.
    pub fn write_feedback(
        &mut self,
        writer: &mut Writer<'_>,
        sender_ssrc: u32,
        media_ssrc: u32,
    ) -> Result<(), BufferFull> {
        while let Some(first) = self.first_unreported() {
            let (_, first_at) = self.arrival(first).unwrap_or_default();
            let reference = first_at / REFERENCE_US;
            let end = self.collect(first, reference * REFERENCE_US);
            let arrivals = Arrivals {
                base: first as u16,
                reference_time: reference as u32 & 0xff_ffff,
                feedback_count: self.feedback_count,
                symbols: &self.symbols,
                deltas: &self.deltas,
            };
            writer.transport_cc(sender_ssrc, media_ssrc, &arrivals)?;
            self.feedback_count = self.feedback_count.wrapping_add(1);
            self.next = (end <= self.highest).then_some(end);
        }
        Ok(())
    }

    /// The first number to report on: one that came. What is missing before it was reported with
    /// the feedback before, or is as good as.
    fn first_unreported(&self) -> Option<u64> {
        let next = self
            .next?
            .max((self.highest + 1).saturating_sub(WINDOW as u64));
        (next..=self.highest).find(|seq| self.arrival(*seq).is_some())
    }

    fn arrival(&self, seq: u64) -> Option<(u64, u64)> {
        self.arrivals[seq as usize % WINDOW].filter(|(known, _)| *known == seq)
    }

    /// Puts together symbols and deltas from `first` on; the number after the last. Ends early where
    /// a delta doesn't fit 16 bits (8 s): the next feedback has a new reference.
    fn collect(&mut self, first: u64, reference_us: u64) -> u64 {
        self.symbols.clear();
        self.deltas.clear();
        let mut before = reference_us;
        for seq in first..=self.highest {
            if self.symbols.len() == MAX_REPORTED {
                return seq;
            }
            let Some((_, at)) = self.arrival(seq) else {
                self.symbols.push(0);
                continue;
            };
            let ticks = (at as i64 - before as i64).div_euclid(TICK_US as i64);
            let Ok(delta) = i16::try_from(ticks) else {
                return seq;
            };
            before = before.wrapping_add_signed(ticks * TICK_US as i64);
            self.symbols
                .push(if (0..256).contains(&delta) { 1 } else { 2 });
            self.deltas.push(delta);
        }
        self.highest + 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rtcp::{Packet, packets};

    /// What the publisher would read: number and arrival time, or lost.
    fn feedback(recorder: &mut Recorder) -> Vec<(u16, Option<u64>)> {
        let mut buf = [0; 4096];
        let mut writer = Writer::new(&mut buf);
        recorder.write_feedback(&mut writer, 1, 2).unwrap();
        let len = writer.finish();
        let mut out = Vec::new();
        for packet in packets(&buf[..len]) {
            let Packet::TransportCc(feedback) = packet.unwrap() else {
                panic!("not transport-wide feedback");
            };
            let mut at = i64::from(feedback.reference_time) * REFERENCE_US as i64;
            feedback
                .arrivals(|seq, delta| {
                    let came = delta.map(|d| {
                        at += i64::from(d) * TICK_US as i64;
                        at as u64
                    });
                    out.push((seq, came));
                })
                .unwrap();
        }
        out
    }

    #[test]
    fn arrivals_and_losses_are_reported_once() {
        let mut recorder = Recorder::new();
        for (seq, at) in [
            (65_534, 1_000_000),
            (65_535, 1_010_000),
            (1, 1_500_000),
            (0, 1_500_250),
        ] {
            recorder.record(seq, at);
        }
        recorder.record(4, 1_600_000);
        assert_eq!(recorder.unreported(), 7);
        let expected = [
            (65_534, Some(1_000_000)),
            (65_535, Some(1_010_000)),
            (0, Some(1_500_250)),
            (1, Some(1_500_000)),
            (2, None),
            (3, None),
            (4, Some(1_600_000)),
        ];
        assert_eq!(feedback(&mut recorder), expected);
        assert!(feedback(&mut recorder).is_empty());
        assert_eq!(recorder.unreported(), 0);
        recorder.record(3, 1_700_000);
        assert_eq!(feedback(&mut recorder)[0], (3, Some(1_700_000)));
    }

    #[test]
    fn long_silence_begins_a_new_reference() {
        let mut recorder = Recorder::new();
        recorder.record(1, 0);
        recorder.record(2, 60_000_000);
        assert_eq!(
            feedback(&mut recorder),
            [(1, Some(0)), (2, Some(60_000_000))]
        );
    }

    proptest! {
        #[test]
        fn every_arrival_is_reported_to_the_tick(
            start in any::<u16>(),
            steps in prop::collection::vec((1u16..4, 0u64..40_000), 1..300),
            base in 0u64..10_000_000,
        ) {
            let mut recorder = Recorder::new();
            let (mut seq, mut at) = (start, base);
            let mut expected = Vec::new();
            for (step, later) in steps {
                recorder.record(seq, at);
                expected.push((seq, at));
                seq = seq.wrapping_add(step);
                at += later;
            }
            let read = feedback(&mut recorder);
            let came: Vec<_> = read.iter().filter_map(|(s, at)| at.map(|at| (*s, at))).collect();
            prop_assert_eq!(came.len(), expected.len());
            for ((s, read), (e, true_at)) in came.iter().zip(&expected) {
                prop_assert_eq!(s, e);
                // Errors don't add up: each is within a tick.
                prop_assert!(read.abs_diff(*true_at) <= TICK_US, "{} for {}", read, true_at);
            }
        }

        #[test]
        fn any_numbers_at_any_time_stay_bounded(arrivals in prop::collection::vec((any::<u16>(), any::<u32>()), 0..200)) {
            let mut recorder = Recorder::new();
            for (seq, at) in arrivals {
                recorder.record(seq, u64::from(at));
            }
            let mut buf = [0; 1200];
            for _ in 0..50 {
                let _ = recorder.write_feedback(&mut Writer::new(&mut buf), 1, 2);
            }
        }
    }
}
