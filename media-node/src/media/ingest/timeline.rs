//! One timeline for all layers of a track, by what the publisher's sender reports say (see [`crate::media::sync`]).

use std::time::Instant;

use super::{Ingest, Track};
use crate::media::sync::{StreamClock, Tie};

impl Ingest {
    /// The host's picture has this timeline.
    pub fn align_to(&mut self, host: StreamClock) {
        self.host = Some(host);
    }

    /// Takes a sender report: (SSRC, tie of times). True if it was for one of the streams.
    pub fn on_sender_report(&mut self, now: Instant, ssrc: u32, tie: Tie) -> bool {
        let Some(at) = self.position(ssrc) else {
            return false;
        };
        let stream = &mut self.streams[at];
        let rate = stream.track.clock_rate();
        stream.clock.on_sender_report(tie, rate);
        stream.reception.on_sender_report(now, tie.ntp);
        true
    }

    /// The tie of times of a track, on its common timeline.
    pub fn common_tie(&self, track: Track) -> Option<Tie> {
        let mut of_track = self.media_streams().filter(|s| s.track == track);
        if self.is_link {
            // The streams of hosts that went are still there.
            return of_track.next_back()?.clock.common_tie();
        }
        of_track.find_map(|s| s.clock.common_tie())
    }

    /// The tie of times of the picture, if it can be compared with another publisher's.
    pub fn steady_picture(&self) -> Option<Tie> {
        let mut video = self.media_streams().filter(|s| s.track == Track::Video);
        video.find_map(|s| s.clock.steady_tie())
    }

    /// Where a timestamp of a stream is on the timeline of its track.
    pub(super) fn common_timestamp(
        &mut self,
        at: usize,
        timestamp: u32,
        arrival: Instant,
        keyframe: bool,
    ) -> u32 {
        let track = self.streams[at].track;
        let mut clock = std::mem::take(&mut self.streams[at].clock);
        let before = || {
            let mut streams = self.streams.iter().take(at);
            streams.find(|s| s.is_media() && s.track == track)
        };
        let reference = self.host.as_ref().or_else(|| before().map(|s| &s.clock));
        let common = clock.common(timestamp, arrival, keyframe, track.clock_rate(), reference);
        self.streams[at].clock = clock;
        common
    }
}
