//! Statistics of a stream that is received, and NTP time (RFC 3550 §6.4 and appendix A).

use std::time::{Duration, Instant};

use crate::rtcp::ReportBlock;

/// NTP time (RFC 5905): seconds since 1900 and their fraction, 32 bits each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NtpTime(pub u64);

/// Seconds from 1900 to 1970.
const NTP_TO_UNIX_S: u64 = 2_208_988_800;

impl NtpTime {
    /// Of a time since the Unix epoch.
    pub fn from_unix(time: Duration) -> Self {
        let fraction = (u64::from(time.subsec_nanos()) << 32) / 1_000_000_000;
        Self(time.as_secs().wrapping_add(NTP_TO_UNIX_S) << 32 | fraction)
    }

    /// The middle 32 bits, as report blocks carry them.
    pub fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// A round trip is not believed to be longer.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(3);

/// The round trip that an answer to a report shows (RFC 3550 §6.4.1, RFC 3611 §4.5): it came at
/// `now`, `last` are the middle bits of the time that the report said, and it waited for `delay`
/// (in 1/65,536 s) to be answered. None if there was no report yet, or that can't be.
pub fn round_trip(now: NtpTime, last: u32, delay: u32) -> Option<Duration> {
    if last == 0 {
        return None;
    }
    let units = now.middle().wrapping_sub(last).wrapping_sub(delay);
    // Below zero: the clocks' grain, or a lie.
    let units = u64::try_from(units as i32).ok()?;
    let rtt = Duration::from_micros(units * 1_000_000 / 65_536);
    (rtt <= MAX_ROUND_TRIP).then_some(rtt)
}

/// What is received of one SSRC.
#[derive(Clone, Debug)]
pub struct Reception {
    clock_rate: u32,
    base: Option<u64>,
    highest: u64,
    received: u64,
    expected_before: u64,
    received_before: u64,
    /// In 1/16 timestamp units (appendix A.8).
    jitter: u32,
    /// Arrival and timestamp of the packet before.
    before: Option<(Instant, u32)>,
    last_sr: Option<(NtpTime, Instant)>,
}

impl Reception {
    /// Of a stream with this clock rate in Hz.
    pub fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate,
            base: None,
            highest: 0,
            received: 0,
            expected_before: 0,
            received_before: 0,
            jitter: 0,
            before: None,
            last_sr: None,
        }
    }

    /// A packet came (not one recovered by RTX: that was lost, as far as reports go).
    pub fn on_packet(&mut self, arrival: Instant, seq: u64, timestamp: u32) {
        self.base.get_or_insert(seq);
        self.highest = self.highest.max(seq);
        self.received += 1;
        if let Some((at, before)) = self.before {
            let ticks =
                |d: Duration| (d.as_nanos() * u128::from(self.clock_rate) / 1_000_000_000) as i64;
            let between = match arrival.checked_duration_since(at) {
                Some(later) => ticks(later),
                None => -ticks(at.saturating_duration_since(arrival)),
            };
            let sent_between = i64::from(timestamp.wrapping_sub(before) as i32);
            let deviation = between.abs_diff(sent_between).min(u64::from(u32::MAX >> 5)) as u32;
            self.jitter = self.jitter + deviation - ((self.jitter + 8) >> 4);
        }
        self.before = Some((arrival, timestamp));
    }

    /// A sender report came.
    pub fn on_sender_report(&mut self, now: Instant, ntp: NtpTime) {
        self.last_sr = Some((ntp, now));
    }

    /// Packets that did not come, of those up to the highest.
    pub fn lost(&self) -> u64 {
        let expected = self.base.map_or(0, |base| self.highest - base + 1);
        expected.saturating_sub(self.received)
    }

    /// The report on the time since the last call; none before the first packet.
    pub fn report(&mut self, now: Instant, ssrc: u32) -> Option<ReportBlock> {
        let expected = self.highest - self.base? + 1;
        let expected_since = expected - self.expected_before;
        let lost_since = expected_since.saturating_sub(self.received - self.received_before);
        self.expected_before = expected;
        self.received_before = self.received;
        let fraction_lost = (lost_since * 256).checked_div(expected_since).unwrap_or(0);
        let (last_sr, delay_since_last_sr) = match self.last_sr {
            Some((ntp, at)) => {
                let delay = now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000;
                (ntp.middle(), delay.min(u128::from(u32::MAX)) as u32)
            }
            None => (0, 0),
        };
        let lost = expected as i64 - self.received as i64;
        Some(ReportBlock {
            ssrc,
            fraction_lost: fraction_lost.min(255) as u8,
            cumulative_lost: lost.clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_seq: self.highest as u32,
            jitter: self.jitter >> 4,
            last_sr,
            delay_since_last_sr,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn ntp_time_counts_from_1900() {
        let time = NtpTime::from_unix(Duration::from_millis(1500));
        assert_eq!(time.0, (NTP_TO_UNIX_S + 1) << 32 | 0x8000_0000);
        assert_eq!(time.middle(), (((NTP_TO_UNIX_S + 1) << 16) as u32) | 0x8000);
    }

    #[test]
    fn round_trips_are_what_is_left_of_the_time_since_the_report() {
        // The example of RFC 3550 §6.4.1, figure 2, whose round trip is 6.125 s: too long.
        let now = NtpTime(0xb710_8000 << 16);
        let (last, delay) = (0xb705_2000, 0x0005_4000);
        assert_eq!(round_trip(now, last, delay), None);
        assert_eq!(round_trip(now, last + 0x0006_0000, delay), Some(ms(125)));
        assert_eq!(round_trip(now, last, 0x000b_6000), Some(ms(0)));
        assert_eq!(round_trip(now, last, 0x000b_6001), None);
        assert_eq!(round_trip(now, 0, 0), None);
    }

    #[test]
    fn losses_since_the_last_report_and_in_all() {
        let start = Instant::now();
        let mut reception = Reception::new(90_000);
        assert_eq!(reception.report(start, 1), None);
        for seq in [65_530, 65_531, 65_534, 65_537] {
            reception.on_packet(start, seq, 0);
        }
        let report = reception.report(start, 1).unwrap();
        assert_eq!((report.fraction_lost, report.cumulative_lost), (128, 4));
        assert_eq!(report.highest_seq, 65_537);
        reception.on_packet(start, 65_538, 0);
        reception.on_packet(start, 65_535, 0); // late: more came than was expected
        let report = reception.report(start, 1).unwrap();
        assert_eq!((report.fraction_lost, report.cumulative_lost), (0, 3));
    }

    #[test]
    fn jitter_is_that_of_the_rfc() {
        let start = Instant::now();
        let mut reception = Reception::new(1000);
        reception.on_packet(start, 1, 0);
        reception.on_packet(start + ms(20), 2, 20);
        assert_eq!(reception.report(start, 1).unwrap().jitter, 0);
        for n in 0..200 {
            // Every other packet is 16 ms late.
            let late = if n % 2 == 0 { 16 } else { 0 };
            reception.on_packet(start + ms(40 + 20 * n + late), 3 + n, 40 + 20 * n as u32);
        }
        let jitter = reception.report(start, 1).unwrap().jitter;
        assert!((14..=16).contains(&jitter), "{jitter}");
    }

    #[test]
    fn the_last_sender_report_is_echoed() {
        let start = Instant::now();
        let mut reception = Reception::new(48_000);
        reception.on_packet(start, 1, 0);
        reception.on_sender_report(start, NtpTime(0x1111_2222_3333_4444));
        let report = reception.report(start + ms(500), 1).unwrap();
        assert_eq!(report.last_sr, 0x2222_3333);
        assert_eq!(report.delay_since_last_sr, 32_768);
    }
}
