//! What the node sees of a viewer.

use std::time::{Duration, Instant};

use showrunner_rtp::rtcp::ReportBlock;

use super::layers::{Layers, On};
use super::stalls::{Often, Source, Stalls};
use super::{Lived, RoundTrip};
use crate::media::packet::StoredPacket;

/// Why a viewer gets no video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoVideo {
    /// Its path carries none.
    Network,
    /// It wants none.
    Choice,
}

/// A viewer's session, as it goes on.
#[derive(Clone, Debug, Default)]
pub struct Viewing {
    stalls: Stalls,
    layers: Layers,
    /// When the first packet went out, of whatever kind.
    first_packet: Option<Instant>,
    /// What the source had been silent by then.
    silent_before: Duration,
    without_video: Option<(NoVideo, Instant)>,
    paused: Duration,
    off: Duration,
    keyframe_requests: u32,
    retransmitted: u64,
    reports: [Option<Reports>; 2],
    round_trips: RoundTrips,
    is_stall_told: bool,
    /// A keyframe is being sent.
    is_key: bool,
}

/// What a viewer reported of one stream.
#[derive(Clone, Copy, Debug)]
struct Reports {
    ssrc: u32,
    highest: u32,
    lost: i32,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RoundTrips {
    sum: Duration,
    count: u32,
    longest: Duration,
}

impl Viewing {
    /// Media goes out to the viewer.
    pub fn on_sent(&mut self, now: Instant, source: &Source) {
        if self.first_packet.is_none() {
            self.first_packet = Some(now);
            self.silent_before = source.silent_until(now);
        }
    }

    /// A packet of video was sent. A frame counts once its last one was.
    pub fn on_picture(&mut self, now: Instant, packet: &StoredPacket, source: &Source) {
        self.on_sent(now, source);
        self.layers.count(packet.payload().len());
        self.is_key |= packet.starts_keyframe;
        if packet.marker {
            let is_key = std::mem::take(&mut self.is_key);
            self.on_video(now);
            self.stalls.on_frame(now, is_key, source);
        }
    }

    /// The viewer is on this layer, perhaps as before.
    pub fn on_layer(&mut self, now: Instant, on: On<'_>) {
        self.layers.on(now, on);
    }

    /// The viewer is on no layer: there is none.
    pub fn on_no_layer(&mut self, now: Instant) {
        self.layers.off(now);
    }

    /// The viewer gets no video from now on, until its next frame.
    pub fn on_no_video(&mut self, now: Instant, why: NoVideo) {
        if self.without_video.is_some_and(|(before, _)| before == why) {
            return;
        }
        self.on_video(now);
        self.layers.off(now);
        self.stalls.hold();
        self.without_video = Some((why, now));
    }

    fn on_video(&mut self, now: Instant) {
        if let Some((why, since)) = self.without_video.take() {
            let time = now.saturating_duration_since(since);
            match why {
                NoVideo::Network => self.paused += time,
                NoVideo::Choice => self.off += time,
            }
        }
    }

    /// Its decoder asks for a keyframe.
    pub fn on_picture_lost(&mut self) {
        self.keyframe_requests = self.keyframe_requests.saturating_add(1);
        self.stalls.on_picture_lost();
    }

    /// A packet was sent again.
    pub fn on_sent_again(&mut self) {
        self.retransmitted += 1;
    }

    /// The viewer says when packets came (transport-wide feedback).
    pub fn on_feedback(&mut self, now: Instant) {
        self.stalls.on_heard(now, Often::Yes);
    }

    /// The viewer reports on a stream (RFC 3550 §6.4.1); `round_trip` follows from it, if it can.
    pub fn on_report(&mut self, now: Instant, block: &ReportBlock, round_trip: Option<Duration>) {
        let report = Reports {
            ssrc: block.ssrc,
            highest: block.highest_seq,
            lost: block.cumulative_lost,
        };
        let known = |known: &&mut Option<Reports>| known.is_none_or(|r| r.ssrc == block.ssrc);
        if let Some(known) = self.reports.iter_mut().find(known) {
            let is_news = known
                .is_none_or(|before| block.highest_seq.wrapping_sub(before.highest) as i32 > 0);
            *known = Some(report);
            if is_news {
                self.stalls.on_heard(now, Often::No);
            }
        }
        if let Some(round_trip) = round_trip {
            self.round_trips.add(round_trip);
        }
    }

    /// When the picture stood still for the first time; once, for whoever has to know.
    pub fn take_first_stall(&mut self) -> Option<Instant> {
        let at = self.stalls.first_stall().filter(|_| !self.is_stall_told)?;
        self.is_stall_told = true;
        Some(at)
    }

    /// The session is over. `created` is when its offer came; `sent` are packets and bytes.
    pub fn finish(
        mut self,
        now: Instant,
        created: Instant,
        source: &Source,
        (packets, bytes): (u64, u64),
    ) -> Lived {
        self.on_video(now);
        self.layers.off(now);
        let silent = self.stalls.finish(now, source);
        let begin = self.first_packet;
        let whole = begin.map_or(Duration::ZERO, |begin| now.saturating_duration_since(begin));
        let off_air = source
            .silent_until(now)
            .saturating_sub(self.silent_before)
            .min(whole);
        let first = self.stalls.first().or(begin);
        let since =
            |from: Option<Instant>, to: Option<Instant>| Some(to?.saturating_duration_since(from?));
        let (switches_up, switches_down) = self.layers.switches();
        let reports = self.reports.iter().flatten();
        Lived {
            first_media: since(Some(created), first),
            present: whole.saturating_sub(off_air).saturating_sub(silent),
            off_air: begin.map_or(Duration::ZERO, |_| off_air),
            silent,
            stalls: self.stalls.count(),
            stalled: self.stalls.total(),
            longest_stall: self.stalls.longest(),
            first_stall: since(first, self.stalls.first_stall()),
            paused: self.paused,
            off: self.off,
            switches_up,
            switches_down,
            packets,
            bytes,
            lost: reports.map(|r| u64::try_from(r.lost).unwrap_or(0)).sum(),
            retransmitted: self.retransmitted,
            keyframe_requests: self.keyframe_requests,
            round_trip: self.round_trips.figures(),
            layers: self.layers.into_times(),
        }
    }
}

impl RoundTrips {
    pub(super) fn add(&mut self, round_trip: Duration) {
        self.sum += round_trip;
        self.count = self.count.saturating_add(1);
        self.longest = self.longest.max(round_trip);
    }

    pub(super) fn figures(&self) -> Option<RoundTrip> {
        let mean = self.sum.checked_div(self.count)?;
        Some(RoundTrip {
            mean,
            longest: self.longest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(40);

    /// Plays that many frames, from a time on.
    fn play(viewing: &mut Viewing, source: &mut Source, from: Instant, frames: u32) {
        for n in 0..frames {
            let now = from + FRAME * n;
            let timestamp = source_time(now, from);
            source.on_frame(now, timestamp);
            let mut packet = StoredPacket::empty(now);
            packet.starts_keyframe = n == 0;
            packet.marker = true;
            viewing.on_picture(now, &packet, source);
        }
    }

    fn source_time(now: Instant, from: Instant) -> u32 {
        (now - from).as_millis() as u32 * 90 + 1
    }

    #[test]
    fn a_session_adds_up() {
        let created = Instant::now();
        let at = |ms| created + Duration::from_millis(ms);
        let (mut viewing, mut source) = (Viewing::default(), Source::default());
        let on = On {
            rid: &"f".into(),
            spatial: None,
            size: Some((1280, 720)),
        };
        play(&mut viewing, &mut source, at(300), 100); // to 4260
        viewing.on_layer(at(300), on);
        viewing.on_no_video(at(4300), NoVideo::Network);
        viewing.on_no_video(at(4300), NoVideo::Network);
        source.restart();
        play(&mut viewing, &mut source, at(6300), 50); // to 8260
        viewing.on_layer(at(6300), on);
        viewing.on_sent_again();
        let lived = viewing.finish(at(8300), created, &source, (10, 1000));
        assert_eq!(lived.first_media, Some(Duration::from_millis(300)));
        assert_eq!(lived.paused, Duration::from_secs(2));
        assert_eq!(lived.off, Duration::ZERO);
        assert_eq!(lived.stalls, 0);
        // The source had nothing in that time either.
        assert_eq!(lived.off_air, Duration::from_millis(6300 - 4260));
        assert_eq!(lived.present + lived.off_air, Duration::from_secs(8));
        assert_eq!(lived.layers[0].time, Duration::from_secs(6));
        assert_eq!((lived.packets, lived.retransmitted), (10, 1));
    }

    #[test]
    fn a_session_that_got_nothing_lived_through_nothing() {
        let now = Instant::now();
        let mut source = Source::default();
        source.on_frame(now, 0);
        let later = now + Duration::from_secs(60);
        let lived = Viewing::default().finish(later, now, &source, (0, 0));
        assert_eq!(lived, Lived::default());
    }

    #[test]
    fn reports_tell_of_loss_and_round_trips() {
        let now = Instant::now();
        let mut viewing = Viewing::default();
        let block = |ssrc, highest_seq, cumulative_lost| ReportBlock {
            ssrc,
            highest_seq,
            cumulative_lost,
            ..ReportBlock::default()
        };
        let ms = Duration::from_millis;
        viewing.on_report(now, &block(1, 10, 1), Some(ms(20)));
        viewing.on_report(now, &block(2, 10, -3), None);
        viewing.on_report(now, &block(1, 20, 4), Some(ms(40)));
        viewing.on_report(now, &block(3, 20, 400), None);
        let lived = viewing.finish(now, now, &Source::default(), (0, 0));
        assert_eq!(lived.lost, 4);
        let expected = RoundTrip {
            mean: ms(30),
            longest: ms(40),
        };
        assert_eq!(lived.round_trip, Some(expected));
    }
}
