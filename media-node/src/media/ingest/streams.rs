//! The streams of a publisher, one for each SSRC that proved authentic: what is kept of each, and how they are found.

use std::sync::Arc;

use showrunner_rtp::codec::layering::LayerTracker;
use showrunner_rtp::loss::LossTracker;
use showrunner_rtp::reports::Reception;
use showrunner_sdp::{ExtensionIds, RecvTrack};
use showrunner_transport::srtp::StreamState;

use super::binding::{PayloadKind, payload_kind};
use super::{Incoming, Ingest, Track};
use crate::media::packet::SourceId;
use crate::media::sync::StreamClock;

/// What a stream carries.
#[derive(Debug)]
pub(super) enum Binding {
    Media,
    /// Repairs the stream with this RID of the same track.
    Rtx,
}

/// One SSRC.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) ssrc: u32,
    pub(super) track: Track,
    pub(super) rid: Arc<str>,
    pub(super) binding: Binding,
    pub(super) source: SourceId,
    pub(super) srtp: StreamState,
    pub(super) loss: LossTracker,
    pub(super) reception: Reception,
    pub(super) clock: StreamClock,
    pub(super) layers: LayerTracker,
    pub(super) highest: Option<u64>,
}

impl Stream {
    pub(super) fn is_media(&self) -> bool {
        matches!(self.binding, Binding::Media)
    }

    /// A packet came with its own number, not by a repair.
    pub(super) fn count(&mut self, packet: &Incoming<'_>) {
        self.highest = self.highest.max(Some(packet.seq));
        self.loss.on_packet(packet.now, packet.seq);
        self.reception
            .on_packet(packet.arrival, packet.seq, packet.header.timestamp);
    }
}

impl Ingest {
    /// The SSRC of a source, to ask it for a keyframe.
    pub fn ssrc_of(&self, source: SourceId) -> Option<u32> {
        self.streams
            .iter()
            .find(|s| s.source == source)
            .map(|s| s.ssrc)
    }

    pub(super) fn media_streams(&self) -> impl DoubleEndedIterator<Item = &Stream> {
        self.streams.iter().filter(|s| s.is_media())
    }

    pub(super) fn position(&self, ssrc: u32) -> Option<usize> {
        self.streams.iter().position(|s| s.ssrc == ssrc)
    }

    /// The numbers that the header extensions of a stream were given.
    pub(super) fn extensions(&self, at: usize) -> ExtensionIds {
        let track = self.negotiated(self.streams[at].track);
        track.map(|track| track.extensions).unwrap_or_default()
    }

    /// What a payload type stands for in a stream.
    pub(super) fn kind_of(&self, at: usize, payload_type: u8) -> Option<PayloadKind> {
        let track = self.negotiated(self.streams[at].track)?;
        payload_kind(&track.codecs, payload_type)
    }

    fn negotiated(&self, track: Track) -> Option<&RecvTrack> {
        match track {
            Track::Audio => self.audio.as_ref(),
            Track::Video => self.video.as_ref(),
        }
    }
}
