//! What a viewer's path does to packets, as far as the viewer reports it (RFC 3550 §6.4.1): how
//! many it loses and how long a round trip is. What hides losses goes by it.

use std::time::{Duration, Instant};

use showrunner_rtp::reports::{NtpTime, round_trip};
use showrunner_rtp::rtcp::ReportBlock;

/// How much a report counts that says that less is lost than was known: protection comes at once and
/// goes slowly, since a path that has lost will lose again.
const RECOVERY: f32 = 0.2;

/// … and one that says that a little more is: that may be chance, and delay comes of it.
const CHANCE: f32 = 0.4;

/// A round trip before any was measured.
const ASSUMED_RTT: Duration = Duration::from_millis(100);

/// A path, as it is now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Share of packets that are lost, 0 to 1.
    pub loss: f32,
    /// Round-trip time.
    pub rtt: Duration,
}

impl Default for Quality {
    fn default() -> Self {
        Self {
            loss: 0.0,
            rtt: ASSUMED_RTT,
        }
    }
}

/// Keeps a path's quality from reports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reports {
    loss: f32,
    rtt: Option<Duration>,
    /// Highest number that each of the two streams' last reports were on.
    reported: [Option<(u32, Instant)>; 2],
}

impl Reports {
    /// What they say.
    pub fn quality(&self) -> Quality {
        Quality {
            loss: self.loss,
            rtt: self.rtt.unwrap_or(ASSUMED_RTT),
        }
    }

    /// A report on one of the viewer's streams came at `now`, which is `ntp` in the time of the
    /// sender reports. `packets` says how many of that stream's packets a share of losses is of,
    /// since few say little. Of the share, no more than `most` counts.
    pub fn on_report(
        &mut self,
        now: Instant,
        ntp: NtpTime,
        video: bool,
        block: &ReportBlock,
        most: f32,
    ) {
        let before = self.reported[usize::from(video)].replace((block.highest_seq, now));
        let packets = before.map_or(0, |(seq, _)| block.highest_seq.wrapping_sub(seq));
        if let Some(rtt) = round_trip(ntp, block.last_sr, block.delay_since_last_sr) {
            self.rtt = Some(match self.rtt {
                Some(known) => (known * 7 + rtt) / 8,
                None => rtt,
            });
        }
        // A stream that has paused, or was restarted, says nothing about losses.
        if !(1..0x8000).contains(&packets) {
            return;
        }
        let lost = (f32::from(block.fraction_lost) / 256.0).min(most);
        // A report on a hundred packets counts in full.
        let weight = (packets as f32 / 100.0).min(1.0);
        let pace = if lost > self.loss * 1.5 + 0.01 {
            1.0
        } else if lost > self.loss {
            CHANCE
        } else {
            RECOVERY
        };
        self.loss += (lost - self.loss) * weight * pace;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: bool = true;
    const AUDIO: bool = false;

    fn report(fraction_lost: u8, highest_seq: u32) -> ReportBlock {
        ReportBlock {
            fraction_lost,
            highest_seq,
            ..ReportBlock::default()
        }
    }

    fn told(reports: &[(bool, u8, u32)]) -> Quality {
        let now = Instant::now();
        let mut path = Reports::default();
        for (video, lost, seq) in reports {
            path.on_report(now, NtpTime(0), *video, &report(*lost, *seq), 1.0);
        }
        path.quality()
    }

    #[test]
    fn losses_count_at_once_and_are_forgotten_slowly() {
        assert_eq!(told(&[(VIDEO, 0, 1)]), Quality::default());
        assert_eq!(told(&[(VIDEO, 0, 1), (VIDEO, 64, 301)]).loss, 0.25);
        let after = [(VIDEO, 0, 1), (VIDEO, 64, 301), (VIDEO, 0, 601)];
        assert_eq!(told(&after).loss, 0.2);
        let a_little_more = [(VIDEO, 0, 1), (VIDEO, 64, 301), (VIDEO, 80, 601)];
        assert_eq!(told(&a_little_more).loss, 0.275);
    }

    #[test]
    fn what_a_full_queue_lost_is_not_the_paths_own() {
        let now = Instant::now();
        let mut path = Reports::default();
        path.on_report(now, NtpTime(0), VIDEO, &report(0, 1), 1.0);
        path.on_report(now, NtpTime(0), VIDEO, &report(64, 301), 0.01);
        assert!(path.quality().loss <= 0.01);
    }

    #[test]
    fn a_report_on_few_packets_says_little() {
        assert_eq!(told(&[(AUDIO, 0, 1), (AUDIO, 64, 51)]).loss, 0.125);
        assert_eq!(told(&[(VIDEO, 255, 1)]).loss, 0.0, "on how many?");
        assert_eq!(told(&[(VIDEO, 0, 9), (VIDEO, 255, 9)]).loss, 0.0, "on none");
        assert_eq!(
            told(&[(VIDEO, 0, 9), (VIDEO, 255, 8)]).loss,
            0.0,
            "older than the one before"
        );
    }

    #[test]
    fn round_trips_are_smoothed() {
        let ntp = |ms: u64| NtpTime((1000 << 32) + (ms << 32) / 1000);
        let mut path = Reports::default();
        for ms in [80, 80, 160] {
            let block = ReportBlock {
                last_sr: ntp(0).middle(),
                ..ReportBlock::default()
            };
            path.on_report(Instant::now(), ntp(ms), VIDEO, &block, 1.0);
        }
        assert_eq!(path.quality().rtt.as_millis(), 89);
    }
}
