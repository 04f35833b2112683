//! Puts all streams of a publisher on common timelines: the layers of a track share one RTP
//! timeline, and audio and video are tied together through the publisher's sender reports, so that
//! what viewers are told (RFC 3550 §6.4.1) keeps lips and voice together.

use std::time::{Duration, Instant};

use showrunner_rtp::reports::NtpTime;

/// NTP seconds and fraction (RFC 5905 short of eras) as microseconds, for arithmetic.
fn micros(ntp: NtpTime) -> i128 {
    (i128::from(ntp.0) * 1_000_000) >> 32
}

/// A sender report's pair of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tie {
    /// Wall clock of the publisher.
    pub ntp: NtpTime,
    /// The RTP timestamp of that moment.
    pub timestamp: u32,
}

impl Tie {
    /// The timestamp at another moment of the same clock.
    pub fn timestamp_at(&self, ntp: NtpTime, clock_rate: u32) -> u32 {
        let elapsed_us = micros(ntp) - micros(self.ntp);
        let ticks = elapsed_us * i128::from(clock_rate) / 1_000_000;
        self.timestamp.wrapping_add(ticks as u32)
    }

    /// The moment of another timestamp, which lies within half the timestamp range of this one.
    pub fn ntp_at(&self, timestamp: u32, clock_rate: u32) -> NtpTime {
        let ticks = i128::from(timestamp.wrapping_sub(self.timestamp) as i32);
        let fraction = (ticks << 32) / i128::from(clock_rate);
        NtpTime((i128::from(self.ntp.0) + fraction) as u64)
    }
}

/// Sender reports are believed across publishers when so many in a row agree with the one before, to so many seconds:
/// those of some programs don't, and no stream is the worse for it as long as nobody compares them with others'.
const AGREE: u8 = 2;
const AGREEMENT: f64 = 0.1;

/// … and when they have a frame taken so many seconds after the other publisher's newest, at the most, or before it. The
/// clocks of two machines may be further apart.
const EARLY: f64 = 0.25;
const LATE: f64 = 5.0;

/// A timestamp so many seconds before the newest is no late packet's: the stream has begun anew.
const ANEW: f64 = 10.0;

/// One stream's place on its track's common timeline.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamClock {
    /// Added to the stream's own timestamps. Set at the first packet, made exact at a keyframe.
    offset: Option<u32>,
    /// What was added to those before this one.
    former: Option<Former>,
    /// The last sender report, in the stream's own timestamps.
    tie: Option<Tie>,
    /// How many before it, one after the other, agree with the next.
    agree: u8,
    /// It is another publisher's.
    is_foreign: bool,
    /// Newest packet: timestamp on the common timeline, and when it came.
    newest: Option<(u32, Instant)>,
    /// The newest of the stream's own timestamps.
    head: Option<u32>,
}

/// An offset that is no longer in force.
#[derive(Clone, Copy, Debug)]
struct Former {
    /// The first of the stream's own timestamps that it was not added to.
    until: u32,
    offset: u32,
}

impl StreamClock {
    /// The common timeline itself, as another publisher's streams are put on it: a tie of it, and its newest packet.
    pub fn of_timeline(tie: Option<Tie>, newest: (u32, Instant)) -> Self {
        Self {
            offset: Some(0),
            tie,
            newest: Some(newest),
            is_foreign: true,
            ..Self::default()
        }
    }

    /// Takes a sender report.
    pub fn on_sender_report(&mut self, tie: Tie, clock_rate: u32) {
        let agrees = self.tie.is_some_and(|before| {
            let expected = before.timestamp_at(tie.ntp, clock_rate);
            seconds(tie.timestamp, expected, clock_rate).abs() <= AGREEMENT
        });
        self.agree = if agrees {
            self.agree.saturating_add(1)
        } else {
            0
        };
        self.tie = Some(tie);
    }

    /// The last sender report, on the common timeline, if its publisher's can be compared with another's.
    pub fn steady_tie(&self) -> Option<Tie> {
        self.common_tie().filter(|_| self.agree >= AGREE)
    }

    /// The last sender report, on the common timeline.
    pub fn common_tie(&self) -> Option<Tie> {
        let (tie, offset) = (self.tie?, self.offset?);
        Some(Tie {
            ntp: tie.ntp,
            timestamp: tie.timestamp.wrapping_add(offset),
        })
    }

    /// Takes note of a packet whose timestamp is on the common timeline already.
    pub fn is_common(&mut self, timestamp: u32, arrival: Instant) {
        self.offset = Some(0);
        self.newest = Some((timestamp, arrival));
    }

    /// Puts a packet on the common timeline. `reference` is another stream of the track that is on
    /// it already; none for the first, which defines it. At a keyframe, where viewers may switch,
    /// the offset is made exact if both streams have had sender reports; those of two publishers
    /// must make sense together. All packets of a frame get one timestamp, late ones too: where the
    /// keyframe's first packet comes after others, the offset stays until the next.
    pub fn common(
        &mut self,
        timestamp: u32,
        arrival: Instant,
        keyframe: bool,
        clock_rate: u32,
        reference: Option<&StreamClock>,
    ) -> u32 {
        let after_head = self.head.map(|head| seconds(timestamp, head, clock_rate));
        if after_head.is_some_and(|after| (-ANEW..=0.0).contains(&after)) {
            return timestamp.wrapping_add(self.offset_of(timestamp));
        }
        let offset = match (self.offset, reference) {
            (None, None) => 0,
            (Some(offset), None) => offset,
            (known, Some(reference)) if known.is_none() || keyframe => self
                .exact_offset(timestamp, arrival, clock_rate, reference)
                .or(known)
                .unwrap_or_else(|| by_arrival(timestamp, arrival, clock_rate, reference)),
            (known, Some(_)) => known.unwrap_or(0),
        };
        if let Some(before) = self.offset.replace(offset)
            && before != offset
        {
            self.former = Some(Former {
                until: timestamp,
                offset: before,
            });
        }
        self.head = Some(timestamp);
        let common = timestamp.wrapping_add(offset);
        self.newest = Some((common, arrival));
        common
    }

    /// What is added to a timestamp that has come before, or is older than one that has.
    fn offset_of(&self, timestamp: u32) -> u32 {
        let is_before = |former: &Former| (timestamp.wrapping_sub(former.until) as i32) < 0;
        let former = self.former.filter(is_before);
        former.map_or(self.offset.unwrap_or(0), |former| former.offset)
    }

    fn exact_offset(
        &self,
        timestamp: u32,
        arrival: Instant,
        clock_rate: u32,
        reference: &StreamClock,
    ) -> Option<u32> {
        let moment = self.tie?.ntp_at(timestamp, clock_rate);
        let common = reference.common_tie()?.timestamp_at(moment, clock_rate);
        let offset = common.wrapping_sub(timestamp);
        if reference.is_foreign {
            let by_arrival = by_arrival(timestamp, arrival, clock_rate, reference);
            let late = seconds(by_arrival, offset, clock_rate);
            let makes_sense = self.agree >= AGREE && (-EARLY..=LATE).contains(&late);
            return makes_sense.then_some(offset);
        }
        Some(offset)
    }
}

/// From `b` to `a`.
fn seconds(a: u32, b: u32, clock_rate: u32) -> f64 {
    f64::from(a.wrapping_sub(b) as i32) / f64::from(clock_rate)
}

/// The offset that makes this packet as old as the reference's newest, by when each came.
fn by_arrival(timestamp: u32, arrival: Instant, clock_rate: u32, reference: &StreamClock) -> u32 {
    let Some((common, at)) = reference.newest else {
        return 0;
    };
    let elapsed = arrival.saturating_duration_since(at).as_micros() as u64;
    let ticks = elapsed * u64::from(clock_rate) / 1_000_000;
    common.wrapping_add(ticks as u32).wrapping_sub(timestamp)
}

/// What a viewer's sender reports need to know of the publisher.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProgramSync {
    /// Added to the publisher's wall clock to give the node's, in NTP units. One for all streams,
    /// so that their relation is exactly the publisher's.
    clock_offset: Option<i64>,
    /// Audio, on the common timeline.
    pub audio: Option<Tie>,
    /// Video, on the common timeline.
    pub video: Option<Tie>,
    /// The same, if the publisher's reports can be compared with another's.
    pub steady_video: Option<Tie>,
}

impl ProgramSync {
    /// Notes when (by the node's clock) a sender report with this time came. The first sets the
    /// relation of the clocks; only a jump of over a second changes it.
    pub fn on_report(&mut self, publisher: NtpTime, node: NtpTime) {
        let offset = node.0.wrapping_sub(publisher.0) as i64;
        let jumped = self
            .clock_offset
            .is_none_or(|known| offset.abs_diff(known) > 1 << 32);
        if jumped {
            self.clock_offset = Some(offset);
        }
    }

    /// The tie of the picture by the node's clock, to be compared with another publisher's.
    pub fn picture(&self) -> Option<Tie> {
        let (tie, offset) = (self.steady_video?, self.clock_offset?);
        Some(Tie {
            ntp: NtpTime(tie.ntp.0.wrapping_add(offset as u64)),
            timestamp: tie.timestamp,
        })
    }

    /// The common-timeline timestamps of sound and picture at a moment of the node's clock.
    pub fn timestamps_at(&self, node: NtpTime) -> (Option<u32>, Option<u32>) {
        (
            self.timestamp_at(self.audio, node, 48_000),
            self.timestamp_at(self.video, node, 90_000),
        )
    }

    fn timestamp_at(&self, tie: Option<Tie>, node: NtpTime, clock_rate: u32) -> Option<u32> {
        let publisher = NtpTime(node.0.wrapping_sub(self.clock_offset? as u64));
        Some(tie?.timestamp_at(publisher, clock_rate))
    }
}

/// Wall clock of the node, carried forward from one reading so that it never jumps.
#[derive(Clone, Copy, Debug)]
pub struct NodeClock {
    at: Instant,
    unix: Duration,
}

impl NodeClock {
    /// Ties `at` to `unix`, the time since the Unix epoch.
    pub fn new(at: Instant, unix: Duration) -> Self {
        Self { at, unix }
    }

    /// NTP time (RFC 5905 era 0) of an instant.
    pub fn ntp(&self, now: Instant) -> NtpTime {
        const NTP_TO_UNIX_S: u64 = 2_208_988_800;
        let since = self.unix + now.saturating_duration_since(self.at);
        let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
        NtpTime(((since.as_secs() + NTP_TO_UNIX_S) << 32) | fraction)
    }

    /// The instant of a Unix time stamp of the kernel, no later than `now`.
    pub fn instant(&self, unix: Duration, now: Instant) -> Instant {
        let since = unix.saturating_sub(self.unix);
        (self.at + since).min(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ntp_ms(ms: u64) -> NtpTime {
        NtpTime((ms << 32) / 1000)
    }

    #[test]
    fn layers_with_random_timestamps_share_a_timeline_by_sender_reports() {
        let now = Instant::now();
        let (mut q, mut f) = (StreamClock::default(), StreamClock::default());
        q.on_sender_report(
            Tie {
                ntp: ntp_ms(10_000),
                timestamp: 5_000,
            },
            90_000,
        );
        f.on_sender_report(
            Tie {
                ntp: ntp_ms(10_500),
                timestamp: 4_000_000_000,
            },
            90_000,
        );
        let a = q.common(5_000 + 90_000, now, true, 90_000, None);
        // The same picture of the other layer: 1 s after q's report is 0.5 s after f's.
        let b = f.common(
            4_000_000_000u32.wrapping_add(45_000),
            now,
            true,
            90_000,
            Some(&q),
        );
        assert!(a.abs_diff(b) <= 1, "{a} and {b} are the same moment");
    }

    #[test]
    fn all_packets_of_a_frame_have_one_timestamp_however_late_they_come() {
        let now = Instant::now();
        let (mut q, mut f) = (StreamClock::default(), StreamClock::default());
        let report = |clock: &mut StreamClock, ms, timestamp| {
            let ntp = ntp_ms(ms);
            clock.on_sender_report(Tie { ntp, timestamp }, 90_000);
        };
        report(&mut q, 10_000, 0);
        report(&mut f, 10_000, 0);
        q.common(0, now, true, 90_000, None);
        let first = f.common(0, now, true, 90_000, Some(&q));
        // By the next report both are 3 ticks apart.
        report(&mut f, 11_000, 90_003);
        // Of a frame and the keyframe after it, the first packets are lost.
        let mut comes = |timestamp, keyframe| f.common(timestamp, now, keyframe, 90_000, Some(&q));
        let frame = comes(177_000, false);
        let keyframe = comes(180_000, false);
        assert_eq!((frame, keyframe), (first + 177_000, first + 180_000));
        assert_eq!(comes(177_000, false), frame);
        assert_eq!(comes(180_000, true), keyframe, "its first packet is late");
        assert_eq!(comes(180_000, false), keyframe);
        let next = comes(360_000, true);
        let exact = first + 360_000 - 3;
        assert!(next.abs_diff(exact) <= 1, "now it is: {next} {exact}");
        assert_eq!(comes(357_000, false), first + 357_000, "a frame before it");
        assert_eq!(comes(360_000, false), next);
        // The same stream begins anew.
        let anew = comes(7, true);
        assert_eq!(comes(7, false), anew);
    }

    #[test]
    fn without_reports_layers_are_aligned_by_arrival() {
        let now = Instant::now();
        let (mut q, mut f) = (StreamClock::default(), StreamClock::default());
        let a = q.common(1_000, now, true, 90_000, None);
        let b = f.common(77, now + Duration::from_millis(10), true, 90_000, Some(&q));
        assert_eq!(b.wrapping_sub(a), 900);
        let c = f.common(
            77 + 3000,
            now + Duration::from_millis(99),
            false,
            90_000,
            Some(&q),
        );
        assert_eq!(c.wrapping_sub(b), 3000, "the offset stays");
    }

    /// Reports, one a second, of a clock that has this rate, until some ms.
    fn report(clock: &mut StreamClock, until_ms: u64, timestamp: u32, rate: u32) {
        for seconds in (0..4).rev() {
            let tie = Tie {
                ntp: ntp_ms(until_ms - u64::from(seconds) * 1000),
                timestamp: timestamp.wrapping_sub(seconds * rate),
            };
            clock.on_sender_report(tie, 90_000);
        }
    }

    #[test]
    fn a_transcoders_pictures_keep_the_time_that_the_hosts_were_taken_at() {
        let now = Instant::now();
        // The host's clock is 500 s behind the node's, which is the transcoder's.
        let mut own = StreamClock::default();
        own.common(90_000, now, true, 90_000, None);
        report(&mut own, 10_000, 900_000, 90_000);
        let mut sync = ProgramSync::default();
        sync.on_report(ntp_ms(10_000), ntp_ms(510_000));
        sync.steady_video = own.steady_tie();
        let host = StreamClock::of_timeline(sync.picture(), (900_000, now));
        let mut rung = StreamClock::default();
        // Encoding took it 200 ms. Before it has reported, it counts as if it took no time.
        let first = rung.common(7, now, true, 90_000, Some(&host));
        assert_eq!(first, 900_000);
        report(&mut rung, 509_800, 7, 90_000);
        let later = now + Duration::from_secs(1);
        let second = rung.common(7 + 90_000, later, true, 90_000, Some(&host));
        assert!(second.abs_diff(990_000 - 18_000) <= 1, "{second}");
    }

    #[test]
    fn clocks_that_cannot_be_right_are_not_believed() {
        let now = Instant::now();
        let tie = Tie {
            ntp: ntp_ms(100_000),
            timestamp: 0,
        };
        let host = StreamClock::of_timeline(Some(tie), (0, now));
        // One that is wrong, one whose timestamps run twice as fast as it says, and one that is right.
        for (until_ms, rate, expected) in [
            (10_000, 90_000, 0),
            (94_000, 90_000, 0),
            (101_000, 90_000, 0),
            (99_000, 180_000, 0),
            (99_000, 90_000, -90_000),
        ] {
            let mut rung = StreamClock::default();
            report(&mut rung, until_ms, 7, rate);
            let common = rung.common(7, now, true, 90_000, Some(&host)) as i32;
            assert!(
                (common - expected).abs() <= 1,
                "{until_ms} {rate}: {common}"
            );
        }
        let mut hosts = StreamClock::default();
        hosts.common(7, now, true, 90_000, None);
        report(&mut hosts, 99_000, 7, 180_000);
        assert!(hosts.common_tie().is_some() && hosts.steady_tie().is_none());
    }

    #[test]
    fn audio_and_video_keep_the_publishers_relation() {
        let mut sync = ProgramSync::default();
        sync.on_report(ntp_ms(1_000), ntp_ms(501_000));
        sync.on_report(ntp_ms(1_000), ntp_ms(501_300)); // a later report, delayed by the network
        sync.audio = Some(Tie {
            ntp: ntp_ms(1_000),
            timestamp: 48_000,
        });
        sync.video = Some(Tie {
            ntp: ntp_ms(2_000),
            timestamp: 900_000,
        });
        let at = ntp_ms(503_000); // publisher's 3 s
        let (audio, video) = sync.timestamps_at(at);
        assert_eq!(audio, Some(48_000 + 96_000));
        assert_eq!(video, Some(900_000 + 90_000));
    }

    #[test]
    fn the_node_clock_is_ntp() {
        let at = Instant::now();
        let clock = NodeClock::new(at, Duration::from_secs(1));
        let ntp = clock.ntp(at + Duration::from_millis(500));
        assert_eq!(ntp.0 >> 32, 2_208_988_801);
        assert_eq!(ntp.0 & 0xffff_ffff, 0x8000_0000);
    }
}
